//! Lines into batches: by bytes, by lines, by age. No I/O.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use logtail::{Block, FileKey, Piece};

use crate::config::{Format, SinkPlan};
use crate::encode::{Clock, Wrapped};
use crate::enrich::Origin;
use crate::style::{Source, Style};

/// What is sent at once, and what is acknowledged when it has arrived.
#[derive(Debug, Default)]
pub struct Batch {
    /// As the sink takes it, every item ended by a newline.
    pub body: Bytes,
    /// Where each item lies in `body`; empty where a sink takes the bytes as they are.
    pub items: Vec<Item>,
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

/// Counts of what was rendered since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    pub lines: u64,
    pub not_utf8: u64,
    pub parts: u64,
}

/// Renders lines for one sink.
#[derive(Debug)]
pub struct Batcher {
    style: Style,
    format: Format,
    max_bytes: usize,
    max_lines: usize,
    origin: Origin,
    sources: HashMap<FileKey, Source>,
    clock: Clock,
    open: Batch,
    /// The body of the open one.
    body: Vec<u8>,
    /// Full ones, in order.
    sealed: Vec<Batch>,
    pub rendered: Rendered,
}

impl Batcher {
    pub fn new(plan: &SinkPlan, origin: Origin) -> Self {
        Self {
            style: Style::of(plan),
            format: plan.format,
            max_bytes: plan.batch_bytes,
            max_lines: plan.batch_lines,
            origin,
            sources: HashMap::new(),
            clock: Clock::default(),
            open: Batch::default(),
            body: Vec::new(),
            sealed: Vec::new(),
            rendered: Rendered::default(),
        }
    }

    /// Adds the lines of a block.
    pub fn push(&mut self, block: &Block<'_>) {
        if self.style == Style::Stream {
            self.push_stream(block);
            return;
        }
        let known = self.sources.get(&block.file).is_some_and(|source| *source.path == *block.path);
        if !known {
            // Files come and go; what is rendered for them is cheap to render again.
            if self.sources.len() >= 1024 {
                self.sources.clear();
            }
            let source = Source::new(block, &self.origin);
            self.sources.insert(block.file, source);
        }
        let Some(source) = self.sources.get(&block.file) else { return };
        self.clock.now();
        for line in block.lines() {
            let start = self.body.len();
            let moment = self.clock.tick();
            let (document, wrapped) = self.style.render(self.format, &line, source, &moment, &mut self.body);
            self.rendered.not_utf8 += u64::from(wrapped == Wrapped::NotUtf8);
            let at = start..self.body.len();
            self.open.items.push(Item { at, document, path: Arc::clone(&source.path), offset: line.offset });
            self.open.lines += 1;
            self.open.add(block.file, line.offset..line.end);
            self.rendered.lines += 1;
            self.rendered.parts += u64::from(line.piece != Piece::Lines);
            if self.body.len() >= self.max_bytes || self.open.lines >= self.max_lines {
                seal(&mut self.open, &mut self.body, &mut self.sealed);
            }
        }
    }

    fn push_stream(&mut self, block: &Block<'_>) {
        self.body.extend_from_slice(block.bytes);
        if !block.bytes.ends_with(b"\n") {
            // A part ends its own line, so that lines of other files stay whole.
            self.body.push(b'\n');
        }
        let lines = match block.piece {
            Piece::Lines => memchr::memchr_iter(b'\n', block.bytes).count(),
            Piece::Part { .. } | Piece::Unterminated { .. } => 1,
        };
        self.open.lines += lines;
        self.rendered.lines += lines as u64;
        self.rendered.parts += u64::from(block.piece != Piece::Lines);
        self.open.add(block.file, block.range());
        if self.body.len() >= self.max_bytes {
            seal(&mut self.open, &mut self.body, &mut self.sealed);
        }
    }

    /// The batches that are full.
    pub fn take_sealed(&mut self) -> impl Iterator<Item = Batch> + '_ {
        self.sealed.drain(..)
    }

    /// The batch that is not full yet, if it holds anything.
    pub fn take_open(&mut self) -> Option<Batch> {
        if self.open.lines > 0 {
            seal(&mut self.open, &mut self.body, &mut self.sealed);
        }
        self.sealed.pop()
    }

    /// When the open batch got its first line.
    pub fn open_since(&self) -> Option<Instant> {
        self.open.since
    }

    /// Bytes in the open batch.
    pub fn open_bytes(&self) -> usize {
        self.body.len()
    }
}

fn seal(open: &mut Batch, body: &mut Vec<u8>, sealed: &mut Vec<Batch>) {
    open.body = std::mem::take(body).into();
    sealed.push(std::mem::take(open));
}

impl Batch {
    fn add(&mut self, file: FileKey, range: Range<u64>) {
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
            part.items.push(Item {
                at: start..body.len(),
                document: start + (item.document.start - item.at.start)
                    ..start + (item.document.end - item.at.start),
                path: Arc::clone(&item.path),
                offset: item.offset,
            });
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
    use crate::config::{Config, Plan};
    use logtail::FileId;

    fn batcher(to: &str, change: impl FnOnce(&mut Config)) -> Batcher {
        let mut config = Config { to: vec![to.into()], ..Config::default() };
        change(&mut config);
        Batcher::new(&Plan::new(&config).sinks[0], Origin::default())
    }

    fn push(batcher: &mut Batcher, offset: u64, bytes: &[u8], piece: Piece) {
        let (file, id) = (FileKey::default(), FileId(0xab));
        batcher.push(&Block { file, id, path: Path::new("/a"), offset, bytes, piece });
    }

    #[test]
    fn raw_bytes_pass_as_they_are() {
        let mut batcher = batcher("stdout", |_| {});
        push(&mut batcher, 0, b"one\n\xff\r\n", Piece::Lines);
        push(&mut batcher, 7, b"part", Piece::Part { number: 1, last: false });
        let batch = batcher.take_open().expect("a batch");
        assert_eq!((&batch.body[..], batch.lines), (&b"one\n\xff\r\npart\n"[..], 3));
        assert_eq!(batch.ranges, [(FileKey::default(), 0..11)]);
    }

    #[test]
    fn a_batch_is_full_by_lines_and_by_bytes() {
        let mut by_lines = batcher("http://h/", |config| config.delivery.batch_lines = Some(2));
        push(&mut by_lines, 0, b"{}\n{}\n{}\n", Piece::Lines);
        let sealed: Vec<_> = by_lines.take_sealed().collect();
        assert_eq!((sealed.len(), sealed[0].lines, &sealed[0].ranges[0].1), (1, 2, &(0..6)));
        assert_eq!(by_lines.take_open().map(|batch| batch.ranges[0].1.clone()), Some(6..9));
        let mut by_bytes =
            batcher("http://h/", |config| config.delivery.batch_bytes = Some(podkit::units::Size(5)));
        push(&mut by_bytes, 0, b"{}\n{}\n{}\n", Piece::Lines);
        assert_eq!(by_bytes.take_sealed().count(), 1);
    }

    #[test]
    fn bulk_items_have_ids_that_tell_content_and_place() {
        let mut batcher = batcher("elasticsearch+http://h/x", |_| {});
        let json = br#"{"@timestamp":"2026-01-01T00:00:00Z","b": 1}"#;
        push(&mut batcher, 0, &[json, &b"\ntext\n"[..]].concat(), Piece::Lines);
        push(&mut batcher, 0, b"tex", Piece::Unterminated { number: 1 });
        let batch = batcher.take_open().expect("a batch");
        let lines: Vec<&[u8]> = batch.body.split(|b| *b == b'\n').collect();
        assert_eq!(lines[1], json, "byte for byte");
        let id = |at: usize| {
            let action: serde_json::Value = serde_json::from_slice(lines[at]).expect("valid");
            action["create"]["_id"].as_str().expect("an id").to_owned()
        };
        assert!(id(0).starts_with("0000000000000000000000ab-0-"), "{}", id(0));
        assert_ne!(id(0), id(4), "same place, other content");
        assert_eq!(batch.document(&batch.items[0]), json);
    }

    #[test]
    fn a_part_of_a_batch_holds_the_same_items() {
        let mut batcher = batcher("elasticsearch+http://h/x", |_| {});
        push(&mut batcher, 0, b"a\nb\nc\n", Piece::Lines);
        let batch = batcher.take_open().expect("a batch");
        let part = batch.part(&[batch.items[0].clone(), batch.items[2].clone()]);
        assert_eq!(part.lines, 2);
        assert_eq!(part.document(&part.items[1]), batch.document(&batch.items[2]));
        assert_eq!(&part.body[part.items[1].at.clone()], &batch.body[batch.items[2].at.clone()]);
    }
}
