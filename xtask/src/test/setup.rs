//! What the other steps need and a fresh machine lacks: Debian packages, Docker plug-ins, Python tools.
//!
//! Debian packages are installed only by root and only when missing. The Docker plug-ins of the Debian release
//! that has them are unpacked below `target/`; the mirror is the one this machine is configured for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::Done;
use crate::{docker, sh};

/// What has to be there, and the package that brings it: (program, package). The servers are those that
/// init-waitfor is tested against.
const PACKAGES: [(&str, &str); 29] = [
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
];
/// ActiveRecord and its drivers: libraries without a program of their own.
const RUBY: (&str, [&str; 4]) = (
    "require 'active_record'; require 'pg'; require 'mysql2'; require 'sqlite3'",
    ["ruby-activerecord", "ruby-pg", "ruby-mysql2", "ruby-sqlite3"],
);
/// The Debian release whose Docker plug-ins work with old engines, too (buildx 0.13, compose 2.26).
const PLUGIN_RELEASE: &str = "trixie";
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
    for note in &notes {
        eprintln!("  {note}");
    }
    Ok(Done::Passed(String::new()))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn has_apt() -> bool {
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
        Ok(()) => format!("docker, with {} fetched from Debian {PLUGIN_RELEASE}", names.join(" and ")),
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

/// Downloads Debian packages of another release without touching the system's own lists, and unpacks them.
fn fetch_plugins(missing: &[(&str, &str)]) -> anyhow::Result<()> {
    if !has_apt() {
        bail!("there is no apt-get");
    }
    let mirror = debian_mirror().context("no Debian mirror is configured on this machine")?;
    let work = sh::target_dir().join("xtask/apt");
    for dir in ["lists/partial", "cache/archives/partial", "packages", "unpacked"] {
        fs::create_dir_all(work.join(dir))?;
    }
    let list = work.join("sources.list");
    fs::write(&list, format!("deb {} {} {PLUGIN_RELEASE} main\n", mirror.options, mirror.url))?;
    let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
    let apt = |args: &[&str]| {
        let mut apt = sh::command("apt-get", &[]);
        apt.arg(option("Dir::Etc::sourcelist", &list)).arg("-oDir::Etc::sourceparts=/dev/null");
        apt.arg(option("Dir::State::lists", &work.join("lists")))
            .arg(option("Dir::Cache", &work.join("cache")));
        apt.arg("-oAPT::Sandbox::User=root").args(args).current_dir(work.join("packages"));
        apt
    };
    sh::output(apt(&["update"]))?;
    let mut download = apt(&["download"]);
    download.args(missing.iter().map(|(_, package)| *package));
    sh::output(download)?;
    for entry in fs::read_dir(work.join("packages"))? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = sh::command("dpkg", &["-x"]);
            unpack.arg(&package).arg(work.join("unpacked"));
            sh::output(unpack)?;
        }
    }
    let plugins = docker::plugin_dir().join("cli-plugins");
    fs::create_dir_all(&plugins)?;
    for (plugin, _) in missing {
        let name = format!("docker-{plugin}");
        let from = work.join("unpacked/usr/libexec/docker/cli-plugins").join(&name);
        fs::copy(&from, plugins.join(&name)).with_context(|| format!("no {name} in the package"))?;
    }
    // Credentials and contexts of the user go along, since this folder stands in for theirs.
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let _ = fs::copy(home.join(".docker/config.json"), docker::plugin_dir().join("config.json"));
    Ok(())
}

struct Mirror {
    url: String,
    /// In one-line format, such as `[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]`.
    options: String,
}

/// The mirror from which this machine gets Debian itself: the first source with a Debian keyring or `debian` as
/// the end of its path, in either format of apt sources.
fn debian_mirror() -> Option<Mirror> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let url =
        texts.flat_map(|text| urls(&text)).find(|url| url.trim_end_matches('/').ends_with("/debian"))?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let options = if Path::new(keyring).exists() { format!("[signed-by={keyring}]") } else { String::new() };
    Some(Mirror { url, options })
}

/// The URLs in an apt sources file: `deb URL …` lines and `URIs: URL …` fields.
fn urls(text: &str) -> Vec<String> {
    let lines =
        text.lines().map(str::trim).filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let words = lines.flat_map(str::split_whitespace).filter(|word| word.contains("://"));
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_apt_sources_are_read() {
        let lines = "# deb http://old.example/debian x main\ndeb [arch=amd64] http://a.example/debian bookworm main\n";
        assert_eq!(urls(lines), ["http://a.example/debian"]);
        assert_eq!(
            urls("Types: deb\nURIs: http://b.example/debian\nSuites: x\n"),
            ["http://b.example/debian"]
        );
    }
}
