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

/// In the order of time. With `chaos`, each sidecar dies at the moment that hurts it most: the adapter just after
/// a rotation, the shipper during the outage, the proxy under full traffic.
pub(crate) fn script(length: Duration, chaos: bool) -> Vec<(Duration, Deed)> {
    let at = |percent: u32| length * percent / 100;
    let mut script = vec![(at(25), Deed::Rotate), (at(40), Deed::Outage), (at(70), Deed::Rotate)];
    if chaos {
        script.push((at(25) + Duration::from_millis(30), Deed::Kill("adapter-logformat")));
        script.push((at(40) + Duration::from_millis(1200), Deed::Kill("sidecar-logshipper")));
        script.push((at(80), Deed::Kill("ambassador-proxy")));
    }
    script.sort_by_key(|(when, _)| *when);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_rotations_one_outage_and_all_sidecars_die() {
        let script = script(Duration::from_secs(30), true);
        let deeds: Vec<Deed> = script.iter().map(|(_, deed)| *deed).collect();
        assert_eq!(deeds.iter().filter(|deed| **deed == Deed::Rotate).count(), 2);
        assert_eq!(deeds.iter().filter(|deed| **deed == Deed::Outage).count(), 1);
        assert_eq!(deeds.iter().filter(|deed| matches!(deed, Deed::Kill(_))).count(), 3);
        assert!(script.is_sorted_by_key(|(when, _)| *when));
    }
}
