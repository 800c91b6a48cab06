//! The binaries that ship: static, optimized, in `dist/ARCH/`, beside the CA roots their images carry.
//!
//! `crt-static` is given here together with an explicit `--target`: a profile cannot set it, and without the
//! target it would also apply to procedural macros, which then cannot be loaded.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::release::audit;
use crate::sh;

/// Static, with relocations packed (a position-independent program has a hundred thousand of them: 0.4 MB). Stripped
/// here once more, because cargo forgets the profile's `strip` for a package with settings of its own.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=symbols -C link-arg=-Wl,-z,pack-relative-relocs";
/// Folds equal functions (the same generic code for many types). The linker that Rust brings along knows this; the
/// one used elsewhere may not.
const FOLD: &str = "-C link-arg=-Wl,--icf=safe";
/// AES-GCM for AVX-512 alone is 0.7 MB of unrolled assembly in each image; the paths for older processors stay. Of zstd the strategy of its
/// quickest levels stays, which is the one that is used, and the smaller decoder (zstd's `lib/README.md`, "Modular build").
const C_FLAGS: &str = concat!(
    "-DMY_ASSEMBLER_IS_TOO_OLD_FOR_512AVX",
    " -DZSTD_EXCLUDE_DFAST_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR",
    " -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR",
    " -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR -DHUF_FORCE_DECOMPRESS_X1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT",
);

/// Name of this machine's architecture in Docker's words, and the Rust target that makes static binaries for it.
pub(crate) fn arch() -> anyhow::Result<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("amd64", "x86_64-unknown-linux-gnu")),
        "aarch64" => Ok(("arm64", "aarch64-unknown-linux-gnu")),
        other => bail!("no images for {other}; build on x86_64 or aarch64"),
    }
}

/// What waits is built for size alone; what data flows through, for speed where it flows (Cargo.toml has both profiles).
fn profile(name: &str) -> &'static str {
    if name == "init-waitfor" { "small" } else { "release" }
}

/// Where something is built: nothing of these paths may be in what comes out.
pub(crate) struct Place {
    /// The checkout.
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// Where cargo keeps the sources of dependencies.
    pub(crate) cargo_home: PathBuf,
}

impl Place {
    pub(crate) fn here() -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        Place { root: sh::root(), target: sh::target_dir(), cargo_home }
    }

    /// Each path, and what stands for it in panic messages and the like: whoever builds the same commit anywhere gets the same
    /// bytes.
    fn names(&self) -> [(String, &'static str); 2] {
        [(self.root.display().to_string(), "/podmates"), (self.cargo_home.display().to_string(), "/cargo")]
    }

    /// Builds these packages statically with the profile.
    fn compile(&self, profile: &str, packages: &[&str], features: &str) -> anyhow::Result<()> {
        let (arch, target) = arch()?;
        let mut cargo = sh::cargo(&["build", "--profile", profile, "--locked", "--target", target]);
        for package in packages {
            cargo.args(["--package", package]);
        }
        cargo.args(["--features", features]);
        let fold = if arch == "amd64" { FOLD } else { "" };
        let mut flags: Vec<String> =
            format!("{FLAGS} {fold}").split_whitespace().map(str::to_owned).collect();
        let mut c_flags = C_FLAGS.to_owned();
        for (path, name) in self.names() {
            flags.push(format!("--remap-path-prefix={path}={name}"));
            c_flags.push_str(&format!(" -ffile-prefix-map={path}={name}"));
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env("CFLAGS", c_flags);
        cargo.env("CARGO_HOME", &self.cargo_home).env("CARGO_TARGET_DIR", &self.target);
        // For `--version`, of the checkout that is built. A build script looks by itself only in cargo's own release profile.
        let git = |args: &[&str]| {
            let mut command = sh::command("git", args);
            command.current_dir(&self.root);
            sh::output(command).unwrap_or_default().trim().to_owned()
        };
        cargo.env("PODMATES_COMMIT", git(&["rev-parse", "--short=12", "HEAD"]));
        cargo.env("PODMATES_COMMIT_DATE", git(&["log", "-1", "--format=%cs"]));
        cargo.current_dir(&self.root);
        sh::run(cargo)
    }

    /// Copies what was compiled, and writes into it what it is made of.
    fn take(&self, name: &str, dist: &Path) -> anyhow::Result<()> {
        let (_, target) = arch()?;
        fs::create_dir_all(dist).with_context(|| format!("cannot create {}", dist.display()))?;
        let from = self.target.join(target).join(profile(name)).join(name);
        let to = dist.join(name);
        // A fresh inode: the old one may be running.
        let _ = fs::remove_file(&to);
        if sh::TOOLS.contains(&name) {
            return audit::embed(name, &from, &to);
        }
        fs::copy(&from, &to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
    }

    /// Builds all binaries into a folder, one cargo run a profile.
    pub(crate) fn build(&self, dist: &Path) -> anyhow::Result<()> {
        let all: Vec<&str> = sh::TOOLS.into_iter().chain(sh::DEMOS).collect();
        for wanted in ["release", "small"] {
            let packages: Vec<&str> = all.iter().copied().filter(|name| profile(name) == wanted).collect();
            self.compile(wanted, &packages, "")?;
        }
        all.iter().try_for_each(|name| self.take(name, dist))
    }
}

/// Builds all binaries and returns the folder they are in.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let dist = sh::root().join("dist").join(arch()?.0);
    Place::here().build(&dist)?;
    write_roots()?;
    Ok(dist)
}

/// A binary that has a form with more in it, and the feature.
pub(crate) const GIT: (&str, &str) = ("init-waitfor", "git");

/// Into `dist/ARCH-FEATURE/`.
pub(crate) fn build_with((name, feature): (&str, &str)) -> anyhow::Result<()> {
    let here = Place::here();
    here.compile(profile(name), &[name], feature)?;
    here.take(name, &sh::root().join("dist").join(format!("{}-{feature}", arch()?.0)))
}

/// The Mozilla CA roots as a PEM bundle. From a crate and not from this machine, whose own store may hold more.
fn write_roots() -> anyhow::Result<()> {
    let mut pem = String::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(root);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    let path = sh::root().join("dist/ca-certificates.crt");
    fs::write(&path, pem).with_context(|| format!("cannot write {}", path.display()))
}
