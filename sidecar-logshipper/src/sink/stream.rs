//! stdout and files: an accepted write is the acknowledgement.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Answer, SetupError};
use crate::batch::Batch;

/// What is open, by its path; stdout has none. A new configuration goes on with it: a body that is being written, perhaps for long because nobody
/// reads, is written to its end before another, and its lines stay whole.
static OPEN: Mutex<BTreeMap<Option<PathBuf>, Weak<Shared>>> = Mutex::new(BTreeMap::new());

/// Who waits for it takes no thread.
type Shared = tokio::sync::Mutex<Output>;

/// Writes bodies as they are, one after the other.
#[derive(Debug)]
pub struct Stream {
    output: Arc<Shared>,
    /// Bytes of the current body that were taken: a second attempt goes on behind them.
    written: Cell<usize>,
}

#[derive(Debug)]
struct Output {
    /// `None`: stdout.
    path: Option<PathBuf>,
    file: File,
    /// Nothing was written yet: it may end in the middle of a line that a kill left unfinished.
    untouched: bool,
    /// It ends in the middle of a line.
    torn: bool,
}

impl Stream {
    /// # Errors
    /// There is none.
    pub fn stdout() -> Result<Self, SetupError> {
        Self::open(None, || {
            // A duplicate, so that the buffer of `std::io::stdout` is not between.
            let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
            file.map_err(|source| SetupError::File { path: "stdout".into(), source })
        })
    }

    /// Appends to a file, which is made with its directory when it is not there.
    ///
    /// # Errors
    /// It cannot be opened for writing.
    pub fn file(path: &Path) -> Result<Self, SetupError> {
        let failed = |source| SetupError::File { path: path.to_owned(), source };
        Self::open(Some(path), || {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).map_err(failed)?;
            }
            append(path).map_err(failed)
        })
    }

    fn open(path: Option<&Path>, how: impl FnOnce() -> Result<File, SetupError>) -> Result<Self, SetupError> {
        let path = path.map(Path::to_owned);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, output| output.strong_count() > 0);
        let output = match open.get(&path).and_then(Weak::upgrade) {
            Some(output) => output,
            None => {
                let untouched = path.is_some();
                let output = Output { path: path.clone(), file: how()?, untouched, torn: false };
                let output = Arc::new(Shared::new(output));
                open.insert(path, Arc::downgrade(&output));
                output
            }
        };
        Ok(Self { output, written: Cell::new(0) })
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let mut output = Arc::clone(&self.output).lock_owned().await;
        let (body, from) = (batch.body.clone(), self.written.get());
        // A pipe that nobody reads blocks: not this thread, which serves the admin port.
        let written = tokio::task::spawn_blocking(move || output.write(&body, from)).await;
        let (written, ended) = match written {
            Ok(written) => written,
            Err(e) => return later(e.to_string()),
        };
        self.written.set(if ended.is_ok() { 0 } else { written });
        match ended {
            Ok(()) => Answer::Accepted,
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Answer::Closed,
            Err(e) => later(format!("cannot be written: {e}")),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn later(why: String) -> Answer {
    Answer::Later { why, after: None, answer_lost: false }
}

impl Output {
    /// Writes a body, of which so many bytes were taken already. Says how many it is then.
    fn write(&mut self, body: &[u8], from: usize) -> (usize, io::Result<()>) {
        let mut written = from.min(body.len());
        if written == 0
            && let Err(e) = self.begin()
        {
            return (0, Err(e));
        }
        while written < body.len() {
            match self.file.write(&body[written..]) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(n) => {
                    written += n;
                    self.torn = body[written - 1] != b'\n';
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    // stdout may be shared with a process that made it non-blocking.
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(e) => return (written, Err(e)),
            }
        }
        (written, Ok(()))
    }

    /// What was left unfinished, by a kill or by a body that was given up, swallows no other line.
    fn begin(&mut self) -> io::Result<()> {
        self.reopen_if_rotated();
        if self.untouched {
            end_line(&mut self.file)?;
        } else if self.torn {
            self.file.write_all(b"\n")?;
        }
        (self.untouched, self.torn) = (false, false);
        Ok(())
    }

    /// Whoever rotates the output expects a new file under its name.
    fn reopen_if_rotated(&mut self) {
        use std::os::unix::fs::MetadataExt;
        let Some(path) = &self.path else { return };
        let same = match (std::fs::metadata(path), self.file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            (Err(e), _) => e.kind() != ErrorKind::NotFound,
            (_, Err(_)) => true,
        };
        if !same && let Ok(file) = append(path) {
            (self.file, self.untouched, self.torn) = (file, true, false);
        }
    }
}

/// A line that a kill left unfinished is ended, so that it swallows no other.
pub(crate) fn end_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(body: &[u8]) -> Batch {
        Batch { body: body.to_vec().into(), ..Batch::default() }
    }

    #[tokio::test]
    async fn a_file_is_appended_to_and_followed_through_its_rotation() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sub/out.log");
        let sink = Stream::file(&path).expect("opens");
        assert_eq!(sink.attempt(&batch(b"one\n")).await, Answer::Accepted);
        std::fs::rename(&path, dir.path().join("old")).expect("renames");
        assert_eq!(sink.attempt(&batch(b"two\n")).await, Answer::Accepted);
        assert_eq!(sink.attempt(&batch(b"three\n")).await, Answer::Accepted);
        assert_eq!(
            std::fs::read(dir.path().join("old")).expect("reads"),
            b"one\n",
            "it may be compressed by now"
        );
        assert_eq!(std::fs::read(&path).expect("reads"), b"two\nthree\n");
    }

    #[tokio::test]
    async fn an_unfinished_line_is_ended_before_another_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.log");
        std::fs::write(&path, "half").expect("writes");
        let sink = Stream::file(&path).expect("opens");
        assert_eq!(std::fs::read(&path).expect("reads"), b"half", "who only looks changes nothing");
        assert_eq!(sink.attempt(&batch(b"one\n")).await, Answer::Accepted);
        assert_eq!(std::fs::read(&path).expect("reads"), b"half\none\n");
    }

    #[tokio::test]
    async fn a_new_configuration_goes_on_with_what_is_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.log");
        let old = Stream::file(&path).expect("opens");
        // As when a body is given up halfway.
        assert_eq!(old.attempt(&batch(b"one\nha")).await, Answer::Accepted);
        let new = Stream::file(&path).expect("opens");
        assert!(Arc::ptr_eq(&old.output, &new.output));
        assert_eq!(new.attempt(&batch(b"two\n")).await, Answer::Accepted);
        assert_eq!(std::fs::read(&path).expect("reads"), b"one\nha\ntwo\n");
        drop((old, new));
        let third = Stream::file(&path).expect("opens");
        assert_eq!(Arc::strong_count(&third.output), 1);
    }

    #[tokio::test]
    async fn a_full_disk_is_for_later_and_goes_on_where_it_stopped() {
        let sink = Stream::file(Path::new("/dev/full")).expect("opens");
        assert!(matches!(sink.attempt(&batch(b"x\n")).await, Answer::Later { .. }));
    }
}
