use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::scan::now;
use super::{FileKey, Place, Tail};
use crate::discover::Stat;
use crate::frame::{Block, Cut, Piece, Units, cut};

/// A line longer than this and still unfinished is not read again as a whole for every byte added.
const PROBE: usize = 16 << 10;
/// How long a file that was moved out of sight may still be written to.
const AWAY: Duration = Duration::from_secs(30);

/// How coarse the time stamps of a file system may be.
const TICK: Duration = Duration::from_secs(2);

impl Tail {
    /// Gives one file its turn: at most one buffer is read and at most a few blocks are passed on. Returns how many
    /// bytes. With `flush`, a last line without newline is passed on too.
    pub(super) fn turn(&mut self, key: FileKey, flush: bool, emit: &mut impl FnMut(Block<'_>)) -> usize {
        match self
            .ensure_open(key)
            .and_then(|open| if open { self.read_some(key, flush, emit) } else { Ok(0) })
        {
            Ok(bytes) => {
                self.settle(key);
                bytes
            }
            Err(e) => {
                self.trouble(key, &e);
                0
            }
        }
    }

    fn read_some(
        &mut self,
        key: FileKey,
        flush: bool,
        emit: &mut impl FnMut(Block<'_>),
    ) -> io::Result<usize> {
        let seen = self.files.get(&key).map_or(0, |file| file.size);
        let Some(stat) = self.look_at(key)? else { return Ok(0) };
        let Some(tracked) = self.files.get_mut(&key) else { return Ok(0) };
        let Some(file) = &tracked.file else { return Ok(0) };
        if stat.size == tracked.read {
            return Ok(0);
        }
        let units = match tracked.units.or(self.options.units) {
            Some(units) => units,
            None => {
                let mut mark = [0; 2];
                let mark = file.read_at(&mut mark, 0)?;
                if matches!(mark, [0xfe | 0xff]) && !flush {
                    // Half of a byte order mark.
                    return Ok(0);
                }
                *tracked.units.insert(Units::of_mark(mark))
            }
        };
        let limit = self.options.max_line + units.width();
        if tracked.scanned > PROBE && tracked.scanned < limit && !flush {
            let want = self.options.read_size.min(limit - tracked.scanned);
            if self.buffer.len() < want {
                self.buffer.resize(want, 0);
            }
            let fresh = file.read_at(&mut self.buffer[..want], tracked.read + tracked.scanned as u64)?;
            if memchr::memchr(b'\n', fresh).is_none() && tracked.scanned + fresh.len() < limit {
                tracked.scanned += fresh.len();
                let more = fresh.len() == want;
                if more {
                    self.enqueue(key);
                }
                return Ok(0);
            }
        }
        let want = limit.min(tracked.scanned + self.options.read_size);
        let context = tracked.context.len();
        // Not asked beyond what the file has: that would be a second call that answers 0.
        let there = usize::try_from(stat.size - tracked.read).unwrap_or(usize::MAX).min(want);
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < context + there {
            buffer.resize(context + there, 0);
        }
        let result = file.read_at(&mut buffer[..context + there], tracked.read - context as u64);
        let same = result.as_ref().is_ok_and(|bytes| bytes.starts_with(&tracked.context));
        let result = match result {
            Ok(bytes) if same => Ok(self.pass_on(key, &bytes[context..], units, want, flush, emit)),
            Ok(_) => {
                // The size is that of another generation.
                tracked.size = seen;
                self.roll_over(key);
                Ok(0)
            }
            Err(e) => Err(e),
        };
        // One long line shall not keep a large buffer for ever; the beginning of a usual one stands in front of what is read.
        let usual = self.options.read_size + super::prefix::CONTEXT + PROBE;
        if buffer.len() > usual {
            buffer.truncate(usual);
            buffer.shrink_to(usual);
        }
        self.buffer = buffer;
        result
    }

    /// Learns how an open file has changed; begins anew when it is not the one it was (`None`).
    pub(super) fn look_at(&mut self, key: FileKey) -> io::Result<Option<Stat>> {
        let Some(tracked) = self.files.get_mut(&key) else { return Ok(None) };
        let Some(file) = &tracked.file else { return Ok(None) };
        let stat = file.stat()?;
        // Time stamps are coarse: what is written just behind a cut has the cut's own, and how it begins has to be known.
        let as_before = stat.modified == tracked.modified && (tracked.prefix.len > 0 || stat.size == 0);
        let same = stat.size >= tracked.read
            && (as_before
                || tracked.prefix.holds(file)?
                    && (stat.size > tracked.read || tracked.context_holds(file)?));
        if !same {
            self.roll_over(key);
            return Ok(None);
        }
        // What is written within the same tick of a file system's clock has the same time: then that proves nothing.
        let is_settled = now().saturating_sub(stat.modified) > TICK.as_nanos() as u64;
        tracked.modified = if is_settled { stat.modified } else { 0 };
        if stat.size > tracked.size {
            tracked.grown = Instant::now();
        }
        if stat.links == 0 && tracked.place != Place::Ignored {
            tracked.place = Place::Deleted;
        }
        tracked.size = stat.size;
        Ok(Some(stat))
    }

    /// Cuts `data`, which begins at the position, and passes on what is complete.
    fn pass_on(
        &mut self,
        key: FileKey,
        data: &[u8],
        units: Units,
        want: usize,
        flush: bool,
        emit: &mut impl FnMut(Block<'_>),
    ) -> usize {
        let Some(tracked) = self.files.get_mut(&key) else { return 0 };
        let path = Arc::clone(&tracked.path);
        let mut rest = data;
        while !rest.is_empty() {
            let number = tracked.part + 1;
            let (len, piece, part) =
                match cut(rest, tracked.read, self.options.max_line, tracked.part > 0, units) {
                    Cut::Lines(len) => (len, Piece::Lines, 0),
                    Cut::End(len) => (len, Piece::Part { number, last: true }, 0),
                    Cut::Part(len) => (len, Piece::Part { number, last: false }, number),
                    Cut::Open if flush && rest.len() < want => {
                        (rest.len(), Piece::Unterminated { number }, number)
                    }
                    Cut::Open => break,
                };
            let (bytes, offset) = (&rest[..len], tracked.read);
            rest = &rest[len..];
            tracked.advance(bytes, part);
            if piece != Piece::Lines {
                if matches!(piece, Piece::Part { last: true, .. }) && is_newline(bytes, units) {
                    // Only the newline was missing: nothing to add to what was passed on.
                    self.moved |= tracked.ledger.acknowledge(offset..tracked.read);
                    continue;
                }
                self.totals.parts += 1;
            }
            emit(Block { file: key, id: tracked.id, path: &path, offset, bytes, piece, units });
        }
        let passed = data.len() - rest.len();
        tracked.scanned = rest.len();
        let filled = data.len() == want;
        if rest.is_empty() {
            self.partial.remove(&key);
        } else {
            self.partial.insert(key);
        }
        self.totals.bytes_read += passed as u64;
        if filled {
            self.enqueue(key);
        }
        passed
    }

    /// After a turn: lets go of what has ended, and closes what may be closed.
    fn settle(&mut self, key: FileKey) {
        let finishing = self.ending != super::Ending::No;
        let Some(tracked) = self.files.get_mut(&key) else { return };
        let at_end = !tracked.queued && !tracked.has_more();
        let ended = match tracked.place {
            Place::Deleted => tracked.scanned == 0,
            Place::Away => tracked.scanned == 0 && tracked.grown.elapsed() > AWAY,
            _ => false,
        };
        if at_end && ended {
            debug!(path = %tracked.path.display(), "read to its end, let go");
            tracked.file = None;
            self.open.retain(|open| *open != key);
            if self.files.get(&key).is_some_and(super::Tracked::is_over) {
                self.remove(key);
            }
            return;
        }
        // A deleted file's last line waits for nobody once its writer has had its time.
        if at_end && finishing && tracked.scanned > 0 {
            self.partial.insert(key);
        }
        self.close_some();
    }

    /// True when the file is open. False: it cannot be found by its name now; the next look will tell.
    pub(super) fn ensure_open(&mut self, key: FileKey) -> io::Result<bool> {
        let Some(tracked) = self.files.get(&key) else { return Ok(false) };
        if tracked.file.is_some() {
            return Ok(true);
        }
        if matches!(tracked.place, Place::Lost | Place::Deleted) {
            return Ok(false);
        }
        let file = self.open_body(&Arc::clone(&tracked.path))?;
        let found = file.stat()?;
        let Some(tracked) = self.files.get_mut(&key) else { return Ok(false) };
        if found.identity.inode() != tracked.identity.inode() || found.identity.contradicts(&tracked.identity)
        {
            // Renamed since it was last seen, and another one has its name.
            self.look_every = Duration::ZERO;
            return Ok(false);
        }
        if tracked.troubled {
            tracked.troubled = false;
            debug!(path = %tracked.path.display(), "can be read again");
        }
        if tracked.unverified {
            if !tracked.is_in(&file)? {
                tracked.file = Some(file);
                self.open.push_back(key);
                self.roll_over(key);
                return Ok(false);
            }
            tracked.unverified = false;
            // Of two that begin alike, it may be the other, and shorter.
            tracked.size = found.size;
            tracked.context = super::prefix::Context::at(&file, tracked.read)?;
        }
        tracked.file = Some(file);
        self.open.push_back(key);
        Ok(true)
    }

    /// Closes files that have nothing to read while more are open than shall be.
    pub(super) fn close_some(&mut self) {
        for _ in 0..8 {
            if self.open.len() <= self.options.max_open {
                return;
            }
            let Some(key) = self.open.pop_front() else { return };
            let crowded = self.open.len() > 2 * self.options.max_open;
            match self.files.get_mut(&key) {
                Some(file) if file.may_close(crowded) => file.file = None,
                Some(_) => self.open.push_back(key),
                None => {}
            }
        }
    }

    fn trouble(&mut self, key: FileKey, e: &io::Error) {
        let Some(tracked) = self.files.get_mut(&key) else { return };
        if e.kind() == io::ErrorKind::NotFound {
            // Renamed or deleted between two looks.
            self.look_every = Duration::ZERO;
            return;
        }
        if !tracked.troubled {
            tracked.troubled = true;
            warn!(path = %tracked.path.display(), error = %e, "cannot be read; tried again until it can");
        }
    }
}

/// A newline and nothing else, also a Windows one.
fn is_newline(bytes: &[u8], units: Units) -> bool {
    match bytes.strip_suffix(units.newline()) {
        Some(rest) => match units {
            Units::Bytes => matches!(rest, b"" | b"\r"),
            Units::Utf16Le => matches!(rest, b"" | b"\r\0"),
            Units::Utf16Be => matches!(rest, b"" | b"\0\r"),
        },
        None => false,
    }
}
