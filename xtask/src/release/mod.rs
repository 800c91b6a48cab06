//! What is beside the binaries in a release: `binaries → man pages, completions, bills of materials → one archive`.

pub(crate) mod audit;
mod man;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::{dist, sh};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];
/// The texts that come along.
const TEXTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md"];

/// Makes `dist/podmates-VERSION-ARCH.tar.gz` out of the binaries in `dist/ARCH`; two runs give the same bytes.
///
/// # Errors
/// When a binary is missing or does not say what it should.
pub(crate) fn archive() -> anyhow::Result<PathBuf> {
    let (arch, _) = dist::arch()?;
    let root = sh::root();
    let name = format!("podmates-{}-{arch}", sh::VERSION);
    let staging = root.join("dist/archive").join(&name);
    let _ = fs::remove_dir_all(&staging);
    for dir in ["bin", "man/man1", "completions", "sbom", "schemas"] {
        fs::create_dir_all(staging.join(dir))
            .with_context(|| format!("cannot create {}", staging.display()))?;
    }
    for tool in sh::TOOLS {
        let binary = root.join("dist").join(arch).join(tool);
        ensure!(binary.exists(), "{} is missing; `cargo xtask dist` builds it", binary.display());
        fs::copy(&binary, staging.join("bin").join(tool))?;
        fs::write(staging.join("man/man1").join(format!("{tool}.1")), man::page(&binary, tool)?)?;
        for shell in SHELLS {
            let script = sh::output(sh::command(&binary.to_string_lossy(), &["--completions", shell]))?;
            fs::write(staging.join("completions").join(format!("{tool}.{shell}")), script)?;
        }
        fs::write(staging.join("sbom").join(format!("{tool}.cdx.json")), sbom::of(tool)?)?;
        fs::copy(
            root.join("schemas").join(format!("{tool}.json")),
            staging.join("schemas").join(format!("{tool}.json")),
        )?;
    }
    for text in TEXTS {
        fs::copy(root.join(text), staging.join(text))?;
    }
    pack(&root.join("dist"), &name)
}

/// By GNU tar, with nothing in it that differs from run to run: names sorted, one owner, the time of the commit.
fn pack(dist: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let archive = dist.join(format!("{name}.tar.gz"));
    let mut tar =
        sh::command("tar", &["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("--mode=u+rw,go+r,go-w")
        .arg(format!("--mtime=@{}", commit_time()))
        .arg("--use-compress-program=gzip -9n");
    tar.arg("--file").arg(&archive).arg("--directory").arg(dist.join("archive")).arg(name);
    sh::output(tar)?;
    Ok(archive)
}

/// Seconds since 1970 of the commit that is built; 0 outside of a checkout.
fn commit_time() -> u64 {
    let seconds = sh::output(sh::command("git", &["log", "-1", "--format=%ct"])).unwrap_or_default();
    seconds.trim().parse().unwrap_or(0)
}

/// `YYYY-MM-DD` of the commit.
fn commit_date() -> String {
    let date = sh::output(sh::command("git", &["log", "-1", "--format=%cs"])).unwrap_or_default();
    date.trim().to_owned()
}
