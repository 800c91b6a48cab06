//! The Docker command line as it is found here, with the plug-ins that `cargo xtask test` may have fetched.

use std::path::PathBuf;
use std::process::Command;

use crate::sh;

/// Where fetched plug-ins live; a Docker configuration folder, used only when Docker has no such plug-in itself.
pub(crate) fn plugin_dir() -> PathBuf {
    sh::target_dir().join("xtask/docker")
}

/// How images are built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Builder {
    /// BuildKit: builds only the stages that are used.
    Buildx,
    /// The builder of old engines, which builds every stage: it gets a Dockerfile without the `compile` stage.
    Classic,
}

/// `docker` with its arguments, finding fetched plug-ins.
pub(crate) fn docker(args: &[&str]) -> Command {
    let mut command = sh::command("docker", args);
    let plugins = plugin_dir();
    if plugins.join("cli-plugins").is_dir() {
        command.env("DOCKER_CONFIG", plugins);
    }
    command
}

/// Whether an engine answers.
pub(crate) fn answers() -> bool {
    succeeds(docker(&["version", "--format", "{{.Server.Version}}"]))
}

/// Whether `docker PLUGIN` works.
pub(crate) fn has_plugin(plugin: &str) -> bool {
    succeeds(docker(&[plugin, "version"]))
}

pub(crate) fn builder() -> Builder {
    if has_plugin("buildx") { Builder::Buildx } else { Builder::Classic }
}

/// `docker compose` (2) and `docker-compose` (1.29), as far as they are there; the first one is used.
pub(crate) fn composes() -> Vec<&'static [&'static str]> {
    let mut found: Vec<&'static [&'static str]> = Vec::new();
    if has_plugin("compose") {
        found.push(&["docker", "compose"]);
    }
    if sh::succeeds("docker-compose", &["version"]) {
        found.push(&["docker-compose"]);
    }
    found
}

/// A program of [`composes`] with its first arguments.
pub(crate) fn compose_command(program: &[&str]) -> Command {
    match program {
        ["docker", rest @ ..] => docker(rest),
        [program, rest @ ..] => sh::command(program, rest),
        [] => docker(&[]),
    }
}

fn succeeds(mut command: Command) -> bool {
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
