//! Real servers of the Debian packages, in directories of their own, gone with the test process.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use testkit::{Proc, Running, Stream, eventually, skip_or_fail};

pub(crate) const PASSWORD: &str = "pg-S3cret/word";

/// A program in the usual places; `None` (said aloud, or a failure where nothing may be skipped) when it is missing.
pub(crate) fn program(name: &str, package: &str) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> =
        ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().map(PathBuf::from).collect();
    places.extend(
        std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin")),
    );
    let found = places.into_iter().map(|dir| dir.join(name)).find(|path| path.exists());
    if found.is_none() {
        skip_or_fail(&format!("{name} is not here: apt-get install {package}"));
    }
    found
}

/// A directory that stays until the process ends, owned by `user` when we may give it away. A static has no destructor, so the
/// next process sweeps up.
pub(crate) fn directory(user: &str) -> PathBuf {
    static SWEEP: std::sync::Once = std::sync::Once::new();
    SWEEP.call_once(|| {
        for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix("waitfor-server-").and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    });
    let prefix = format!("waitfor-server-{}-", std::process::id());
    let dir = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap().keep();
    give(&dir, user);
    dir
}

pub(crate) fn give(path: &Path, user: &str) {
    if let Some((uid, gid)) = ids(user) {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// Ids of a user to change to; `None` when we are not root and stay who we are.
fn ids(user: &str) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user));
    let mut fields = line.unwrap_or_else(|| panic!("no user {user}")).split(':').skip(2);
    let mut id = || fields.next().unwrap().parse().unwrap();
    Some((id(), id()))
}

/// `setpriv` as `user` (when root), with the parent's death as end.
fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL");
    if let Some((uid, gid)) = ids(user) {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    command.arg("--").arg(program).stdin(Stdio::null());
    command
}

pub(crate) fn run<A: AsRef<OsStr>>(user: &str, program: &Path, args: impl IntoIterator<Item = A>) -> String {
    let mut command = as_user(user, program);
    let done = command.args(args).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {text}", program.display());
    text
}

/// Starts a server that ends with this process; its output goes to `log` in `dir`.
pub(crate) fn start<A: Into<OsString>>(
    user: &str,
    program: &Path,
    dir: &Path,
    args: impl IntoIterator<Item = A>,
) -> u32 {
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut command = as_user(user, program);
    command.args(args.into_iter().map(Into::into)).current_dir(dir);
    command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    // The signal comes when the thread that started the child ends, so that is one which never does.
    let (give, take) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut child = command.spawn().unwrap();
        give.send(child.id()).unwrap();
        let _ = child.wait();
        loop {
            std::thread::park();
        }
    });
    take.recv().unwrap()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn listening(port: u16) {
    eventually("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
}

/// Runs statements by SQLite's own program.
pub(crate) fn sqlite(file: &Path, sql: &str) -> String {
    // A blank first: a comment would be an option.
    let statements = format!(" {sql}");
    let done =
        Command::new("sqlite3").arg("-bail").arg(file).arg(statements).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    text
}

/// A second session beside ours, for as long as this lives: the databases' own programs, fed line by line.
pub(crate) struct SqlSession {
    client: Running,
    /// Prints a text of ours, in the client's language.
    say: fn(&str) -> String,
    told: std::cell::Cell<u32>,
}

impl SqlSession {
    /// Begins a statement that does not end.
    pub(crate) fn begin(&self, sql: &str) {
        self.client.write_stdin(format!("{sql};\n"));
    }

    /// Runs a statement, to its end.
    pub(crate) fn tell(&self, sql: &str) {
        let number = self.told.get() + 1;
        self.told.set(number);
        let mark = format!("done-{number}");
        self.client.write_stdin(format!("{sql};\n{}\n", (self.say)(&mark)));
        self.client.wait_line(Stream::Stdout, sql, |line| line == mark);
    }
}

/// One PostgreSQL for all tests, each with its own database.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub port: u16,
    pub dir: PathBuf,
}

impl Postgres {
    pub(crate) fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
        SERVER.get_or_init(Self::new).as_ref()
    }

    fn new() -> Option<Self> {
        let (initdb, postgres) = (program("initdb", "postgresql")?, program("postgres", "postgresql")?);
        let dir = directory("postgres");
        let secret = dir.join("pw");
        std::fs::write(&secret, PASSWORD).unwrap();
        give(&secret, "postgres");
        let data = dir.join("data");
        let data = data.to_str().unwrap();
        run(
            "postgres",
            &initdb,
            [
                "-D",
                data,
                "-A",
                "scram-sha-256",
                "-U",
                "postgres",
                "--no-sync",
                "--pwfile",
                secret.to_str().unwrap(),
            ],
        );
        let port = free_port();
        let (port_text, sockets) = (port.to_string(), dir.to_str().unwrap());
        let args = [
            "-D",
            data,
            "-p",
            &port_text,
            "-k",
            sockets,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=60",
        ];
        start("postgres", &postgres, &dir, args);
        let server = Postgres { port, dir };
        eventually("PostgreSQL answers", || server.try_sql("postgres", "SELECT 1").ok());
        Some(server)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", PASSWORD.replace('/', "%2F"), self.port)
    }

    /// By psql, so that a test does not test our client with our client.
    pub(crate) fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let done = Command::new("psql")
            .env("PGPASSWORD", PASSWORD)
            .args(["-h", "127.0.0.1", "-U", "postgres", "-d", database, "-Atq", "-v", "ON_ERROR_STOP=1"])
            .args(["-p", &self.port.to_string(), "-c", sql])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        if done.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }

    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) fn session(&self, database: &str) -> SqlSession {
        let client = Proc::new("stdbuf")
            .args([
                "-oL",
                "psql",
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-d",
                database,
                "-Atq",
                "-v",
                "ON_ERROR_STOP=1",
            ])
            .args(["-p", &self.port.to_string()])
            .env("PGPASSWORD", PASSWORD)
            .env("PGAPPNAME", "some tool")
            .with_stdin()
            .spawn();
        SqlSession { client, say: |mark| format!("\\echo {mark}"), told: 0.into() }
    }

    /// A new, empty database.
    pub(crate) fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }
}

/// One MariaDB for all tests.
#[derive(Debug)]
pub(crate) struct MariaDb {
    pub port: u16,
    pub dir: PathBuf,
}

impl MariaDb {
    pub(crate) fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<MariaDb>> = OnceLock::new();
        SERVER.get_or_init(Self::new).as_ref()
    }

    fn new() -> Option<Self> {
        let (install, mysqld) =
            (program("mariadb-install-db", "mariadb-server")?, program("mysqld", "mariadb-server")?);
        let dir = directory("mysql");
        let data = dir.join("data");
        std::fs::create_dir(&data).unwrap();
        give(&data, "mysql");
        let data = format!("--datadir={}", data.display());
        run(
            "mysql",
            &install,
            ["--no-defaults", &data, "--auth-root-authentication-method=normal", "--skip-test-db"],
        );
        let port = free_port();
        let args = [
            "--no-defaults".to_owned(),
            data,
            format!("--port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--socket={}", dir.join("s").display()),
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
            // As MySQL 8 has it by default.
            "--performance-schema=ON".to_owned(),
            "--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON".to_owned(),
            format!("--pid-file={}", dir.join("pid").display()),
        ];
        start("mysql", &mysqld, &dir, args);
        let server = MariaDb { port, dir };
        eventually("MariaDB answers", || server.try_sql("", "SELECT 1").ok());
        server
            .sql("", &format!("CREATE USER app@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO app@'%'"));
        Some(server)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("mysql://app:{}@127.0.0.1:{}/{database}", PASSWORD.replace('/', "%2F"), self.port)
    }

    pub(crate) fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let done = Command::new("mysql")
            .args(["--no-defaults", "-u", "root", "-N", "-B", "-S"])
            .arg(self.dir.join("s"))
            .args(["-e", sql])
            .args(Some(database).filter(|name| !name.is_empty()))
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        if done.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }

    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) fn session(&self, database: &str) -> SqlSession {
        let client = Proc::new("stdbuf")
            .args(["-oL", "mysql", "--no-defaults", "-u", "root", "-n", "-N", "-B", "-S"])
            .arg(self.dir.join("s"))
            .arg(database)
            .with_stdin()
            .spawn();
        SqlSession { client, say: |mark| format!("SELECT '{mark}';"), told: 0.into() }
    }

    pub(crate) fn database(&self, name: &str) -> String {
        self.sql("", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }
}
