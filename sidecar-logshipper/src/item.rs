//! A batch: where each line of its body lies and where it was read, without an allocation or a count of references for each.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use logtail::FileKey;

/// What is sent at once, and what is acknowledged when it has arrived.
#[derive(Debug, Default)]
pub struct Batch {
    /// As the sink takes it, every item ended by a newline.
    pub body: Bytes,
    /// Where each item lies in `body`; empty where a sink takes the bytes as they are.
    pub items: Items,
    pub lines: usize,
    /// Bytes read for it.
    pub ranges: Vec<(FileKey, Range<u64>)>,
    /// When its first line was added.
    pub since: Option<Instant>,
}

/// One line in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub at: Range<usize>,
    /// Where the line itself lies, or what it was rendered to, without the sink's own words.
    pub document: Range<usize>,
    /// Where it was read.
    pub path: Arc<Path>,
    pub offset: u64,
}

/// The items of a body, in order and without a gap between them.
#[derive(Clone, Debug, Default)]
pub struct Items {
    entries: Vec<Entry>,
    /// From which item on lines are of this file.
    files: Vec<(usize, Arc<Path>)>,
}

#[derive(Clone, Debug)]
struct Entry {
    end: usize,
    document: Range<usize>,
    offset: u64,
}

impl Items {
    /// Adds one that begins where the last one ended.
    #[inline]
    pub fn push(&mut self, end: usize, document: Range<usize>, path: &Arc<Path>, offset: u64) {
        if self.files.last().is_none_or(|(_, last)| !Arc::ptr_eq(last, path)) {
            self.files.push((self.entries.len(), Arc::clone(path)));
        }
        self.entries.push(Entry { end, document, offset });
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, place: usize) -> Option<Item> {
        let Entry { end, document, offset } = self.entries.get(place)?.clone();
        let start = place.checked_sub(1).map_or(0, |before| self.entries[before].end);
        let file = self.files.partition_point(|(from, _)| *from <= place).checked_sub(1)?;
        Some(Item { at: start..end, document, path: Arc::clone(&self.files[file].1), offset })
    }

    pub fn iter(&self) -> impl Iterator<Item = Item> + '_ {
        (0..self.len()).filter_map(|place| self.get(place))
    }

    /// Keeps its memory for the next ones.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.files.clear();
    }
}

impl Batch {
    /// Notes where its lines were read, and when the first of them was.
    pub fn add(&mut self, file: FileKey, range: Range<u64>) {
        self.since.get_or_insert_with(Instant::now);
        match self.ranges.last_mut() {
            Some((last, known)) if *last == file && known.end == range.start => known.end = range.end,
            _ => self.ranges.push((file, range)),
        }
    }

    /// A batch of some of the items, to be sent again; ranges stay with the whole.
    pub fn part(&self, items: &[Item]) -> Self {
        let mut part = Self { lines: items.len(), ..Self::default() };
        let mut body = Vec::with_capacity(items.iter().map(|item| item.at.len()).sum());
        for item in items {
            let start = body.len();
            body.extend_from_slice(&self.body[item.at.clone()]);
            let document =
                start + (item.document.start - item.at.start)..start + (item.document.end - item.at.start);
            part.items.push(body.len(), document, &item.path, item.offset);
        }
        part.body = body.into();
        part
    }

    /// An item's line, or what it was rendered to.
    pub fn document(&self, item: &Item) -> &[u8] {
        &self.body[item.document.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_with_its_file() {
        let (a, b): (Arc<Path>, Arc<Path>) = (Path::new("/a").into(), Path::new("/b").into());
        let mut items = Items::default();
        for (end, path, offset) in [(5, &a, 0), (9, &a, 7), (20, &b, 0), (21, &a, 9)] {
            items.push(end, end - 3..end - 1, path, offset);
        }
        let all: Vec<Item> = items.iter().collect();
        assert_eq!(items.get(2), Some(Item { at: 9..20, document: 17..19, path: b, offset: 0 }));
        assert_eq!(
            all.iter().map(|item| *item.path == *Path::new("/a")).collect::<Vec<_>>(),
            [true, true, false, true]
        );
        assert_eq!(items.get(4), None);
    }
}
