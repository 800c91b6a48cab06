//! Packages of a newer Debian release than this machine's, unpacked below `target/` and never installed: programs that need no more than
//! an old libc. The mirror is the one this machine is configured for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, bail};

use super::setup::has_apt;
use crate::sh;

/// The release whose Docker plug-ins work with old engines, too (buildx 0.13, compose 2.26), and whose kustomize (5.6) knows components.
pub(crate) const RELEASE: &str = "trixie";

/// Downloads packages without touching the system's own lists, and unpacks them; returns the folder that has their `usr`.
pub(crate) fn fetch(packages: &[&str]) -> anyhow::Result<PathBuf> {
    if !has_apt() {
        bail!("there is no apt-get");
    }
    let mirror = debian_mirror().context("no Debian mirror is configured on this machine")?;
    let work = sh::target_dir().join("xtask/apt");
    for dir in ["lists/partial", "cache/archives/partial", "packages", "unpacked"] {
        fs::create_dir_all(work.join(dir))?;
    }
    let list = work.join("sources.list");
    fs::write(&list, format!("deb {} {} {RELEASE} main\n", mirror.options, mirror.url))?;
    let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
    let apt = |args: &[&str]| {
        let mut apt = sh::command("apt-get", &[]);
        apt.arg(option("Dir::Etc::sourcelist", &list)).arg("-oDir::Etc::sourceparts=/dev/null");
        apt.arg(option("Dir::State::lists", &work.join("lists")))
            .arg(option("Dir::Cache", &work.join("cache")));
        apt.arg("-oAPT::Sandbox::User=root").args(args).current_dir(work.join("packages"));
        apt
    };
    // Once a run.
    static UPDATED: OnceLock<()> = OnceLock::new();
    if UPDATED.get().is_none() {
        sh::output(apt(&["update"]))?;
        let _ = UPDATED.set(());
    }
    let mut download = apt(&["download"]);
    download.args(packages);
    sh::output(download)?;
    for entry in fs::read_dir(work.join("packages"))? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = sh::command("dpkg", &["-x"]);
            unpack.arg(&package).arg(work.join("unpacked"));
            sh::output(unpack)?;
        }
    }
    Ok(work.join("unpacked"))
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
