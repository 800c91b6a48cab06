//! Where records go: stdout, or a file that is bounded by renaming it and is never truncated.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which file, and how long it was before a batch was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub dev: u64,
    pub ino: u64,
    pub len: u64,
}

/// An append-only file of bounded size.
#[derive(Debug)]
pub struct FileOutput {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    open: Option<Open>,
    /// Renames done, for the metric.
    pub rotations: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    dev: u64,
    ino: u64,
    len: u64,
    /// A pipe or a device: neither counted nor renamed.
    special: bool,
}

impl FileOutput {
    pub fn new(path: PathBuf, max_size: u64, keep: u32) -> Self {
        Self { path, max_size, keep, open: None, rotations: 0 }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file to which `incoming` bytes go next; renamed and begun anew when they would not fit.
    pub fn place(&mut self, incoming: u64) -> io::Result<Place> {
        let max_size = self.max_size;
        let open = self.opened()?;
        let place = Place { dev: open.dev, ino: open.ino, len: open.len };
        if max_size == 0 || open.special || open.len == 0 || open.len + incoming <= max_size {
            return Ok(place);
        }
        self.rotate()?;
        let open = self.opened()?;
        Ok(Place { dev: open.dev, ino: open.ino, len: open.len })
    }

    /// Writes from `done` on and moves it: after a failure the rest follows with the next call.
    pub fn write(&mut self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Err(io::Error::other("the output file is not open")) };
        while *done < bytes.len() {
            match open.file.write(&bytes[*done..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *done += count;
                    open.len += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// False when the file was deleted under our hands: what was just written is gone and has to be written again.
    pub fn kept(&mut self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        if open.special || open.file.metadata()?.nlink() > 0 {
            return Ok(true);
        }
        self.open = None;
        Ok(false)
    }

    /// The file by what it is, under its own name or a renamed one.
    pub fn find(&self, place: Place) -> Option<(PathBuf, u64)> {
        let names =
            std::iter::once(self.path.clone()).chain((1..=self.keep.max(1)).map(|n| numbered(&self.path, n)));
        for name in names {
            if let Ok(found) = std::fs::metadata(&name)
                && (found.dev(), found.ino()) == (place.dev, place.ino)
            {
                return Some((name, found.len()));
            }
        }
        None
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let current = match &self.open {
            Some(open) if open.special => true,
            // Renamed or deleted by somebody else: begin a new one at our name.
            Some(open) => {
                std::fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == (open.dev, open.ino))
            }
            None => false,
        };
        if !current {
            self.open = Some(open(&self.path)?);
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("the output file is not open"))
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Files are renamed from the oldest on, so that no name is ever taken twice; the last one goes.
        for n in (1..self.keep).rev() {
            rename_if_there(&numbered(&self.path, n), &numbered(&self.path, n + 1))?;
        }
        if self.keep == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            rename_if_there(&self.path, &numbered(&self.path, 1))?;
        }
        self.open = None;
        self.rotations += 1;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let mut file = OpenOptions::new().append(true).create(true).read(true).open(path).or_else(|error| {
        // A FIFO or a terminal may not be readable.
        if error.kind() == io::ErrorKind::PermissionDenied {
            OpenOptions::new().append(true).open(path)
        } else {
            Err(error)
        }
    })?;
    let about = file.metadata()?;
    let mut open = Open {
        dev: about.dev(),
        ino: about.ino(),
        len: about.len(),
        special: !about.is_file(),
        file: file.try_clone()?,
    };
    if open.special || open.len == 0 {
        return Ok(open);
    }
    // A record that nothing is known about and that has no end: the next one must not grow into it.
    let mut last = [0u8];
    file.seek(SeekFrom::End(-1))?;
    if file.read(&mut last)? == 1 && last[0] != b'\n' {
        file.write_all(b"\n")?;
        open.len += 1;
    }
    Ok(open)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// `out.log` → `out.log.1`
fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Writes to stdout from `done` on, waiting where it is a pipe that takes nothing right now.
pub fn write_stdout(bytes: &[u8], done: &mut usize) -> io::Result<()> {
    let out = rustix::stdio::stdout();
    while *done < bytes.len() {
        match rustix::io::write(out, &bytes[*done..]) {
            Ok(count) => *done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut wait = [rustix::event::PollFd::new(&out, rustix::event::PollFlags::OUT)];
                let _ = rustix::event::poll(&mut wait, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(output: &mut FileOutput, text: &str) -> Place {
        let place = output.place(text.len() as u64).expect("a place");
        output.write(text.as_bytes(), &mut 0).expect("writes");
        place
    }

    #[test]
    fn a_full_file_is_renamed_and_so_many_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/out.log");
        let mut output = FileOutput::new(path.clone(), 10, 2);
        std::fs::create_dir_all(dir.path().join("deep")).expect("makes");
        put(&mut output, "123456789\n");
        for text in ["a\n", "bcdefghij\n", "c\n"] {
            put(&mut output, text);
        }
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "c\n");
        assert_eq!(std::fs::read_to_string(numbered(&path, 1)).expect("there"), "bcdefghij\n");
        assert_eq!(std::fs::read_to_string(numbered(&path, 2)).expect("there"), "a\n");
        assert_eq!(output.rotations, 3);
    }

    #[test]
    fn a_file_renamed_or_deleted_by_others_is_begun_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.log");
        let mut output = FileOutput::new(path.clone(), 0, 1);
        let place = put(&mut output, "a\n");
        std::fs::rename(&path, numbered(&path, 1)).expect("renames");
        put(&mut output, "b\n");
        assert_eq!(output.find(place), Some((numbered(&path, 1), 2)));
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "b\n");
        assert!(output.kept().expect("stat"));
        std::fs::remove_file(&path).expect("removes");
        assert!(!output.kept().expect("stat"));
        put(&mut output, "b\n");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "b\n");
    }

    #[test]
    fn a_fragment_is_ended_before_the_next_record() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.log");
        std::fs::write(&path, "{\"half").expect("writes");
        put(&mut FileOutput::new(path.clone(), 0, 1), "{}\n");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "{\"half\n{}\n");
    }
}
