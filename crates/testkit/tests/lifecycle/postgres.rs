//! A real PostgreSQL outside of the pod.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use testkit::{Identity, PodDir, Proc, Running, eventually, skip_or_fail};

pub(crate) const PASSWORD: &str = "correct horse";

/// Not 5432: that is the pod's on localhost.
const PORT: u16 = 15432;

pub(crate) struct Postgres {
    dir: PodDir,
    bin: PathBuf,
    _server: Running,
}

impl Postgres {
    /// `None` where PostgreSQL is not installed. With an identity it takes TLS connections only.
    pub(crate) fn start(identity: Option<&Identity>) -> Option<Self> {
        let Some(bin) = bin() else {
            skip_or_fail("PostgreSQL is not installed");
            return None;
        };
        let dir = PodDir::new();
        own(dir.path());
        let data = dir.join("data");
        let password = dir.write("password", PASSWORD);
        own(&password);
        let as_user = |program: &str| {
            let user = ["--reuid=postgres", "--regid=postgres", "--init-groups"];
            Proc::new("setpriv").args(user).arg(bin.join(program)).current_dir(dir.path())
        };
        let init =
            as_user("initdb").args(["-A", "scram-sha-256", "-U", "postgres", "--no-sync", "-D"]).arg(&data);
        init.arg("--pwfile").arg(&password).run().expect_code(0);
        let mut server = as_user("postgres").arg("-D").arg(&data).arg("-k").arg(dir.path());
        server = server.args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=40",
            "-p",
            &PORT.to_string(),
        ]);
        if let Some(identity) = identity {
            let (cert, key) = identity.write(&dir, "tls");
            own(&key);
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
            let setting = |name: &str, path: &Path| format!("{name}={}", path.display());
            server = server.args(["-c", "ssl=on", "-c", &setting("ssl_cert_file", &cert)]);
            server = server.args(["-c", &setting("ssl_key_file", &key)]);
            // Whoever comes over TCP comes with TLS.
            let rules = "local all all scram-sha-256\nhostssl all all all scram-sha-256\n";
            std::fs::write(data.join("pg_hba.conf"), rules).expect("write pg_hba.conf");
        }
        let postgres = Postgres { _server: server.spawn(), bin, dir };
        eventually("PostgreSQL answers", || {
            (postgres.psql("postgres", "SELECT 1").0 == Some(0)).then_some(())
        });
        Some(postgres)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, PORT).into()
    }

    /// Through the unix socket, by psql.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let (code, text) = self.psql(database, sql);
        assert_eq!(code, Some(0), "{sql}: {text}");
        text
    }

    fn psql(&self, database: &str, sql: &str) -> (Option<i32>, String) {
        let psql = Proc::new(self.bin.join("psql"))
            .env("PGPASSWORD", PASSWORD)
            .arg("-h")
            .arg(self.dir.path())
            .args(["-p", &PORT.to_string()]);
        let done = psql.args(["-U", "postgres", "-d", database, "-Atqc", sql]).run();
        (done.code(), format!("{}{}", done.stdout().trim(), done.stderr()))
    }
}

/// Where Debian keeps PostgreSQL's own programs.
fn bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut bins: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    bins.retain(|bin| bin.join("initdb").exists() && bin.join("psql").exists());
    bins.sort();
    bins.pop()
}

fn own(path: &Path) {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).expect("a user postgres");
    let ids: Vec<u32> = line.split(':').skip(2).take(2).filter_map(|id| id.parse().ok()).collect();
    chown(path, Some(ids[0]), Some(ids[1])).expect("chown");
}
