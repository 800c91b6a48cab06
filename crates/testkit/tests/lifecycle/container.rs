//! A container without a container engine: a root made of the image's one binary and this machine's `/usr`, the
//! volumes where the manifest mounts them, everything else read-only, the user and nothing more.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use testkit::Proc;

use crate::yaml::binary;

/// What stands in for an image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// A binary of the workspace, which appears at `/NAME` as in its image.
    own: Option<String>,
    /// What runs when the manifest names no command.
    pub(crate) entrypoint: Vec<String>,
    /// What the image says with STOPSIGNAL.
    pub(crate) stop: Signal,
}

impl Image {
    pub(crate) fn of(name: &str) -> Self {
        let own = crate::yaml::TOOLS.iter().any(|(tool, _)| *tool == name) || name.starts_with("demo-");
        let entrypoint = match name {
            _ if own => vec![format!("/{name}")],
            "nginx-unprivileged" => {
                ["nginx", "-e", "stderr", "-c", "/stand-in/nginx.conf"].map(str::to_owned).into()
            }
            "curl" => vec!["curl".to_owned()],
            _ => Vec::new(),
        };
        let stop = if name == "nginx-unprivileged" { Signal::QUIT } else { Signal::TERM };
        Image { own: own.then(|| name.to_owned()), entrypoint, stop }
    }
}

/// A folder of the pod where a container sees it.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) from: PathBuf,
    pub(crate) at: String,
    pub(crate) read_only: bool,
}

/// Everything one start of a container needs.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) image: Image,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) dir: String,
    pub(crate) user: (u64, u64),
    pub(crate) groups: Option<u64>,
    /// `/etc/resolv.conf`, `/etc/hosts` and `/dev/termination-log` of the pod, and `/stand-in`.
    pub(crate) etc: PathBuf,
    pub(crate) termination_log: PathBuf,
    pub(crate) stand_in: PathBuf,
    /// An empty folder that becomes its root.
    pub(crate) root: PathBuf,
}

impl Container {
    /// The process; it has the id of the container's first process, so that signals reach it.
    pub(crate) fn proc(&self) -> Proc {
        let script = self.script();
        Proc::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-euc", &script, "sh"])
            .args(&self.command)
    }

    fn script(&self) -> String {
        let mut script = String::new();
        let mut line = |text: String| writeln!(script, "{text}").expect("a string takes it");
        let root = quoted(&self.root.display().to_string());
        line(format!("mount -t tmpfs -o mode=0755 tmpfs {root}; cd {root}"));
        line("mkdir usr proc dev dev/shm etc etc/ssl stand-in".to_owned());
        line("mount --rbind -o ro /usr usr; mount --rbind /proc proc".to_owned());
        line(
            "for link in bin sbin lib lib64; do ln -s usr/$link $link; done; ln -s stand-in/app app"
                .to_owned(),
        );
        line("for node in null zero full random urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done".to_owned());
        line(
            "ln -s /proc/self/fd dev/fd; ln -s /proc/self/fd/1 dev/stdout; ln -s /proc/self/fd/2 dev/stderr"
                .to_owned(),
        );
        for file in ["resolv.conf", "hosts", "passwd"] {
            line(bind(&self.etc.join(file), &format!("etc/{file}"), true));
        }
        line(bind(&self.termination_log, "dev/termination-log", false));
        line(bind(&self.stand_in, "stand-in", true));
        if self.image.entrypoint.first().is_some_and(|program| program == "nginx") {
            line(
                "mkdir -p etc/nginx/conf.d var/log/nginx; ln -s /dev/null var/log/nginx/access.log"
                    .to_owned(),
            );
            line(
                "ln -s /dev/null var/log/nginx/error.log; cp stand-in/default.conf etc/nginx/conf.d/"
                    .to_owned(),
            );
        }
        if let Some(own) = &self.image.own {
            line(bind(&binary(own), own, true));
        }
        for mount in &self.mounts {
            line(bind(&mount.from, &mount.at, mount.read_only));
        }
        // readOnlyRootFilesystem, which the policy test asks of every container.
        line(format!("cp /etc/ld.so.cache etc/; mount -o remount,ro {root}"));
        let (user, group) = self.user;
        let groups = self.groups.map_or("--clear-groups".to_owned(), |group| format!("--groups={group}"));
        let drop = "--no-new-privs --bounding-set=-all --inh-caps=-all";
        let mut exec =
            format!("exec chroot {root} setpriv --reuid={user} --regid={group} {groups} {drop} env -i");
        write!(exec, " -C {}", quoted(&self.dir)).expect("a string takes it");
        exec.push_str(" PATH=/stand-in:/usr/local/bin:/usr/bin:/usr/sbin");
        for (name, value) in &self.env {
            write!(exec, " {}", quoted(&format!("{name}={value}"))).expect("a string takes it");
        }
        line(format!("{exec} \"$@\""));
        script
    }
}

/// Makes a place for a file or folder, and puts it there.
fn bind(from: &Path, at: &str, read_only: bool) -> String {
    let (from, at) = (quoted(&from.display().to_string()), quoted(at.trim_start_matches('/')));
    let make =
        format!("if [ -d {from} ]; then mkdir -p {at}; else mkdir -p \"$(dirname {at})\"; touch {at}; fi");
    let only = if read_only { format!("; mount -o remount,bind,ro {at}") } else { String::new() };
    format!("{make}; mount --bind {from} {at}{only}")
}

/// A word for the shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
