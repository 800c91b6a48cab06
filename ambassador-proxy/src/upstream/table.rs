//! Consistent hashing by tables that are built when endpoints change: a ring (ketama) and Maglev's lookup table.

use std::rc::Rc;
use std::time::Instant;

use super::balance::hash;
use super::endpoint::LocalEndpoint;
use crate::config::Balance;

/// Points of an endpoint of weight 1 on the ring: with 160, shares differ by about 8 %.
const POINTS: usize = 160;
/// Points in all: 1 MB on each worker at most.
const MOST_POINTS: usize = 1 << 16;
/// Sizes of Maglev's table, primes: the same one for any usual number of endpoints, because another size moves every key. 32 KB on
/// each worker, and a hundred slots or more for each endpoint, so that shares are within 1 %.
const SIZES: [usize; 2] = [16_381, 65_521];

/// Where keys lead, as indices into the set of endpoints it was built from.
#[derive(Debug)]
pub struct Table {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Points by hash.
    Ring(Vec<(u64, u16)>),
    /// Slots.
    Maglev(Vec<u16>),
}

impl Table {
    /// For balancers that want one.
    pub fn new(balance: Balance, set: &[Rc<LocalEndpoint>]) -> Option<Self> {
        let count = u16::try_from(set.len()).ok().filter(|count| *count > 0)?;
        let weights: Vec<usize> =
            set.iter().map(|endpoint| usize::try_from(endpoint.weight).unwrap_or(1)).collect();
        let kind = match balance {
            Balance::RingHash => {
                let points: usize = weights.iter().map(|weight| weight * POINTS).sum();
                let shrink = points.div_ceil(MOST_POINTS).max(1);
                let mut ring = Vec::new();
                for (index, endpoint) in (0..count).zip(set) {
                    let own = (weights[usize::from(index)] * POINTS / shrink).max(1);
                    ring.extend((0..own).map(|point| (hash(&(&endpoint.peer, point)), index)));
                }
                ring.sort_unstable();
                Kind::Ring(ring)
            }
            Balance::Maglev => Kind::Maglev(maglev(set, &weights)),
            _ => return None,
        };
        Some(Self { kind })
    }

    /// The endpoint of a key; while it is not available, the next one that is, of the best priority that has one.
    pub fn pick(
        &self,
        set: &[Rc<LocalEndpoint>],
        key: u64,
        avoid: &[Rc<LocalEndpoint>],
        now: Instant,
    ) -> Option<Rc<LocalEndpoint>> {
        let usable = |endpoint: &Rc<LocalEndpoint>| {
            endpoint.available(now) && !avoid.iter().any(|other| other.peer == endpoint.peer)
        };
        let level = set.iter().filter(|endpoint| usable(endpoint)).map(|endpoint| endpoint.priority).min()?;
        let fits =
            |index: u16| set.get(usize::from(index)).filter(|e| e.priority == level && usable(e)).cloned();
        match &self.kind {
            Kind::Ring(ring) => {
                let at = ring.partition_point(|(point, _)| *point < key);
                (0..ring.len()).find_map(|step| fits(ring[(at + step) % ring.len()].1))
            }
            Kind::Maglev(slots) => {
                let size = slots.len() as u64;
                let at = usize::try_from(key % size).unwrap_or(0);
                (0..slots.len()).find_map(|step| fits(slots[(at + step) % slots.len()]))
            }
        }
    }
}

/// Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer", 3.4; an endpoint of weight n takes n turns.
fn maglev(set: &[Rc<LocalEndpoint>], weights: &[usize]) -> Vec<u16> {
    let wanted: usize = weights.iter().sum::<usize>() * 100;
    let size = SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(SIZES[SIZES.len() - 1]);
    let m = size as u64;
    // Each endpoint's own order of all slots: offset, skip, and how far it has come.
    let mut orders: Vec<(u64, u64, u64)> = set
        .iter()
        .map(|endpoint| {
            (hash(&(&endpoint.peer, "offset")) % m, hash(&(&endpoint.peer, "skip")) % (m - 1) + 1, 0)
        })
        .collect();
    let mut slots = vec![u16::MAX; size];
    let mut filled = 0;
    while filled < size {
        for (index, (offset, skip, next)) in (0u16..).zip(&mut orders) {
            for _ in 0..weights[usize::from(index)] {
                let free = loop {
                    let slot = usize::try_from((*offset + *next * *skip) % m).unwrap_or(0);
                    *next += 1;
                    if slots[slot] == u16::MAX {
                        break slot;
                    }
                };
                slots[free] = index;
                filled += 1;
                if filled == size {
                    return slots;
                }
            }
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::Ordering;

    use super::super::balance::tests::set;
    use super::*;

    fn pick(table: &Table, set: &[Rc<LocalEndpoint>], key: u64) -> String {
        table.pick(set, hash(&key), &[], Instant::now()).unwrap().name.to_string()
    }

    #[test]
    fn shares_are_even_and_follow_weights() {
        for (balance, slack) in [(Balance::RingHash, 0.25), (Balance::Maglev, 0.1)] {
            let set = set(&[(1, 1, 0), (2, 1, 0), (3, 2, 0), (4, 1, 1)]);
            let table = Table::new(balance, &set).unwrap();
            let mut shares: HashMap<String, f64> = HashMap::new();
            for key in 0..20_000 {
                *shares.entry(pick(&table, &set, key)).or_default() += 1.0 / 20_000.0;
            }
            assert_eq!(shares.len(), 3, "{balance:?}: the second priority gets nothing: {shares:?}");
            assert!((shares["127.0.0.1:3"] - 0.5).abs() < slack, "{balance:?} {shares:?}");
        }
    }

    #[test]
    fn few_keys_move_when_an_endpoint_goes() {
        for (balance, most) in [(Balance::RingHash, 0), (Balance::Maglev, 100)] {
            let (all, fewer) = (set(&[(1, 1, 0), (2, 1, 0), (3, 1, 0)]), set(&[(1, 1, 0), (2, 1, 0)]));
            let (before, after) = (Table::new(balance, &all).unwrap(), Table::new(balance, &fewer).unwrap());
            let moved = (0..1000).filter(|key| {
                let was = pick(&before, &all, *key);
                was != "127.0.0.1:3" && was != pick(&after, &fewer, *key)
            });
            let moved = moved.count();
            assert!(moved <= most, "{balance:?}: {moved} of the other two thirds of 1000 keys moved");
        }
    }

    #[test]
    fn what_is_ill_is_passed_over() {
        for balance in [Balance::RingHash, Balance::Maglev] {
            let set = set(&[(1, 1, 0), (2, 1, 0)]);
            let table = Table::new(balance, &set).unwrap();
            set[0].well.store(false, Ordering::Relaxed);
            assert!((0..100).all(|key| pick(&table, &set, key) == "127.0.0.1:2"));
            set[1].well.store(false, Ordering::Relaxed);
            assert!(table.pick(&set, 1, &[], Instant::now()).is_none());
        }
    }
}
