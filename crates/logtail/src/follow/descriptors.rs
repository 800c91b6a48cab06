//! Descriptors are few: a process may hold 1,024 files open on many machines, and its sockets are among them.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use tracing::warn;

use super::Tail;
use super::body::Body;
use crate::discover::Found;

impl Tail {
    /// Opens; where no descriptor is left, others are closed for it.
    pub(super) fn open_body(&mut self, path: &Path) -> io::Result<Body> {
        match Body::open(path) {
            Err(e) if is_exhausted(&e) && self.hold_fewer() => Body::open(path),
            opened => opened,
        }
    }

    /// The same with what a listing has found. Its name may be another's by now: rotation moves names while they are listed.
    pub(super) fn open_found(&mut self, found: &Found) -> io::Result<Body> {
        let body = self.open_body(&found.path)?;
        if body.identity()? != found.stat.identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(body)
    }

    /// From now on, half as many files are held open. True when some were closed.
    pub(super) fn hold_fewer(&mut self) -> bool {
        let before = self.open.len();
        let most = before / 2;
        for _ in 0..before {
            let Some(key) = self.open.pop_front() else { break };
            match self.files.get_mut(&key) {
                Some(file) if self.open.len() >= most && file.may_close(true) => file.file = None,
                Some(_) => self.open.push_back(key),
                None => {}
            }
        }
        if most > 0 && most < self.options.max_open {
            self.options.max_open = most;
            warn!(
                open = most,
                "no descriptor is left: fewer files are held open; raise the limit (ulimit -n)"
            );
        }
        self.open.len() < before
    }
}

/// Of this process, or of the machine.
pub(super) fn is_exhausted(e: &io::Error) -> bool {
    Errno::from_io_error(e).is_some_and(|e| matches!(e, Errno::MFILE | Errno::NFILE))
}
