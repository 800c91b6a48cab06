//! Random histories of names against a reference: files are deleted, made anew (on most file systems with the same inode), switched by a symbolic
//! link, rotated over the edge of what is kept, and cut to nothing, while lines are half written and the reader is killed.
//!
//! The reference knows what cannot be known by anybody: the lines of a file that lost its last name while the reader did not have
//! it open. Everything else comes, and twice only when it was not acknowledged and saved before a kill.

mod common;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{Reader, cases, numbered};
use logtail::Options;
use proptest::prelude::*;

/// Logs that are written to; the last one is a symbolic link.
const LOGS: [&str; 3] = ["a.log", "b.log", "link.log"];
const LINK: usize = 2;
/// What every file begins with; longer than what is remembered of a beginning.
const BANNER: &str = "# a banner that all files have";
/// Rotated files that are kept; the next rotation deletes the oldest.
const KEEP: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    Write(usize, u8),
    /// The first half of a line, whose rest comes with the next one written there.
    Begin(usize),
    Delete(usize),
    /// Another file takes the place of the link's target.
    Switch,
    /// Renamed; the oldest one goes.
    Rotate(usize),
    /// Emptied without a copy.
    Cut(usize),
    Look,
    Poll(u16),
    Acknowledge,
    Save,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let log = || 0..LOGS.len();
    prop_oneof![
        8 => (log(), 1u8..20).prop_map(|(log, lines)| Step::Write(log, lines)),
        2 => log().prop_map(Step::Begin),
        2 => log().prop_map(Step::Delete),
        2 => Just(Step::Switch),
        2 => log().prop_map(Step::Rotate),
        1 => log().prop_map(Step::Cut),
        5 => Just(Step::Look),
        4 => (1u16..1500).prop_map(Step::Poll),
        4 => Just(Step::Acknowledge),
        3 => Just(Step::Save),
        1 => Just(Step::Kill),
    ]
}

/// A file with its writer: what stands in it, as the reference knows.
struct Written {
    file: File,
    /// Its name, without links.
    path: PathBuf,
    lines: Vec<String>,
    rest: String,
}

struct World<'d> {
    dir: &'d Path,
    options: Options,
    reader: Reader,
    next: u32,
    targets: u32,
    /// What is written to now, by log.
    now: [Option<Written>; LOGS.len()],
    /// Rotated files that have a name, by that name.
    old: HashMap<PathBuf, Vec<String>>,
    /// Lines in files without a name that the reader holds open: they live as long as it does.
    held: HashSet<String>,
    /// There are such files, if only with their banner.
    holds: bool,
    /// Lines that nobody can be asked for.
    gone: HashSet<String>,
    /// Some bytes are, if only the banner.
    vanished: bool,
    written: HashSet<String>,
    came: HashMap<String, u32>,
    may_repeat: HashSet<String>,
    unsaved: Vec<String>,
}

impl<'d> World<'d> {
    fn new(dir: &'d Path, max_open: usize) -> Self {
        fs::create_dir(dir.join("targets")).expect("makes a directory");
        let options = Options {
            read_size: 200,
            max_line: 400,
            idle_line: None,
            watch: false,
            max_open,
            ..Options::new([dir.join("*.log").display().to_string()])
        };
        let mut reader = Reader::new(dir, options.clone());
        reader.save();
        Self {
            dir,
            options,
            reader,
            next: 0,
            targets: 0,
            now: Default::default(),
            old: HashMap::new(),
            held: HashSet::new(),
            holds: false,
            gone: HashSet::new(),
            vanished: false,
            written: HashSet::new(),
            came: HashMap::new(),
            may_repeat: HashSet::new(),
            unsaved: Vec::new(),
        }
    }

    fn line(&mut self) -> String {
        self.next += 1;
        let line = format!("line {} {}", self.next, "x".repeat((self.next * 7 % 60) as usize));
        self.written.insert(line.clone());
        line
    }

    fn append(path: &Path) -> File {
        OpenOptions::new().append(true).create(true).open(path).expect("opens")
    }

    /// The writer of this log; opens what is not there with the banner.
    fn writer(&mut self, log: usize) -> &mut Written {
        if self.now[log].is_none() {
            let path = if log == LINK { self.target() } else { self.dir.join(LOGS[log]) };
            let mut file = Self::append(&path);
            writeln!(file, "{}", [BANNER; 40].join("\n")).expect("writes");
            if log == LINK {
                self.point_at(&path);
            }
            self.now[log] = Some(Written { file, path, lines: Vec::new(), rest: String::new() });
        }
        self.now[log].as_mut().expect("was made")
    }

    fn target(&mut self) -> PathBuf {
        self.targets += 1;
        self.dir.join("targets").join(self.targets.to_string())
    }

    /// As a ConfigMap is switched: a new link, renamed over the old one.
    fn point_at(&self, target: &Path) {
        let new = self.dir.join("link.new");
        symlink(target, &new).expect("links");
        fs::rename(new, self.dir.join(LOGS[LINK])).expect("renames");
    }

    fn write(&mut self, log: usize, lines: u8) {
        for _ in 0..lines {
            let rest = std::mem::take(&mut self.writer(log).rest);
            if rest.is_empty() {
                let line = self.line();
                let written = self.writer(log);
                writeln!(written.file, "{line}").expect("writes");
                written.lines.push(line);
            } else {
                writeln!(self.writer(log).file, "{rest}").expect("writes");
            }
        }
    }

    fn begin(&mut self, log: usize) {
        if self.writer(log).rest.is_empty() {
            let line = self.line();
            let (first, second) = line.split_at(line.len() / 2);
            let written = self.writer(log);
            written.file.write_all(first.as_bytes()).expect("writes");
            second.clone_into(&mut written.rest);
            written.lines.push(line);
        }
    }

    fn end_line(&mut self, log: usize) {
        if self.now[log].as_ref().is_some_and(|written| !written.rest.is_empty()) {
            self.write(log, 1);
        }
    }

    /// These lines' file has lost its last name, or is about to.
    fn forget(&mut self, path: &Path, lines: Vec<String>) {
        let fds = fs::read_dir("/proc/self/fd").expect("lists").flatten();
        // One is the writer's, another the reader's.
        let open = fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|at| at == path)).count();
        let ours = usize::from(self.now.iter().flatten().any(|written| written.path == path));
        if open > ours {
            self.holds = true;
            self.held.extend(lines);
        } else {
            self.vanished = true;
            self.gone.extend(lines);
        }
    }

    fn delete(&mut self, log: usize) {
        self.end_line(log);
        let Some(written) = &mut self.now[log] else { return };
        let (path, lines) = (written.path.clone(), std::mem::take(&mut written.lines));
        self.forget(&path, lines);
        fs::remove_file(&path).expect("deletes");
        self.now[log] = None;
    }

    fn switch(&mut self) {
        self.end_line(LINK);
        let Some(written) = &mut self.now[LINK] else { return };
        let (path, lines) = (written.path.clone(), std::mem::take(&mut written.lines));
        self.forget(&path, lines);
        self.now[LINK] = None;
        self.writer(LINK);
    }

    fn rotate(&mut self, log: usize) {
        if log == LINK {
            return self.switch();
        }
        // Its writer goes on with what it has open: the rest of its line is in the renamed file.
        let Some(mut written) = self.now[log].take() else { return };
        let path = self.dir.join(LOGS[log]);
        let oldest = numbered(&path, KEEP);
        if let Some(lines) = self.old.remove(&oldest) {
            self.forget(&oldest, lines);
        }
        for n in (1..KEEP).rev() {
            let _ = fs::rename(numbered(&path, n), numbered(&path, n + 1));
            if let Some(lines) = self.old.remove(&numbered(&path, n)) {
                self.old.insert(numbered(&path, n + 1), lines);
            }
        }
        fs::rename(&path, numbered(&path, 1)).expect("renames");
        if !written.rest.is_empty() {
            writeln!(written.file, "{}", written.rest).expect("writes");
        }
        self.old.insert(numbered(&path, 1), written.lines);
    }

    fn cut(&mut self, log: usize) {
        self.end_line(log);
        let Some(written) = &mut self.now[log] else { return };
        self.gone.extend(std::mem::take(&mut written.lines));
        self.vanished = true;
        written.file.set_len(0).expect("cuts");
    }

    fn take(&mut self) {
        for line in self.reader.lines.drain(..).filter(|line| line != BANNER) {
            *self.came.entry(line.clone()).or_default() += 1;
            self.unsaved.push(line);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write(log, lines) => self.write(log, lines),
            Step::Begin(log) => self.begin(log),
            Step::Delete(log) => self.delete(log),
            Step::Switch => self.switch(),
            Step::Rotate(log) => self.rotate(log),
            Step::Cut(log) => self.cut(log),
            // Until it has looked through the directory.
            Step::Look => self.reader.stalled_for(std::time::Duration::from_millis(60)),
            Step::Poll(budget) => {
                self.reader.poll(usize::from(budget));
                self.take();
            }
            Step::Acknowledge => self.reader.acknowledge_all(),
            Step::Save => {
                self.reader.save();
                if self.reader.unacknowledged.is_empty() {
                    self.unsaved.clear();
                }
            }
            Step::Kill => {
                self.take();
                self.may_repeat.extend(self.unsaved.drain(..));
                self.vanished |= self.holds;
                self.gone.extend(self.held.drain());
                self.reader = Reader::new(self.dir, self.options.clone());
                self.reader.save();
            }
        }
    }
}

fn run(max_open: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().expect("a directory");
    // Where the kernel says it is.
    let path = dir.path().canonicalize().expect("is there");
    let mut world = World::new(&path, max_open);
    for step in steps {
        world.step(step);
    }
    (0..LOGS.len()).for_each(|log| world.end_line(log));
    world.reader.finish();
    world.take();
    for line in &world.written {
        let times = world.came.get(line).copied().unwrap_or(0);
        prop_assert!(times >= 1 || world.gone.contains(line), "lost: {}", line);
        prop_assert!(times <= 1 || world.may_repeat.contains(line), "{} came {} times", line, times);
    }
    for line in world.came.keys() {
        prop_assert!(world.written.contains(line), "never written: {}", line);
    }
    if !world.vanished {
        prop_assert_eq!(world.reader.tail.totals().lost_bytes, 0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_room_to_hold_files_open(steps in prop::collection::vec(step(), 1..60)) {
        run(256, &steps)?;
    }

    #[test]
    fn with_one_file_open_at_a_time(steps in prop::collection::vec(step(), 1..60)) {
        run(1, &steps)?;
    }
}
