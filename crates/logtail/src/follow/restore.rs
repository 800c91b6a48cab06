use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::packed::Retired;
use super::prefix::Prefix;
use super::tracked::{Recorded, Tracked};
use super::{FileId, Place, Tail};
use crate::checkpoint::{Ledger, Position, Positions};
use crate::discover::{Identity, Stat, is_compressed};

/// By its name, it holds compressed bytes.
pub(super) fn is_packed(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(is_compressed)
}

impl Tail {
    /// What to save: the acknowledged prefix of every file that is still there, and the note.
    pub fn positions(&mut self) -> Positions {
        self.moved = false;
        for file in self.files.values_mut() {
            if file.recorded == Recorded::No && file.read > 0 {
                // Time stamps are coarse: it may have been read without having changed by them.
                if let (0, Some(body)) = (file.prefix.len, &file.file) {
                    let _ = file.prefix.holds(body);
                }
                file.recorded = Recorded::Asked;
            }
            // What cannot be read now is proved by an older hash.
            let _ = file.prove();
        }
        let mut files: Vec<(u64, Position)> = self
            .files
            .iter()
            // What could not be unpacked yet is looked at anew by the next process, and so is a copy whose original is there.
            .filter(|(_, file)| {
                let is_copy = !is_packed(&file.path)
                    && file.copy_of.is_some_and(|original| self.files.contains_key(&original));
                !(file.place == Place::Ignored && (file.troubled || is_copy))
            })
            .map(|(key, file)| {
                let position = Position {
                    path: Arc::clone(&file.path),
                    origin: Arc::clone(&file.origin),
                    offset: file.ledger.acked(),
                    part: file.ledger.part(),
                    size: file.size,
                    id: file.id.0,
                    dev: file.identity.dev,
                    ino: file.identity.ino,
                    birth: file.identity.birth,
                    prefix: (file.prefix.len, file.prefix.hash),
                    anchor: file.anchor(),
                    ignored: file.place == Place::Ignored,
                    gone: matches!(file.place, Place::Lost | Place::Deleted),
                    copy_of: file
                        .copy_of
                        .and_then(|original| self.files.get(&original))
                        .map(|file| file.id.0),
                };
                (key.0, position)
            })
            .collect();
        files.sort_by_key(|(key, _)| *key);
        let mut patterns: Vec<String> = self.known_globs.iter().cloned().collect();
        patterns.sort();
        let files = files.into_iter().map(|(_, file)| file).collect();
        let retired = self.retired.iter().map(|gone| (gone.origin, gone.len, gone.hash, gone.size)).collect();
        Positions { patterns, files, retired, note: self.note.clone() }
    }

    /// Takes up saved positions; the first look compares them with the files.
    pub(super) fn restore(&mut self, saved: Positions) {
        self.known_globs.extend(saved.patterns);
        self.note = saved.note;
        let retired = saved.retired.into_iter();
        self.retired.extend(retired.map(|(origin, len, hash, size)| Retired { origin, len, hash, size }));
        let mut copies = Vec::new();
        let mut originals = HashMap::new();
        for position in saved.files {
            // One that a pattern names was left out as a copy of another, which it may not be any more: it is compared anew.
            if position.ignored && !is_packed(&position.path) && self.patterns.matches(&position.path) {
                continue;
            }
            let identity = Identity { dev: position.dev, ino: position.ino, birth: position.birth };
            let stat = Stat { identity, size: position.size, modified: 0, links: 1, is_file: true };
            let place = match () {
                () if position.ignored => Place::Ignored,
                () if position.gone => Place::Lost,
                () => Place::Matched,
            };
            let mut file = Tracked::new(FileId(position.id), position.path, &stat, place, position.offset);
            file.origin = position.origin;
            file.part = position.part;
            file.prefix = Prefix { len: position.prefix.0, hash: position.prefix.1 };
            if file.prefix.len > 0 {
                file.recorded = Recorded::Saved;
            }
            file.ledger = Ledger::new(position.offset, position.part, position.anchor);
            file.unverified = place != Place::Ignored;
            let key = self.new_key();
            copies.extend(position.copy_of.map(|original| (key, original)));
            originals.insert(position.id, key);
            if !position.gone {
                self.by_inode.insert(identity.inode(), key);
                if identity.birth != 0 {
                    self.restored.insert((identity.ino, identity.birth), key);
                }
            }
            self.files.insert(key, file);
        }
        for (copy, original) in copies {
            if let Some(copy) = self.files.get_mut(&copy) {
                copy.copy_of = originals.get(&original).copied();
            }
        }
    }
}
