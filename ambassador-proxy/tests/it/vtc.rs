//! Scripts of varnishtest (Debian's `varnish`): client and server by the byte, in `vtc/`. One proxy and one upstream port for each.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::python::program;
use crate::common::start;

fn play(script: &Path) {
    let Some(varnishtest) = program("varnishtest", "varnish") else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // One worker, so that a kept connection is the one that is used again.
    let proxy = start(&["--workers", "1", "--http", &format!("127.0.0.1:0=http://127.0.0.1:{port}")]);
    let output = Command::new(varnishtest)
        .args(["-t", &testkit::timeout().as_secs().to_string()])
        .arg(format!("-Dup=127.0.0.1:{port}"))
        .arg(format!("-Dproxy={}", proxy.http()))
        .arg(script)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", script.display());
    proxy.end();
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vtc").join(name)
}

#[test]
fn keep_alive() {
    play(&script("keep_alive.vtc"));
}

#[test]
fn endings() {
    play(&script("endings.vtc"));
}

#[test]
fn pipelining() {
    play(&script("pipelining.vtc"));
}

#[test]
fn h2() {
    play(&script("h2.vtc"));
}

#[test]
fn every_script_is_played() {
    let folder = std::fs::read_dir(script("")).unwrap().flatten();
    assert_eq!(folder.count(), 4, "a new script needs a test above");
}
