//! Lines that are text and go out as such, which most are: a block of them in one pass.

use std::rc::Rc;

use logtail::Block;

use super::Renderer;
use crate::config::Format;
use crate::join::Event;
use crate::style::{Source, Style};

impl Renderer {
    /// Most lines are text and stay so: what is around them is the same for all, and nothing in them has to be looked at.
    pub(super) fn is_plain(&self) -> bool {
        self.index.is_none()
            && matches!(self.style, Style::Lines | Style::Bulk)
            && matches!(self.format, Format::Auto | Format::Merge | Format::Ecs)
    }

    /// All lines of a block in one pass: the end of each is found while it is escaped.
    pub(super) fn push_lines(&mut self, block: &Block<'_>, source: &Rc<Source>) {
        let (mut rest, mut offset) = (block.bytes, block.offset);
        while let Some(&first) = rest.first() {
            if self.is_its_own(first) {
                let one = Block { bytes: rest, offset, ..*block };
                let Some(line) = one.lines().next() else { return };
                rest = &rest[(line.end - offset) as usize..];
                offset = line.end;
                self.push(&Event { file: block.file, source, line, lines: 1 });
                continue;
            }
            let (read, lines) = self.push_texts(rest, offset, source);
            let end = offset + read as u64;
            self.open.add(block.file, offset..end);
            (rest, offset) = (&rest[read..], end);
            self.count(lines, false);
            if self.open.lines >= self.max_lines {
                self.seal();
            }
        }
    }

    /// A JSON object, or nothing at all: a line that is looked at by itself.
    fn is_its_own(&self, first: u8) -> bool {
        self.format != Format::Ecs && (first == b'{' || first.is_ascii_whitespace())
    }

    /// The first line, which is a text, and those behind it up to one that is none or until the batch is full. Says how many bytes and lines that were.
    fn push_texts(&mut self, bytes: &[u8], offset: u64, source: &Source) -> (usize, usize) {
        let bulk = self.style == Style::Bulk;
        let most = self.max_lines.saturating_sub(self.open.lines);
        let (mut read, mut lines) = (0, 0);
        loop {
            self.make_room(0);
            let (rest, offset) = (&bytes[read..], offset + read as u64);
            let moment = self.clock.tick();
            let (document, line) = source.render_text(bulk, rest, offset, &moment, &mut self.body);
            self.open.items.push(self.body.len(), document, &source.path, offset);
            read += line;
            lines += 1;
            let full = lines >= most || self.body.len() >= self.max_bytes;
            if full || bytes.get(read).is_none_or(|&first| self.is_its_own(first)) {
                return (read, lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use logtail::{FileId, FileKey, Line, Piece};

    use super::*;
    use crate::batch::tests::{batcher, push};
    use crate::batch::{Batch, Batcher};
    use crate::item::Item;

    /// As when lines are looked at one by one.
    fn push_slowly(batcher: &mut Batcher, offset: u64, bytes: &[u8]) {
        let source: Rc<Source> = Source::new(Path::new("/a"), FileId(0xab), &batcher.origin).into();
        let end = offset + bytes.len() as u64;
        let line = Line { bytes: &bytes[..bytes.len() - 1], offset, end, piece: Piece::Lines };
        batcher.renderer.push(&Event { file: FileKey::default(), source: &source, line, lines: 1 });
    }

    #[test]
    fn lines_of_a_block_are_what_each_of_them_is_alone() {
        let lines = [
            "a \"text\"",
            "{\"an\":\"object\"}",
            "",
            "\r",
            " {\"b\":1}\r",
            "text\r",
            "{no object",
            "tab\there",
            "é\\",
            "x\u{1}",
        ];
        let long = "long ".repeat(5_000);
        for (to, format) in [
            ("elasticsearch+http://h/x", Format::Auto),
            ("http://h/", Format::Auto),
            ("http://h/", Format::Ecs),
            ("http://h/", Format::Merge),
        ] {
            let batch = |joined: bool| {
                let mut batcher = batcher(to, |config| {
                    config.delivery.format = Some(format);
                    config.delivery.batch_lines = Some(1_000);
                });
                let all: Vec<String> =
                    lines.iter().chain([&long.as_str(), &lines[0]]).map(|line| format!("{line}\n")).collect();
                if joined {
                    push(&mut batcher, 7, all.concat().as_bytes(), Piece::Lines);
                } else {
                    let mut at = 7;
                    for line in &all {
                        batcher.renderer.clock.now();
                        push_slowly(&mut batcher, at, line.as_bytes());
                        at += line.len() as u64;
                    }
                }
                batcher.take_open().expect("a batch")
            };
            let (together, alone) = (batch(true), batch(false));
            assert_eq!(together.ranges, alone.ranges);
            assert_eq!(together.lines, alone.lines);
            let documents = |batch: &Batch| -> Vec<serde_json::Value> {
                let timeless = |item: Item| {
                    let mut document: serde_json::Value =
                        serde_json::from_slice(batch.document(&item)).expect("JSON");
                    document["@timestamp"].take();
                    let at = &batch.body[item.at.start..item.document.start];
                    serde_json::json!([document, item.offset, String::from_utf8_lossy(at)])
                };
                batch.items.iter().map(timeless).collect()
            };
            assert_eq!(documents(&together), documents(&alone), "{to} {format:?}");
        }
    }
}
