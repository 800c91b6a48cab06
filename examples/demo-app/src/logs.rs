//! Two logs in two formats: an access log as nginx writes it ("combined"), and the shop's own in logfmt.
//!
//! Each line carries its id, `ln-RUN-KIND-NUMBER`: at the end of the user agent in the access log, as `line=`
//! in the other. One `write` per line, so that a killed shop leaves no half line.

use std::cell::{Cell, RefCell};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::ledger::Ledger;

/// One visit, as the access log tells it.
pub(crate) struct Visit<'a> {
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) referer: &'a str,
    pub(crate) user_agent: &'a str,
}

pub(crate) struct Logs {
    access: Log,
    app: Log,
    ledger: Rc<Ledger>,
    rotate_bytes: u64,
    keep: usize,
}

struct Log {
    name: &'static str,
    letter: char,
    dir: PathBuf,
    file: RefCell<File>,
    bytes: Cell<u64>,
    number: Cell<u64>,
}

impl Logs {
    /// Opens both logs for appending and counts what earlier runs left in the directory.
    pub(crate) fn open(dir: &Path, rotate_bytes: u64, keep: usize) -> anyhow::Result<(Rc<Self>, Rc<Ledger>)> {
        fs::create_dir_all(dir)
            .and_then(|()| fs::metadata(dir))
            .with_context(|| format!("cannot use the log directory {}", dir.display()))?;
        let ledger = Rc::new(Ledger::open(dir, count_lines(dir)?)?);
        let logs = Logs {
            access: Log::open(dir, "access", 'a')?,
            app: Log::open(dir, "app", 'e')?,
            ledger: Rc::clone(&ledger),
            rotate_bytes,
            keep,
        };
        Ok((Rc::new(logs), ledger))
    }

    /// `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`
    pub(crate) fn access(&self, visit: &Visit<'_>) {
        let time = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S %z");
        let line = format!(
            "{} - - [{time}] \"{} {} HTTP/1.1\" {} {} \"{}\" \"{} line/{}\"\n",
            visit.client,
            visit.method,
            escape(visit.target),
            visit.status,
            visit.bytes,
            escape(visit.referer),
            escape(visit.user_agent),
            self.access.next_id(&self.ledger.run),
        );
        self.write(&self.access, &line);
    }

    /// A logfmt line; `fields` are `key=value` pairs already in that form.
    pub(crate) fn app(&self, level: &str, message: &str, fields: &str) {
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let id = self.app.next_id(&self.ledger.run);
        let space = if fields.is_empty() { "" } else { " " };
        let line = format!("time={time} level={level} msg={} line={id}{space}{fields}\n", quote(message));
        self.write(&self.app, &line);
    }

    /// Renames both logs and starts new ones, as logrotate does; returns the new names.
    pub(crate) fn rotate(&self) -> anyhow::Result<Vec<String>> {
        let names = vec![self.access.rotate()?, self.app.rotate()?];
        self.ledger.rotated();
        self.prune(&self.access);
        self.prune(&self.app);
        Ok(names)
    }

    fn write(&self, log: &Log, line: &str) {
        match log.file.borrow_mut().write_all(line.as_bytes()) {
            Ok(()) => self.ledger.line_written(),
            Err(error) => {
                eprintln!("demo-app: cannot write {}.log: {error}", log.name);
                return;
            }
        }
        log.bytes.set(log.bytes.get() + line.len() as u64);
        if self.rotate_bytes > 0
            && log.bytes.get() >= self.rotate_bytes
            && let Err(error) = self.rotate()
        {
            eprintln!("demo-app: {error:#}");
        }
    }

    /// Deletes the oldest rotated files beyond `keep`, remembering how many lines went with them.
    fn prune(&self, log: &Log) {
        let mut rotated = log.rotated();
        rotated.sort();
        let surplus = rotated.len().saturating_sub(self.keep);
        for path in rotated.drain(..surplus) {
            let lines = lines_of(&path).unwrap_or_default();
            if fs::remove_file(&path).is_ok() {
                self.ledger.lines_deleted(lines);
            }
        }
    }
}

impl Log {
    fn open(dir: &Path, name: &'static str, letter: char) -> anyhow::Result<Self> {
        let file = open_append(&dir.join(format!("{name}.log")))?;
        let bytes = file.metadata().map(|m| m.len()).unwrap_or_default();
        Ok(Log {
            name,
            letter,
            dir: dir.to_owned(),
            file: RefCell::new(file),
            bytes: Cell::new(bytes),
            number: Cell::default(),
        })
    }

    fn next_id(&self, run: &str) -> String {
        self.number.set(self.number.get() + 1);
        format!("ln-{run}-{}-{}", self.letter, self.number.get())
    }

    fn rotate(&self) -> anyhow::Result<String> {
        let from = self.dir.join(format!("{}.log", self.name));
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3f").to_string();
        let to = format!("{}-{time}.log", self.name);
        fs::rename(&from, self.dir.join(&to)).with_context(|| format!("cannot rename {}", from.display()))?;
        *self.file.borrow_mut() = open_append(&from)?;
        self.bytes.set(0);
        Ok(to)
    }

    /// `NAME-TIME.log`, in no order.
    fn rotated(&self) -> Vec<PathBuf> {
        let prefix = format!("{}-", self.name);
        log_files(&self.dir)
            .unwrap_or_default()
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .collect()
    }
}

fn open_append(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn log_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|e| e.path()));
    Ok(paths.filter(|path| path.extension().is_some_and(|e| e == "log")).collect())
}

fn count_lines(dir: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for path in log_files(dir)? {
        sum += lines_of(&path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(sum)
}

fn lines_of(path: &Path) -> std::io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(lines);
        }
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = chunk.len();
        reader.consume(length);
    }
}

/// As nginx escapes: quotes, backslashes and what is not printable become `\xHH`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => out.push_str(&format!("\\x{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// A logfmt value: quoted when it has to be.
pub(crate) fn quote(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|b| b > b' ' && b != b'"' && b != b'=' && b < 0x7f);
    if plain { text.to_owned() } else { format!("{text:?}") }
}

/// Milliseconds with two decimals, the unit the shop's own log uses.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("demo-app-logs-{name}-{}", std::process::id()))
    }

    #[test]
    fn lines_are_counted_through_rotation_deletion_and_restart() {
        let dir = scratch("count");
        let (logs, ledger) = Logs::open(&dir, 0, 1).unwrap();
        for round in 0..4 {
            logs.app("info", "round", &format!("n={round}"));
            if round < 3 {
                logs.rotate().unwrap();
                // Names have milliseconds; two rotations within one would meet.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        assert_eq!(ledger.report()["lines_written"], 4);
        let (_, again) = Logs::open(&dir, 0, 1).unwrap();
        let files = log_files(&dir).unwrap().len();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(again.report()["lines_written"], 4);
        assert_eq!(files, 4, "two current, and one kept of each");
    }

    #[test]
    fn both_formats_carry_the_id() {
        let dir = scratch("format");
        let (logs, ledger) = Logs::open(&dir, 0, 1).unwrap();
        logs.access(&Visit {
            client: IpAddr::from([127, 0, 0, 1]),
            method: "GET",
            target: "/a\"b",
            status: 200,
            bytes: 12,
            referer: "-",
            user_agent: "curl/8",
        });
        logs.app("warn", "two words", "k=v");
        let access = fs::read_to_string(dir.join("access.log")).unwrap();
        let app = fs::read_to_string(dir.join("app.log")).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!(access.starts_with("127.0.0.1 - - ["), "{access}");
        let tail = format!("\"GET /a\\x22b HTTP/1.1\" 200 12 \"-\" \"curl/8 line/ln-{}-a-1\"\n", ledger.run);
        assert!(access.ends_with(&tail), "{access}");
        assert!(app.contains("level=warn msg=\"two words\" line=ln-"), "{app}");
    }
}
