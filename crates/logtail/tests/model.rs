//! Random histories of a log against a reference: every line written is passed on, and twice only when it was not
//! acknowledged and saved before a kill.

mod common;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Reader, append, banner, cases, copytruncate, gzip, numbered, packed, rename};
use logtail::Options;
use proptest::prelude::*;

/// Rotated files that are kept: all.
const KEEP: u32 = 200;

#[derive(Clone, Debug)]
enum Step {
    Write(u8),
    /// A line in two writes, with whatever happens in between.
    Begin,
    Rename,
    CopyTruncate,
    /// The writer still has the file it opened before the last rename.
    WriteLate,
    Poll {
        budget: u16,
    },
    Stall,
    Acknowledge,
    /// Only every second block: the position may not pass the gap.
    AcknowledgeSome,
    Save,
    Kill,
    /// What is compressed goes, if it is still there beside its compressed form.
    Unlink,
}

/// How the log is rotated; no log is rotated in both ways.
#[derive(Clone, Copy, Debug)]
enum Rotation {
    Rename,
    CopyTruncate,
}

/// What all histories of one test have in common.
#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    glob: bool,
    /// Every generation begins alike, for longer than what is remembered of a beginning.
    alike: bool,
    /// Rotated files from this number on are compressed.
    compressed_from: Option<u32>,
    /// They stay for a while beside their compressed form.
    beside: bool,
    /// Two rotated files lie there before the first start, with lines that nobody shall read. Without a glob, which would name them.
    old: bool,
    /// No more files than this are held open.
    max_open: Option<usize>,
}

fn step(rotation: Rotation) -> impl Strategy<Value = Step> {
    let rotate = match rotation {
        Rotation::Rename => Step::Rename,
        Rotation::CopyTruncate => Step::CopyTruncate,
    };
    prop_oneof![
        6 => (1u8..40).prop_map(Step::Write),
        1 => Just(Step::Begin),
        3 => Just(rotate),
        1 => Just(Step::WriteLate),
        5 => (1u16..2000).prop_map(|budget| Step::Poll { budget }),
        1 => Just(Step::Stall),
        4 => Just(Step::Acknowledge),
        1 => Just(Step::AcknowledgeSome),
        3 => Just(Step::Save),
        1 => Just(Step::Kill),
        2 => Just(Step::Unlink),
    ]
}

struct World<'d> {
    dir: &'d Path,
    options: Options,
    reader: Reader,
    next: u32,
    written: HashSet<String>,
    /// How often each line came, over all processes.
    came: HashMap<String, u32>,
    /// Lines that came and were not saved as acknowledged when a process was killed: these may come again.
    may_repeat: HashSet<String>,
    unsaved: Vec<String>,
    renamed: bool,
    setting: Setting,
}

impl<'d> World<'d> {
    fn new(dir: &'d Path, setting: Setting) -> Self {
        let name = if setting.glob { "app.log*" } else { "app.log" };
        let options = Options {
            read_size: 200,
            max_line: 400,
            idle_line: None,
            watch: false,
            max_open: setting.max_open.unwrap_or(256),
            ..Options::new([dir.join(name).display().to_string()])
        };
        if setting.old && !setting.glob {
            for n in 1..3 {
                let lines: String =
                    (0..n * 3).map(|line| format!("old {n} {line} {}\n", "x".repeat(30))).collect();
                append(
                    &numbered(&dir.join("app.log"), n),
                    if setting.alike { banner() } else { String::new() } + &lines,
                );
            }
        }
        let mut reader = Reader::new(dir, options.clone());
        // As every consumer does: from here on, a rotated file is one that was missed.
        reader.save();
        let (written, came, may_repeat) = (HashSet::new(), HashMap::new(), HashSet::new());
        let (unsaved, renamed) = (Vec::new(), false);
        Self { dir, options, reader, next: 0, written, came, may_repeat, unsaved, renamed, setting }
    }

    fn append(&self, text: &str) {
        let log = self.dir.join("app.log");
        if self.setting.alike && fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
            append(&log, banner());
        }
        append(&log, text);
    }

    fn compress(&self) {
        let log = self.dir.join("app.log");
        if let Some(n) = self.setting.compressed_from
            && numbered(&log, n).exists()
        {
            gzip(&numbered(&log, n), &packed(&log, n));
            if !self.setting.beside {
                self.unlink();
            }
        }
    }

    fn unlink(&self) {
        let log = self.dir.join("app.log");
        for n in (1..KEEP).filter(|n| packed(&log, *n).exists()) {
            let _ = fs::remove_file(numbered(&log, n));
        }
    }

    fn line(&mut self) -> String {
        self.next += 1;
        let line = format!("line {} {}", self.next, "x".repeat((self.next * 7 % 60) as usize));
        self.written.insert(line.clone());
        line
    }

    fn take(&mut self) {
        for line in self.reader.lines.drain(..).filter(|line| !line.starts_with('#')) {
            *self.came.entry(line.clone()).or_default() += 1;
            self.unsaved.push(line);
        }
    }

    fn step(&mut self, step: &Step) {
        let log = self.dir.join("app.log");
        match step {
            Step::Write(count) => {
                for _ in 0..*count {
                    let line = self.line();
                    self.append(&(line + "\n"));
                }
            }
            Step::Begin => {
                let line = self.line();
                let (first, second) = line.split_at(line.len() / 2);
                self.append(first);
                self.reader.poll(300);
                append(&log, format!("{second}\n"));
            }
            Step::Rename if log.exists() => {
                rename(&log, KEEP);
                self.compress();
                self.renamed = true;
            }
            Step::CopyTruncate if log.exists() => {
                copytruncate(&log, KEEP);
                self.compress();
            }
            Step::WriteLate if self.renamed && numbered(&log, 1).exists() => {
                let line = self.line();
                append(&numbered(&log, 1), line + "\n");
            }
            Step::Poll { budget } => {
                self.reader.poll(usize::from(*budget));
                self.take();
            }
            Step::Stall => self.reader.stalled_for(Duration::from_millis(3)),
            Step::Acknowledge => self.reader.acknowledge_all(),
            Step::AcknowledgeSome => {
                let blocks = std::mem::take(&mut self.reader.unacknowledged);
                for (index, (file, range)) in blocks.into_iter().enumerate() {
                    if index % 2 == 1 {
                        self.reader.tail.acknowledge(file, range);
                    } else {
                        self.reader.unacknowledged.push((file, range));
                    }
                }
            }
            Step::Save => {
                self.reader.save();
                if self.reader.unacknowledged.is_empty() {
                    self.unsaved.clear();
                }
            }
            Step::Kill => {
                self.take();
                self.may_repeat.extend(self.unsaved.drain(..));
                self.reader = Reader::new(self.dir, self.options.clone());
                self.reader.save();
            }
            Step::Unlink => self.unlink(),
            Step::Rename | Step::CopyTruncate | Step::WriteLate => {}
        }
        if matches!(step, Step::CopyTruncate) {
            // From here on `.1` is a copy, to which no writer writes.
            self.renamed = false;
        }
    }
}

fn run(setting: Setting, steps: &[Step]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut world = World::new(dir.path(), setting);
    for step in steps {
        world.step(step);
    }
    world.reader.finish();
    world.take();
    for line in &world.written {
        let times = world.came.get(line).copied().unwrap_or(0);
        prop_assert!(times >= 1, "lost: {} after {:?}", line, fs::read_dir(dir.path()).map(Iterator::count));
        prop_assert!(times == 1 || world.may_repeat.contains(line), "{} came {} times", line, times);
    }
    for line in world.came.keys() {
        prop_assert!(world.written.contains(line), "never written: {}", line);
    }
    prop_assert_eq!(world.reader.tail.totals().lost_bytes, 0);
    Ok(())
}

fn compressing(from: impl Strategy<Value = u32>) -> impl Strategy<Value = Setting> {
    let max_open = prop_oneof![3 => Just(None), 1 => (0usize..2).prop_map(Some)];
    (any::<(bool, bool, bool, bool)>(), from, max_open).prop_map(
        |((glob, alike, beside, old), from, max_open)| Setting {
            glob,
            alike,
            compressed_from: Some(from),
            beside,
            old,
            max_open,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn renamed_by_exact_path(steps in prop::collection::vec(step(Rotation::Rename), 1..60)) {
        run(Setting::default(), &steps)?;
    }

    #[test]
    fn renamed_by_glob(steps in prop::collection::vec(step(Rotation::Rename), 1..60)) {
        run(Setting { glob: true, ..Setting::default() }, &steps)?;
    }

    #[test]
    fn copied_by_exact_path(steps in prop::collection::vec(step(Rotation::CopyTruncate), 1..60)) {
        run(Setting::default(), &steps)?;
    }

    #[test]
    fn copied_by_glob(steps in prop::collection::vec(step(Rotation::CopyTruncate), 1..60)) {
        run(Setting { glob: true, ..Setting::default() }, &steps)?;
    }

    #[test]
    fn copied_and_alike(glob: bool, steps in prop::collection::vec(step(Rotation::CopyTruncate), 1..60)) {
        run(Setting { glob, alike: true, ..Setting::default() }, &steps)?;
    }

    #[test]
    fn renamed_and_compressed(
        setting in compressing(Just(2)),
        steps in prop::collection::vec(step(Rotation::Rename), 1..60),
    ) {
        // The first one may still be written to.
        run(setting, &steps)?;
    }

    #[test]
    fn copied_and_compressed(
        setting in compressing(1u32..3),
        steps in prop::collection::vec(step(Rotation::CopyTruncate), 1..60),
    ) {
        run(setting, &steps)?;
    }
}
