//! Puts commit and commit date into `--version`. A release takes them from the environment or from git; other builds say "dev", because a build
//! script is not run at each commit and a stale commit would be a lie.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=PODMATES_COMMIT");
    println!("cargo:rerun-if-env-changed=PODMATES_COMMIT_DATE");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release {
        println!("cargo:rerun-if-changed=../../.git/HEAD");
        println!("cargo:rerun-if-changed=../../.git/logs/HEAD");
    }
    let commit = given("PODMATES_COMMIT").or_else(|| git(release, &["rev-parse", "--short=12", "HEAD"]));
    let date = given("PODMATES_COMMIT_DATE").or_else(|| git(release, &["log", "-1", "--format=%cs"]));
    println!("cargo:rustc-env=PODMATES_COMMIT={}", commit.as_deref().unwrap_or("dev"));
    println!("cargo:rustc-env=PODMATES_COMMIT_DATE={}", date.as_deref().unwrap_or("undated"));
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn git(release: bool, args: &[&str]) -> Option<String> {
    if !release {
        return None;
    }
    let out = Command::new("git").args(args).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}
