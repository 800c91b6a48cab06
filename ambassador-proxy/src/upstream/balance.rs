//! Which endpoint takes the next request.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Instant;

use super::endpoint::LocalEndpoint;
use crate::config::Balance;

/// The endpoint for a request: of the best priority that has one available, never one of `avoid` while there is another.
///
/// Only an empty set gives `None`: when none is available, one that is not is tried all the same.
pub fn pick(
    set: &[Rc<LocalEndpoint>],
    balance: Balance,
    turn: usize,
    key: Option<u64>,
    avoid: &[Rc<LocalEndpoint>],
    now: Instant,
) -> Option<Rc<LocalEndpoint>> {
    if let [only] = set {
        return Some(only.clone());
    }
    let avoided = |endpoint: &LocalEndpoint| avoid.iter().any(|other| other.peer == endpoint.peer);
    let usable = |endpoint: &LocalEndpoint| endpoint.available(now) && !avoided(endpoint);
    // The common case without an allocation: two at random, both usable and of the first priority.
    let level = set.iter().filter(|endpoint| usable(endpoint)).map(|endpoint| endpoint.priority).min();
    let Some(level) = level else {
        let rest: Vec<_> = set.iter().filter(|endpoint| !avoided(endpoint)).collect();
        if rest.is_empty() {
            // All of them have failed this request. The one that did so first may only have given a bad answer, or is back by now.
            let first =
                avoid.iter().find_map(|other| set.iter().find(|endpoint| endpoint.peer == other.peer));
            return first.or(set.first()).cloned();
        }
        return rest.get(fastrand::usize(..rest.len())).map(|endpoint| Rc::clone(endpoint));
    };
    let eligible = |endpoint: &LocalEndpoint| endpoint.priority == level && usable(endpoint);
    match balance {
        Balance::RoundRobin => {
            let count = set.iter().filter(|endpoint| eligible(endpoint)).count();
            let at = |turn: usize| set.iter().filter(|endpoint| eligible(endpoint)).nth(turn % count.max(1));
            // One that is warming up passes some of its turns on.
            let found = at(turn)?;
            let passes = fastrand::f64() >= found.warmth(now);
            if passes { at(turn + 1).cloned() } else { Some(found.clone()) }
        }
        // Tables have been asked before: without a key, or with nobody there, any will do.
        Balance::Hash | Balance::RingHash | Balance::Maglev => {
            let key = key.unwrap_or_else(|| fastrand::u64(..));
            // Highest random weight: as even and as stable as Maglev, without a table to build for a handful of pods.
            set.iter().filter(|e| eligible(e)).max_by(|a, b| score(a, key).total_cmp(&score(b, key))).cloned()
        }
        Balance::PeakEwma | Balance::LeastRequest => {
            let cost = |endpoint: &LocalEndpoint| match balance {
                Balance::PeakEwma => endpoint.load(now),
                _ => endpoint.queue(now),
            };
            let first = sample(set, &eligible, None)?;
            // Two samples of a few endpoints would meet the cold one often: it has to win a draw as well.
            let first = if fastrand::f64() < first.warmth(now) {
                first
            } else {
                sample(set, &eligible, Some(first)).unwrap_or(first)
            };
            let Some(second) = sample(set, &eligible, Some(first)) else { return Some(first.clone()) };
            Some(if cost(second) < cost(first) { second.clone() } else { first.clone() })
        }
    }
}

/// Whether a key decides.
pub fn hashes(balance: Balance) -> bool {
    matches!(balance, Balance::Hash | Balance::RingHash | Balance::Maglev)
}

/// One at random, by weight.
fn sample<'a>(
    set: &'a [Rc<LocalEndpoint>],
    eligible: &dyn Fn(&LocalEndpoint) -> bool,
    but: Option<&Rc<LocalEndpoint>>,
) -> Option<&'a Rc<LocalEndpoint>> {
    let allowed = |e: &&Rc<LocalEndpoint>| eligible(e) && but.is_none_or(|but| !Rc::ptr_eq(e, but));
    let total: u64 = set.iter().filter(allowed).map(|e| u64::from(e.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut at = fastrand::u64(..total);
    set.iter().filter(allowed).find(|endpoint| {
        let weight = u64::from(endpoint.weight);
        let here = at < weight;
        at = at.saturating_sub(weight);
        here
    })
}

/// Weighted rendezvous hashing (Schindelhauer and Schomaker: -weight / ln(hash)).
fn score(endpoint: &LocalEndpoint, key: u64) -> f64 {
    let hash = hash(&(key, &endpoint.peer));
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(endpoint.weight) / unit.ln()
}

/// A hash that is the same in every pod and every version of this program's build.
pub fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::config::plan::BreakerPlan;
    use crate::stats::Board;
    use crate::upstream::{Endpoint, Peer};

    pub(in crate::upstream) fn set(specs: &[(u16, u32, u16)]) -> Vec<Rc<LocalEndpoint>> {
        let board = Arc::new(Board::default());
        let make = |&(port, weight, priority): &(u16, u32, u16)| {
            let peer = Peer::Tcp(([127, 0, 0, 1], port).into());
            let endpoint = Endpoint { peer, weight, priority, well: Arc::new(AtomicBool::new(true)) };
            Rc::new(LocalEndpoint::new(&endpoint, "x".into(), &board))
        };
        specs.iter().map(make).collect()
    }

    fn shares(set: &[Rc<LocalEndpoint>], balance: Balance) -> HashMap<String, usize> {
        let mut out = HashMap::new();
        for turn in 0..3000 {
            let endpoint = pick(set, balance, turn, Some(turn as u64), &[], Instant::now()).unwrap();
            *out.entry(endpoint.name.to_string()).or_default() += 1;
        }
        out
    }

    #[test]
    fn every_balancer_uses_all_endpoints_evenly() {
        let set = set(&[(1, 1, 0), (2, 1, 0), (3, 1, 0)]);
        for balance in [Balance::PeakEwma, Balance::RoundRobin, Balance::LeastRequest, Balance::Hash] {
            let shares = shares(&set, balance);
            assert_eq!(shares.len(), 3, "{balance:?}");
            assert!(shares.values().all(|n| (800..1200).contains(n)), "{balance:?} {shares:?}");
        }
    }

    #[test]
    fn weights_count() {
        let set = set(&[(1, 9, 0), (2, 1, 0)]);
        let shares = shares(&set, Balance::Hash);
        assert!(shares["127.0.0.1:1"] > 2500, "{shares:?}");
    }

    #[test]
    fn a_slow_endpoint_gets_little() {
        let set = set(&[(1, 1, 0), (2, 1, 0)]);
        set[0].observe(Duration::from_millis(200), Instant::now());
        let shares = shares(&set, Balance::PeakEwma);
        assert_eq!(shares.get("127.0.0.1:1"), None, "{shares:?}");
    }

    #[test]
    fn a_new_endpoint_warms_up() {
        let set = set(&[(1, 1, 0), (2, 1, 0)]);
        set[1].slow_start(Duration::from_secs(3600));
        for balance in [Balance::PeakEwma, Balance::RoundRobin, Balance::LeastRequest] {
            let got = shares(&set, balance).get("127.0.0.1:2").copied().unwrap_or(0);
            assert!(got < 700, "{balance:?}: {got} of 3000");
        }
        assert!(set[1].warmth(Instant::now() + Duration::from_secs(1800)) > 0.49);
        assert!((set[1].warmth(Instant::now() + Duration::from_secs(3600)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn priorities_fail_over_and_nothing_is_never_the_answer() {
        let set = set(&[(1, 1, 0), (2, 1, 1)]);
        let now = Instant::now();
        let pick = |avoid: &[Rc<LocalEndpoint>]| {
            pick(&set, Balance::PeakEwma, 0, None, avoid, now).unwrap().name.clone()
        };
        assert_eq!(&*pick(&[]), "127.0.0.1:1");
        set[0].well.store(false, Ordering::Relaxed);
        assert_eq!(&*pick(&[]), "127.0.0.1:2");
        set[0].well.store(true, Ordering::Relaxed);
        assert_eq!(&*pick(&[set[0].clone()]), "127.0.0.1:2");
        assert!(!pick(&[set[0].clone(), set[1].clone()]).is_empty());
    }

    /// Of two endpoints one answered 503 and the other one then refuses: it is the first whose turn it is.
    #[test]
    fn when_all_have_failed_the_first_of_them_is_tried_again() {
        let set = set(&[(1, 1, 0), (2, 1, 0)]);
        for turn in 0..50 {
            let avoid = [set[1].clone(), set[0].clone()];
            let found = pick(&set, Balance::PeakEwma, turn, None, &avoid, Instant::now()).unwrap();
            assert_eq!(&*found.name, "127.0.0.1:2");
        }
        assert!(pick(&[], Balance::PeakEwma, 0, None, &set, Instant::now()).is_none());
    }

    #[test]
    fn an_ejected_endpoint_gets_nothing() {
        let set = set(&[(1, 1, 0), (2, 1, 0)]);
        let plan = BreakerPlan { failures: 1, base: Duration::from_secs(60), max: Duration::from_secs(60) };
        set[0].failed(&plan, Instant::now(), true);
        assert_eq!(shares(&set, Balance::LeastRequest).get("127.0.0.1:1"), None);
    }

    #[test]
    fn a_removed_endpoint_moves_only_its_own_keys() {
        let (all, fewer) = (set(&[(1, 1, 0), (2, 1, 0), (3, 1, 0)]), set(&[(1, 1, 0), (2, 1, 0)]));
        for key in 0..500 {
            let now = Instant::now();
            let before = pick(&all, Balance::Hash, 0, Some(key), &[], now).unwrap();
            let after = pick(&fewer, Balance::Hash, 0, Some(key), &[], now).unwrap();
            assert!(before.name == after.name || &*before.name == "127.0.0.1:3");
        }
    }
}
