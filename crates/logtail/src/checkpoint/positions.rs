use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All positions of one consumer, as they are saved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Positions {
    /// The globs that were followed: what lay there before the first start of a new one is not a missed rotation.
    pub patterns: Vec<String>,
    pub files: Vec<Position>,
    /// Files that are gone (hash of the path, bytes of the prefix, hash of the prefix and the last bytes, size), to be known again when they are
    /// compressed, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<(u64, u64, u64, u64)>,
    /// The consumer's own, saved together with the positions or not at all: the adapter's output offset.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub note: serde_json::Value,
}

/// How far one file is, and how to recognize it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Where it was last seen.
    #[serde(serialize_with = "path_out", deserialize_with = "path_in")]
    pub path: Arc<Path>,
    /// Where it was found first, or what it was a rotated form of then.
    #[serde(serialize_with = "path_out", deserialize_with = "path_in")]
    pub origin: Arc<Path>,
    /// Everything before this byte is acknowledged.
    pub offset: u64,
    /// Parts of the line at `offset` that are acknowledged; 0 at the start of a line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: u32,
    /// Bytes it had when last looked at.
    pub size: u64,
    pub id: u64,
    pub dev: u64,
    pub ino: u64,
    /// Nanoseconds since 1970, 0 where the file system has none.
    pub birth: u64,
    /// The first bytes, at most 1024: how many, and their hash.
    pub prefix: (u64, u64),
    /// An offset at or before `offset`, and the hash of the (up to 64) bytes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<(u64, u64)>,
    /// Not to be read: it lay there before the first start, or it is a copy of what was read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
    /// Its inode holds other bytes by now; the rest can only come from a copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The `id` of the file whose compressed form it is: should that one be gone, it goes on here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<u64>,
}

fn is_zero(part: &u32) -> bool {
    *part == 0
}

/// A path is bytes; JSON is text. What is not UTF-8 is written as `hex:…`.
fn path_out<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) if !text.starts_with("hex:") => serializer.serialize_str(text),
        _ => {
            let bytes = path.as_os_str().as_bytes();
            let hex = bytes.iter().fold(String::from("hex:"), |hex, byte| hex + &format!("{byte:02x}"));
            serializer.serialize_str(&hex)
        }
    }
}

fn path_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Path>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let Some(hex) = text.strip_prefix("hex:") else { return Ok(PathBuf::from(text).into()) };
    let pairs = hex.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let bytes = bytes.ok_or_else(|| serde::de::Error::custom("a path that is not hexadecimal"))?;
    Ok(Path::new(OsStr::from_bytes(&bytes)).into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn position(path: &[u8], offset: u64) -> Position {
        Position {
            path: Path::new(OsStr::from_bytes(path)).into(),
            origin: Path::new(OsStr::from_bytes(path)).into(),
            offset,
            part: 0,
            size: offset,
            id: 1,
            dev: 2,
            ino: 3,
            birth: 4,
            prefix: (5, u64::MAX),
            anchor: None,
            ignored: false,
            gone: false,
            copy_of: None,
        }
    }

    #[test]
    fn any_path_survives() {
        for path in [&b"/var/log/a.log"[..], b"/var/log/\xff\xfe.log", b"hex:41"] {
            let written = serde_json::to_string(&position(path, 9)).expect("serializes");
            let read: Position = serde_json::from_str(&written).expect("parses");
            assert_eq!(read, position(path, 9));
        }
    }
}
