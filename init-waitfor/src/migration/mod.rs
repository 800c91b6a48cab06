//! `find the table → read what is applied → compare with what is wanted → running, dirty, or done?`
//!
//! The version gate: read-only, never creates a table, asks no tool to run. Tables, columns and locks of the tools are
//! from their documentation and sources; see [`tool`].

mod applied;
mod compare;
mod detect;
mod files;
mod graph;
mod keys;
mod liquibase;
mod lock;
mod python;
mod rows;
mod tool;
mod version;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::sql::{BUSY, CUT_OFF, Dsn, MISSING, Session};
use crate::target::Wrong;
use crate::wire::Trouble;

pub use applied::Applied;
pub use compare::Standing;
use compare::Wanted;
use lock::Holder;
pub use tool::Tool;

/// Exit codes of a gate.
pub const DIRTY: u8 = 80;
pub const BEHIND: u8 = 81;
pub const AHEAD: u8 = 82;

/// Which migrations must have been applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MigrationConfig {
    /// Tool that keeps the table: `flyway`, `django`, `alembic`, …; found by the tables' columns when absent or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The schema must be at exactly this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The schema must be at this version or a later one; together with `dir`, as the graph of revisions has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    /// Every migration in this directory (files, revisions, changelogs) must have been applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Every version listed in this file (one per line) must have been applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PathBuf>,
    /// The tool's table, if it is not the default one: `name` or `schema.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Accept a schema that is newer than wanted, as an old pod sees it during a rolling update.
    pub allow_ahead: bool,
}

/// A gate that can be asked again and again.
#[derive(Clone, Debug)]
pub struct Gate {
    tool: Option<Tool>,
    goal: Goal,
    table: Option<String>,
    allow_ahead: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Goal {
    At(String),
    AtLeast(String),
    Dir(PathBuf),
    Manifest(PathBuf),
    AtLeastInDir(String, PathBuf),
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As wanted.
    Current(String),
    Behind(String),
    Ahead(String),
    /// A migration has failed, and nobody is at it.
    Dirty(String),
    /// Unfinished, and someone is at it, or that cannot be told.
    Running {
        what: String,
        sure: bool,
    },
    /// Waiting is of no use, because the question is wrong: several tools' tables, no version of the tool.
    Unanswerable(String),
}

impl Gate {
    /// # Errors
    /// What is missing or contradictory.
    pub fn new(config: &MigrationConfig) -> Result<Self, Wrong> {
        let tool = match config.tool.as_deref() {
            None | Some("auto") => None,
            Some(name) => Some(Tool::named(name).ok_or_else(|| {
                let names: Vec<&str> = Tool::ALL.iter().map(|tool| tool.name()).collect();
                let remedy = match podkit::config::nearest(name, names.iter().copied()) {
                    Some(close) => format!("did you mean {close:?}?"),
                    None => format!("known are auto, {}", names.join(", ")),
                };
                Wrong::new(format!("no migration tool is named {name:?}"), remedy)
            })?),
        };
        for (version, key) in [(&config.at, "at"), (&config.at_least, "at_least")] {
            if version.as_ref().is_some_and(|text| text.trim().is_empty()) {
                let what = format!("{key} is empty, so any schema would do");
                return Err(Wrong::new(what, "write a version (is a variable unset?)"));
            }
        }
        let goal = match (&config.at, &config.at_least, &config.dir, &config.manifest) {
            (Some(version), None, None, None) => Goal::At(version.clone()),
            (None, Some(version), None, None) => Goal::AtLeast(version.clone()),
            (None, Some(version), Some(dir), None) => Goal::AtLeastInDir(version.clone(), dir.clone()),
            (None, None, Some(dir), None) => Goal::Dir(dir.clone()),
            (None, None, None, Some(file)) => Goal::Manifest(file.clone()),
            _ => {
                let remedy = "write one of at, at_least, dir and manifest (at_least and dir may go together)";
                return Err(Wrong::new("says no version, or several", remedy));
            }
        };
        Ok(Gate { tool, goal, table: config.table.clone(), allow_ahead: config.allow_ahead })
    }

    /// Asks once.
    ///
    /// # Errors
    /// The network, the server, or unreadable files.
    pub async fn ask(&self, session: &mut Session, dsn: &Dsn, until: Instant) -> Result<Finding, Trouble> {
        match self.look(session, dsn, until).await {
            // SQLite has no server to say these in rows.
            Err(trouble) => match trouble.state.as_deref() {
                Some(MISSING) => Ok(Finding::Behind(format!("nothing applied yet: {}", trouble.reason))),
                Some(BUSY) => Ok(Finding::Running { what: trouble.reason, sure: true }),
                Some(CUT_OFF) => Ok(Finding::Running { what: trouble.reason, sure: false }),
                _ => Err(trouble),
            },
            found => found,
        }
    }

    async fn look(&self, session: &mut Session, dsn: &Dsn, until: Instant) -> Result<Finding, Trouble> {
        let found = match detect::find(session, dsn, self.tool, self.table.as_deref(), until).await? {
            detect::Found::None => {
                let who = self.tool.map_or("any known tool", Tool::name);
                return Ok(Finding::Behind(format!("nothing applied yet: no table of {who}")));
            }
            detect::Found::Several(names) => {
                let what = format!("several tools keep their tables here: {names}; name one by tool");
                return Ok(Finding::Unanswerable(what));
            }
            detect::Found::One(found) => found,
        };
        let tool = found.tool.name();
        let holder = lock::holder(session, dsn, &found, until).await?;
        if let Holder::Someone { who, blocks: true } = &holder {
            return Ok(Finding::Running {
                what: format!("{tool} has locked its table: runs now ({who})"),
                sure: true,
            });
        }
        let applied = applied::read(session, dsn, &found, until).await?;
        if let Some(unfinished) = applied.unfinished.first() {
            return Ok(unfinished_migration(&format!("{tool}: {unfinished}"), applied.failed, holder));
        }
        let wanted = match self.goal.wanted(found.tool, dsn)? {
            Ok(wanted) => wanted,
            Err(why) => return Ok(Finding::Unanswerable(why)),
        };
        Ok(match (compare::compare(found.tool, &applied, &wanted), holder) {
            (Standing::Current(text), _) => Finding::Current(format!("{tool} {text}")),
            (Standing::Ahead(text), _) if self.allow_ahead => {
                Finding::Current(format!("{tool} {text}, which is allowed"))
            }
            (Standing::Ahead(text), _) => Finding::Ahead(format!("{tool} {text}")),
            (Standing::Behind(text), Holder::Someone { who, .. }) => {
                Finding::Running { what: format!("{tool} {text}; it runs now ({who})"), sure: true }
            }
            (Standing::Behind(text), Holder::Row { who, stale }) => {
                Finding::Running { what: format!("{tool} {text}; locked: {who}"), sure: !stale }
            }
            (Standing::Behind(text), Holder::Nobody | Holder::Unknown) => {
                Finding::Behind(format!("{tool} {text}"))
            }
        })
    }
}

impl Goal {
    /// In the tool's spelling, or why there is none.
    fn wanted(&self, tool: Tool, dsn: &Dsn) -> Result<Result<Wanted, String>, Trouble> {
        let listed = |dir: &Path| files::list(tool, dir, dsn.engine);
        let spelled = |text: &str| version::spelled(tool, text);
        Ok(match self {
            Goal::At(version) => spelled(version).map(Wanted::At),
            Goal::AtLeast(version) => spelled(version).map(Wanted::AtLeast),
            Goal::Dir(dir) => Ok(Wanted::All(listed(dir)?)),
            Goal::Manifest(file) => {
                let mut listed = files::manifest(file)?;
                let versions: Result<Vec<String>, String> =
                    listed.versions.iter().map(|text| spelled(text)).collect();
                versions.map(|versions| {
                    listed.versions = versions;
                    Wanted::All(listed)
                })
            }
            Goal::AtLeastInDir(version, dir) => {
                let listed = listed(dir)?;
                spelled(version).map(|version| Wanted::AtLeastIn(version, listed))
            }
        })
    }
}

/// Running, or failed? The holder of the tool's lock knows.
fn unfinished_migration(what: &str, failed: bool, holder: Holder) -> Finding {
    match holder {
        Holder::Someone { who, .. } => {
            Finding::Running { what: format!("{what} runs now ({who})"), sure: true }
        }
        Holder::Row { who, stale } => {
            Finding::Running { what: format!("{what} is unfinished; locked: {who}"), sure: !stale }
        }
        Holder::Nobody => Finding::Dirty(format!("{what} is unfinished, and nobody is running it")),
        Holder::Unknown if failed => Finding::Dirty(format!("{what} has failed")),
        Holder::Unknown => {
            Finding::Running { what: format!("{what} is unfinished: running or failed"), sure: false }
        }
    }
}
