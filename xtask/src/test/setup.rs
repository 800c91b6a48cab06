//! What the other steps need and a fresh machine lacks: Debian packages, Docker plug-ins, Python tools.
//!
//! Debian packages are installed only by root and only when missing. What a newer release of Debian has is unpacked below `target/`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Done, newer};
use crate::{docker, sh};

/// What has to be there, and the package that brings it: (program, package). The servers are those that
/// init-waitfor is tested against.
const PACKAGES: [(&str, &str); 30] = [
    ("python3", "python3"),
    ("git", "git"),
    ("cc", "gcc"),
    ("setpriv", "util-linux"),
    ("initdb", "postgresql"),
    ("psql", "postgresql-client"),
    ("mariadb-install-db", "mariadb-server"),
    ("mysqld", "mariadb-server"),
    ("mysql", "mariadb-client"),
    ("sqlite3", "sqlite3"),
    ("ruby", "ruby"),
    ("redis-server", "redis-server"),
    ("pgbouncer", "pgbouncer"),
    ("rabbitmq-server", "rabbitmq-server"),
    ("nats-server", "nats-server"),
    ("mosquitto", "mosquitto"),
    ("mosquitto_passwd", "mosquitto"),
    ("memcached", "memcached"),
    ("nginx", "nginx-light"),
    ("knotd", "knot"),
    ("curl", "curl"),
    ("varnishtest", "varnish"),
    ("ip", "iproute2"),
    ("jq", "jq"),
    ("unshare", "util-linux"),
    ("script", "bsdutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("strace", "strace"),
    ("faketime", "faketime"),
    ("logrotate", "logrotate"),
];
/// ActiveRecord and its drivers: libraries without a program of their own.
const RUBY: (&str, [&str; 4]) = (
    "require 'active_record'; require 'pg'; require 'mysql2'; require 'sqlite3'",
    ["ruby-activerecord", "ruby-pg", "ruby-mysql2", "ruby-sqlite3"],
);
/// (docker sub-command, Debian package)
const PLUGINS: [(&str, &str); 2] = [("buildx", "docker-buildx"), ("compose", "docker-compose")];

pub(crate) fn run() -> anyhow::Result<Done> {
    let mut notes = Vec::new();
    notes.extend(packages());
    match python().and_then(|_| install_python("requirements-migrations.txt")) {
        Ok(venv) => notes.push(format!("Python tools in {}", venv.display())),
        Err(error) => notes.push(format!("no Python tools: {error:#}")),
    }
    notes.push(docker_tools());
    notes.push(kustomize());
    for note in &notes {
        eprintln!("  {note}");
    }
    Ok(Done::Passed(String::new()))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn has_apt() -> bool {
    sh::succeeds("apt-get", &["--version"])
}

/// On the path, where servers are, or where Debian keeps PostgreSQL's own programs.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(PathBuf::from("/usr/sbin"));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    folders.iter().any(|folder| folder.join(program).exists())
}

/// Installs missing packages when it may; says what is missing when not.
fn packages() -> Vec<String> {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    missing.dedup();
    if is_there("python3") && !sh::succeeds("python3", &["-c", "import ensurepip, venv"]) {
        missing.push("python3-venv");
    }
    if !sh::succeeds("ruby", &["-e", RUBY.0]) {
        missing.extend(RUBY.1);
    }
    install(&missing)
}

/// Debian packages; says what it did, or what it may not do.
pub(crate) fn install(missing: &[&str]) -> Vec<String> {
    if missing.is_empty() {
        return Vec::new();
    }
    if !is_root() || !has_apt() {
        return vec![format!("missing, and not mine to install: {}", missing.join(" "))];
    }
    let mut command = sh::command("apt-get", &["install", "--yes", "--no-install-recommends"]);
    command.args(missing).env("DEBIAN_FRONTEND", "noninteractive");
    let outcome = sh::output(sh::command("apt-get", &["update"])).and_then(|_| sh::output(command));
    vec![match outcome {
        Ok(_) => format!("installed {}", missing.join(" ")),
        Err(error) => format!("could not install {}: {error:#}", missing.join(" ")),
    }]
}

/// The Python tools, by their pinned versions; returns the folder of their programs.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    install_python("requirements.txt")
}

/// Installs a requirements file into the one virtual environment, once per content.
pub(crate) fn install_python(file: &str) -> anyhow::Result<PathBuf> {
    let requirements = sh::root().join("xtask").join(file);
    let wanted = fs::read_to_string(&requirements).context("cannot read the Python requirements")?;
    let venv = sh::target_dir().join("xtask/venv");
    let (bin, stamp) = (venv.join("bin"), venv.join(format!("{file}.installed")));
    if fs::read_to_string(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(bin);
    }
    if !bin.join("python3").exists() {
        sh::output(sh::command("python3", &["-m", "venv", &venv.to_string_lossy()]))?;
    }
    let python = bin.join("python3");
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    let mut pip = sh::command(&python.to_string_lossy(), &arguments);
    pip.arg(&requirements);
    sh::output(pip)?;
    fs::write(&stamp, wanted).context("cannot write into the virtual environment")?;
    Ok(bin)
}

/// Starts an installed engine that does not run, and fetches the plug-ins it lacks.
fn docker_tools() -> String {
    if !sh::succeeds("docker", &["--version"]) {
        return "no docker here: images and compose will be skipped".to_owned();
    }
    if !docker::answers() && is_root() {
        start_engine();
    }
    if !docker::answers() {
        return "no Docker engine answers: images and compose will be skipped".to_owned();
    }
    let missing: Vec<(&str, &str)> =
        PLUGINS.into_iter().filter(|(plugin, _)| !docker::has_plugin(plugin)).collect();
    if missing.is_empty() {
        return "docker with buildx and compose".to_owned();
    }
    let names: Vec<&str> = missing.iter().map(|(plugin, _)| *plugin).collect();
    match fetch_plugins(&missing) {
        Ok(()) => format!("docker, with {} fetched from Debian {}", names.join(" and "), newer::RELEASE),
        Err(error) => format!(
            "docker; {} could not be fetched ({error:#}), so the classic builder and docker-compose are used",
            names.join(" and ")
        ),
    }
}

fn start_engine() {
    for (program, args) in [("systemctl", &["start", "docker"][..]), ("service", &["docker", "start"])] {
        if sh::succeeds(program, args) {
            break;
        }
    }
    let begun = Instant::now();
    while !docker::answers() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Puts Docker's plug-ins where our own calls of Docker find them.
fn fetch_plugins(missing: &[(&str, &str)]) -> anyhow::Result<()> {
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let unpacked = newer::fetch(&packages)?;
    let plugins = docker::plugin_dir().join("cli-plugins");
    fs::create_dir_all(&plugins)?;
    for (plugin, _) in missing {
        let name = format!("docker-{plugin}");
        let from = unpacked.join("usr/libexec/docker/cli-plugins").join(&name);
        fs::copy(&from, plugins.join(&name)).with_context(|| format!("no {name} in the package"))?;
    }
    // Credentials and contexts of the user go along, since this folder stands in for theirs.
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let _ = fs::copy(home.join(".docker/config.json"), docker::plugin_dir().join("config.json"));
    Ok(())
}

/// A kustomize that knows components, into `target/xtask/bin`, where the policy test looks for it.
fn kustomize() -> String {
    let bin = sh::target_dir().join("xtask/bin");
    if is_there("kustomize") || bin.join("kustomize").exists() {
        return "kustomize".to_owned();
    }
    let fetched = newer::fetch(&["kustomize"]).and_then(|unpacked| {
        fs::create_dir_all(&bin)?;
        fs::copy(unpacked.join("usr/bin/kustomize"), bin.join("kustomize"))
            .context("no kustomize in the package")
    });
    match fetched {
        Ok(_) => format!("kustomize, fetched from Debian {}", newer::RELEASE),
        Err(error) => format!("no kustomize ({error:#}): the policy test patches by hand"),
    }
}
