//! How many workers: by the cgroup's CPU limit, not by the node's cores.

use std::path::Path;

/// Workers at most; a pod that needs more has outgrown a sidecar.
const MOST: usize = 4;

/// One below 2 CPUs, otherwise as many as the limit says (rounded up), at most 4.
pub fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let limit = std::fs::read_to_string(Path::new("/sys/fs/cgroup/cpu.max")).ok();
    by_limit(limit.as_deref().and_then(parse), cores)
}

/// CPUs in `cpu.max`: quota and period in µs, or `max`.
fn parse(text: &str) -> Option<f64> {
    let mut fields = text.split_ascii_whitespace();
    let (quota, period) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    (period > 0.0 && quota > 0.0).then(|| quota / period)
}

fn by_limit(limit: Option<f64>, cores: usize) -> usize {
    let cpus = limit.unwrap_or(f64::MAX);
    if cpus < 2.0 {
        return 1;
    }
    let ceiling = (1..=MOST).find(|n| f64::from(u32::try_from(*n).unwrap_or(1)) >= cpus).unwrap_or(MOST);
    ceiling.min(cores).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_and_not_the_node() {
        assert_eq!(by_limit(parse("max 100000"), 64), 4);
        assert_eq!(by_limit(parse("10000 100000"), 64), 1);
        assert_eq!(by_limit(parse("190000 100000"), 64), 1);
        assert_eq!(by_limit(parse("200000 100000"), 64), 2);
        assert_eq!(by_limit(parse("250000 100000"), 64), 3);
        assert_eq!(by_limit(None, 1), 1);
        assert_eq!(by_limit(parse("nonsense"), 2), 2);
    }
}
