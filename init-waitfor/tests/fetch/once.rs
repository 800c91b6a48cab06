//! fetch: files and archives, whole and checked, or nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::{Exited, PodDir, Proc, eventually, skip_or_fail};

use crate::waitfor;

/// One entry, with the name as it is: the `tar` crate itself would refuse to write most of these.
pub(crate) fn entry(kind: u8, name: &str, link: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(b'0', name, "", 0o644, data)
}

pub(crate) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

struct Store {
    pod: PodDir,
    http: FakeHttp,
}

impl Store {
    fn new() -> Self {
        let store = Store { pod: PodDir::new(), http: FakeHttp::start() };
        store.pod.mkdir("v");
        store
    }

    fn proc(&self, dest: &str, args: &[&str]) -> Proc {
        waitfor()
            .env("WAITFOR_TIMEOUT", "60s")
            .env("WAITFOR_MAX_INTERVAL", "200ms")
            .args(["fetch", &self.http.url("/a")])
            .arg(self.pod.join(dest))
            .args(args)
    }

    fn extract(&self, body: &[u8], args: &[&str]) -> Exited {
        self.http.always(Reply::new(200, body));
        self.proc("v/site", &[&["--extract"], args].concat()).run()
    }
}

#[test]
fn archives_of_gnu_tar_arrive_as_they_were() {
    let store = Store::new();
    let (from, long) = (store.pod.mkdir("from"), format!("deep/{}/{}", "d".repeat(90), "f".repeat(90)));
    store.pod.write("from/top/bin/run", "#!/bin/sh\n");
    store.pod.write("from/top/index.html", "hello\n");
    store.pod.write(format!("from/top/{long}"), "long\n");
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).current_dir(&from).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run("chmod", &["4755", "top/bin/run"]);
    run("chmod", &["0550", "top/bin"]);
    run("ln", &["-s", "../index.html", "top/bin/link"]);
    run("ln", &["top/index.html", "top/same"]);
    for (format, compress) in
        [("gnu", "-z"), ("pax", "-z"), ("ustar", "--no-auto-compress"), ("gnu", "--no-auto-compress")]
    {
        let out = store.pod.join("out.tar");
        run("tar", &[compress, &format!("--format={format}"), "-cf", &out.to_string_lossy(), "top"]);
        let body = std::fs::read(&out).unwrap();
        store.extract(&body, &["--strip", "1"]).expect_code(0);
        let site = store.pod.join("v/site");
        assert_eq!(std::fs::read(site.join("index.html")).unwrap(), b"hello\n");
        assert_eq!(std::fs::read(site.join("bin/link")).unwrap(), b"hello\n");
        assert_eq!(std::fs::read(site.join("same")).unwrap(), b"hello\n");
        assert_eq!(std::fs::read(site.join(&long)).unwrap(), b"long\n");
        // setuid is dropped, the rest of the mode kept; a directory can be removed by whoever owns it.
        assert_eq!(mode(&site.join("bin/run")), 0o755);
        assert_eq!(mode(&site.join("bin")), 0o750);
        assert_eq!(mode(&site), 0o755);
        assert_eq!(names(&store.pod.join("v")), ["site"]);
    }
    run("chmod", &["0750", "top/bin"]);
}

#[test]
fn zstd_and_zip_too() {
    use std::io::Write as _;

    let store = Store::new();
    let tar = archive(&[entry(b'5', "d/", "", 0o755, b""), file("d/a", b"content")]);
    let zstd = ruzstd::encoding::compress_to_vec(&tar[..], ruzstd::encoding::CompressionLevel::Fastest);
    store.extract(&zstd, &[]).expect_code(0);
    assert_eq!(store.pod.read("v/site/d/a").unwrap(), b"content");

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("e/run", options.unix_permissions(0o4755)).unwrap();
    zip.write_all(&vec![b'x'; 100_000]).unwrap();
    zip.add_symlink("e/link", "run", options).unwrap();
    let zip = zip.finish().unwrap().into_inner();
    store.extract(&zip, &[]).expect_code(0);
    assert_eq!(store.pod.read("v/site/e/link").unwrap().len(), 100_000);
    assert_eq!(mode(&store.pod.join("v/site/e/run")), 0o755);
    // The tree took the place of the one before: nothing of that is left.
    assert!(!store.pod.join("v/site/d").exists());
    assert_eq!(names(&store.pod.join("v")), ["site"]);
    store.extract(&zip, &["--max-unpacked", "50000"]).expect_code(1).expect_stderr("--max-unpacked");
    store.extract(&zip, &["--max-entries", "1"]).expect_code(1).expect_stderr("--max-entries 1");
}

#[test]
fn hostile_archives_are_refused_whole() {
    let store = Store::new();
    store.pod.write("outside", "untouched");
    store.extract(&archive(&[file("good", b"1")]), &[]).expect_code(0);
    let long = entry(b'L', "././@LongLink", "", 0o644, &vec![b'a'; 70 << 10]);
    let link = |name: &str, to: &str| entry(b'2', name, to, 0o777, b"");
    let hard = |name: &str, to: &str| entry(b'1', name, to, 0o644, b"");
    let outside = store.pod.join("outside").to_string_lossy().into_owned();
    let bad: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("..", vec![file("../outside", b"x")], "leads out"),
        (".. inside", vec![file("a/../../outside", b"x")], "leads out"),
        ("absolute", vec![file(&outside, b"x")], "leads out"),
        ("link out", vec![link("l", "../..")], "outside"),
        ("absolute link", vec![link("l", "/etc")], "outside"),
        ("through a link", vec![link("l", ".."), file("l/outside", b"x")], "outside"),
        ("through two links", vec![link("d/e/l", "../.."), link("m", "d/e/l/..")], "outside"),
        ("a link round", vec![link("a", "b"), link("b", "a")], "back to itself"),
        ("hard link out", vec![hard("h", "../outside")], "leads out"),
        ("hard link to absolute", vec![hard("h", &outside)], "leads out"),
        ("hard link to nothing", vec![hard("h", "missing")], "no file of the archive"),
        ("device", vec![entry(b'3', "null", "", 0o666, b"")], "device node"),
        ("block device", vec![entry(b'4', "sda", "", 0o666, b"")], "device node"),
        ("pipe", vec![entry(b'6', "p", "", 0o666, b"")], "named pipe"),
        ("sparse", vec![entry(b'S', "s", "", 0o666, b"")], "sparse"),
        ("a name without end", vec![long, file("x", b"x")], "64 KiB"),
        ("file below file", vec![file("a", b""), file("a/b", b"")], "below a file"),
    ];
    for (what, entries, says) in bad {
        for body in [archive(&entries), gzip(&archive(&entries))] {
            let done = store.extract(&body, &[]);
            assert!(done.code() == Some(1) && done.stderr().contains(says), "{what}: {}", done.stderr());
        }
        assert_eq!(names(&store.pod.join("v")), ["site"], "{what}");
        assert_eq!(names(&store.pod.join("v/site")), ["good"], "{what}");
    }
    assert_eq!(store.pod.read("outside").unwrap(), b"untouched");
    // A link inside is none of that, also when it points at a later one or at nothing.
    let good = archive(&[
        link("bin", "current/bin"),
        link("current", "v1"),
        file("v1/bin/run", b"r"),
        link("x", "later"),
    ]);
    store.extract(&good, &[]).expect_code(0);
    assert_eq!(store.pod.read("v/site/bin/run").unwrap(), b"r");
}

#[test]
fn small_archives_that_unpack_to_much_and_broken_ones() {
    let store = Store::new();
    let bomb = gzip(&archive(&[file("zeros", &vec![0; 64 << 20])]));
    assert!(bomb.len() < 200_000);
    store.extract(&bomb, &["--max-unpacked", "8MiB"]).expect_code(1).expect_stderr("--max-unpacked");
    let many: Vec<Vec<u8>> = (0..50).map(|n| file(&format!("f{n}"), b"")).collect();
    store.extract(&archive(&many), &["--max-entries", "49"]).expect_code(1).expect_stderr("--max-entries 49");
    store.extract(&archive(&many), &["--max-entries", "50"]).expect_code(0);
    let good = gzip(&archive(&[file("a", &[7; 5000]), file("b", &[8; 5000])]));
    let mut flipped = good.clone();
    let near_end = flipped.len() - 6;
    flipped[near_end] ^= 1;
    store.extract(&flipped, &[]).expect_code(1).expect_stderr("broken");
    store.extract(&good[..good.len() / 2], &[]).expect_code(1).expect_stderr("broken");
    store.extract(b"<html>Not found</html>", &[]).expect_code(1).expect_stderr("is no tar");
    store.extract(b"BZh91AY&SY", &[]).expect_code(1).expect_stderr("tar.zst");
    assert_eq!(names(&store.pod.join("v/site")).len(), 50);
    // The pin is on what is downloaded, and nothing is unpacked when it does not hold.
    store.extract(&good, &["--sha256", &"0".repeat(64)]).expect_code(1).expect_stderr("has SHA-256");
}

#[test]
fn a_tree_is_replaced_without_a_moment_between() {
    let store = Store::new();
    let version = |n: u8| archive(&[file("a", &[n; 3]), file("b", &[n; 3])]);
    store.extract(&version(0), &[]).expect_code(0);
    let (stop, site) =
        (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), store.pod.join("v/site"));
    let (flag, path) = (stop.clone(), site.clone());
    let watcher = std::thread::spawn(move || {
        let mut looks = 0_u32;
        while !flag.load(std::sync::atomic::Ordering::Relaxed) {
            assert!(path.join("a").exists() || path.join("a").exists(), "there is always a tree");
            looks += 1;
        }
        looks
    });
    for n in 1..6 {
        store.extract(&version(n), &[]).expect_code(0);
        assert_eq!(std::fs::read(site.join("a")).unwrap(), [n; 3]);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0);
}

#[test]
fn what_a_killed_fetch_left_is_gone_after_the_next_and_a_living_one_is_left_alone() {
    let store = Store::new();
    store.pod.write("v/model", "old");
    let slow = || Answer::Stream(vec![vec![b'x'; 1000]; 40], Duration::from_millis(100));
    store.http.next([slow()]);
    let killed = store.proc("v/model", &[]).spawn();
    let left = eventually("a half file", || {
        names(&store.pod.join("v")).into_iter().find(|name| name.starts_with(".model."))
    });
    killed.sigkill();
    assert_eq!(store.pod.read("v/model").unwrap(), b"old");
    assert!(store.pod.join("v").join(&left).exists());

    store.http.next([slow()]);
    let living = store.proc("v/model", &[]).spawn();
    eventually("the half file of the living", || {
        names(&store.pod.join("v")).into_iter().find(|name| name.starts_with(".model.") && *name != left)
    });
    store.http.always(Reply::new(200, "new"));
    store.proc("v/model", &[]).run().expect_code(0);
    assert!(!store.pod.join("v").join(&left).exists());
    living.wait_exit().expect_code(0);
    assert_eq!(store.pod.read("v/model").unwrap().len(), 40_000);
    assert_eq!(names(&store.pod.join("v")), ["model"]);
    // Stopped by a signal, it takes its half file along.
    store.http.next([slow()]);
    let stopped = store.proc("v/model", &[]).spawn();
    eventually("a half file", || (names(&store.pod.join("v")).len() == 2).then_some(()));
    stopped.sigterm();
    stopped.wait_exit().expect_code(143);
    assert_eq!(names(&store.pod.join("v")), ["model"]);
}

#[test]
fn time_is_up_also_while_something_trickles_in() {
    let store = Store::new();
    store.http.always(Answer::Stream(vec![b"x".to_vec(); 1000], Duration::from_millis(100)));
    let done = store.proc("v/f", &["--timeout", "1s"]).run();
    done.expect_code(124).expect_stderr("time is up");
    // The termination message is one JSON line.
    let message = store.pod.join("message");
    let mut proc = Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).arg("--termination-log").arg(&message);
    proc = proc.args(["fetch", &store.http.url("/a"), "--timeout", "300ms"]).arg(store.pod.join("v/f"));
    proc.run().expect_code(124);
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(message).unwrap()).unwrap();
    assert_eq!((told["reason"].as_str(), told["code"].as_u64()), (Some("fetch"), Some(124)));
    // Many attempts, one obstacle: one line about it.
    store.http.always(Answer::Status(502));
    let done = store.proc("v/f", &["--timeout", "1s", "--interval", "10ms", "--max-interval", "20ms"]).run();
    assert_eq!(done.expect_code(124).stderr().matches("not yet").count(), 1, "{}", done.stderr());
    store.http.always(Answer::RetryAfter(503, 3600));
    store.proc("v/f", &["--timeout", "1s"]).run().expect_code(124).expect_stderr("503");
    assert!(names(&store.pod.join("v")).is_empty());
}

#[test]
fn credentials_go_to_their_host_alone_and_nowhere_else() {
    let (store, elsewhere) = (Store::new(), FakeHttp::start());
    elsewhere.always(Reply::new(200, "moved"));
    let to = elsewhere.url("/b");
    store.http.decide(move |request| {
        let reply = match request.path() {
            "/a" => Reply::new(302, "").header("location", "/same"),
            _ => Reply::new(302, "").header("location", &to),
        };
        Some(reply.into())
    });
    let token = store.pod.write("token", "s3cret-bearer\n");
    let done = waitfor()
        .args(["fetch", &store.http.url("/a").replace("http://", "http://u:s3cret-pw@")])
        .arg(store.pod.join("v/f"))
        .args(["--header", "X-Api-Key: s3cret-key", "--log-level", "trace", "--bearer-file"])
        .arg(&token)
        .run();
    done.expect_code(0);
    let own = store.http.requests();
    assert_eq!(own.len(), 2);
    for request in &own {
        assert_eq!(request.header("x-api-key"), Some("s3cret-key"));
        assert_eq!(request.header("authorization"), Some("Bearer s3cret-bearer"));
    }
    let other = &elsewhere.requests()[0];
    assert_eq!((other.header("x-api-key"), other.header("authorization")), (None, None));
    for secret in ["s3cret-pw", "s3cret-key", "s3cret-bearer"] {
        assert!(!done.stderr().contains(secret) && !done.stdout().contains(secret), "{}", done.stderr());
    }
    // Without any other, the URL's own user and password are sent.
    store.http.decide(|_| Some(Answer::Status(403)));
    let done = waitfor()
        .args(["fetch", &store.http.url("/a").replace("http://", "http://u:s3cret-pw@")])
        .arg(store.pod.join("v/f"))
        .run();
    done.expect_code(1).expect_stderr("403");
    assert!(!done.stderr().contains("s3cret-pw"));
    let last = store.http.requests().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Basic dTpzM2NyZXQtcHc="));
}

#[test]
fn proxies_of_the_environment_are_followed() {
    let (store, proxy) = (Store::new(), FakeHttp::start());
    proxy.always(Reply::new(200, "by way of the proxy"));
    // Nobody answers there: only the proxy knows the name.
    let resolver = store.pod.write("resolv.conf", "nameserver 127.0.0.1\n");
    let through = |no: &str, time: &str| {
        let proc = waitfor()
            .env("HTTP_PROXY", proxy.url("").replace("://", "://u:s3cret-proxy@"))
            .env("NO_PROXY", no)
            .env("WAITFOR_RESOLV_CONF", &resolver);
        proc.args(["fetch", "http://files.example/a"])
            .arg(store.pod.join("v/f"))
            .args(["--timeout", time])
            .run()
    };
    let done = through("", "30s");
    done.expect_code(0);
    assert_eq!(proxy.requests()[0].target, "http://files.example/a");
    assert!(proxy.requests()[0].header("proxy-authorization").is_some());
    assert!(!done.stderr().contains("s3cret-proxy"));
    through("example", "1s").expect_code(124);
    assert_eq!(proxy.count(), 1);
}

#[test]
fn a_configuration_file_says_the_same() {
    let store = Store::new();
    store.http.always(Reply::new(200, archive(&[file("top/a", b"1")])));
    let config = format!(
        "fetch:\n  url: {}\n  dest: {}\n  extract: true\n  strip: 1\n  headers: {{X-Key: {{env: THE_KEY}}}}\n",
        store.http.url("/a"),
        store.pod.join("v/site").display()
    );
    let file = store.pod.write("c.yaml", config);
    let with = |args: &[&str]| waitfor().env("THE_KEY", "s3cret-env").arg("--config").arg(&file).args(args);
    with(&["fetch"]).run().expect_code(0);
    assert_eq!(store.pod.read("v/site/a").unwrap(), b"1");
    assert_eq!(store.http.requests()[0].header("x-key"), Some("s3cret-env"));
    with(&["--check", "fetch"]).run().expect_code(0);
    waitfor().args(["fetch", &store.http.url("/a")]).run().expect_code(2).expect_stderr("DEST");
    let bad = store.pod.write(
        "bad.yaml",
        "fetch:\n  url: ftp://x\n  sha256: abc\n  mode: \"9\"\n  owner: app\n  strip: 1\n  dest: /\n  refresh: 1ms\n  ref: main\n",
    );
    let done = waitfor().arg("--config").arg(&bad).arg("--check").run();
    done.expect_code(78);
    for key in ["url", "sha256", "mode", "owner", "extract", "dest", "refresh", "ref"] {
        done.expect_stderr(&format!("fetch.{key}"));
    }
}

#[test]
fn places_that_cannot_be_replaced_are_said_before_anything_is_asked() {
    let store = Store::new();
    store.pod.mkdir("v/dir");
    store.proc("v/dir", &[]).run().expect_code(1).expect_stderr("is a directory");
    store.proc("v/new/", &[]).run().expect_code(78).expect_stderr("write the file's name behind it");
    if let Some(volume) = store.pod.small_tmpfs("volume", 1 << 20) {
        let done = store.proc("volume", &["--extract"]).run();
        done.expect_code(1).expect_stderr("mount point").expect_stderr("volume/current");
        assert_eq!(store.http.count(), 0);
        // A full volume is one sentence, and what was there stays.
        std::fs::write(volume.join("f"), "old").unwrap();
        store.http.always(Reply::new(200, vec![0; 4 << 20]));
        store.proc("volume/f", &[]).run().expect_code(1).expect_stderr("more room");
        assert_eq!(std::fs::read(volume.join("f")).unwrap(), b"old");
        assert_eq!(names(volume.path()), ["f"]);
    } else {
        skip_or_fail("a tmpfs cannot be mounted here");
    }
}

#[test]
fn an_owner_needs_the_capability_and_is_told_so_first() {
    let store = Store::new();
    let body = archive(&[file("d/a", b"1"), entry(b'2', "l", "d/a", 0o777, b"")]);
    store.http.always(Reply::new(200, body));
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        return skip_or_fail("giving files away takes root");
    }
    store.proc("v/site", &["--extract", "--owner", "1234:4321"]).run().expect_code(0);
    let owners: BTreeMap<&str, (u32, u32)> = ["v/site", "v/site/d", "v/site/d/a", "v/site/l"]
        .into_iter()
        .map(|name| {
            use std::os::unix::fs::MetadataExt as _;
            let about = store.pod.join(name).symlink_metadata().unwrap();
            (name, (about.uid(), about.gid()))
        })
        .collect();
    assert!(owners.values().all(|owner| *owner == (1234, 4321)), "{owners:?}");
    let asked = store.http.count();
    let binary = env!("CARGO_BIN_EXE_init-waitfor");
    let without = |drop: &str| {
        let drop = format!("--bounding-set={drop}");
        Proc::new("setpriv")
            .args([&drop, "--", binary, "--termination-log", "/dev/null", "fetch", &store.http.url("/a")])
            .arg(store.pod.join("v/f"))
            .args(["--owner", "1234:4321", "--mode", "0640"])
            .run()
    };
    let done = without("-chown");
    done.expect_code(1).expect_stderr("CAP_CHOWN").expect_stderr("runAsUser: 1234");
    assert_eq!(store.http.count(), asked);
    // With nothing but CAP_CHOWN, as `drop: [ALL], add: [CHOWN]` has it.
    without("-all,+chown").expect_code(0);
    assert_eq!(mode(&store.pod.join("v/f")), 0o640);
}

#[cfg(not(feature = "git"))]
#[test]
fn git_is_in_another_image() {
    let done = waitfor().args(["fetch", "git+https://host/repo.git", "/tmp/nowhere/x"]).run();
    done.expect_code(78).expect_stderr("-git");
}
