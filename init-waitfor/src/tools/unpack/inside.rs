//! Whether a link stays in its tree. Pure: the kernel is not asked, because the tree is not there yet.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows, path_resolution(7).
const MOST_LINKS: usize = 40;
/// Steps of one walk; no honest tree is that deep.
const MOST_STEPS: usize = 1024;

/// Follows the link at `path` step by step, through other links of the same tree. A link to something that is not there is allowed,
/// as long as the way to it is inside.
pub(super) fn stays_inside(links: &BTreeMap<PathBuf, PathBuf>, path: &Path) -> Result<(), &'static str> {
    let mut ahead: VecDeque<OsString> = path.iter().map(OsString::from).collect();
    let mut here = PathBuf::new();
    let (mut followed, mut steps) = (0, 0);
    while let Some(part) = ahead.pop_front() {
        steps += 1;
        if steps > MOST_STEPS {
            return Err("a way of too many steps");
        }
        if part == ".." {
            if !here.pop() {
                return Err("which is outside of the directory");
            }
            continue;
        }
        here.push(&part);
        let Some(target) = links.get(&here) else { continue };
        followed += 1;
        if followed > MOST_LINKS {
            return Err("which leads back to itself");
        }
        here.pop();
        for component in target.components().rev() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => ahead.push_front("..".into()),
                Component::Normal(name) => ahead.push_front(name.to_owned()),
                Component::RootDir | Component::Prefix(_) => {
                    return Err("which is outside of the directory");
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(links: &[(&str, &str)]) -> Vec<bool> {
        let map: BTreeMap<PathBuf, PathBuf> = links.iter().map(|(a, b)| (a.into(), b.into())).collect();
        links.iter().map(|(path, _)| stays_inside(&map, Path::new(path)).is_ok()).collect()
    }

    #[test]
    fn plain_ways_out() {
        assert_eq!(check(&[("a", "b")]), [true]);
        assert_eq!(check(&[("d/a", "../b/./c")]), [true]);
        assert_eq!(check(&[("d/a", "../..")]), [false]);
        assert_eq!(check(&[("a", "/etc/passwd")]), [false]);
        assert_eq!(check(&[("a", "..")]), [false]);
        assert_eq!(check(&[("a", "missing/../x")]), [true]);
        assert_eq!(check(&[("a", "missing/../../x")]), [false]);
    }

    #[test]
    fn ways_out_through_other_links() {
        // By its text, the second stays inside; followed, it does not.
        assert_eq!(check(&[("d/e/l", "../.."), ("m", "d/e/l/..")]), [true, false]);
        assert_eq!(check(&[("x", "."), ("y", "x/x/x/../..")]), [true, false]);
        assert_eq!(check(&[("a", "b"), ("b", "a")]), [false, false]);
        assert_eq!(
            check(&[("current", "v1"), ("bin", "current/bin"), ("v1/lib", "../shared/lib")]),
            [true; 3]
        );
    }
}
