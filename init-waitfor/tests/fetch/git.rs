//! fetch from git: a real `git http-backend` (Debian's git) behind a few lines of CGI.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use testkit::fake::{FakeHttp, Received, Reply};
use testkit::{Exited, PodDir, Proc, eventually, metrics};

use crate::waitfor;

struct Forge {
    pod: PodDir,
    http: FakeHttp,
}

/// RFC 3875, as far as `git http-backend` needs it.
fn cgi(root: &std::path::Path, request: &Received) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&request.body).expect("write to git");
    drop(stdin);
    let output = child.wait_with_output().expect("git's answer").stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut reply = Reply::new(200, &output[end + 4..]);
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name == "Status" {
            reply.status = value[..3].parse().expect("a status");
        } else {
            reply = reply.header(name, value);
        }
    }
    reply
}

impl Forge {
    fn new() -> Self {
        let pod = PodDir::new();
        let root = pod.mkdir("forge");
        pod.mkdir("work");
        pod.mkdir("v");
        let served = root.clone();
        let forge = Forge { pod, http: FakeHttp::with(move |request| cgi(&served, request)) };
        forge.git(&["init", "-q", "-b", "main", "."]);
        forge.write("a", "one\n");
        forge.write("bin/run", "#!/bin/sh\n");
        std::fs::set_permissions(forge.pod.join("work/bin/run"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
        std::os::unix::fs::symlink("../a", forge.pod.join("work/bin/link")).unwrap();
        forge.commit("first");
        let bare = root.join("site.git");
        forge.git(&["clone", "-q", "--bare", ".", &bare.to_string_lossy()]);
        forge.git(&["remote", "add", "origin", &bare.to_string_lossy()]);
        forge
    }

    fn git(&self, args: &[&str]) -> String {
        let identity =
            ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"];
        let done = Command::new("git")
            .args(identity)
            .args(args)
            .current_dir(self.pod.join("work"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        self.pod.write(format!("work/{name}"), text);
    }

    /// Everything that is there; gives the commit.
    fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn push(&self) {
        self.git(&["push", "-q", "--all", "origin"]);
        self.git(&["push", "-q", "--tags", "origin"]);
    }

    fn url(&self) -> String {
        format!("git+{}", self.http.url("/site.git"))
    }

    fn site(&self) -> PathBuf {
        self.pod.join("v/site")
    }

    fn proc(&self, args: &[&str]) -> Proc {
        waitfor().env("WAITFOR_TIMEOUT", "20s").args(["fetch", &self.url()]).arg(self.site()).args(args)
    }

    fn fetch(&self, args: &[&str]) -> Exited {
        self.proc(args).run()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.site().join(name)).unwrap()
    }
}

#[test]
fn branches_tags_and_commits() {
    let forge = Forge::new();
    let first = forge.git(&["rev-parse", "HEAD"]);
    forge.git(&["tag", "-a", "v1", "-m", "an annotated one"]);
    forge.write("a", "two\n");
    let second = forge.commit("second");
    forge.git(&["checkout", "-q", "-b", "next/big"]);
    forge.write("a", "three\n");
    forge.commit("third");
    forge.git(&["checkout", "-q", "main"]);
    forge.write("a", "four\n");
    forge.commit("fourth");
    forge.push();
    for (args, content) in [
        (&[][..], "four\n"),
        (&["--ref", "main"], "four\n"),
        (&["--ref", "next/big"], "three\n"),
        (&["--ref", "refs/heads/next/big"], "three\n"),
        (&["--ref", "v1"], "one\n"),
        (&["--ref", &first], "one\n"),
        (&["--ref", &second], "two\n"),
    ] {
        let done = forge.fetch(args);
        assert!(done.code() == Some(0), "{args:?}: {}", done.stderr());
        assert_eq!(forge.read("a"), content, "{args:?}");
    }
    assert_eq!(forge.site().join("bin/run").metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(forge.read("bin/link"), "two\n");
    let names = |dir: PathBuf| {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // The content alone, and nothing of the work is left.
    assert_eq!(names(forge.site()), ["a", "bin"]);
    assert_eq!(names(forge.pod.join("v")), ["site"]);
    forge.fetch(&["--ref", "none"]).expect_code(1).expect_stderr("no branch, tag or commit none");
    assert_eq!(forge.read("a"), "two\n");
}

#[test]
fn limits_links_and_submodules() {
    let forge = Forge::new();
    forge.fetch(&["--max-entries", "2"]).expect_code(1).expect_stderr("--max-entries 2");
    forge.fetch(&["--max-unpacked", "3"]).expect_code(1).expect_stderr("--max-unpacked");
    forge.fetch(&["--max-size", "100"]).expect_code(1).expect_stderr("--max-size 100");
    assert!(!forge.site().exists());
    forge.git(&["submodule", "add", "-q", &forge.pod.join("forge/site.git").to_string_lossy(), "sub"]);
    forge.commit("a submodule");
    forge.push();
    forge.fetch(&[]).expect_code(0);
    assert_eq!(std::fs::read_dir(forge.site().join("sub")).unwrap().count(), 0);
    std::os::unix::fs::symlink("../../../etc", forge.pod.join("work/bin/out")).unwrap();
    forge.commit("a link out");
    forge.push();
    forge.fetch(&[]).expect_code(1).expect_stderr("outside of the directory");
    assert!(forge.site().join("sub").exists());
}

#[test]
fn what_is_no_git_server_is_said_with_the_cause() {
    let forge = Forge::new();
    forge.http.decide(|_| Some(Reply::new(200, "").into()));
    let done = forge.fetch(&["--timeout", "1s"]).expect_code(124).stderr();
    assert!(done.contains("handshake failed: "), "{done}");
}

#[test]
fn credentials_and_redirects() {
    let forge = Forge::new();
    let served = forge.pod.join("forge");
    forge.http.decide(move |request| {
        let moved = request.target.strip_prefix("/old");
        Some(match moved {
            Some(rest) => Reply::new(301, "").header("location", rest).into(),
            None if request.header("authorization") != Some("Basic dTpzM2NyZXQtcHc=") => {
                Reply::new(401, "").header("www-authenticate", "Basic realm=x").into()
            }
            None => cgi(&served, request).into(),
        })
    });
    let run = |path: &str, user: &str| {
        let url = forge.url().replace("://", &format!("://{user}@")).replace("/site.git", path);
        let done = waitfor().args(["fetch", &url, "--log-level", "trace"]).arg(forge.site()).run();
        assert!(!done.stderr().contains("s3cret-pw"), "{}", done.stderr());
        done
    };
    run("/old/site.git", "u:s3cret-pw").expect_code(0);
    assert_eq!(forge.read("a"), "one\n");
    run("/site.git", "u:wrong-one").expect_code(1).expect_stderr("401");
}

#[test]
fn a_refresh_swaps_commits() {
    let forge = Forge::new();
    let proc = forge.proc(&["--refresh", "200ms", "--admin", "127.0.0.1:0"]);
    let running = proc.spawn();
    let admin = running.wait_ready().addr("admin");
    assert_eq!(forge.read("a"), "one\n");
    let total = |name: &str| metrics::metrics(admin).value(&format!("init_waitfor_{name}"));
    eventually("looks that find nothing new", || (total("fetch_unchanged_total") > 1.0).then_some(()));
    let received = total("fetch_received_bytes_total");
    for n in ["two\n", "three\n"] {
        forge.write("a", n);
        let commit = forge.commit(n);
        forge.push();
        eventually("the new commit", || (forge.read("a") == n).then_some(()));
        assert!(std::fs::read_link(forge.site()).unwrap().ends_with(&commit));
    }
    eventually("three swaps counted", || (total("fetch_swaps_total") == 3.0).then_some(()));
    assert!(total("fetch_received_bytes_total") > received);
    forge.http.down();
    eventually("a failure", || (total("fetch_failures_total") > 0.0).then_some(()));
    assert_eq!(forge.read("a"), "three\n");
    running.sigterm();
    running.wait_exit().expect_code(0);
}
