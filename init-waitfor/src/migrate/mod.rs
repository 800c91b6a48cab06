//! `gate → lock → gate → run → gate → release`
//!
//! Of N replicas that start together one migrates and the others find it done. The lock belongs to a database session that
//! does nothing else, so it is gone when this process is, however it ends.

mod child;
mod flock;
mod lock;
mod tree;

use std::ffi::OsString;
use std::time::Duration;

use podkit::Exit;
use podkit::backoff::Backoff;
use podkit::dns::Resolver;
use tokio::time::Instant;
use tracing::info;

use crate::cli::MigrateArgs;
use crate::config::{Config, FailFast};
use crate::migration::{AHEAD, BEHIND, DIRTY, Finding, Gate};
use crate::report::Redactor;
use crate::sql::{Dsn, Session};
use crate::wire::{Reach, Trouble};

pub use flock::FileLock;
pub use lock::Key;

/// Lock timeout.
pub const LOCK_TIMEOUT: u8 = 83;
/// The lock's session died while the command ran.
pub const LOCK_LOST: u8 = 86;
/// A transaction pooler, or a database without such locks, cannot hold a session's lock.
pub const POOLER: u8 = 87;

/// Everything that a run needs.
#[derive(Debug)]
pub struct Plan {
    pub dsn: Dsn,
    pub gate: Option<Gate>,
    pub lock_name: String,
    pub lock_timeout: Option<Duration>,
    pub command: Vec<OsString>,
}

/// Shared by all steps.
struct Run<'a> {
    plan: &'a Plan,
    config: &'a Config,
    resolver: &'a Resolver,
    redactor: &'a Redactor,
}

/// What to do after the first gates.
enum Next {
    /// The schema is as wanted.
    Done(String),
    /// We hold the lock.
    Run(Box<Session>),
}

impl Plan {
    /// # Errors
    /// Code 2 with what is wrong.
    pub fn new(
        args: &MigrateArgs,
        tls: &podkit::tls::TlsOptions,
        command: &[OsString],
    ) -> Result<Self, Exit> {
        let usage = |wrong: crate::target::Wrong| {
            Exit::usage(format!("init-waitfor: {}; {}", podkit::secret::mask_url(&wrong.what), wrong.remedy))
        };
        if command.is_empty() {
            return Err(Exit::usage(
                "init-waitfor: migrate without a command; write -- and the command that migrates",
            ));
        }
        let dsn = Dsn::parse(&args.database.db, None, Some(tls), &[]).map_err(usage)?;
        let config = args.database.gate();
        let wants = config.at.is_some()
            || config.at_least.is_some()
            || config.dir.is_some()
            || config.manifest.is_some();
        let gate = if wants { Some(Gate::new(&config).map_err(usage)?) } else { None };
        Ok(Plan {
            dsn,
            gate,
            lock_name: args.lock_name.clone(),
            lock_timeout: args.lock_timeout.limit(),
            command: command.to_vec(),
        })
    }
}

/// # Errors
/// The command's own code, or that of the gate or the lock.
pub async fn migrate(
    plan: &Plan,
    config: &Config,
    resolver: &Resolver,
    stop: impl Future<Output = u8>,
) -> Result<(), Exit> {
    let redactor = Redactor::default();
    let run = Run { plan, config, resolver, redactor: &redactor };
    let result = run.all(stop).await;
    result.map_err(|exit| {
        let Some(message) = &exit.message else { return exit };
        let message = redactor.clean(message);
        let termination = serde_json::json!({
            "reason": "migrate", "code": exit.code, "error": message.chars().take(1500).collect::<String>()
        });
        Exit::with(exit.code, message).termination(termination.to_string())
    })
}

impl Run<'_> {
    async fn all(&self, stop: impl Future<Output = u8>) -> Result<(), Exit> {
        let next = tokio::select! {
            biased;
            code = stop => return Err(Exit::with(code, "init-waitfor: stopped before the migration began")),
            next = self.prepare() => next?,
        };
        let mut session = match next {
            Next::Done(text) => {
                info!(found = text, "nothing to migrate");
                return Ok(());
            }
            Next::Run(session) => session,
        };
        info!(lock = self.plan.lock_name, "lock held, running the command");
        child::run(&self.plan.command, &mut session).await?;
        let verdict = self.verify(&mut session).await;
        lock::release(&mut session, &self.key(), self.until()).await;
        verdict
    }

    /// Up to holding the lock, or seeing that there is nothing to do.
    async fn prepare(&self) -> Result<Next, Exit> {
        let begun = Instant::now();
        let mut reach_until = self.config.timeout.limit().map(|limit| begun + limit);
        let mut backoff = Backoff::new(self.config.interval.get(), self.config.max_interval.get());
        let mut lock_until: Option<Instant> = None;
        let mut told = String::new();
        loop {
            let mut queued = false;
            let trouble = match self.connect_and_lock(&mut lock_until, &mut queued).await {
                Ok(next) => return Ok(next),
                Err(Step::Exit(exit)) => return Err(exit),
                Err(Step::Again(trouble)) => trouble,
            };
            if queued {
                // The database was there while we stood in line: it has its whole time again.
                reach_until = self.config.timeout.limit().map(|limit| Instant::now() + limit);
            }
            if trouble.code == Some(crate::code::AUTH) && self.config.fail_fast == Some(FailFast::Auth) {
                return Err(Exit::with(crate::code::AUTH, format!("init-waitfor: {}", trouble.reason)));
            }
            if reach_until.is_some_and(|until| Instant::now() >= until) {
                let code = trouble.code.unwrap_or(crate::code::TIMEOUT);
                return Err(Exit::with(
                    code,
                    format!("init-waitfor: the database is not ready: {}", trouble.reason),
                ));
            }
            let reason = self.redactor.clean(&trouble.reason);
            if reason != told {
                info!(reason, "the database is not ready");
                told = reason;
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    /// `queued`: another replica had the lock.
    async fn connect_and_lock(
        &self,
        lock_until: &mut Option<Instant>,
        queued: &mut bool,
    ) -> Result<Next, Step> {
        let reach = Reach { resolver: self.resolver, until: self.until() };
        let mut session = Session::open(reach, &self.plan.dsn, self.redactor).await?;
        if let Some(done) = self.look(&mut session).await? {
            return Ok(Next::Done(done));
        }
        if lock::behind_a_pooler(&mut session, self.until()).await? {
            return Err(Step::Exit(Exit::with(
                POOLER,
                "init-waitfor: a connection pooler stands between us and the database, and gives each transaction another session; \
                 a lock would hold nothing. Give --db the database's own address",
            )));
        }
        lock::prepare(&mut session, self.until()).await?;
        let key = self.key();
        let until = match (*lock_until, self.plan.lock_timeout) {
            (Some(until), _) => Some(until),
            (None, limit) => limit.map(|limit| Instant::now() + limit),
        };
        *lock_until = until;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        while !lock::try_take(&mut session, &key, self.until()).await? {
            if !*queued {
                info!(lock = self.plan.lock_name, "another replica holds the lock");
                *queued = true;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                let name = &self.plan.lock_name;
                let why = format!(
                    "init-waitfor: the lock {name:?} was not free within --lock-timeout; another replica migrates still, or hangs"
                );
                return Err(Step::Exit(Exit::with(LOCK_TIMEOUT, why)));
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
        if !lock::is_real(&mut session, self.until()).await? {
            return Err(Step::Exit(Exit::with(
                POOLER,
                "init-waitfor: this database says yes to every advisory lock and holds none (as CockroachDB does), so replicas would migrate at \
                 once; run the migration in one place, such as a Job, and let the replicas wait by `init-waitfor migration`",
            )));
        }
        // Someone may have migrated while we waited.
        match self.look(&mut session).await? {
            Some(done) => {
                lock::release(&mut session, &key, self.until()).await;
                Ok(Next::Done(done))
            }
            None => Ok(Next::Run(Box::new(session))),
        }
    }

    /// The gate before the command: `Some` when there is nothing to do.
    async fn look(&self, session: &mut Session) -> Result<Option<String>, Step> {
        let Some(gate) = &self.plan.gate else { return Ok(None) };
        match gate.ask(session, &self.plan.dsn, self.until()).await? {
            Finding::Current(text) => Ok(Some(text)),
            // Whether it runs is for the lock to say; an unfinished row that nobody works at is for the command (or a person).
            Finding::Behind(_) | Finding::Running { .. } => Ok(None),
            Finding::Ahead(text) => Err(Step::Exit(Exit::with(AHEAD, format!("init-waitfor: {text}")))),
            Finding::Dirty(text) => {
                Err(Step::Exit(Exit::with(DIRTY, format!("init-waitfor: {text}; repair it by hand"))))
            }
            Finding::Unanswerable(text) => Err(Step::Exit(Exit::config(format!("init-waitfor: {text}")))),
        }
    }

    /// The gate after the command.
    async fn verify(&self, session: &mut Session) -> Result<(), Exit> {
        let Some(gate) = &self.plan.gate else { return Ok(()) };
        let after = "the command ended with 0, but";
        match gate.ask(session, &self.plan.dsn, self.until()).await {
            Ok(Finding::Current(text)) => {
                info!(found = text, "migrated");
                Ok(())
            }
            Ok(Finding::Behind(text) | Finding::Running { what: text, .. }) => {
                Err(Exit::with(BEHIND, format!("init-waitfor: {after} {text}")))
            }
            Ok(Finding::Ahead(text)) => Err(Exit::with(AHEAD, format!("init-waitfor: {after} {text}"))),
            Ok(Finding::Dirty(text)) => Err(Exit::with(DIRTY, format!("init-waitfor: {after} {text}"))),
            Ok(Finding::Unanswerable(text)) => Err(Exit::config(format!("init-waitfor: {after} {text}"))),
            Err(trouble) => Err(Exit::failed(format!(
                "init-waitfor: {after} the schema cannot be read: {}",
                trouble.reason
            ))),
        }
    }

    fn key(&self) -> Key {
        Key::new(&self.plan.dsn.database, &self.plan.lock_name)
    }

    fn until(&self) -> Instant {
        Instant::now() + self.config.attempt_timeout.get()
    }
}

/// Why a step did not come to its end.
enum Step {
    Exit(Exit),
    /// Connect again.
    Again(Trouble),
}

impl From<Trouble> for Step {
    fn from(trouble: Trouble) -> Self {
        Step::Again(trouble)
    }
}
