//! What is done to the pod while it runs, and when: parts of the demo's length, so that it fits into any.

use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Deed {
    /// The app renames its logs and starts new ones.
    Rotate,
    /// The log store refuses everything for three seconds.
    Outage,
    /// SIGKILL to a sidecar.
    Kill(&'static str),
}

pub(crate) const OUTAGE: Duration = Duration::from_secs(3);

const SIDECARS: [&str; 3] = ["ambassador-proxy", "sidecar-logshipper", "adapter-logformat"];

/// Who dies when.
#[derive(Clone, Copy)]
pub(crate) enum Chaos {
    /// Nobody.
    None,
    /// Each sidecar once, at the moment that hurts it most: the adapter just after a rotation, the shipper during the
    /// outage, the proxy under full traffic.
    Each,
    /// Somebody every one to four seconds, by a sequence that the number decides.
    Random(u64),
}

/// In the order of time.
pub(crate) fn script(length: Duration, chaos: Chaos) -> Vec<(Duration, Deed)> {
    let at = |percent: u32| length * percent / 100;
    let mut script = vec![(at(25), Deed::Rotate), (at(40), Deed::Outage), (at(70), Deed::Rotate)];
    match chaos {
        Chaos::None => {}
        Chaos::Each => {
            script.push((at(25) + Duration::from_millis(30), Deed::Kill("adapter-logformat")));
            script.push((at(40) + Duration::from_millis(1200), Deed::Kill("sidecar-logshipper")));
            script.push((at(80), Deed::Kill("ambassador-proxy")));
        }
        Chaos::Random(seed) => {
            let mut random = Random(seed);
            let mut when = Duration::ZERO;
            loop {
                when += Duration::from_millis(1000 + random.below(3000));
                if when >= length {
                    break;
                }
                let who = usize::try_from(random.below(3)).unwrap_or(0);
                script.push((when, Deed::Kill(SIDECARS[who])));
            }
        }
    }
    script.sort_by_key(|(when, _)| *when);
    script
}

/// `SplitMix64`: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_rotations_one_outage_and_all_sidecars_die() {
        let script = script(Duration::from_secs(30), Chaos::Each);
        let deeds: Vec<Deed> = script.iter().map(|(_, deed)| *deed).collect();
        assert_eq!(deeds.iter().filter(|deed| **deed == Deed::Rotate).count(), 2);
        assert_eq!(deeds.iter().filter(|deed| **deed == Deed::Outage).count(), 1);
        assert_eq!(deeds.iter().filter(|deed| matches!(deed, Deed::Kill(_))).count(), 3);
        assert!(script.is_sorted_by_key(|(when, _)| *when));
    }

    #[test]
    fn a_seed_decides_the_whole_script() {
        let twice = [(); 2].map(|()| script(Duration::from_secs(60), Chaos::Random(7)));
        assert_eq!(twice[0], twice[1]);
        assert_ne!(twice[0], script(Duration::from_secs(60), Chaos::Random(8)));
        assert!(twice[0].len() > 15, "{}", twice[0].len());
    }
}
