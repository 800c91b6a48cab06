//! stdout and files: an accepted write is the acknowledgement.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Answer, SetupError};
use crate::batch::Batch;

/// Writes bodies as they are, one after the other.
#[derive(Debug)]
pub struct Stream(Arc<Mutex<Output>>);

#[derive(Debug)]
struct Output {
    /// `None`: stdout.
    path: Option<PathBuf>,
    file: File,
    /// Bytes of the current body that were taken: a second attempt goes on behind them.
    written: usize,
}

impl Stream {
    /// # Errors
    /// There is none.
    pub fn stdout() -> Result<Self, SetupError> {
        // A duplicate, so that the buffer of `std::io::stdout` is not between.
        let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        Ok(Self::new(None, file.map_err(|source| SetupError::File { path: "stdout".into(), source })?))
    }

    /// Appends to a file, which is made with its directory when it is not there.
    ///
    /// # Errors
    /// It cannot be opened for writing.
    pub fn file(path: &Path) -> Result<Self, SetupError> {
        let failed = |source| SetupError::File { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        end_line(&mut file).map_err(failed)?;
        Ok(Self::new(Some(path.to_owned()), file))
    }

    fn new(path: Option<PathBuf>, file: File) -> Self {
        Self(Arc::new(Mutex::new(Output { path, file, written: 0 })))
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let output = Arc::clone(&self.0);
        let body = batch.body.clone();
        // A pipe that nobody reads blocks: not this thread, which serves the admin port.
        let written = tokio::task::spawn_blocking(move || {
            output.lock().unwrap_or_else(PoisonError::into_inner).write(&body)
        });
        match written.await {
            Ok(Ok(())) => Answer::Accepted,
            Ok(Err(e)) if e.kind() == ErrorKind::BrokenPipe => Answer::Closed,
            Ok(Err(e)) => later(format!("cannot be written: {e}")),
            Err(e) => later(e.to_string()),
        }
    }
}

fn later(why: String) -> Answer {
    Answer::Later { why, after: None, answer_lost: false }
}

impl Output {
    fn write(&mut self, body: &[u8]) -> io::Result<()> {
        self.written = self.written.min(body.len());
        if self.written == 0 {
            self.reopen_if_rotated();
        }
        while self.written < body.len() {
            match self.file.write(&body[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    // stdout may be shared with a process that made it non-blocking.
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(e) => return Err(e),
            }
        }
        self.written = 0;
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
        if !same && let Ok(file) = OpenOptions::new().read(true).append(true).create(true).open(path) {
            self.file = file;
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

    #[test]
    fn an_unfinished_line_is_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.log");
        std::fs::write(&path, "half").expect("writes");
        Stream::file(&path).expect("opens");
        assert_eq!(std::fs::read(&path).expect("reads"), b"half\n");
    }

    #[tokio::test]
    async fn a_full_disk_is_for_later_and_goes_on_where_it_stopped() {
        let sink = Stream::file(Path::new("/dev/full")).expect("opens");
        assert!(matches!(sink.attempt(&batch(b"x\n")).await, Answer::Later { .. }));
    }
}
