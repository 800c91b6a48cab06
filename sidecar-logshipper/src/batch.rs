//! Lines into batches: by bytes, by lines, by age. No I/O.

mod held;
mod plain;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use logtail::{Block, FileKey, Line, Piece, Units};

use crate::charset::Charset;
use crate::config::{Format, SinkPlan};
use crate::encode::{Clock, Wrapped};
use crate::enrich::Origin;
use crate::index::IndexPattern;
pub use crate::item::Batch;
use crate::item::Items;
use crate::join::{Event, JoinPlan, Joiner};
use crate::style::{Source, Style};
use held::Held;

/// Counts of what was rendered since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    pub lines: u64,
    pub not_utf8: u64,
    /// Lines that were joined to the one before.
    pub joined: u64,
    pub parts: u64,
}

/// Renders lines for one sink: converted, joined, rendered.
#[derive(Debug)]
pub struct Batcher {
    charset: Charset,
    joiner: Option<Joiner>,
    origin: Origin,
    sources: HashMap<FileKey, Rc<Source>>,
    /// Of a line that is not UTF-8.
    converted: String,
    /// Read, and not rendered yet.
    held: VecDeque<Held>,
    renderer: Renderer,
}

/// Items into bodies.
#[derive(Debug)]
struct Renderer {
    style: Style,
    format: Format,
    index: Option<IndexPattern>,
    max_bytes: usize,
    max_lines: usize,
    clock: Clock,
    open: Batch,
    /// The body of the open one.
    body: Vec<u8>,
    /// Full ones, in order.
    sealed: Vec<Batch>,
    /// Memory of bodies and items that were delivered.
    spare: Vec<(Vec<u8>, Items)>,
    rendered: Rendered,
}

impl Batcher {
    pub fn new(plan: &SinkPlan, charset: Charset, join: Option<JoinPlan>, origin: Origin) -> Self {
        let style = Style::of(plan);
        Self {
            charset,
            // Where bytes pass as they are, lines stay together by themselves.
            joiner: join.filter(|_| style != Style::Stream).map(Joiner::new),
            origin,
            sources: HashMap::new(),
            converted: String::new(),
            held: VecDeque::new(),
            renderer: Renderer {
                style,
                format: plan.format,
                index: plan.index.clone(),
                max_bytes: plan.batch_bytes,
                max_lines: plan.batch_lines,
                clock: Clock::default(),
                open: Batch::default(),
                body: Vec::new(),
                sealed: Vec::new(),
                spare: Vec::new(),
                rendered: Rendered::default(),
            },
        }
    }

    /// Adds the lines of a block until bodies have about `most` bytes together; [`Self::go_on`] adds the others.
    pub fn push(&mut self, block: &Block<'_>, most: usize) {
        let rest = if self.held.is_empty() { self.render_within(block, most) } else { Some(*block) };
        self.held.extend(rest.as_ref().map(Held::new));
    }

    /// Adds lines for which there was no room before.
    pub fn go_on(&mut self, most: usize) {
        while self.made() < most
            && let Some(mut held) = self.held.pop_front()
        {
            if let Some(left) = self.render_within(&held.block(), most).map(|rest| rest.bytes.len()) {
                held.leave(left);
                self.held.push_front(held);
            }
        }
    }

    /// Lines wait for room.
    pub fn is_behind(&self) -> bool {
        !self.held.is_empty()
    }

    /// Bytes in all bodies that were not taken yet, and in events that may go on.
    fn made(&self) -> usize {
        self.open_bytes() + self.renderer.sealed.iter().map(|batch| batch.body.len()).sum::<usize>()
    }

    /// What is left of the block when there is no room any more.
    fn render_within<'a>(&mut self, block: &Block<'a>, most: usize) -> Option<Block<'a>> {
        if self.renderer.style == Style::Stream {
            // Becomes no more than it is.
            self.render(block);
            return None;
        }
        let (mut first, mut rest) = held::portion(block);
        loop {
            self.render(&first);
            let others = rest?;
            if self.made() >= most {
                return Some(others);
            }
            (first, rest) = held::portion(&others);
        }
    }

    fn render(&mut self, block: &Block<'_>) {
        let conversion = self.charset.of(block.units);
        let renderer = &mut self.renderer;
        if renderer.style == Style::Stream {
            if conversion.is_none() {
                renderer.push_stream(block);
                return;
            }
            for line in block.lines() {
                let (converted, whole) = conversion.line(&line, &mut self.converted);
                renderer.rendered.not_utf8 += u64::from(!whole);
                renderer.push_text(block.file, &converted);
            }
            return;
        }
        let known = self.sources.get(&block.file).is_some_and(|source| *source.path == *block.path);
        if !known {
            // Files come and go; what is rendered for them is cheap to render again.
            if self.sources.len() >= 1024 {
                self.sources.clear();
            }
            let source = Source::new(block.path, block.id, &self.origin);
            self.sources.insert(block.file, source.into());
        }
        let Some(source) = self.sources.get(&block.file) else { return };
        renderer.clock.now();
        // Lines of a conversion and joined ones are looked at one by one.
        let as_read = conversion.is_none() && self.joiner.is_none();
        let is_utf8 = as_read && simdutf8::basic::from_utf8(block.bytes).is_ok();
        renderer.clock.are_utf8(is_utf8);
        // A byte order mark is taken off the first line when that is looked at by itself.
        let marked = block.offset == 0 && block.bytes.starts_with(b"\xef\xbb\xbf");
        let lines = block.piece == Piece::Lines && block.units == Units::Bytes && !marked;
        if is_utf8 && lines && renderer.is_plain() {
            renderer.push_lines(block, source);
            return;
        }
        for line in block.lines() {
            let (line, whole) = conversion.line(&line, &mut self.converted);
            renderer.rendered.not_utf8 += u64::from(!whole);
            match &mut self.joiner {
                Some(joiner) => joiner.push(block.file, source, &line, &mut |event| renderer.push(&event)),
                None => renderer.push(&Event { file: block.file, source, line, lines: 1 }),
            }
        }
        if let Some(joiner) = self.joiner.as_mut().filter(|joiner| joiner.bytes() > MOST_HELD) {
            joiner.end_all(&mut |event| renderer.push(&event));
        }
    }

    /// Ends events that wait for more lines: those whose time is over, or all of them.
    pub fn end_events(&mut self, all: bool) {
        let Some(joiner) = &mut self.joiner else { return };
        let renderer = &mut self.renderer;
        renderer.clock.now();
        renderer.clock.are_utf8(false);
        if all {
            joiner.end_all(&mut |event| renderer.push(&event));
        } else {
            joiner.end_idle(Instant::now(), &mut |event| renderer.push(&event));
        }
    }

    /// When the first of these events is to be ended.
    pub fn events_due(&self) -> Option<Instant> {
        self.joiner.as_ref()?.due()
    }

    /// The batches that are full.
    pub fn take_sealed(&mut self) -> impl Iterator<Item = Batch> + '_ {
        self.renderer.sealed.drain(..)
    }

    /// The batch that is not full yet, if it holds anything.
    pub fn take_open(&mut self) -> Option<Batch> {
        if self.renderer.open.lines > 0 {
            self.renderer.seal();
        }
        self.renderer.sealed.pop()
    }

    /// When the open batch got its first line.
    pub fn open_since(&self) -> Option<Instant> {
        self.renderer.open.since
    }

    /// Bytes in the open batch, and in events that may go on.
    pub fn open_bytes(&self) -> usize {
        self.renderer.body.len() + self.joiner.as_ref().map_or(0, Joiner::bytes)
    }

    /// Takes back the memory of a batch that is done with, for the next one.
    pub fn recycle(&mut self, batch: Batch) {
        let Batch { body, mut items, .. } = batch;
        if self.renderer.spare.len() >= MOST_SPARE || body.len() <= SMALL {
            return;
        }
        // A sink may still hold a part of it.
        if let Ok(body) = body.try_into_mut() {
            let mut body = Vec::from(body);
            body.clear();
            items.clear();
            self.renderer.spare.push((body, items));
        }
    }

    /// Gives back the memory that is kept for the next batches: none will come soon.
    pub fn rest(&mut self) {
        self.renderer.spare = Vec::new();
        // Some kilobytes for each file, and quickly rendered again.
        if self.sources.len() > FEW_SOURCES {
            self.sources = HashMap::new();
        }
    }

    /// Counts since the last time.
    pub fn take_rendered(&mut self) -> Rendered {
        std::mem::take(&mut self.renderer.rendered)
    }
}

/// Up to so many bytes, a body grows as it needs.
const SMALL: usize = 32 << 10;
/// What a line is more when it is rendered, as a rule.
const SLACK: usize = (4 << 10) + jsontext::ROOM;
/// Files for which what is rendered for them is kept while nothing comes.
const FEW_SOURCES: usize = 16;
/// Bodies whose memory is kept.
const MOST_SPARE: usize = 2;

/// Bytes of all events that may go on, above which they are ended.
const MOST_HELD: usize = 1 << 20;

impl Renderer {
    fn push(&mut self, event: &Event<'_>) {
        let Event { source, line, .. } = event;
        self.make_room(line.bytes.len());
        let moment = self.clock.tick();
        let index = self.index.as_mut();
        let (document, wrapped) =
            self.style.render(self.format, line, source, &moment, index, &mut self.body);
        self.rendered.not_utf8 += u64::from(wrapped == Wrapped::NotUtf8);
        self.open.items.push(self.body.len(), document, &source.path, line.offset);
        self.open.add(event.file, line.offset..line.end);
        self.rendered.joined += event.lines - 1;
        self.count(1, line.piece != Piece::Lines);
        if self.open.lines >= self.max_lines {
            self.seal();
        }
    }

    /// A body that has grown beyond a few lines gets all it will need at once, and is not moved again and again.
    fn make_room(&mut self, more: usize) {
        if self.body.capacity() == 0
            && let Some((body, items)) = self.spare.pop()
        {
            (self.body, self.open.items) = (body, items);
        }
        if self.body.len() + more > SMALL && self.body.capacity() < self.max_bytes {
            self.body.reserve_exact(self.max_bytes + more + SLACK - self.body.len());
        }
    }

    fn push_stream(&mut self, block: &Block<'_>) {
        self.make_room(block.bytes.len());
        self.body.extend_from_slice(block.bytes);
        if !block.bytes.ends_with(b"\n") {
            // A part ends its own line, so that lines of other files stay whole.
            self.body.push(b'\n');
        }
        let lines = match block.piece {
            Piece::Lines => memchr::memchr_iter(b'\n', block.bytes).count(),
            Piece::Part { .. } | Piece::Unterminated { .. } => 1,
        };
        self.open.add(block.file, block.range());
        self.count(lines, block.piece != Piece::Lines);
    }

    /// A line that had to be converted.
    fn push_text(&mut self, file: FileKey, line: &Line<'_>) {
        self.body.extend_from_slice(line.bytes);
        self.body.push(b'\n');
        self.open.add(file, line.offset..line.end);
        self.count(1, line.piece != Piece::Lines);
    }

    fn count(&mut self, lines: usize, part: bool) {
        self.open.lines += lines;
        self.rendered.lines += lines as u64;
        self.rendered.parts += u64::from(part);
        if self.body.len() >= self.max_bytes {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if self.open.lines > 0 {
            self.open.body = std::mem::take(&mut self.body).into();
            self.sealed.push(std::mem::take(&mut self.open));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Multiline, Plan};
    use crate::item::Item;
    use logtail::FileId;
    use std::path::Path;

    pub(super) fn batcher(to: &str, change: impl FnOnce(&mut Config)) -> Batcher {
        let mut config = Config { to: vec![to.into()], ..Config::default() };
        change(&mut config);
        let plan = Plan::new(&config);
        Batcher::new(&plan.sinks[0], plan.charset, plan.join, Origin::default())
    }

    pub(super) fn push(batcher: &mut Batcher, offset: u64, bytes: &[u8], piece: Piece) {
        let (file, id) = (FileKey::default(), FileId(0xab));
        let units = logtail::Units::Bytes;
        batcher.push(&Block { file, id, path: Path::new("/a"), offset, bytes, piece, units }, usize::MAX);
    }

    fn item(batch: &Batch, place: usize) -> Item {
        batch.items.get(place).expect("an item")
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
        assert!(id(0).starts_with("AAAAAAAAAACrA"), "{}", id(0));
        assert_ne!(id(0), id(4), "same place, other content");
        assert_eq!(batch.document(&item(&batch, 0)), json);
    }

    #[test]
    fn an_event_of_several_lines_is_one_item() {
        let mut batcher = batcher("http://h/", |config| config.multiline = vec![Multiline::All]);
        push(&mut batcher, 0, b"failed\n\tat a.B.c(B.java:1)\n{\"x\":1}\nnext\n", Piece::Lines);
        let batch = batcher.take_open().expect("a batch");
        let first: serde_json::Value =
            serde_json::from_slice(batch.document(&item(&batch, 0))).expect("JSON");
        assert_eq!(first["message"], "failed\n\tat a.B.c(B.java:1)");
        assert_eq!((batch.lines, &batch.ranges[0].1), (2, &(0..35)), "the last line may go on");
        assert_eq!(batcher.take_rendered(), Rendered { lines: 2, joined: 1, ..Rendered::default() });
        batcher.end_events(true);
        assert_eq!(batcher.take_open().map(|batch| batch.ranges[0].1.clone()), Some(35..40));
        assert_eq!(batcher.open_bytes(), 0);
    }

    #[test]
    fn an_index_follows_the_time_of_its_line() {
        let mut batcher = batcher("elasticsearch+http://h/logs-%Y.%m.%d", |_| {});
        push(&mut batcher, 0, b"{\"@timestamp\":\"2026-01-31T23:59:59Z\"}\nplain\n", Piece::Lines);
        let batch = batcher.take_open().expect("a batch");
        let action = |place: usize| {
            let line = &batch.body[item(&batch, place).at];
            let action: serde_json::Value =
                serde_json::from_slice(line.split(|byte| *byte == b'\n').next().expect("a line"))
                    .expect("JSON");
            action["create"]["_index"].as_str().expect("an index").to_owned()
        };
        assert_eq!(action(0), "logs-2026.01.31");
        assert_ne!(action(1), "logs-2026.01.31", "by the time of reading");
    }

    #[test]
    fn memory_is_used_again() {
        let mut batcher =
            batcher("http://h/", |config| config.delivery.batch_bytes = Some(podkit::units::Size(100_000)));
        let line = [b'x'; 50_000];
        let mut at = 0;
        let mut fill = |batcher: &mut Batcher| {
            for _ in 0..2 {
                push(batcher, at, &[&line[..], b"\n"].concat(), Piece::Lines);
                at += 50_001;
            }
            batcher.take_sealed().next().expect("a batch")
        };
        let first = fill(&mut batcher);
        let held = first.body.clone();
        batcher.recycle(first);
        let second = fill(&mut batcher);
        assert_ne!(second.body.as_ptr(), held.as_ptr(), "somebody holds the first one");
        let place = second.body.as_ptr();
        batcher.recycle(second);
        let third = fill(&mut batcher);
        assert_eq!((third.body.as_ptr(), third.items.len(), third.lines), (place, 2, 2));
    }

    #[test]
    fn what_has_no_room_is_rendered_later_and_in_its_order() {
        let mut batcher = batcher("elasticsearch+http://h/x", |_| {});
        let text: String = (0..100_000).map(|n| format!("{}\n", n % 10)).collect();
        let (file, id, path) = (FileKey::default(), FileId(0xab), Path::new("/a"));
        let (piece, units) = (Piece::Lines, Units::Bytes);
        batcher.push(&Block { file, id, path, offset: 0, bytes: text.as_bytes(), piece, units }, 1 << 20);
        let end = text.len() as u64;
        batcher.push(&Block { file, id, path, offset: end, bytes: b"last\n", piece, units }, 1 << 20);
        let mut at = 0;
        let mut lines = 0;
        loop {
            let all: Vec<Batch> = batcher.take_sealed().collect();
            let all: Vec<Batch> = all.into_iter().chain(batcher.take_open()).collect();
            let bytes: usize = all.iter().map(|batch| batch.body.len()).sum();
            assert!(bytes < 8 << 20, "{bytes} bytes at once");
            for batch in all {
                lines += batch.lines;
                for (_, range) in batch.ranges {
                    assert_eq!(range.start, at);
                    at = range.end;
                }
            }
            if !batcher.is_behind() {
                break;
            }
            batcher.go_on(1 << 20);
        }
        assert_eq!((at, lines), (end + 5, 100_001));
    }

    #[test]
    fn a_part_of_a_batch_holds_the_same_items() {
        let mut batcher = batcher("elasticsearch+http://h/x", |_| {});
        push(&mut batcher, 0, b"a\nb\nc\n", Piece::Lines);
        let batch = batcher.take_open().expect("a batch");
        let part = batch.part(&[item(&batch, 0), item(&batch, 2)]);
        assert_eq!(part.lines, 2);
        assert_eq!(part.document(&item(&part, 1)), batch.document(&item(&batch, 2)));
        assert_eq!(&part.body[item(&part, 1).at], &batch.body[item(&batch, 2).at]);
    }
}
