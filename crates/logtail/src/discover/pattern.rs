use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Stat;
use super::rotated::{is_compressed, live_names};
use crate::Error;

/// The globs, and where to look for them.
#[derive(Debug)]
pub(crate) struct Patterns {
    /// As absolute text.
    pub(crate) globs: Vec<String>,
    roots: Vec<Root>,
    include: GlobSet,
    exclude: GlobSet,
}

/// A directory without wildcards in its name, and how far below it files may match.
#[derive(Debug, PartialEq, Eq)]
struct Root {
    dir: PathBuf,
    /// Levels of names below `dir`; `None` for `**`.
    depth: Option<usize>,
}

/// One look through the directories.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) files: Vec<Found>,
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) problems: Vec<(PathBuf, io::Error)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    /// A pattern names it; otherwise it is a rotated form of a name that a pattern matches.
    pub(crate) matched: bool,
    /// Which patterns match it, or its live name.
    pub(crate) patterns: Vec<usize>,
    /// The names beside it of which it may be a rotated form.
    pub(crate) live: Vec<PathBuf>,
    /// The one among them that it is a rotated form of for certain: no pattern names it itself, or a number or date stands behind the whole name, and
    /// that name is one of a pattern. `worker-1.log` beside `worker.log` is its own.
    pub(crate) origin: Option<PathBuf>,
    pub(crate) compressed: bool,
}

impl Patterns {
    pub(crate) fn new(read: &[String], exclude: &[String]) -> Result<Self, Error> {
        if read.is_empty() {
            return Err(Error::NoPattern);
        }
        let globs = read.iter().map(|pattern| absolute(pattern)).collect::<Result<Vec<_>, _>>()?;
        let excluded = exclude
            .iter()
            .map(|p| if p.contains('/') { absolute(p) } else { Ok(format!("**/{p}")) })
            .collect::<Result<Vec<_>, _>>()?;
        let mut roots: Vec<Root> = Vec::new();
        for glob in &globs {
            let root = root(glob);
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        Ok(Self { include: set(&globs, read)?, exclude: set(&excluded, exclude)?, globs, roots })
    }

    /// Some pattern names this path.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        self.include.is_match(path) && !self.exclude.is_match(path)
    }

    /// Looks through the directories. What cannot be looked at is a problem of the result, not an end.
    pub(crate) fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        let mut seen = HashSet::new();
        for root in &self.roots {
            self.walk(&root.dir, root.depth, 0, &mut scan, &mut seen);
        }
        scan
    }

    fn walk(
        &self,
        dir: &Path,
        depth: Option<usize>,
        level: usize,
        scan: &mut Scan,
        seen: &mut HashSet<PathBuf>,
    ) {
        // A symbolic link to a parent would never end otherwise.
        const DEEPEST: usize = 32;
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) => return scan.problems.push((dir.to_owned(), e)),
        };
        if seen.insert(dir.to_owned()) {
            scan.dirs.push(dir.to_owned());
        }
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => return scan.problems.push((dir.to_owned(), e)),
            };
            let path = entry.path();
            let descend = depth.is_none_or(|depth| level + 1 < depth) && level < DEEPEST;
            if descend
                && entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink())
                && path.is_dir()
            {
                self.walk(&path, depth, level + 1, scan, seen);
                continue;
            }
            if !seen.contains(&path)
                && let Some(found) = self.look_at(&path, scan)
            {
                seen.insert(path);
                scan.files.push(found);
            }
        }
    }

    fn look_at(&self, path: &Path, scan: &mut Scan) -> Option<Found> {
        let matched = self.matches(path);
        let name = path.file_name()?.to_str().unwrap_or_default();
        let live: Vec<PathBuf> = live_names(name).into_iter().map(|name| path.with_file_name(name)).collect();
        let rotated_of = if matched { None } else { Some(live.iter().find(|live| self.matches(live))?) };
        if self.exclude.is_match(path) {
            return None;
        }
        let patterns = self.include.matches(rotated_of.map_or(path, PathBuf::as_path));
        let behind = |live: &&PathBuf| {
            let live_name = live.file_name().and_then(|live| live.to_str()).unwrap_or_default();
            !live_name.is_empty() && name.starts_with(live_name) && self.matches(live)
        };
        let origin = rotated_of.or_else(|| live.iter().rev().find(behind)).cloned();
        match Stat::of_path(path) {
            Ok(stat) if stat.is_file => Some(Found {
                path: path.to_owned(),
                stat,
                matched,
                patterns,
                live,
                origin,
                compressed: is_compressed(name),
            }),
            Ok(_) => None,
            // Renamed or deleted since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                scan.problems.push((path.to_owned(), e));
                None
            }
        }
    }
}

fn absolute(pattern: &str) -> Result<String, Error> {
    let path = std::path::absolute(pattern)
        .map_err(|source| Error::NoWorkingDirectory { pattern: pattern.to_owned(), source })?;
    path.into_os_string().into_string().map_err(|_| Error::Pattern {
        pattern: pattern.to_owned(),
        reason: "the working directory's name is not UTF-8".into(),
    })
}

fn set(globs: &[String], written: &[String]) -> Result<GlobSet, Error> {
    let failed = |pattern: &str, e: globset::Error| Error::Pattern {
        pattern: pattern.to_owned(),
        reason: e.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for (glob, pattern) in globs.iter().zip(written) {
        set.add(GlobBuilder::new(glob).literal_separator(true).build().map_err(|e| failed(pattern, e))?);
    }
    set.build().map_err(|e| failed(&written.join(" "), e))
}

fn root(glob: &str) -> Root {
    let parts: Vec<&str> = glob.split('/').filter(|part| !part.is_empty()).collect();
    let fixed =
        parts.iter().position(|part| part.contains(['*', '?', '[', '{', '\\'])).unwrap_or(parts.len());
    // The last part is a file's name, wild or not.
    let fixed = fixed.min(parts.len().saturating_sub(1));
    let dir = format!("/{}", parts[..fixed].join("/"));
    // An alternative such as `{a,b/c}` may hold a separator of its own.
    let rest = parts[fixed..].join("/");
    let unbounded = rest.contains("**") || rest.contains('{');
    Root { dir: dir.into(), depth: (!unbounded).then_some(parts.len() - fixed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(read: &[&str], exclude: &[&str]) -> Patterns {
        let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        Patterns::new(&owned(read), &owned(exclude)).expect("valid patterns")
    }

    #[test]
    fn the_root_is_what_has_no_wildcard() {
        assert_eq!(root("/var/log/app.log"), Root { dir: "/var/log".into(), depth: Some(1) });
        assert_eq!(root("/var/log/*.log"), Root { dir: "/var/log".into(), depth: Some(1) });
        assert_eq!(root("/var/log/*/a.log"), Root { dir: "/var/log".into(), depth: Some(2) });
        assert_eq!(root("/var/log/**/a.log"), Root { dir: "/var/log".into(), depth: None });
    }

    #[test]
    fn a_scan_finds_matches_and_their_rotated_forms() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("sub")).expect("creates");
        for name in ["a.log", "a.log.1", "b.log", "b.txt", "c.tmp", "sub/d.log", "a.log.2.gz"] {
            std::fs::write(at(name), name).expect("writes");
        }
        let glob = format!("{}/*.log", dir.path().display());
        let found = |patterns: Patterns| {
            let mut files: Vec<_> = patterns
                .scan()
                .files
                .into_iter()
                .map(|f| (f.path.strip_prefix(dir.path()).expect("below").display().to_string(), f.matched))
                .collect();
            files.sort();
            files
        };
        let named =
            |list: &[(&str, bool)]| list.iter().map(|(n, m)| ((*n).to_owned(), *m)).collect::<Vec<_>>();
        assert_eq!(
            found(patterns(&[&glob], &["b.*"])),
            named(&[("a.log", true), ("a.log.1", false), ("a.log.2.gz", false)])
        );
        let deep = format!("{}/**/*.log", dir.path().display());
        assert_eq!(
            found(patterns(&[&deep], &["a.*"])),
            named(&[("b.log", true), ("sub/d.log", true)]),
            "`**` crosses directories, an exclude without a slash names files anywhere"
        );
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_problem_not_an_end() {
        let scan = patterns(&["/nowhere/at/all/*.log"], &[]).scan();
        assert_eq!(scan.problems.len(), 1);
    }

    #[test]
    fn a_wrong_glob_says_why() {
        let error = Patterns::new(&["/a/[".to_owned()], &[]).expect_err("not a glob").to_string();
        assert!(error.contains("\"/a/[\""), "{error}");
    }
}
