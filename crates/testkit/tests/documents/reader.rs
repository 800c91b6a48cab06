//! The machine of somebody who tries what the documentation says: our four on the path, the folders of a pod, the files and secrets
//! that the examples name, and everybody they talk to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use testkit::{Proc, Running, TestCa};

use crate::services::Services;
use crate::world::World;
use crate::yaml::{TOOLS, binary};

/// A mount point that nothing here needs: within this test's namespace it is the reader's root, and gone with it.
const ROOT: &str = "/mnt";
/// The images' user.
const USER: u32 = 65532;
/// Folders that a block may change; made anew for each.
const FOLDERS: [&str; 9] = [
    "home",
    "var/log/app",
    "var/log/normalized",
    "var/lib/shipper",
    "var/lib/adapter",
    "gate",
    "content",
    "data",
    "run/app",
];
const VISIT: &str = "203.0.113.7 - - [21/Nov/2026:10:00:00 +0000] \"GET /orders/7 HTTP/1.1\" 200 512";

pub(crate) struct Reader {
    root: PathBuf,
    services: Services,
    _world: World,
}

impl Reader {
    pub(crate) fn new() -> Self {
        let (world, root, ca) = (World::new(), PathBuf::from(ROOT), TestCa::new());
        let script = "mount -t tmpfs -o mode=0755 tmpfs \"$1\"; cd \"$1\"
            mkdir -p usr proc dev etc/ssl/certs etc/ca etc/secrets etc/tls etc/elasticsearch run/secrets/files var/log var/lib tmp ours app/migrations
            mkdir -p run/secrets/kubernetes.io/serviceaccount
            chmod 1777 tmp; ln -s ../run var/run
            mount --rbind -o ro /usr usr; mount --rbind /proc proc
            for link in bin sbin lib lib64; do ln -s usr/$link $link; done
            for node in null zero full random urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done
            ln -s /proc/self/fd dev/fd; touch dev/termination-log; chmod 0666 dev/termination-log";
        Proc::new("sh").args(["-euc", script, "sh"]).arg(&root).run().expect_code(0);
        let services = Services::start(&world, &ca);
        let resolv_conf = world.resolv_conf();
        let reader = Self { root, services, _world: world };
        for (tool, _) in TOOLS {
            reader.program(&format!("ours/{tool}"), "");
            let at = reader.root.join("ours").join(tool);
            Proc::new("mount").arg("--bind").args([&binary(tool), &at]).run().expect_code(0);
        }
        reader.write("etc/resolv.conf", &resolv_conf);
        reader.write("etc/hosts", "127.0.0.1 localhost\n");
        reader.write("etc/passwd", "app:x:65532:65532::/home:/bin/sh\n");
        let authorities = [
            "etc/ssl/certs/ca-certificates.crt",
            "etc/ca/ca.pem",
            "etc/secrets/ca.pem",
            "etc/tls/ca.crt",
            "etc/elasticsearch/ca.crt",
            "run/secrets/kubernetes.io/serviceaccount/ca.crt",
        ];
        authorities.iter().for_each(|file| reader.write(file, ca.pem()));
        // As a Secret of type kubernetes.io/tls.
        let own = ca.server(&["adapter"]);
        reader.write("etc/tls/tls.crt", &own.cert);
        reader.write("etc/tls/tls.key", &own.key);
        let secrets = [
            "etc/secrets/elastic",
            "etc/secrets/hec-token",
            "etc/elasticsearch/api-key",
            "run/secrets/token",
            "run/secrets/kafka",
            "run/secrets/key",
            "run/secrets/log-key",
            "run/secrets/files/token",
            "run/secrets/kubernetes.io/serviceaccount/token",
        ];
        secrets.iter().for_each(|file| reader.write(file, "c2hvcDpzZWNyZXQ="));
        reader.write("run/secrets/kubernetes.io/serviceaccount/namespace", "default");
        for name in ["app/server", "app/check", "ours/app"] {
            reader.program(name, "#!/bin/sh\necho \"$0 runs\"\n");
        }
        // The app's migrator.
        let sql = "UPDATE schema_migrations SET version = 2";
        reader.program("ours/python", &format!("#!/bin/sh\nexec sqlite3 /data/app.db '{sql}'\n"));
        for migration in ["1_init", "2_more"] {
            reader.write(&format!("app/migrations/{migration}.up.sql"), "SELECT 1;");
        }
        reader
    }

    /// Everything as it was before the first block.
    pub(crate) fn begin(&self, block: &str) {
        for folder in FOLDERS {
            let _ = fs::remove_dir_all(self.root.join(folder));
            fs::create_dir_all(self.root.join(folder)).expect("a folder");
            chown(self.root.join(folder), Some(USER), Some(USER)).expect("chown");
        }
        self.write("home/access.log", &format!("{VISIT} \"-\" \"curl/8.0\"\n").repeat(3));
        self.write("home/logs/app.log", "one ERROR\ntwo\n");
        self.write("home/C/old.log", "one\ntwo\n");
        self.write("home/proxy.yaml", "listeners:\n  - {http: 127.0.0.1:8080, to: http://orders:80}\n");
        // As the log_format of the block has it, or nginx' own.
        let rest =
            if block.contains("rt=$request_time") { "rt=0.012 urt=\"0.010\"" } else { "\"-\" \"curl/8.0\"" };
        self.write("var/log/app/access.log", &format!("{VISIT} {rest}\n").repeat(3));
        self.write("var/log/app/app.log", "2026-11-21 10:00:00,123 [main] INFO  shop.Main - started\n");
        self.write("var/log/app/jobs.log", "2026-11-21T10:00:00Z INFO nightly took 12.5: done\n");
        self.write(
            "var/log/app/events.json",
            "{\"time\":\"2026-11-21T10:00:00Z\",\"level\":\"info\",\"msg\":\"started\"}\n",
        );
        self.write("var/log/normalized/earlier.ndjson", "{\"message\":\"started\"}\n");
        // golang-migrate's table: at the version of the files, unless the block migrates.
        let version = if block.contains("manage.py migrate") { 1 } else { 2 };
        let sql = format!(
            "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean); INSERT INTO schema_migrations VALUES ({version}, false)"
        );
        let database = self.root.join("data/app.db");
        Proc::new("sqlite3").arg(&database).arg(sql).run().expect_code(0);
        chown(database, Some(USER), Some(USER)).expect("chown");
    }

    /// Starts a line of a shell as the images' user.
    pub(crate) fn start(&self, line: &str) -> Running {
        let proc = Proc::new("chroot").arg(&self.root).arg("setpriv");
        let user = format!("--reuid={USER}");
        let group = format!("--regid={USER}");
        let drop = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"];
        let proc = proc.args([user, group]).args(drop).args(["env", "-i", "-C", "/home"]);
        let env = [
            "PATH=/ours:/usr/bin",
            "HOME=/home",
            "DATABASE_URL=sqlite:///data/app.db",
            "POD_NAME=shop-0",
            "POD_NAMESPACE=default",
            "KUBERNETES_SERVICE_PORT=443",
        ];
        let api = format!("KUBERNETES_SERVICE_HOST={}", self.services.api());
        proc.args(env).arg(api).args(["sh", "-euc", line]).spawn()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(&path, text).expect("write");
    }

    fn program(&self, file: &str, script: &str) {
        self.write(file, script);
        fs::set_permissions(self.root.join(file), Permissions::from_mode(0o755)).expect("chmod");
    }

    /// Where a path of the reader's is for us.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}
