//! Migrations that are Python: Alembic's revisions and Django's migrations. Their heads are read as text; nothing is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::files::{Listed, head};
use crate::wire::Trouble;

static REVISION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?m)^revision(?:\s*:[^=\n]*)?\s*=\s*["']([^"']+)["']"#).ok());
static DOWN_REVISION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?m)^down_revision(?:\s*:[^=\n]*)?\s*=\s*(\([^)]*\)|\[[^\]]*\]|[^\n]*)").ok()
});
static DEPENDS_ON: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^depends_on(?:\s*:[^=\n]*)?\s*=\s*(\([^)]*\)|\[[^\]]*\]|[^\n]*)").ok());
static REPLACES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^\s+replaces\s*(?::[^=\n]*)?=\s*[\[(]").ok());
static DEPENDENCIES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^\s+dependencies\s*(?::[^=\n]*)?=\s*[\[(]").ok());
static PAIRS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"[(\[]\s*["']([^"']+)["']\s*,\s*["']([^"']+)["']\s*,?\s*[)\]]"#).ok());
static LABEL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?m)^\s+label\s*(?::[^=\n]*)?=\s*["']([^"']+)["']"#).ok());
static STRINGS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"["']([^"']+)["']"#).ok());

fn strings(text: &str) -> Vec<String> {
    STRINGS.iter().flat_map(|regex| regex.captures_iter(text)).map(|found| found[1].to_owned()).collect()
}

fn capture(regex: &LazyLock<Option<Regex>>, text: &str) -> Option<String> {
    regex.as_ref()?.captures(text).map(|found| found[1].to_owned())
}

/// `("app", "name")` in the list that `regex` finds the beginning of, up to its own end.
fn pairs(regex: &LazyLock<Option<Regex>>, text: &str) -> Option<Vec<String>> {
    let begin = regex.as_ref()?.find(text)?.end();
    let list = until_closed(&text[begin..]);
    let found = PAIRS.iter().flat_map(|regex| regex.captures_iter(&list));
    Some(found.map(|pair| format!("{}.{}", &pair[1], &pair[2])).collect())
}

/// The text up to where the bracket is closed that was opened just before (or the end, if it is not), without comments. Brackets in
/// comments and strings do not count.
fn until_closed(text: &str) -> String {
    let (mut depth, mut quote, mut comment) = (1_usize, None, false);
    let mut list = String::new();
    for c in text.chars() {
        match (c, quote, comment) {
            ('\n', _, true) => comment = false,
            (_, _, true) => {}
            (c, Some(open), _) => quote = Some(open).filter(|open| *open != c),
            ('"' | '\'', None, _) => quote = Some(c),
            ('#', ..) => comment = true,
            ('(' | '[', ..) => depth += 1,
            (')' | ']', ..) => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if !comment {
            list.push(c);
        }
    }
    list
}

/// `revision = "…"`, `down_revision = None | "…" | ("…", "…")`, and `depends_on` alike.
pub(super) fn alembic(dir: &Path, files: &[String], listed: &mut Listed) -> Result<(), Trouble> {
    for file in files.iter().filter(|file| file.ends_with(".py")) {
        let text = head(&dir.join(file))?;
        let Some(revision) = capture(&REVISION, &text) else { continue };
        let mut parents = Vec::new();
        for regex in [&DOWN_REVISION, &DEPENDS_ON] {
            let found = capture(regex, &text).unwrap_or_default();
            parents.extend(strings(found.split('#').next().unwrap_or_default()));
        }
        listed.versions.push(revision.clone());
        listed.parents.insert(revision, parents);
    }
    Ok(())
}

/// `<app>/migrations/<name>.py`; `dir` is a project, an app, or an app's `migrations`. An app is named as its directory, unless its
/// `apps.py` gives it a label.
pub(super) fn django(dir: &Path, files: &[String], listed: &mut Listed) -> Result<(), Trouble> {
    let mut labels: BTreeMap<PathBuf, String> = BTreeMap::new();
    for file in files.iter().filter(|file| file.ends_with(".py")) {
        let path: PathBuf = dir.join(file);
        // `.` and the like have no name of their own.
        let path = path.canonicalize().unwrap_or(path);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder =
            path.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "migrations"));
        let (Some(home), false) = (folder.and_then(Path::parent), name.starts_with('_')) else { continue };
        let Some(app) = home.file_name() else { continue };
        let text = head(&path)?;
        if !text.contains("Migration") {
            continue;
        }
        let label = labels.entry(home.to_owned()).or_insert_with(|| {
            let written = head(&home.join("apps.py")).ok().and_then(|text| capture(&LABEL, &text));
            written.unwrap_or_else(|| app.to_string_lossy().into_owned())
        });
        let version = format!("{label}.{name}");
        if let Some(replaced) = pairs(&REPLACES, &text) {
            listed.replaces.insert(version.clone(), replaced);
        }
        listed.parents.insert(version.clone(), pairs(&DEPENDENCIES, &text).unwrap_or_default());
        listed.versions.push(version);
    }
    // A squashed migration and what it replaces stand for the same: once recorded, either is enough.
    let replaced: Vec<String> = listed.replaces.values().flatten().cloned().collect();
    listed.versions.retain(|version| !replaced.contains(version));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alembic_heads() {
        let text = "\"\"\"x\n\nRevision ID: b\n\"\"\"\nrevision: str = 'b1'\ndown_revision: Union[str, None] = 'a1'\n";
        assert_eq!(capture(&REVISION, text).as_deref(), Some("b1"));
        assert_eq!(strings(&capture(&DOWN_REVISION, text).unwrap()), ["a1"]);
        let merge = "revision = 'd'\ndown_revision = (\n  'b',\n  'c',\n)\ndepends_on: Union[str, Sequence[str], None] = ['x']\n";
        assert_eq!(strings(&capture(&DOWN_REVISION, merge).unwrap()), ["b", "c"]);
        assert_eq!(strings(&capture(&DEPENDS_ON, merge).unwrap()), ["x"]);
        assert_eq!(
            strings(&capture(&DOWN_REVISION, "down_revision = None\n").unwrap()),
            Vec::<String>::new()
        );
    }

    #[test]
    fn django_lists() {
        let squash = "class Migration:\n    replaces = [('shop', '0001_a'), (\n  \"shop\", # the [old) one\n \"0002_b\",\n)]\n    dependencies = [\n        migrations.swappable_dependency(settings.AUTH_USER_MODEL),\n        (\"auth\", \"0012_x\"),\n    ]\n    operations = [('not', 'this')]\n";
        assert_eq!(pairs(&REPLACES, squash).unwrap(), ["shop.0001_a", "shop.0002_b"]);
        assert_eq!(pairs(&DEPENDENCIES, squash).unwrap(), ["auth.0012_x"]);
        assert_eq!(pairs(&REPLACES, "class Migration:\n    dependencies = []\n"), None);
    }
}
