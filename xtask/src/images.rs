//! Container images: `dist → docker build → size and run checks`.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, bail, ensure};

use crate::docker::{Builder, builder, docker};
use crate::{dist, sh, structure};

/// Ten megabytes, as promised for each of the four.
const LARGEST: u64 = 10_000_000;
/// With a whole git client in it.
const LARGEST_WITH_GIT: u64 = 16_000_000;
const COMPILE_BEGIN: &str = "compile (begin)";
const COMPILE_END: &str = "compile (end)";

#[derive(clap::Args, Clone, Default)]
pub(crate) struct Options {
    /// Takes the binaries in dist/ as they are
    #[arg(long)]
    no_build: bool,
    /// Compiles inside Docker, in the official Rust image, instead of here
    #[arg(long)]
    compile: bool,
    /// Also init-waitfor:VERSION-git, which can fetch git repositories
    #[arg(long)]
    git: bool,
}

impl Options {
    /// With the binaries that `dist::build` has just made.
    pub(crate) fn prebuilt() -> Self {
        Options { no_build: true, compile: false, git: false }
    }
}

/// The name of an image: as contract and manifests write it.
pub(crate) fn tag(name: &str) -> String {
    format!("{name}:{}", sh::VERSION)
}

/// An image, as it is called and made.
struct Image {
    name: &'static str,
    tag: String,
    /// A cargo feature, with a folder of its own in dist/.
    feature: Option<&'static str>,
    largest: u64,
}

impl Image {
    fn of(name: &'static str) -> Self {
        Image { name, tag: tag(name), feature: None, largest: LARGEST }
    }

    /// Beside the one that everybody takes, which stays small.
    fn with_git() -> Self {
        let tag = format!("{}-{}", tag(dist::GIT.0), dist::GIT.1);
        Image { name: dist::GIT.0, tag, feature: Some(dist::GIT.1), largest: LARGEST_WITH_GIT }
    }
}

/// Builds all images and returns one line about each.
pub(crate) fn build(options: &Options) -> anyhow::Result<Vec<String>> {
    if !options.no_build && !options.compile {
        dist::build()?;
        if options.git {
            dist::build_with(dist::GIT)?;
        }
    }
    let builder = builder();
    if options.compile && builder == Builder::Classic {
        bail!("compiling in Docker needs BuildKit; install docker buildx");
    }
    let (mut about, mut faults) = (Vec::new(), Vec::new());
    let mut images: Vec<Image> = sh::TOOLS.into_iter().chain(sh::DEMOS).map(Image::of).collect();
    images.extend(options.git.then(Image::with_git));
    for image in &images {
        build_one(image, builder, options.compile)?;
        match describe(image) {
            Ok(line) => {
                eprintln!("  {line}");
                about.push(line);
            }
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(about)
}

fn build_one(image: &Image, builder: Builder, compile: bool) -> anyhow::Result<()> {
    let Image { name, tag, .. } = image;
    let (arch, _) = dist::arch()?;
    let revision = sh::output(sh::command("git", &["rev-parse", "HEAD"])).unwrap_or_default();
    let created = sh::output(sh::command("git", &["log", "-1", "--format=%cI"])).unwrap_or_default();
    let from = if compile { "BINARY_FROM=compile" } else { "BINARY_FROM=prebuilt" };
    let mut command = match builder {
        Builder::Buildx => docker(&["buildx", "build", "--load", "--progress=plain"]),
        Builder::Classic => docker(&["build"]),
    };
    command.args(["--tag", tag, "--build-arg", from, "--build-arg", &format!("BIN={name}")]);
    command.args(["--build-arg", &format!("VERSION={}", sh::VERSION)]);
    if let Some(feature) = image.feature {
        command.args(["--build-arg", &format!("FEATURES={feature}")]);
        command.args(["--build-arg", &format!("VARIANT=-{feature}")]);
    }
    for (key, value) in [("REVISION", revision.trim()), ("CREATED", created.trim())] {
        if !value.is_empty() {
            command.args(["--build-arg", &format!("{key}={value}")]);
        }
    }
    if builder == Builder::Buildx {
        command.arg(".");
        sh::output(command)?;
        return Ok(());
    }
    // BuildKit knows the architecture; the classic builder has to be told, and reads the Dockerfile from stdin.
    command.env("DOCKER_BUILDKIT", "0").args([
        "--build-arg",
        &format!("TARGETARCH={arch}"),
        "--file",
        "-",
        ".",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run docker build")?;
    if let Some(mut stdin) = child.stdin.take() {
        let whole =
            std::fs::read_to_string(sh::root().join("Dockerfile")).context("cannot read Dockerfile")?;
        stdin.write_all(without_compile(&whole)?.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker build of {name}: {}\n{}", output.status, sh::tail(&said, 40));
    Ok(())
}

/// The Dockerfile without the stage that a classic builder would build although nothing uses it, and without the
/// `--chmod` it does not know (the files in dist/ have their modes).
fn without_compile(dockerfile: &str) -> anyhow::Result<String> {
    let (before, rest) =
        dockerfile.split_once(COMPILE_BEGIN).context("the Dockerfile lost its first mark")?;
    let (_, after) = rest.split_once(COMPILE_END).context("the Dockerfile lost its second mark")?;
    Ok(format!("{before}\n{after}")
        .replace("COPY --chmod=0555 ", "COPY ")
        .replace("COPY --chmod=0444 ", "COPY "))
}

/// Checks what the contract says about an image, by asking Docker and by running it.
fn describe(image: &Image) -> anyhow::Result<String> {
    let Image { name, tag, largest, .. } = image;
    let inspect = sh::output(docker(&["image", "inspect", tag]))?;
    let inspect: serde_json::Value = serde_json::from_str(&inspect).context("docker image inspect")?;
    let size = inspect[0]["Size"].as_u64().context("an image has a size")?;
    ensure!(size <= *largest, "{tag} has {size} bytes; at most {largest} are promised");
    let config = &inspect[0]["Config"];
    ensure!(config["User"] == "65532:65532", "{tag} runs as {}", config["User"]);
    ensure!(
        config["Entrypoint"] == serde_json::json!([format!("/{name}")]),
        "{tag}: {}",
        config["Entrypoint"]
    );
    let label = &config["Labels"]["org.opencontainers.image.version"];
    ensure!(*label == sh::VERSION, "{tag} is labelled {label}");
    for label in ["title", "description", "licenses", "revision", "created", "vendor"] {
        let value = &config["Labels"][format!("org.opencontainers.image.{label}")];
        ensure!(value.as_str().is_some_and(|value| !value.is_empty()), "{tag} has no label {label}");
    }
    structure::check(name, tag)?;

    let mut run = vec!["run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none"];
    run.extend(["--security-opt", "no-new-privileges", tag, "--version"]);
    let version = sh::output(docker(&run))?;
    ensure!(version.contains(sh::VERSION), "{tag} --version says {version}");
    Ok(format!(
        "{tag:<28} {:>5.2} MB, read-only, 65532, no capabilities: {}",
        size as f64 / 1e6,
        version.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_dockerfile_pulls_nothing() {
        let whole = std::fs::read_to_string(sh::root().join("Dockerfile")).unwrap();
        let cut = without_compile(&whole).unwrap();
        assert!(!cut.contains("AS compile"));
        assert!(!cut.contains("--mount") && !cut.contains("--chmod"));
        assert!(cut.contains("FROM scratch AS prebuilt"));
    }

    #[test]
    fn every_binary_has_its_entrypoint() {
        let whole = std::fs::read_to_string(sh::root().join("Dockerfile")).unwrap();
        for name in sh::TOOLS.iter().chain(&sh::DEMOS) {
            assert!(whole.contains(&format!("FROM image AS {name}\n")), "{name}");
            assert!(whole.contains(&format!("ENTRYPOINT [\"/{name}\"]")), "{name}");
        }
    }
}
