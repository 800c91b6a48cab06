//! Whose bytes a file holds that was found: proved by the bytes themselves, or by what is remembered of them.

use std::io;

use super::body::Body;
use super::prefix::{CONTEXT, Context, PREFIX, Prefix, hash};
use super::restore::is_packed;
use super::tracked::Tracked;
use super::{FileKey, Place, Tail};
use crate::discover::Found;

/// How surely a file holds the bytes of a followed one. The more of them are proved, the fewer others can be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// The first so many, as far as they are remembered; but it holds fewer than were seen there.
    Part(u64),
    /// The first so many, as far as they are remembered.
    Bytes(u64),
    /// All there are.
    Whole,
}

/// A file and how it begins: read once, and compared with many.
pub(super) struct Sample {
    pub(super) body: Body,
    start: [u8; PREFIX],
    len: usize,
}

impl Sample {
    pub(super) fn of(body: Body) -> io::Result<Self> {
        let mut start = [0; PREFIX];
        let len = body.read_at(&mut start, 0)?.len();
        Ok(Self { body, start, len })
    }

    pub(super) fn start(&self) -> &[u8] {
        &self.start[..self.len]
    }

    /// Begins otherwise, and not only because it is shorter.
    fn contradicts(&self, prefix: &Prefix) -> bool {
        self.len as u64 >= prefix.len && !prefix.begins(self.start())
    }

    /// Whether it holds the beginning of `file`: compared where it begins and where it ends. `None`: it is empty.
    pub(super) fn is_beginning_of(&self, file: &Body) -> io::Result<Option<bool>> {
        let start = self.start();
        if start.is_empty() {
            return Ok(None);
        }
        if file.read_at(&mut [0; PREFIX][..start.len()], 0)? != start {
            return Ok(Some(false));
        }
        // In this order: the size of a packed file costs more than its beginning.
        let size = self.body.stat()?.size;
        if file.stat()?.size < size {
            return Ok(Some(false));
        }
        let (mut a, mut b) = ([0; CONTEXT], [0; CONTEXT]);
        let at = size.saturating_sub(CONTEXT as u64);
        let ends = self.body.read_at(&mut b, at)?;
        Ok(Some(file.read_at(&mut a[..ends.len()], at)? == ends))
    }
}

impl Tracked {
    /// Its name, or the one it had first, says that `found` may be a rotated form of it.
    pub(super) fn is_alike(&self, found: &Found) -> bool {
        found.live.iter().any(|live| **live == *self.origin || **live == *self.path)
    }

    /// Its own bytes are not to be had by any name that is known, and it will go on in the file that proves to hold them.
    pub(super) fn is_sought(&self) -> bool {
        self.file.is_none() && self.place != Place::Ignored && (self.place != Place::Lost || self.unverified)
    }

    /// How much a file proves that holds what is remembered.
    pub(super) fn proved(&self) -> u64 {
        self.proved_before().max(self.prefix.len)
    }

    /// The offset before which bytes are remembered, those at the beginning aside; 0: none.
    fn proved_before(&self) -> u64 {
        match self.by_anchor() {
            true => self.ledger.anchor().map_or(0, |(at, _)| at),
            false => self.read,
        }
    }

    /// What comes before the position is known from saved positions only.
    fn by_anchor(&self) -> bool {
        self.unverified || self.context.is_empty()
    }

    /// Whether `sample` holds what is remembered: its beginning, and what comes before the position. Nothing known of a beginning proves nothing.
    pub(super) fn is_remembered_in(&self, sample: &Sample) -> io::Result<Option<Proof>> {
        // One that is shorter than the beginning was may be an incomplete copy: then what comes before the position has to prove it.
        let is_short = (sample.len as u64) < self.prefix.len;
        let begins = if is_short { self.proved_before() > 0 } else { self.prefix.begins(sample.start()) };
        if self.prefix.len == 0 || !begins {
            return Ok(None);
        }
        let size = sample.body.stat()?.size;
        let stands = size >= self.read
            && if self.by_anchor() {
                self.anchor_is_in(&sample.body)?
            } else {
                self.context_holds(&sample.body)?
            };
        let ends = size == self.size && self.end().is_some();
        Ok(match (stands, ends) {
            (false, _) => None,
            (true, true) => Some(Proof::Whole),
            (true, false) if size < self.size => Some(Proof::Part(self.proved())),
            (true, false) => Some(Proof::Bytes(self.proved())),
        })
    }

    /// The hash of its last bytes, where it was read to its end.
    pub(super) fn end(&self) -> Option<u64> {
        if self.read == 0 || self.read != self.size {
            return None;
        }
        if self.is_context_whole() {
            return Some(hash(&self.context));
        }
        self.ledger.anchor().filter(|(at, _)| *at == self.read).map(|(_, hash)| hash)
    }
}

impl Tail {
    /// How surely these are the bytes of one that is followed or was. Of several, by whom most is proved; not asked is `except`, for which they are
    /// sought. No key: of one that is gone.
    pub(super) fn owned(
        &mut self,
        found: &Found,
        sample: &Sample,
        except: Option<FileKey>,
    ) -> io::Result<Option<(Proof, Option<FileKey>)>> {
        let others: Vec<FileKey> = self
            .files
            .iter()
            .filter(|(key, file)| Some(**key) != except && (except.is_none() || file.copy_of != except))
            .filter(|(_, file)| file.identity != found.stat.identity)
            .filter(|(_, file)| file.is_alike(found) && !sample.contradicts(&file.prefix))
            .map(|(key, _)| *key)
            .collect();
        let mut best = None;
        for key in others {
            if let Some(proof) = self.proof(key, sample)? {
                best = best.max(Some((proof, Some(key))));
            }
        }
        if best.is_none_or(|(proof, _)| proof < Proof::Whole) && self.find_retired(found, sample)?.is_some() {
            best = Some((Proof::Whole, None));
        }
        Ok(best)
    }

    /// How surely these are the bytes of this one.
    fn proof(&mut self, key: FileKey, sample: &Sample) -> io::Result<Option<Proof>> {
        let opened = self.open_again(key);
        let Some(file) = self.files.get(&key) else { return Ok(None) };
        let is_there = file.file.is_some() || file.seen == self.round;
        // Nobody packs what is packed.
        if is_there && is_packed(&file.path) {
            return Ok(None);
        }
        match file.file.as_ref().or(opened.as_ref()) {
            Some(own) => Ok((sample.is_beginning_of(own)? == Some(true)).then_some(Proof::Whole)),
            None => {
                let proof = file.is_remembered_in(sample)?;
                Ok(proof.filter(|proof| *proof == Proof::Whole || file.is_sought()))
            }
        }
    }

    /// One that is closed and was there at the last look, by its name, if it is still there and as it was.
    fn open_again(&mut self, key: FileKey) -> Option<Body> {
        let file = self.files.get(&key)?;
        let was_seen = file.seen == self.round && file.place != Place::Lost;
        if file.file.is_some() || !was_seen || is_packed(&file.path) {
            return None;
        }
        let (path, identity) = (std::sync::Arc::clone(&file.path), file.identity);
        let body = self.open_body(&path).ok()?;
        body.identity().is_ok_and(|opened| opened == identity).then_some(body)
    }
}

/// The last bytes of a file of this size, hashed.
pub(super) fn end_of(body: &Body, size: u64) -> io::Result<u64> {
    Ok(hash(&Context::at(body, size)?))
}
