use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Bytes between two remembered anchors, once there are many: one shortly before a saved position proves a file to be the same as well.
const ANCHOR_EVERY: u64 = 4 << 10;
/// So many are remembered wherever a block ends.
const MANY: usize = 32;

/// Which bytes of one file are acknowledged. The position is the end of the contiguous prefix, never more.
///
/// What it remembers is bounded by what is under way, however much is acknowledged behind something that never is: the position cannot stop
/// inside acknowledged bytes, so of them only their end counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    acked: u64,
    /// Acknowledged ahead of the prefix: start to end, none of them touching another. As many at most as there are gaps between them, and a gap
    /// is under way.
    ahead: BTreeMap<u64, u64>,
    /// Positions inside a line: end of a part to its number. Of parts under way, and one for each of `ahead`.
    parts: BTreeMap<u64, u32>,
    /// The last offset at or before `acked` of which the hash of the bytes before it is known.
    anchor: Option<(u64, u64)>,
    /// Such offsets beyond it, ascending: [`MANY`], one for each [`ANCHOR_EVERY`] bytes under way, and one for each of `ahead`. Takes no memory
    /// while there are none.
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
            self.keep_ahead(range);
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

    /// Joins it with what it touches, and forgets what only a position inside would need.
    fn keep_ahead(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if let Some((&before, &until)) = self.ahead.range(..=start).next_back()
            && until >= start
        {
            (start, end) = (before, end.max(until));
        }
        while let Some((&next, &until)) = self.ahead.range(start..=end).next() {
            end = end.max(until);
            self.ahead.remove(&next);
        }
        self.ahead.insert(start, end);
        while let Some((&at, _)) = self.parts.range(start..end).next() {
            self.parts.remove(&at);
        }
        let first = self.later.partition_point(|(at, _)| *at < start);
        let last = self.later.partition_point(|(at, _)| *at <= end);
        if last > first + 1 {
            self.later.drain(first..last - 1);
        }
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

    // A batch that its sink never takes: everything behind it goes on, for days.
    #[test]
    fn what_is_acknowledged_behind_a_gap_takes_no_memory() {
        let mut ledger = Ledger::default();
        ledger.passed_on(1_000, 1, || 1);
        for block in 1..100_000 {
            ledger.passed_on(block * 1_000 + 1_000, block as u32, || block + 1);
            if block > 4 {
                ledger.acknowledge((block - 4) * 1_000..(block - 3) * 1_000);
            }
            assert!(ledger.ahead.len() <= 1 && ledger.parts.len() <= 6, "{block}");
            assert!(ledger.later.len() <= MANY + 2, "{block}: {}", ledger.later.len());
        }
        assert_eq!((ledger.acked(), ledger.anchor()), (0, None));
        assert!(ledger.acknowledge(0..1_000));
        assert_eq!((ledger.acked(), ledger.part()), (99_996_000, 99_995));
        assert!(
            ledger.anchor().is_some_and(|(at, _)| at <= ledger.acked() && at + ANCHOR_EVERY > ledger.acked())
        );
    }

    /// As it would be if nothing were forgotten.
    #[derive(Default)]
    struct Everything {
        done: Vec<Range<u64>>,
        parts: BTreeMap<u64, u32>,
        anchors: Vec<(u64, u64)>,
    }

    impl Everything {
        fn acked(&self) -> u64 {
            let mut acked = 0;
            while let Some(range) = self.done.iter().find(|range| range.start <= acked && range.end > acked) {
                acked = range.end;
            }
            acked
        }
    }

    proptest! {
        #[test]
        fn forgetting_changes_nothing(
            lens in proptest::collection::vec((1u64..9_000, 0u32..3), 1..80),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..120),
        ) {
            let (mut ledger, mut all, mut blocks, mut at) = (Ledger::default(), Everything::default(), Vec::new(), 0);
            for (len, part) in lens {
                blocks.push(at..at + len);
                at += len;
                if all.anchors.len() < MANY || all.anchors.last().is_none_or(|(last, _)| at >= last + ANCHOR_EVERY) {
                    all.anchors.push((at, at * 7));
                }
                if part > 0 {
                    all.parts.insert(at, part);
                }
                ledger.passed_on(at, part, || at * 7);
            }
            for index in order {
                let range = index.get(&blocks).clone();
                let before = all.acked();
                all.done.push(range.clone());
                let moved = ledger.acknowledge(range);
                let acked = all.acked();
                prop_assert_eq!((ledger.acked(), moved), (acked, acked > before));
                prop_assert_eq!(ledger.part(), all.parts.get(&acked).copied().unwrap_or(0));
                let anchor = all.anchors.iter().rfind(|(at, _)| *at <= acked).copied();
                prop_assert_eq!(ledger.anchor(), anchor);
            }
        }

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
