//! One attempt at one target: Ready, NotYet or Terminal.
//!
//! Each kind of target is a module with a struct, `parse` (pure) and `check` (one attempt, within its time).

mod amqp;
mod brokers;
mod dns;
mod exec;
mod file;
mod grpc;
mod http;
mod k8s;
mod kafka;
mod memcached;
mod migration;
mod mongodb;
mod mqtt;
mod nats;
mod redis;
mod sql;
mod tcp;
mod tls;
mod unix;
mod x509;

use std::time::Duration;

use podkit::dns::Resolver;
use tokio::time::Instant;

use crate::config::TargetConfig;
use crate::report::Redactor;
use crate::target::{Wrong, split};

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There; the text says what was found.
    Ready(String),
    /// Not there, and worth another attempt.
    NotYet(NotYet),
    /// Not there, and no attempt will change that. Ends the wait when enough can no longer become ready.
    Terminal { code: u8, reason: String },
}

/// Why not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYet {
    /// What kind of obstacle: a change of it is progress, which shortens the pauses again.
    pub class: &'static str,
    pub reason: String,
    /// The answer was "no". An attempt that came to no answer (a timeout, an error) is not definite, and `not:` leaves it
    /// as it is.
    pub definite: bool,
    /// The exit code if time runs out in this state; 124 when absent.
    pub code: Option<u8>,
    /// Look again after this time rather than after the backoff's.
    pub again: Option<Duration>,
}

impl Verdict {
    pub fn ready(text: impl Into<String>) -> Self {
        Verdict::Ready(text.into())
    }

    /// "No": the thing is not there, or not as wanted.
    pub fn no(class: &'static str, reason: impl Into<String>) -> Self {
        Verdict::NotYet(NotYet { class, reason: reason.into(), definite: true, code: None, again: None })
    }

    /// No answer: unreachable, too slow, nonsense.
    pub fn unknown(class: &'static str, reason: impl Into<String>) -> Self {
        Verdict::NotYet(NotYet { class, reason: reason.into(), definite: false, code: None, again: None })
    }

    /// The server knows us and does not want us: exit code 84 at the end.
    pub fn auth(reason: impl Into<String>) -> Self {
        let code = Some(crate::code::AUTH);
        Verdict::NotYet(NotYet { class: "auth", reason: reason.into(), definite: false, code, again: None })
    }

    /// As `not:` sees it: definite answers change sides, everything else stays.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Verdict::Ready(text) => Verdict::no("present", format!("still there: {text}")),
            Verdict::NotYet(not_yet) if not_yet.definite => Verdict::Ready(not_yet.reason),
            other => other,
        }
    }
}

/// What an attempt may use.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub resolver: &'a Resolver,
    /// The attempt's time is up.
    pub until: Instant,
    /// For secrets that are read while checking.
    pub redactor: &'a Redactor,
}

impl Attempt<'_> {
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// All kinds of targets.
#[derive(Debug)]
pub enum Check {
    Dns(dns::Dns),
    Tcp(tcp::Tcp),
    Unix(unix::Unix),
    Http(Box<http::Http>),
    Tls(tls::Tls),
    File(file::File),
    Exec(exec::Exec),
    Sql(Box<sql::Sql>),
    Migration(Box<migration::Migration>),
    Broker(Box<brokers::Broker>),
    Grpc(Box<grpc::Grpc>),
    K8s(Box<k8s::K8s>),
}

/// Those that are not in a table of their own.
const SCHEMES: [&str; 17] = [
    "dns",
    "tcp",
    "unix",
    "http",
    "https",
    "tls",
    "file",
    "exec",
    "k8s",
    "grpc",
    "grpcs",
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "sqlite",
    "sqlite3",
];

impl Check {
    /// # Errors
    /// The key that is wrong, and why.
    pub fn new(
        parts: &crate::target::Parts<'_>,
        entry: &TargetConfig,
        redactor: &Redactor,
    ) -> Result<Self, (&'static str, Wrong)> {
        let at_target = |wrong| ("target", wrong);
        let check = match parts.scheme {
            "dns" => Check::Dns(dns::Dns::parse(parts).map_err(at_target)?),
            "tcp" => Check::Tcp(tcp::Tcp::parse(parts).map_err(at_target)?),
            "unix" => Check::Unix(unix::Unix::parse(parts).map_err(at_target)?),
            "http" | "https" => Check::Http(Box::new(http::Http::new(parts.whole, entry, redactor)?)),
            "tls" => Check::Tls(tls::Tls::parse(parts, entry.tls.as_ref()).map_err(at_target)?),
            "file" => Check::File(file::File::parse(parts).map_err(at_target)?),
            "exec" => Check::Exec(exec::Exec::new(parts.rest, &entry.command).map_err(at_target)?),
            "k8s" => Check::K8s(Box::new(k8s::K8s::parse(parts).map_err(at_target)?)),
            "grpc" | "grpcs" => Check::Grpc(Box::new(grpc::Grpc::parse(parts, entry).map_err(at_target)?)),
            database if crate::sql::Dsn::engine_of(database).is_some() && entry.migration.is_some() => {
                let config = entry.migration.clone().unwrap_or_default();
                Check::Migration(Box::new(migration::Migration::new(parts.whole, entry, &config)?))
            }
            database if crate::sql::Dsn::engine_of(database).is_some() => {
                Check::Sql(Box::new(sql::Sql::new(parts.whole, entry).map_err(at_target)?))
            }
            other => match brokers::Broker::parse(parts, entry) {
                Some(broker) => Check::Broker(Box::new(broker.map_err(at_target)?)),
                None => return Err(at_target(unknown_scheme(other))),
            },
        };
        let for_http = matches!(check, Check::Http(_));
        if entry.http.is_some() && !for_http {
            return Err(("http", Wrong::new("is only for http:// and https://", "take it out")));
        }
        if entry.migration.is_some() && !matches!(check, Check::Migration(_)) {
            return Err((
                "migration",
                Wrong::new("is only for postgres://, mysql:// and sqlite://", "take it out"),
            ));
        }
        if !entry.command.is_empty() && !matches!(check, Check::Exec(_)) {
            return Err(("command", Wrong::new("is only for exec:", "take it out")));
        }
        Ok(check)
    }

    /// One attempt. Ends soon after `attempt.until`, whatever happens.
    pub async fn run(&self, attempt: &Attempt<'_>) -> Verdict {
        match self {
            Check::Dns(check) => check.check(attempt).await,
            Check::Tcp(check) => check.check(attempt).await,
            Check::Unix(check) => check.check(attempt).await,
            Check::Http(check) => check.check(attempt).await,
            Check::Tls(check) => check.check(attempt).await,
            Check::File(check) => check.check().await,
            Check::Exec(check) => check.check(attempt).await,
            Check::Sql(check) => check.check(attempt).await,
            Check::Broker(check) => check.check(attempt).await,
            Check::Grpc(check) => check.check(attempt).await,
            Check::K8s(check) => check.check(attempt).await,
            Check::Migration(check) => check.check(attempt).await,
        }
    }

    /// The host that would be looked up, for `explain`.
    pub fn host(&self) -> Option<String> {
        match self {
            Check::Dns(check) => Some(check.name.clone()),
            Check::Tcp(check) => Some(check.at.host.clone()),
            Check::Tls(check) => Some(check.at.host.clone()),
            Check::Http(check) => check.host(),
            Check::Sql(check) => Some(check.dsn.at.host.clone()).filter(|host| !host.is_empty()),
            Check::Broker(check) => Some(check.login.at.host.clone()),
            Check::Grpc(check) => Some(check.at.host.clone()),
            Check::Migration(check) => Some(check.dsn.at.host.clone()).filter(|host| !host.is_empty()),
            Check::Unix(_) | Check::File(_) | Check::Exec(_) | Check::K8s(_) => None,
        }
    }
}

fn unknown_scheme(scheme: &str) -> Wrong {
    let known: Vec<&str> = SCHEMES.into_iter().chain(brokers::Broker::schemes()).collect();
    let remedy = match podkit::config::nearest(scheme, known.iter().copied()) {
        Some("exec") => "did you mean exec:COMMAND?".to_owned(),
        Some(close) => format!("did you mean {close}://?"),
        None => format!("known are {}", known.join(", ")),
    };
    Wrong::new(format!("unknown target {scheme}://"), remedy)
}

/// Whether a text names an HTTP target.
pub fn is_http(text: &str) -> bool {
    split(text.trim()).is_ok_and(|parts| matches!(parts.scheme, "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_flips_only_definite_answers() {
        assert!(matches!(Verdict::ready("there").negated(), Verdict::NotYet(no) if no.definite));
        assert!(matches!(Verdict::no("dns", "NXDOMAIN").negated(), Verdict::Ready(_)));
        assert!(matches!(Verdict::unknown("dns", "timeout").negated(), Verdict::NotYet(no) if !no.definite));
        let terminal = Verdict::Terminal { code: 85, reason: "failed".into() };
        assert_eq!(terminal.clone().negated(), terminal);
    }
}
