use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Bytes between two remembered anchors, once there are many: one shortly before a saved position proves a file to be the same as well.
const ANCHOR_EVERY: u64 = 4 << 10;
/// So many are remembered wherever a block ends.
const MANY: usize = 32;

/// Which bytes of one file are acknowledged. The position is the end of the contiguous prefix, never more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    acked: u64,
    /// Acknowledged ahead of the prefix: start to end.
    ahead: BTreeMap<u64, u64>,
    /// Positions inside a line: end of a part to its number.
    parts: BTreeMap<u64, u32>,
    /// The last offset at or before `acked` of which the hash of the bytes before it is known.
    anchor: Option<(u64, u64)>,
    /// Such offsets beyond it, ascending. Takes no memory while there are none.
    later: VecDeque<(u64, u64)>,
}

impl Ledger {
    pub(crate) fn new(acked: u64, part: u32, anchor: Option<(u64, u64)>) -> Self {
        let parts = if part > 0 { BTreeMap::from([(acked, part)]) } else { BTreeMap::new() };
        let anchor = anchor.filter(|(at, _)| *at <= acked);
        Self { acked, ahead: BTreeMap::new(), parts, anchor, later: VecDeque::new() }
    }

    /// The position: everything before it is acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// How many parts of the line at the position are acknowledged; 0 at a line's start.
    pub(crate) fn part(&self) -> u32 {
        self.parts.get(&self.acked).copied().unwrap_or(0)
    }

    /// An offset at or before the position, and the hash of the bytes before it.
    pub(crate) fn anchor(&self) -> Option<(u64, u64)> {
        self.anchor
    }

    /// Notes the end of a passed-on block, where `hash` was taken.
    pub(crate) fn passed_on(&mut self, end: u64, part: u32, hash: impl FnOnce() -> u64) {
        if part > 0 {
            self.parts.insert(end, part);
        }
        if self.later.len() < MANY || self.later.back().is_none_or(|(at, _)| end >= at + ANCHOR_EVERY) {
            self.later.push_back((end, hash()));
        }
    }

    /// Notes the hash of the bytes before the position.
    pub(crate) fn prove(&mut self, hash: u64) {
        self.anchor = Some((self.acked, hash));
    }

    /// True when the position moved.
    pub(crate) fn acknowledge(&mut self, range: Range<u64>) -> bool {
        if range.end <= self.acked || range.is_empty() {
            return false;
        }
        if range.start > self.acked {
            let end = self.ahead.entry(range.start).or_insert(range.end);
            *end = (*end).max(range.end);
            return false;
        }
        self.acked = range.end;
        while let Some((&start, &end)) = self.ahead.first_key_value() {
            if start > self.acked {
                break;
            }
            self.acked = self.acked.max(end);
            self.ahead.pop_first();
        }
        while self.parts.first_key_value().is_some_and(|(&at, _)| at < self.acked) {
            self.parts.pop_first();
        }
        while let Some(anchor) = self.later.pop_front_if(|(at, _)| *at <= self.acked) {
            self.anchor = Some(anchor);
        }
        if self.later.is_empty() {
            self.later = VecDeque::new();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_contiguous_prefix_counts() {
        let mut ledger = Ledger::default();
        assert!(!ledger.acknowledge(10..20));
        assert!(!ledger.acknowledge(30..40));
        assert_eq!(ledger.acked(), 0);
        assert!(ledger.acknowledge(0..10));
        assert_eq!(ledger.acked(), 20);
        assert!(ledger.acknowledge(20..30));
        assert_eq!(ledger.acked(), 40);
        assert!(!ledger.acknowledge(0..40), "again");
    }

    #[test]
    fn a_position_inside_a_line_knows_its_part() {
        let mut ledger = Ledger::default();
        ledger.passed_on(100, 1, || 1);
        ledger.passed_on(200, 2, || 2);
        ledger.passed_on(250, 0, || 3);
        ledger.acknowledge(0..100);
        assert_eq!(ledger.part(), 1);
        ledger.acknowledge(100..200);
        assert_eq!(ledger.part(), 2);
        ledger.acknowledge(200..250);
        assert_eq!(ledger.part(), 0);
    }

    #[test]
    fn the_anchor_never_lies_ahead_of_the_position() {
        let mut ledger = Ledger::default();
        ledger.passed_on(5_000, 0, || 1);
        ledger.passed_on(10_000, 0, || 2);
        assert_eq!(ledger.anchor(), None);
        ledger.acknowledge(0..5_000);
        assert_eq!(ledger.anchor(), Some((5_000, 1)));
        ledger.acknowledge(5_000..10_000);
        assert_eq!(ledger.anchor(), Some((10_000, 2)));
        ledger.passed_on(20_000, 0, || 3);
        ledger.acknowledge(10_000..12_345);
        assert_eq!(ledger.anchor(), Some((10_000, 2)));
        ledger.prove(4);
        assert_eq!(ledger.anchor(), Some((12_345, 4)));
        ledger.acknowledge(12_345..20_000);
        assert_eq!(ledger.anchor(), Some((20_000, 3)));
    }

    proptest! {
        #[test]
        fn any_order_ends_at_the_end(order in Just((0u64..64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut ledger = Ledger::default();
            let mut done = [false; 64];
            for index in order {
                ledger.acknowledge(index * 7..index * 7 + 7);
                done[index as usize] = true;
                let prefix = done.iter().take_while(|done| **done).count() as u64;
                prop_assert_eq!(ledger.acked(), prefix * 7);
            }
            prop_assert!(ledger.ahead.is_empty());
        }
    }
}
