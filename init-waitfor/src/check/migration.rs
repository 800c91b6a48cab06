//! A database URL with a `migration` section, and the `migration` subcommand: the schema is at the wanted version.

use super::{Attempt, NotYet, Verdict};
use crate::config::TargetConfig;
use crate::migration::{AHEAD, BEHIND, DIRTY, Finding, Gate, MigrationConfig};
use crate::sql::{Dsn, Session};
use crate::target::Wrong;
use crate::wire::{Reach, Trouble};

#[derive(Debug)]
pub struct Migration {
    pub dsn: Dsn,
    gate: Gate,
}

impl Migration {
    pub(super) fn new(
        text: &str,
        entry: &TargetConfig,
        config: &MigrationConfig,
    ) -> Result<Self, (&'static str, Wrong)> {
        let dsn = Dsn::parse(text, entry.password.as_ref(), entry.tls.as_ref(), &[])
            .map_err(|wrong| ("target", wrong))?;
        let gate = Gate::new(config).map_err(|wrong| ("migration", wrong))?;
        Ok(Migration { dsn, gate })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        match self.attempt(attempt).await {
            Ok(finding) => verdict(finding),
            Err(trouble) => trouble.into(),
        }
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Finding, Trouble> {
        let reach = Reach { resolver: attempt.resolver, until: attempt.until };
        let mut session = Session::open(reach, &self.dsn, attempt.redactor).await?;
        self.gate.ask(&mut session, &self.dsn, attempt.until).await
    }
}

/// Behind may change; a newer schema and a failed migration do not by themselves, so waiting is of no use.
fn verdict(finding: Finding) -> Verdict {
    let not_yet = |class, reason, code| {
        Verdict::NotYet(NotYet { class, reason, definite: true, code: Some(code), again: None })
    };
    match finding {
        Finding::Current(text) => Verdict::Ready(text),
        Finding::Behind(text) => not_yet("behind", text, BEHIND),
        Finding::Running { what, sure: true } => not_yet("running", what, BEHIND),
        Finding::Running { what, sure: false } => not_yet("unfinished", what, DIRTY),
        Finding::Dirty(reason) => Verdict::Terminal { code: DIRTY, reason },
        Finding::Ahead(reason) => Verdict::Terminal { code: AHEAD, reason },
        Finding::Unanswerable(reason) => Verdict::Terminal { code: 78, reason },
    }
}
