//! From a tool's rows to what is applied.

use tokio::time::Instant;

use super::detect::Place;
use super::liquibase;
use super::tool::{Order, Tool};
use crate::sql::{Dsn, Engine, MOST_ROWS, Row, Session};
use crate::wire::Trouble;

/// What a history table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Versions as the tool names them (`app.name` for Django), oldest first.
    pub versions: Vec<String>,
    /// The table holds only where the schema is now, not how it came there.
    pub heads_only: bool,
    /// Begun and not ended, or failed.
    pub unfinished: Vec<String>,
    /// `unfinished` has failed for sure.
    pub failed: bool,
    /// Everything up to this one counts as applied: the schema was there before the tool.
    pub baseline: Option<String>,
}

pub(super) async fn read(
    session: &mut Session,
    dsn: &Dsn,
    place: &Place,
    until: Instant,
) -> Result<Applied, Trouble> {
    let spec = place.tool.spec();
    let engine = dsn.engine;
    let columns: Vec<String> = spec.read.iter().map(|name| place.column(engine, name)).collect();
    let mut sql = format!("SELECT {} FROM {}", columns.join(", "), place.quoted(engine));
    if let Some(sort) = spec.sort {
        let sort = place.column(engine, sort);
        if sort != "NULL" {
            sql.push_str(&format!(" ORDER BY {sort}"));
        }
    }
    sql.push_str(&format!(" LIMIT {MOST_ROWS}"));
    match session.query(&sql, until).await {
        Ok(rows) => Ok(digest(place.tool, &rows)),
        // It was there a moment ago: dropped or being made.
        Err(trouble) if matches!(trouble.state.as_deref(), Some("42P01" | "1146")) => Ok(Applied::default()),
        Err(trouble) if engine == Engine::Sqlite && trouble.reason.contains("no such table") => {
            Ok(Applied::default())
        }
        Err(trouble) => Err(trouble),
    }
}

/// Rows in the order of `Spec::read`.
pub(super) fn digest(tool: Tool, rows: &[Row]) -> Applied {
    let mut applied = Applied {
        heads_only: tool.spec().order == Order::Graph || tool == Tool::GolangMigrate,
        ..Applied::default()
    };
    for row in rows {
        let text = |at: usize| row.get(at).and_then(|value| value.as_deref());
        let yes = |at: usize| matches!(text(at), Some("t" | "true" | "1"));
        let Some(first) = text(0) else { continue };
        let first = first.to_owned();
        match tool {
            Tool::Flyway => match text(2).unwrap_or_default() {
                "DELETE" => applied.versions.retain(|version| *version != first),
                kind if kind.starts_with("UNDO") => {
                    if yes(1) {
                        applied.versions.retain(|version| *version != first);
                    }
                }
                "SCHEMA" => {}
                kind if yes(1) => {
                    if kind.ends_with("BASELINE") {
                        applied.baseline = Some(first.clone());
                    }
                    applied.versions.push(first);
                }
                _ => {
                    applied.failed = true;
                    applied.unfinished.push(format!("{first} ({})", text(3).unwrap_or_default()));
                }
            },
            Tool::GolangMigrate => {
                if yes(1) {
                    applied.unfinished.push(first.clone());
                }
                applied.versions.push(first);
            }
            Tool::Django => applied.versions.push(format!("{first}.{}", text(1).unwrap_or_default())),
            Tool::Sqlx => {
                if yes(1) {
                    applied.versions.push(first);
                } else {
                    applied.unfinished.push(format!("{first} ({})", text(2).unwrap_or_default()));
                }
            }
            Tool::Prisma => match (text(1), text(2)) {
                (_, Some(_)) => {}
                (Some(_), None) => applied.versions.push(first),
                (None, None) => {
                    applied.failed |= text(3).is_some_and(|logs| !logs.is_empty());
                    applied.unfinished.push(first);
                }
            },
            Tool::Liquibase => {
                if matches!(text(1), Some("EXECUTED" | "RERAN" | "MARK_RAN")) {
                    let (author, file) = (text(3).unwrap_or_default(), text(4).unwrap_or_default());
                    applied.versions.push(liquibase::name(file, &first, author, text(2)));
                }
            }
            Tool::Goose => {
                // The latest row of a version counts; version 0 is the table's own beginning.
                applied.versions.retain(|version| *version != first);
                if yes(1) && first != "0" {
                    applied.versions.push(first);
                }
            }
            Tool::Atlas => {
                let error = text(3).filter(|error| !error.is_empty());
                if error.is_none() && text(1) == text(2) {
                    // Type 1: `atlas migrate apply --baseline`.
                    if text(4) == Some("1") {
                        applied.baseline = Some(first.clone());
                    }
                    applied.versions.push(first);
                } else {
                    applied.failed |= error.is_some();
                    applied.unfinished.push(format!(
                        "{first} ({} of {} statements)",
                        text(1).unwrap_or("?"),
                        text(2).unwrap_or("?")
                    ));
                }
            }
            _ => applied.versions.push(first),
        }
    }
    applied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[&[&str]]) -> Vec<Row> {
        list.iter()
            .map(|row| row.iter().map(|text| (*text != "NULL").then(|| (*text).to_owned())).collect())
            .collect()
    }

    #[test]
    fn flyway_undo_delete_and_failure() {
        let got = digest(
            Tool::Flyway,
            &rows(&[
                &["NULL", "t", "SCHEMA", "<< Flyway Schema Creation >>"],
                &["1", "t", "BASELINE", "<< Flyway Baseline >>"],
                &["1.1", "t", "SQL", "V1_1__a.sql"],
                &["1.2", "t", "SQL", "V1_2__b.sql"],
                &["1.2", "t", "UNDO_SQL", "U1_2__b.sql"],
                &["NULL", "t", "SQL", "R__views.sql"],
                &["1.3", "0", "SQL", "V1_3__c.sql"],
            ]),
        );
        assert_eq!(got.versions, ["1", "1.1"]);
        assert_eq!(got.unfinished, ["1.3 (V1_3__c.sql)"]);
        assert!(got.failed);
    }

    #[test]
    fn prisma_retries_goose_downs_and_atlas_parts() {
        let got = digest(
            Tool::Prisma,
            &rows(&[
                &["1_init", "NULL", "2026-01-01", "error"],
                &["1_init", "2026-01-01", "NULL", "NULL"],
                &["2_more", "NULL", "NULL", "NULL"],
            ]),
        );
        assert_eq!(
            (got.versions, got.unfinished, got.failed),
            (vec!["1_init".into()], vec!["2_more".into()], false)
        );
        let got = digest(Tool::Goose, &rows(&[&["0", "t"], &["1", "t"], &["2", "t"], &["2", "f"]]));
        assert_eq!(got.versions, ["1"]);
        let got = digest(
            Tool::Atlas,
            &rows(&[&["1", "2", "2", ""], &["2", "1", "3", "syntax error"], &["0", "0", "0", "NULL"]]),
        );
        assert_eq!((got.versions.len(), got.failed), (2, true));
        let got = digest(Tool::GolangMigrate, &rows(&[&["7", "1"]]));
        assert_eq!((got.unfinished, got.heads_only), (vec!["7".to_owned()], true));
    }
}
