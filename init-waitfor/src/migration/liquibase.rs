//! Liquibase: a changeset is known by its file, its id and its author. Changelogs in XML, YAML, JSON and formatted SQL.
//! <https://docs.liquibase.com/concepts/changelogs/home.html>
//!
//! A directory is taken as a whole: `include`s inside of it are read anyway. Changesets with a context or labels may be meant for other
//! runs: they are known, not required. Those for other databases (`dbms`) are neither.

use quick_xml::XmlVersion;
use quick_xml::events::Event;
use serde_json::Value;

use crate::sql::Engine;

/// Between the parts of a name, as Liquibase itself writes them.
const BETWEEN: &str = "::";
/// Before a tag. With a blank, because authors are e-mail addresses, too.
const TAG: &str = " @";

/// `file::id::author`, with ` @tag` behind it when the row has one.
pub(super) fn name(file: &str, id: &str, author: &str, tag: Option<&str>) -> String {
    let mut name = [file, id, author].join(BETWEEN);
    if let Some(tag) = tag.filter(|tag| !tag.is_empty()) {
        name.push_str(TAG);
        name.push_str(tag);
    }
    name
}

/// Whether a name is the one that people mean: `id`, `id::author`, `file::id::author`, or a tag.
pub(super) fn is(name: &str, wanted: &str) -> bool {
    let (whole, tag) = name.rsplit_once(TAG).map_or((name, None), |(whole, tag)| (whole, Some(tag)));
    let ours = parts(whole);
    match wanted.matches(BETWEEN).count() {
        0 => ours.1 == wanted || tag == Some(wanted),
        1 => wanted.split_once(BETWEEN) == Some((ours.1, ours.2)),
        _ => {
            let theirs = parts(wanted.rsplit_once(TAG).map_or(wanted, |(whole, _)| whole));
            (ours.1, ours.2) == (theirs.1, theirs.2) && same_file(ours.0, theirs.0)
        }
    }
}

fn parts(name: &str) -> (&str, &str, &str) {
    let (rest, author) = name.rsplit_once(BETWEEN).unwrap_or((name, ""));
    let (file, id) = rest.rsplit_once(BETWEEN).unwrap_or(("", rest));
    (file, id, author)
}

/// The table has the path as it was given to Liquibase: `classpath:db/changelog/a.xml`; we have it below a directory.
fn same_file(a: &str, b: &str) -> bool {
    let plain = |path: &str| path.trim_start_matches("classpath:").trim_start_matches(['.', '/']).to_owned();
    let (a, b) = (plain(a), plain(b));
    let ends = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    ends(&a, &b) || ends(&b, &a)
}

/// A changeset of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChangeSet {
    pub name: String,
    /// Has a context or labels.
    pub optional: bool,
}

/// What a changeset says of itself, in whatever format.
#[derive(Default)]
struct Said {
    id: String,
    author: String,
    dbms: String,
    conditions: String,
    file: String,
    ignore: String,
}

impl Said {
    fn set(&mut self, key: &str, value: &str) {
        let slot = match key {
            "id" => &mut self.id,
            "author" => &mut self.author,
            "dbms" => &mut self.dbms,
            "context" | "contextFilter" | "labels" => &mut self.conditions,
            "logicalFilePath" | "logicalFilepath" => &mut self.file,
            "ignore" => &mut self.ignore,
            _ => return,
        };
        value.clone_into(slot);
    }

    fn change_set(self, file: &str, engine: Engine) -> Option<ChangeSet> {
        let ours = |name: &str| match engine {
            Engine::Postgres => matches!(name, "postgresql" | "postgres" | "cockroachdb"),
            Engine::MySql => matches!(name, "mysql" | "mariadb"),
            Engine::Sqlite => name == "sqlite",
        };
        let listed: Vec<String> = self
            .dbms
            .split(',')
            .map(|name| name.trim().to_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        let meant = |name: &String| name == "all" || ours(name);
        let excluded = listed.iter().any(|name| name.strip_prefix('!').is_some_and(ours));
        let chosen = listed.iter().all(|name| name.starts_with('!')) || listed.iter().any(meant);
        if self.id.is_empty() || self.ignore == "true" || excluded || !chosen {
            return None;
        }
        let file = if self.file.is_empty() { file } else { &self.file };
        Some(ChangeSet {
            name: name(file, &self.id, &self.author, None),
            optional: !self.conditions.trim().is_empty(),
        })
    }
}

/// The changesets of a file, in order; none when it is no changelog.
///
/// # Errors
/// A changelog that cannot be read.
pub(super) fn read(path: &str, text: &str, engine: Engine) -> Result<Vec<ChangeSet>, String> {
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "xml" => xml(path, text, engine),
        "yaml" | "yml" if text.contains("databaseChangeLog") => {
            let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
            Ok(tree(path, &value, engine))
        }
        "json" if text.contains("databaseChangeLog") => {
            let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(tree(path, &value, engine))
        }
        "sql" => Ok(sql(path, text, engine)),
        _ => Ok(Vec::new()),
    }
}

fn xml(path: &str, text: &str, engine: Engine) -> Result<Vec<ChangeSet>, String> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut file = path.to_owned();
    let mut found = Vec::new();
    loop {
        let event =
            reader.read_event().map_err(|error| format!("at byte {}: {error}", reader.error_position()))?;
        let (Event::Start(element) | Event::Empty(element)) = event else {
            if matches!(event, Event::Eof) {
                return Ok(found);
            }
            continue;
        };
        let mut said = Said::default();
        for attribute in element.attributes().flatten() {
            let value =
                attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
            said.set(attribute.key.local_name().as_ref(), &value);
        }
        match element.local_name().as_ref() {
            "databaseChangeLog" if !said.file.is_empty() => file = said.file,
            "changeSet" => found.extend(said.change_set(&file, engine)),
            _ => {}
        }
    }
}

/// YAML and JSON: a list of objects with one key each.
fn tree(path: &str, value: &Value, engine: Engine) -> Vec<ChangeSet> {
    let entries = || value["databaseChangeLog"].as_array().into_iter().flatten();
    let file = entries().find_map(|entry| entry["logicalFilePath"].as_str()).unwrap_or(path);
    let sets = entries().filter_map(|entry| entry["changeSet"].as_object());
    sets.filter_map(|set| {
        let mut said = Said::default();
        for (key, value) in set {
            match value {
                Value::String(text) => said.set(key, text),
                Value::Number(number) => said.set(key, &number.to_string()),
                Value::Bool(flag) => said.set(key, &flag.to_string()),
                _ => {}
            }
        }
        said.change_set(file, engine)
    })
    .collect()
}

/// `--liquibase formatted sql`, then `--changeset author:id key:value …` before each.
fn sql(path: &str, text: &str, engine: Engine) -> Vec<ChangeSet> {
    let words = |line: &str| crate::target::words(line).unwrap_or_default();
    let comment = |line: &str| line.trim_start().strip_prefix("--").map(|rest| rest.trim_start().to_owned());
    let mut lines = text.lines().filter_map(comment);
    let head = lines.by_ref().find(|line| line.to_lowercase().starts_with("liquibase formatted sql"));
    let Some(head) = head else { return Vec::new() };
    let set = |said: &mut Said, words: &[String]| {
        for (key, value) in words.iter().filter_map(|word| word.split_once(':')) {
            said.set(key, value);
        }
    };
    let mut whole = Said::default();
    set(&mut whole, &words(&head));
    let file = if whole.file.is_empty() { path.to_owned() } else { whole.file };
    lines
        .filter_map(|line| {
            let rest =
                line.get(.."changeset ".len()).filter(|word| word.eq_ignore_ascii_case("changeset "))?;
            let words = words(&line[rest.len()..]);
            let (author, id) = words.first()?.split_once(':')?;
            let mut said = Said { id: id.to_owned(), author: author.to_owned(), ..Said::default() };
            set(&mut said, &words[1..]);
            said.change_set(&file, engine)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<String> {
        let sets = read(path, text, Engine::Postgres).unwrap();
        sets.into_iter().map(|set| set.name + if set.optional { " ?" } else { "" }).collect()
    }

    #[test]
    fn four_formats() {
        let xml = "<?xml version=\"1.0\"?>\n<databaseChangeLog xmlns=\"http://www.liquibase.org/xml/ns/dbchangelog\">\n<!-- <changeSet id=\"0\" author=\"x\"/> -->\
                   <changeSet id=\"1\" author=\"me &amp; you\"><createTable tableName=\"t\"/></changeSet>\
                   <changeSet id=\"2\" author=\"me\" dbms=\"mysql,h2\"/><changeSet id=\"3\" author=\"me\" contextFilter=\"test\"/>\
                   <changeSet id=\"4\" author=\"me\" dbms=\"!oracle\"/><changeSet id=\"5\" author=\"me\" ignore=\"true\"/></databaseChangeLog>";
        assert_eq!(names("db/a.xml", xml), ["db/a.xml::1::me & you", "db/a.xml::3::me ?", "db/a.xml::4::me"]);
        let yaml = "databaseChangeLog:\n  - logicalFilePath: x.yaml\n  - changeSet:\n      id: 1\n      author: me\n      changes: []\n  - include: {file: b.yaml}\n  - changeSet: {id: two, author: me, labels: slow}\n";
        assert_eq!(names("a.yaml", yaml), ["x.yaml::1::me", "x.yaml::two::me ?"]);
        let json =
            r#"{"databaseChangeLog": [{"changeSet": {"id": "1", "author": "me", "dbms": "postgresql"}}]}"#;
        assert_eq!(names("a.json", json), ["a.json::1::me"]);
        let sql = "--liquibase formatted sql logicalFilePath:s.sql\n\n-- changeset me:1 runOnChange:true\nCREATE TABLE t (a int);\n--rollback DROP TABLE t;\n--changeset me:two dbms:mysql\n--changeset \"me too:3\" labels:\"a or b\"\n";
        assert_eq!(names("a.sql", sql), ["s.sql::1::me", "s.sql::3::me too ?"]);
        // Other files of these kinds.
        assert_eq!(names("plain.sql", "SELECT 1; -- changeset me:1"), Vec::<String>::new());
        assert_eq!(names("values.yaml", "a: 1"), Vec::<String>::new());
        assert!(read("a.xml", "<databaseChangeLog><changeSet id='1'></wrong>", Engine::Postgres).is_err());
    }

    #[test]
    fn what_people_write_for_a_changeset() {
        let row = name("classpath:db/changelog/a.xml", "7", "me", Some("v1.2"));
        for wanted in [
            "7",
            "v1.2",
            "7::me",
            "changelog/a.xml::7::me",
            "db/changelog/a.xml::7::me",
            "./db/changelog/a.xml::7::me",
        ] {
            assert!(is(&row, wanted), "{wanted}");
        }
        for wanted in ["8", "me", "7::you", "b.xml::7::me", "log/a.xml::7::me", "v1"] {
            assert!(!is(&row, wanted), "{wanted}");
        }
    }
}
