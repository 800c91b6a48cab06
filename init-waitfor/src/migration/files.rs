//! Migration files on disk: what a directory (or a manifest) says must have been applied.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::compare::cmp;
use super::tool::{Order, Tool};
use super::{liquibase, python};
use crate::sql::Engine;
use crate::wire::Trouble;

/// More entries than this are not a directory of migrations.
const MOST_FILES: usize = 20_000;
/// A migration's head is read for its revision, no more.
const MOST_BYTES: u64 = 1 << 20;

/// Versions in the tool's own spelling and order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub versions: Vec<String>,
    /// Django: what a squashed migration stands for.
    pub replaces: BTreeMap<String, Vec<String>>,
    /// Alembic, Django: what a revision comes after.
    pub parents: BTreeMap<String, Vec<String>>,
    /// Liquibase: known, and not required.
    pub optional: BTreeSet<String>,
}

/// One version per line; blank lines and `#` comments are passed over.
pub(super) fn manifest(path: &Path) -> Result<Listed, Trouble> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::unknown("files", format!("manifest {}: {error}", path.display())))?;
    let versions: Vec<String> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if versions.is_empty() {
        return Err(Trouble::unknown("files", format!("manifest {} lists no version", path.display())));
    }
    Ok(Listed { versions, ..Listed::default() })
}

pub(super) fn list(tool: Tool, dir: &Path, engine: Engine) -> Result<Listed, Trouble> {
    let mut files = Vec::new();
    walk(dir, dir, &mut files)
        .map_err(|error| Trouble::unknown("files", format!("{}: {error}", dir.display())))?;
    let mut listed = Listed::default();
    match tool {
        Tool::Alembic => python::alembic(dir, &files, &mut listed)?,
        Tool::Django => python::django(dir, &files, &mut listed)?,
        Tool::Drizzle => drizzle(dir, &mut listed)?,
        Tool::Liquibase => changelogs(dir, &files, engine, &mut listed)?,
        tool => listed.versions.extend(files.iter().filter_map(|file| version(tool, file))),
    }
    let order = tool.spec().order;
    if order != Order::Executed {
        listed.versions.sort_by(|a, b| cmp(order, a, b));
    }
    listed.versions.dedup();
    if listed.versions.is_empty() {
        let why = format!("{} holds no migration of {}", dir.display(), tool.name());
        return Err(Trouble::unknown("files", why));
    }
    Ok(listed)
}

/// Paths relative to `root`. Symbolic links to directories are not followed: they may lead in circles.
fn walk(root: &Path, dir: &Path, files: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.')
            || matches!(name.as_ref(), "node_modules" | "__pycache__" | "venv" | "site-packages")
        {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(root, &entry.path(), files)?;
        } else {
            let path = entry.path();
            files.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
        }
        if files.len() > MOST_FILES {
            return Err(std::io::Error::other("more than 20000 files; name the directory of the migrations"));
        }
    }
    files.sort();
    Ok(())
}

/// The version that a file stands for, in the spelling of the tool's table.
fn version(tool: Tool, path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = |ending: &str| file.strip_suffix(ending);
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (end > 0).then(|| text[..end].to_owned())
    };
    match tool {
        // V1_2__name.sql; R__ and U have no version of their own.
        Tool::Flyway => {
            let name = stem(".sql").or_else(|| stem(".java")).or_else(|| stem(".class"))?;
            let (version, _) = name.strip_prefix('V')?.split_once("__")?;
            Some(version.replace('_', "."))
        }
        Tool::Refinery => {
            let name = stem(".sql").or_else(|| stem(".rs"))?;
            let (version, _) = name.strip_prefix(['V', 'U'])?.split_once("__")?;
            digits(version)
        }
        Tool::GolangMigrate => file.contains(".up.").then(|| digits(file)).flatten(),
        Tool::Rails => stem(".rb").and_then(digits),
        Tool::Ecto => stem(".exs").and_then(digits),
        Tool::Sqlx => (!file.ends_with(".down.sql")).then(|| stem(".sql").and_then(digits)).flatten(),
        Tool::Goose => {
            stem(".sql").or_else(|| stem(".go")).filter(|name| !name.ends_with("_test")).and_then(digits)
        }
        Tool::Dbmate => stem(".sql").and_then(digits),
        Tool::Atlas => {
            let (version, _) = stem(".sql")?.split_once('_').unwrap_or((stem(".sql")?, ""));
            Some(version.to_owned())
        }
        // <date>-<time>_name/up.sql
        Tool::Diesel => {
            let directory = path.strip_suffix("/up.sql")?.rsplit('/').next()?;
            let (version, _) = directory.split_once('_').unwrap_or((directory, ""));
            Some(version.replace('-', ""))
        }
        Tool::Prisma => Some(path.strip_suffix("/migration.sql")?.rsplit('/').next()?.to_owned()),
        Tool::TypeOrm => {
            stem(".ts").or_else(|| stem(".js")).filter(|name| !name.ends_with(".d")).and_then(digits)
        }
        Tool::Knex | Tool::Sequelize => {
            let code = [".js", ".ts", ".mjs", ".cjs"].iter().any(|ending| file.ends_with(ending));
            (code && !file.ends_with(".d.ts")).then(|| file.to_owned())
        }
        Tool::NodePgMigrate => {
            [".js", ".ts", ".mjs", ".cjs", ".sql"].iter().find_map(|ending| stem(ending)).map(str::to_owned)
        }
        Tool::Laravel => stem(".php").map(str::to_owned),
        Tool::EfCore => {
            let name = stem(".cs")
                .filter(|name| !name.ends_with(".Designer") && !name.ends_with("ModelSnapshot"))?;
            (digits(name)?.len() == 14).then(|| name.to_owned())
        }
        Tool::Yoyo => {
            let name = stem(".sql").or_else(|| stem(".py"))?;
            (!name.ends_with(".rollback") && !name.starts_with("__")).then(|| name.to_owned())
        }
        Tool::Alembic | Tool::Django | Tool::Drizzle | Tool::Liquibase => None,
    }
}

pub(super) fn head(path: &Path) -> Result<String, Trouble> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes))
        .map_err(|error| Trouble::unknown("files", format!("{}: {error}", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Each file is a part of the changelog, or something else.
fn changelogs(dir: &Path, files: &[String], engine: Engine, listed: &mut Listed) -> Result<(), Trouble> {
    for file in files {
        let ending = file.rsplit('.').next().unwrap_or_default();
        if !matches!(ending, "xml" | "yaml" | "yml" | "json" | "sql") {
            continue;
        }
        let sets = liquibase::read(file, &head(&dir.join(file))?, engine);
        let sets = sets.map_err(|why| Trouble::unknown("files", format!("{file} is no changelog: {why}")))?;
        for set in sets {
            if set.optional {
                listed.optional.insert(set.name.clone());
            }
            listed.versions.push(set.name);
        }
    }
    Ok(())
}

/// `meta/_journal.json`: the table holds each entry's `when`.
fn drizzle(dir: &Path, listed: &mut Listed) -> Result<(), Trouble> {
    let path = dir.join("meta/_journal.json");
    let journal: serde_json::Value = serde_json::from_str(&head(&path)?)
        .map_err(|error| Trouble::unknown("files", format!("{}: {error}", path.display())))?;
    let entries = journal["entries"].as_array().into_iter().flatten();
    listed.versions.extend(entries.filter_map(|entry| entry["when"].as_u64()).map(|when| when.to_string()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_the_tools_write_them() {
        for (tool, path, want) in [
            (Tool::Flyway, "sql/V1_2__add.sql", Some("1.2")),
            (Tool::Flyway, "R__views.sql", None),
            (Tool::Flyway, "U1_2__add.sql", None),
            (Tool::GolangMigrate, "000003_x.up.sql", Some("000003")),
            (Tool::GolangMigrate, "000003_x.down.sql", None),
            (Tool::Rails, "20260101120000_create.rb", Some("20260101120000")),
            (Tool::Sqlx, "20260101_x.up.sql", Some("20260101")),
            (Tool::Sqlx, "20260101_x.down.sql", None),
            (Tool::Diesel, "2026-01-01-000000_x/up.sql", Some("20260101000000")),
            (Tool::Diesel, "2026-01-01-000000_x/down.sql", None),
            (Tool::Prisma, "20260101_init/migration.sql", Some("20260101_init")),
            (Tool::Knex, "20260101_x.js", Some("20260101_x.js")),
            (Tool::Sequelize, "x.d.ts", None),
            (Tool::NodePgMigrate, "1_x.js", Some("1_x")),
            (Tool::Laravel, "2026_01_01_000000_x.php", Some("2026_01_01_000000_x")),
            (Tool::EfCore, "20260101120000_Init.cs", Some("20260101120000_Init")),
            (Tool::EfCore, "20260101120000_Init.Designer.cs", None),
            (Tool::EfCore, "AppModelSnapshot.cs", None),
            (Tool::Yoyo, "0001.x.rollback.sql", None),
            (Tool::Yoyo, "0001.x.sql", Some("0001.x")),
            (Tool::TypeOrm, "1700000000000-Init.ts", Some("1700000000000")),
            (Tool::Refinery, "V1__x.rs", Some("1")),
            (Tool::Atlas, "20260101_x.sql", Some("20260101")),
            (Tool::Goose, "00001_x.go", Some("00001")),
            (Tool::Dbmate, "README.md", None),
        ] {
            assert_eq!(version(tool, path).as_deref(), want, "{tool:?} {path}");
        }
    }
}
