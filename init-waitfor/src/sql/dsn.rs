//! `postgres://user:password@host:port/database?option=…`, `mysql://…` and `sqlite://path`: what people already have in `DATABASE_URL`.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use podkit::secret::Secret;
use podkit::tls::TlsOptions;
use rustls::pki_types::ServerName;

use crate::report::Redactor;
use crate::target::{HostPort, Query, Wrong, check_userinfo, host_port};
use crate::wire::Trouble;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    MySql,
    Sqlite,
}

/// How much TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Off,
    /// If the server offers it, without looking at its certificate: the libpq default.
    Prefer,
    /// Always, without looking at the certificate (unless a CA is given).
    Require,
    /// Always, with chain and name.
    Verify,
}

/// Where a database is and who we are there. Shows no password in any form.
#[derive(Clone)]
pub struct Dsn {
    pub engine: Engine,
    pub at: HostPort,
    /// `host=/run/postgresql`, `socket=/run/mysqld/mysqld.sock`.
    pub socket: Option<PathBuf>,
    pub user: String,
    /// For SQLite the file.
    pub database: String,
    pub tls: TlsMode,
    pub tls_options: TlsOptions,
    pub query: Query,
    password: Option<String>,
    secret: Option<Secret>,
}

impl std::fmt::Debug for Dsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.engine == Engine::Sqlite {
            return write!(f, "{:?} {}", self.engine, self.database);
        }
        write!(f, "{:?} {}@{}/{}", self.engine, self.user, self.at, self.database)
    }
}

/// Options of the drivers people use. They are let through, so that a `DATABASE_URL` works as it is; what they say is for those drivers.
const FOREIGN: [&str; 63] = [
    "application_name",
    "connect_timeout",
    "options",
    "channel_binding",
    "target_session_attrs",
    "gssencmode",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "tcp_user_timeout",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "pgbouncer",
    "connection_limit",
    "pool_timeout",
    "statement_cache_size",
    "socket_timeout",
    "pool_max_conns",
    "charset",
    "collation",
    "parseTime",
    "loc",
    "timeout",
    "readTimeout",
    "writeTimeout",
    "multiStatements",
    "useSSL",
    "serverTimezone",
    "allowPublicKeyRetrieval",
    "encoding",
    "max_connections",
    "sslaccept",
    "sslcrl",
    "sslidentity",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "uselibpqcompat",
    "client_encoding",
    "timezone",
    "statement_timeout",
    "lock_timeout",
    "default_query_exec_mode",
    "statement-cache-capacity",
    "prepared_statements",
    "prepareThreshold",
    "pool",
    "pool_size",
    "pool_min_conns",
    "pool_max_conn_lifetime",
    "pool_max_conn_idle_time",
    "reconnect",
    "interpolateParams",
    "maxAllowedPacket",
    "connectTimeout",
    "connection_timeout",
    "read_timeout",
    "write_timeout",
    "useUnicode",
    "characterEncoding",
    "x-multi-statement",
    "x-statement-timeout",
];

/// PostgreSQL's schemas, as Prisma, JDBC and pgx write them.
const SCHEMAS: [&str; 3] = ["schema", "currentSchema", "search_path"];
/// golang-migrate's table.
const HISTORY: &str = "x-migrations-table";

/// The same for SQLite's.
const FOREIGN_SQLITE: [&str; 24] = [
    "mode",
    "cache",
    "immutable",
    "vfs",
    "nolock",
    "psow",
    "uri",
    "timeout",
    "busy_timeout",
    "connection_limit",
    "pool",
    "pool_timeout",
    "socket_timeout",
    "check_same_thread",
    "transaction_mode",
    "foreign_keys",
    "_pragma",
    "_fk",
    "_foreign_keys",
    "_busy_timeout",
    "_journal_mode",
    "_txlock",
    "x-migrations-table",
    "x-no-tx-wrap",
];

impl Dsn {
    /// Whether a scheme names a database that we speak to.
    pub fn engine_of(scheme: &str) -> Option<Engine> {
        // SQLAlchemy and Django write the driver behind a plus.
        match scheme.split('+').next().unwrap_or_default() {
            "postgres" | "postgresql" | "pgsql" | "cockroachdb" => Some(Engine::Postgres),
            "mysql" | "mariadb" => Some(Engine::MySql),
            "sqlite" | "sqlite3" => Some(Engine::Sqlite),
            _ => None,
        }
    }

    /// `own` are options that the caller understands beyond those of the connection.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(
        text: &str,
        secret: Option<&Secret>,
        tls: Option<&TlsOptions>,
        own: &[&str],
    ) -> Result<Self, Wrong> {
        if let Some((scheme, rest)) = sqlite_url(text) {
            return Self::parse_sqlite(scheme, rest, own);
        }
        let example = "write for example postgres://db:5432/app, mysql://db/app or sqlite:///data/app.db";
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| Wrong::new("is no database URL", example))?;
        check_userinfo(text)?;
        let engine = Self::engine_of(scheme)
            .ok_or_else(|| Wrong::new(format!("{scheme}:// is no database that can be asked"), example))?;
        let (before, query) = match rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (rest, None),
        };
        let mut allowed = vec!["sslmode", "ssl-mode", "ssl", "tls", "host", "socket", HISTORY];
        allowed.extend(SCHEMAS);
        allowed.extend(own);
        allowed.extend(FOREIGN);
        let query = Query::parse(query, &allowed)?;
        let (authority, database) = before.split_once('/').unwrap_or((before, ""));
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        let (user, password) =
            match userinfo.map(|info| info.split_once(':').map_or((info, None), |(u, p)| (u, Some(p)))) {
                Some((user, password)) => (decode(user), password.map(decode)),
                None => (String::new(), None),
            };
        let default_port = if engine == Engine::Postgres { 5432 } else { 3306 };
        let socket = match (query.get("host"), query.get("socket")) {
            (Some(dir), _) if dir.starts_with('/') => Some(PathBuf::from(dir)),
            (_, Some(path)) => Some(PathBuf::from(path)),
            _ => None,
        };
        let host = if host.is_empty() { "localhost" } else { host };
        if host.contains(',') {
            return Err(Wrong::new(
                "several hosts in one URL",
                "write one target per host, with --any if one is enough",
            ));
        }
        let at = host_port(host, Some(default_port))?;
        let user = match (user.is_empty(), engine) {
            (false, _) => user,
            (true, Engine::Postgres) => std::env::var("PGUSER").unwrap_or_else(|_| "postgres".to_owned()),
            (true, _) => "root".to_owned(),
        };
        let database = decode(database.trim_end_matches('/'));
        let database =
            if database.is_empty() && engine == Engine::Postgres { user.clone() } else { database };
        let tls_options = tls.cloned().unwrap_or_default();
        Ok(Dsn {
            tls: tls_mode(&query, &tls_options)?,
            engine,
            at,
            socket,
            user,
            database,
            tls_options,
            query,
            password,
            secret: secret.cloned(),
        })
    }

    /// There is no one standard for what follows `sqlite:`; see [`Dsn::file`].
    fn parse_sqlite(scheme: &str, rest: &str, own: &[&str]) -> Result<Self, Wrong> {
        let example = "write for example sqlite:///data/app.db";
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let mut allowed = own.to_vec();
        allowed.extend(FOREIGN_SQLITE);
        let query = Query::parse(query, &allowed)?;
        let path = decode(path);
        let bare = path.trim_start_matches('/');
        if bare.is_empty() || bare == ":memory:" || query.get("mode") == Some("memory") {
            return Err(Wrong::new("a database in memory belongs to the process that made it", example));
        }
        // SQLAlchemy's: three slashes and a path that is not absolute.
        let python = scheme.contains('+') && path.starts_with('/') && !path.starts_with("//");
        let database = if python { bare.to_owned() } else { path };
        let nowhere = HostPort { host: String::new(), port: 0 };
        Ok(Dsn {
            engine: Engine::Sqlite,
            at: nowhere,
            socket: None,
            user: String::new(),
            database,
            tls: TlsMode::Off,
            tls_options: TlsOptions::default(),
            query,
            password: None,
            secret: None,
        })
    }

    /// Schemas that the URL names, in which the app's tables are then.
    pub fn schemas(&self) -> impl Iterator<Item = &str> {
        let named = SCHEMAS.into_iter().filter_map(move |key| self.query.get(key));
        let each = named.flat_map(|list| list.split(',')).map(|name| name.trim().trim_matches('"'));
        each.filter(|name| !name.is_empty() && *name != "$user")
    }

    /// The history's table, where the URL names it.
    pub fn history(&self) -> Option<String> {
        self.query.get(HISTORY).map(|name| name.replace('"', ""))
    }

    /// Where the SQLite file is now. `sqlite:///data/app.db` is `/data/app.db` for sqlx, dbmate and Prisma, and `data/app.db` for
    /// SQLAlchemy and Django's readers of URLs (which write four slashes for the other one): it is the absolute path, unless only the
    /// relative one is there, or only its directory.
    pub fn file(&self) -> PathBuf {
        let path = PathBuf::from(&self.database);
        let relative = PathBuf::from(self.database.trim_start_matches('/'));
        let directory = |path: &Path| match path.parent() {
            Some(parent) if parent != Path::new("") => parent.is_dir(),
            _ => true,
        };
        let ambiguous = self.database.starts_with('/') && !self.database.starts_with("//");
        let better = !path.exists() && (relative.exists() || !directory(&path) && directory(&relative));
        if ambiguous && better { relative } else { path }
    }

    /// From the secret (read now), the URL, or the variable that the database's own tools read.
    ///
    /// # Errors
    /// The secret cannot be read.
    pub fn password(&self, redactor: &Redactor) -> Result<Option<String>, Trouble> {
        let variable = match self.engine {
            Engine::Postgres => "PGPASSWORD",
            Engine::MySql => "MYSQL_PWD",
            Engine::Sqlite => return Ok(None),
        };
        let password = match (&self.secret, &self.password) {
            (Some(secret), _) => {
                Some(secret.read().map_err(|error| Trouble::unknown("secret", error.to_string()))?)
            }
            (None, Some(password)) => Some(password.clone()),
            (None, None) => std::env::var(variable).ok(),
        };
        password.iter().for_each(|password| redactor.learn(password));
        Ok(password)
    }

    /// The options for a handshake, and the name to check.
    ///
    /// # Errors
    /// A host that is no name.
    pub fn tls_for_handshake(&self) -> Result<(TlsOptions, ServerName<'static>), Trouble> {
        let mut options = self.tls_options.clone();
        if self.tls != TlsMode::Verify && options.ca.is_none() {
            options.insecure = true;
        }
        let name = ServerName::try_from(self.at.host.trim_end_matches('.').to_owned()).map_err(|_| {
            Trouble::unknown("handshake", format!("{} is no name for a certificate", self.at.host))
        })?;
        Ok((options, name))
    }
}

fn tls_mode(query: &Query, options: &TlsOptions) -> Result<TlsMode, Wrong> {
    let text = ["sslmode", "ssl-mode", "ssl", "tls"].into_iter().find_map(|key| query.get(key));
    let Some(text) = text else {
        return Ok(if options.ca.is_some() { TlsMode::Verify } else { TlsMode::Prefer });
    };
    match text.to_ascii_lowercase().as_str() {
        "disable" | "disabled" | "false" | "off" | "0" => Ok(TlsMode::Off),
        "allow" | "prefer" | "preferred" => Ok(TlsMode::Prefer),
        "require" | "required" | "skip-verify" | "no-verify" => Ok(TlsMode::Require),
        "verify-ca" | "verify_ca" | "verify-full" | "verify-identity" | "verify_identity" | "true" | "1" => {
            Ok(TlsMode::Verify)
        }
        _ => Err(Wrong::new(
            format!("{text:?} is no TLS mode"),
            "write disable, prefer, require or verify-full",
        )),
    }
}

/// `sqlite://path`, `sqlite:path`, and `file:path` as Prisma and libsql write it: the scheme and what follows it.
fn sqlite_url(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let ours = scheme == "file" || Dsn::engine_of(scheme) == Some(Engine::Sqlite);
    ours.then(|| (scheme, rest.strip_prefix("//").unwrap_or(rest)))
}

/// For `--db`: what `sqlite` means needs no double slash here, and `file:` is a database.
///
/// # Errors
/// What is wrong and what to write.
pub fn database_argument(text: &str) -> Result<String, String> {
    let text = text.trim();
    let whole = match sqlite_url(text) {
        Some(("file", rest)) => format!("sqlite://{rest}"),
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => text.to_owned(),
    };
    match Dsn::parse(&whole, None, None, &[]) {
        Ok(_) => Ok(whole),
        Err(wrong) => {
            let redactor = Redactor::default();
            redactor.learn_url(text);
            Err(redactor.clean(&format!("{}; {}", wrong.what, wrong.remedy)))
        }
    }
}

/// Percent signs decoded.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dsn(text: &str) -> Result<Dsn, Wrong> {
        Dsn::parse(text, None, None, &["role"])
    }

    #[test]
    fn urls_as_people_have_them() {
        let got = dsn(
            "postgresql+psycopg2://app:p%40ss%2Fword@db.svc:6543/shop?sslmode=verify-full&application_name=x",
        )
        .unwrap();
        assert_eq!((got.engine, got.user.as_str(), got.database.as_str()), (Engine::Postgres, "app", "shop"));
        assert_eq!((got.at.to_string().as_str(), got.tls), ("db.svc:6543", TlsMode::Verify));
        assert_eq!(got.password(&Redactor::default()).unwrap().as_deref(), Some("p@ss/word"));
        assert!(!format!("{got:?}").contains("p@ss"));
        let got =
            dsn("postgres://app@db/shop?schema=shop&search_path=\"$user\", Other,public&ssl=true").unwrap();
        assert_eq!(got.schemas().collect::<Vec<_>>(), ["shop", "Other", "public"]);
        assert_eq!((got.tls, got.history()), (TlsMode::Verify, None));
        let got = dsn("postgres://app@db/shop?x-migrations-table=\"meta\".\"done\"").unwrap();
        assert_eq!(got.history().as_deref(), Some("meta.done"));
        let got = dsn("mysql://root@[::1]/app").unwrap();
        assert_eq!((got.at.to_string().as_str(), got.tls), ("[::1]:3306", TlsMode::Prefer));
        let got = dsn("postgres://app@/app?host=/run/postgresql").unwrap();
        assert_eq!(got.socket, Some("/run/postgresql".into()));
    }

    #[test]
    fn sqlite_files_as_people_write_them() {
        for (text, path) in [
            ("sqlite:////data/app.db", "//data/app.db"),
            ("sqlite:///data/app.db?mode=rwc", "/data/app.db"),
            ("sqlite://data/app%20x.db", "data/app x.db"),
            ("sqlite3:db/app.sqlite3", "db/app.sqlite3"),
            ("sqlite+aiosqlite:///data/app.db", "data/app.db"),
            ("sqlite+pysqlite:////data/app.db", "//data/app.db"),
            ("file:./dev.db?connection_limit=1", "./dev.db"),
            ("file:///data/app.db", "/data/app.db"),
        ] {
            let got = dsn(text).unwrap();
            assert_eq!((got.engine, got.database.as_str()), (Engine::Sqlite, path), "{text}");
            assert_eq!(dsn(&database_argument(text).unwrap()).unwrap().database, path, "{text}");
        }
        for text in [
            "sqlite://",
            "sqlite::memory:",
            "sqlite:///:memory:",
            "file::memory:?cache=shared",
            "sqlite://x?mode=memory",
        ] {
            assert!(dsn(text).unwrap_err().what.contains("in memory"), "{text}");
        }
        assert!(dsn("sqlite:///x?moed=ro").unwrap_err().remedy.contains("mode"));
    }

    #[test]
    fn three_slashes_are_absolute_unless_only_the_relative_path_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app.db");
        let absolute = dsn(&format!("sqlite://{}", file.display())).unwrap();
        assert_eq!(absolute.file(), file);
        // Tests run in the package's directory.
        assert_eq!(dsn("sqlite:///src/lib.rs").unwrap().file(), Path::new("src/lib.rs"));
        assert_eq!(dsn("sqlite:///src/new.db").unwrap().file(), Path::new("src/new.db"));
        assert_eq!(dsn("sqlite:////src/new.db").unwrap().file(), Path::new("//src/new.db"));
    }

    #[test]
    fn mistakes() {
        assert!(dsn("oracle://a@b/c").unwrap_err().what.contains("oracle"));
        assert_eq!(dsn("postgres://a@b/c?sslmdoe=require").unwrap_err().remedy, "did you mean \"sslmode\"?");
        assert!(dsn("postgres://a@b/c?sslmode=maybe").is_err());
        assert!(dsn("postgres://a:b@c/d@e/f").unwrap_err().remedy.contains("%2F"));
        assert!(dsn("postgres://a@b,c/d").unwrap_err().remedy.contains("--any"));
    }
}
