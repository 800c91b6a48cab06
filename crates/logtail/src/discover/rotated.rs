//! Names that rotation makes: `app.log.1`, `app.log-20260101`, `app-2026-01-01.log`, `app.log.2.gz`.

const COMPRESSED: [&str; 8] = [".gz", ".zst", ".bz2", ".xz", ".lz4", ".Z", ".zip", ".lzma"];

/// By its name, it holds compressed bytes.
pub(crate) fn is_compressed(name: &str) -> bool {
    COMPRESSED.iter().any(|suffix| name.ends_with(suffix))
}

/// A compression that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
}

/// How a file of this name is compressed, where it can be read.
pub(crate) fn packing(name: &str) -> Option<Packing> {
    if name.ends_with(".gz") {
        return Some(Packing::Gzip);
    }
    if name.ends_with(".zst") {
        return Some(Packing::Zstd);
    }
    None
}

/// The names this one may be a rotated form of, nearest first. Empty for a name without a number, a date, `old` or a
/// compression's suffix.
pub(crate) fn live_names(name: &str) -> Vec<String> {
    let unpacked = COMPRESSED.iter().find_map(|suffix| name.strip_suffix(suffix));
    let plain = unpacked.unwrap_or(name);
    let mut names: Vec<String> = unpacked.into_iter().chain(stripped(plain)).map(str::to_owned).collect();
    // The number may stand before the extension.
    if let Some((stem, extension)) = plain.rsplit_once('.')
        && !extension.is_empty()
        && extension.bytes().all(|b| b.is_ascii_alphabetic())
    {
        names.extend(stripped(stem).map(|base| format!("{base}.{extension}")));
    }
    names
}

/// `name` without a rotation suffix, at every place where one may begin.
fn stripped(name: &str) -> impl Iterator<Item = &str> {
    name.char_indices().rev().filter(|(_, c)| matches!(c, '.' | '-' | '_')).filter_map(move |(at, _)| {
        let (base, suffix) = (&name[..at], &name[at + 1..]);
        let counted = suffix.starts_with(|c: char| c.is_ascii_digit())
            && suffix.bytes().all(|b| b.is_ascii_digit() || b"T:._-+Z".contains(&b));
        (!base.is_empty() && (counted || suffix == "old")).then_some(base)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_rotations_lead_back_to_the_live_name() {
        for name in [
            "app.log.1",
            "app.log.12.gz",
            "app.log-20260101",
            "app.log-2026-01-01",
            "app.log.2026-01-01T10:00:00Z",
            "app-2026-01-01.log",
            "app.2026-01-01.3.log",
            "app_1.log.gz",
            "app.log.old",
        ] {
            assert!(live_names(name).contains(&"app.log".to_owned()), "{name}: {:?}", live_names(name));
        }
    }

    #[test]
    fn other_names_are_no_rotation() {
        assert_eq!(live_names("app.log.gz"), ["app.log"]);
        for name in ["app.log", "app.log.bak", "other", ".1", "a.log.tmp", "log-b"] {
            assert_eq!(live_names(name), Vec::<String>::new(), "{name}");
        }
    }
}
