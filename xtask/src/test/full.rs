//! What only `--full` does, because it is slow.

use std::path::Path;

use anyhow::Context;

use super::{Done, setup};
use crate::{demo, sh};

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
    let args = ["test", "--locked", "--package", "init-waitfor", "--features", "git", "--test", "fetch"];
    sh::run(sh::cargo(&args))?;
    // What is in no image has to work too.
    setup::install_python("requirements-full.txt")?;
    let tests = ["kafka", "s3", "content"].map(|test| format!("--test={test}"));
    let mut cargo = sh::cargo(&["test", "--locked", "--package", "sidecar-logshipper", "--all-features"]);
    cargo.args(tests);
    sh::run(cargo)?;
    let follow = ["test", "--locked", "--package", "logtail", "--all-features", "--test=follow"];
    sh::run(sh::cargo(&follow))?;
    Ok(Done::Passed("every cargo feature".to_owned()))
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
    command.args(["--package", "podkit", "--package", "logtail", "--package", "adapter-logformat"]);
    command.env("PROPTEST_CASES", CASES);
    sh::run(command)?;
    // Histories of files take longer than bytes.
    let mut histories =
        sh::cargo(&["test", "--locked", "--package", "logtail", "--test=model", "--test=names"]);
    histories.env("PROPTEST_CASES", HISTORIES);
    sh::run(histories)?;
    Ok(Done::Passed(format!("{CASES} cases for each property that does not set its own number")))
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
    let args = [
        "test",
        "--locked",
        "--package",
        "init-waitfor",
        "--test",
        "it",
        "--",
        "--ignored",
        "the_tools_themselves",
    ];
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

/// The status page's own tests, and a picture of each page while the pod runs, by a headless Chromium.
pub(crate) fn pages() -> anyhow::Result<Done> {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let Some(browser) = browsers.into_iter().find(|name| sh::succeeds(name, &["--version"])) else {
        return Ok(Done::Skipped("no Chromium here; `apt-get install chromium` brings one".to_owned()));
    };
    let pictures = sh::target_dir().join("xtask/pages");
    std::fs::create_dir_all(&pictures).with_context(|| format!("cannot create {}", pictures.display()))?;
    sh::run(sh::cargo(&["test", "--locked", "--package", "testkit", "--test", "page", "--", "--ignored"]))?;
    demo::with_pages(|name, url| {
        let file = pictures.join(format!("{name}.png"));
        let options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=420,900"];
        let mut command = sh::command(browser, &options);
        command.arg("--virtual-time-budget=4000").arg(format!("--screenshot={}", file.display())).arg(url);
        sh::output(command).map(drop)
    })?;
    Ok(Done::Passed(format!("in {}", pictures.display())))
}
