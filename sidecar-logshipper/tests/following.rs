//! What becomes of files, lived through by the real binary: while it runs, and while nobody runs.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Pod, assert_exact, bulk_url, count, lines, messages, stop, wait_docs};
use serde_json::json;
use testkit::fake::{Answer, FakeBulk, FakeHttp};
use testkit::{Proc, eventually, skip_or_fail};

/// What happens to a file, and all lines that come.
struct Story {
    name: &'static str,
    before: fn(&Pod),
    after: fn(&Pod),
    expected: &'static [&'static str],
}

const HEADER: &str = "# the same header\n# and more of it\n";

fn remove(pod: &Pod, name: &str) {
    fs::remove_file(pod.log(name)).expect("deletes");
}

fn rename(pod: &Pod, from: &str, to: &str) {
    pod.dir.rename(format!("logs/{from}"), format!("logs/{to}"));
}

/// Links with one step, as `ln -sfn` and the kubelet do.
fn link(pod: &Pod, to: &str, name: &str) {
    symlink(to, pod.log("..new")).expect("links");
    rename(pod, "..new", name);
}

/// The next content of a projected volume: `app.log → ..data/app.log`, `..data → ..N`.
fn swap(pod: &Pod, n: u32) {
    pod.append(&format!("..{n}/app.log"), format!("{HEADER}of {n}\n"));
    link(pod, &format!("..{n}"), "..data");
}

const STORIES: [Story; 8] = [
    Story {
        name: "renamed, and another that begins alike",
        before: |pod| pod.append("app.log", format!("{HEADER}one\n")),
        after: |pod| {
            rename(pod, "app.log", "app.log.1");
            pod.append("app.log", format!("{HEADER}two\n"));
            // A writer that still has the old one open.
            pod.append("app.log.1", "late\n");
        },
        expected: &[
            "# and more of it",
            "# and more of it",
            "# the same header",
            "# the same header",
            "late",
            "one",
            "two",
        ],
    },
    Story {
        name: "copied and cut",
        before: |pod| pod.append("app.log", format!("{HEADER}one\n")),
        after: |pod| {
            pod.append("app.log", "last before the cut\n");
            fs::copy(pod.log("app.log"), pod.log("app.log.1")).expect("copies");
            pod.dir.truncate("logs/app.log", 0);
            pod.append("app.log", format!("{HEADER}two\n"));
        },
        expected: &[
            "# and more of it",
            "# and more of it",
            "# the same header",
            "# the same header",
            "last before the cut",
            "one",
            "two",
        ],
    },
    Story {
        name: "deleted and made again, where the inode may be the same",
        before: |pod| pod.append("app.log", format!("{HEADER}one\n")),
        after: |pod| {
            remove(pod, "app.log");
            pod.append("app.log", format!("{HEADER}two\n"));
        },
        expected: &[
            "# and more of it",
            "# and more of it",
            "# the same header",
            "# the same header",
            "one",
            "two",
        ],
    },
    Story {
        name: "equal headers side by side",
        before: |pod| ["a.log", "worker.log"].iter().for_each(|name| pod.append(name, HEADER)),
        after: |pod| {
            for name in ["b.log", "worker-1.log"] {
                pod.append(name, format!("{HEADER}{name}\n"));
            }
        },
        expected: &[
            "# and more of it",
            "# and more of it",
            "# and more of it",
            "# and more of it",
            "# the same header",
            "# the same header",
            "# the same header",
            "# the same header",
            "b.log",
            "worker-1.log",
        ],
    },
    Story {
        name: "tiny files, rotated",
        before: |pod| pod.append("app.log", "1\n"),
        after: |pod| {
            rename(pod, "app.log", "app.log.1");
            pod.append("app.log", "2\n");
        },
        expected: &["1", "2"],
    },
    Story {
        name: "a link that is switched",
        before: |pod| {
            pod.append("january.txt", "january\n");
            link(pod, "january.txt", "app.log");
        },
        after: |pod| {
            pod.append("february.txt", "february\n");
            link(pod, "february.txt", "app.log");
        },
        expected: &["february", "january"],
    },
    Story {
        name: "a volume that is swapped as the kubelet does",
        before: |pod| {
            swap(pod, 0);
            symlink("..data/app.log", pod.log("app.log")).expect("links");
        },
        after: |pod| {
            swap(pod, 1);
            fs::remove_dir_all(pod.log("..0")).expect("removes");
        },
        expected: &[
            "# and more of it",
            "# and more of it",
            "# the same header",
            "# the same header",
            "of 0",
            "of 1",
        ],
    },
    Story {
        name: "overwritten in place",
        before: |pod| pod.append("app.log", "one\ntwo\nthree\n"),
        after: |pod| {
            pod.dir.write("logs/app.log", "four\n");
        },
        expected: &["four", "one", "three", "two"],
    },
];

#[test]
fn each_fate_of_a_file_is_told_apart() {
    for story in &STORIES {
        for running in [true, false] {
            let name = format!("{}, {}", story.name, if running { "followed" } else { "while nobody runs" });
            let (pod, sink) = (Pod::new(), FakeBulk::start());
            let start = || pod.shipper("*.log", &bulk_url(&sink)).spawn();
            (story.before)(&pod);
            let first = start();
            let read = || count(&first, "lag_bytes") == 0.0 && count(&first, "lines_delivered_total") > 0.0;
            eventually(&name, || read().then_some(()));
            let second = if running {
                (story.after)(&pod);
                first
            } else {
                stop(&first);
                (story.after)(&pod);
                start()
            };
            second.wait_ready();
            eventually(&name, || (sink.doc_count() >= story.expected.len()).then_some(()));
            assert_eq!(count(&second, "lost_bytes_total"), 0.0, "{name}");
            stop(&second);
            let mut got = messages(&sink);
            got.sort();
            assert_eq!(got, story.expected, "{name}");
            assert_eq!(sink.duplicates(), 0, "{name}");
        }
    }
}

// A file that goes while its sink is down is kept open, and read to its end before it is let go.
#[test]
fn what_is_deleted_or_moved_away_is_read_to_its_end() {
    const LINES: usize = 60_000;
    let fates: [fn(&Pod); 3] = [
        |pod| remove(pod, "app.log"),
        |pod| pod.dir.rename("logs/app.log", "elsewhere"),
        |pod| rename(pod, "app.log", "app.log.1"),
    ];
    for fate in fates {
        let (pod, sink) = (Pod::new(), FakeBulk::start());
        sink.down();
        pod.append("app.log", lines(0, LINES - 1));
        let shipper = pod.shipper("app.log", &bulk_url(&sink)).args(["--in-flight", "64KiB"]).spawn();
        eventually("asks in vain", || (count(&shipper, "retries_total") > 0.0).then_some(()));
        assert!(count(&shipper, "bytes_read_total") < 400_000.0, "a part of it is not read yet");
        // Without its newline: nobody will write it.
        pod.append("app.log", format!("line {}", LINES - 1));
        fate(&pod);
        pod.append("app.log", "line 60000\n");
        eventually("the new one is found", || (count(&shipper, "files") == 2.0).then_some(()));
        sink.up();
        wait_docs(&sink, LINES + 1);
        assert_eq!(count(&shipper, "lost_bytes_total"), 0.0);
        stop(&shipper);
        assert_exact(&sink, LINES + 1);
    }
}

// vector#7990, #13193, otel-contrib#40523: what was read is known in its compressed form, what was not is read from there.
#[test]
fn compressed_while_nobody_runs_is_known_or_read() {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let pack: [(&str, Pack); 2] = [
        ("gz", |text| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, text).expect("packs");
            gzip.finish().expect("packs")
        }),
        ("zst", |text| zstd::encode_all(text, 3).expect("packs")),
    ];
    for (suffix, pack) in pack {
        let (pod, sink) = (Pod::new(), FakeBulk::start());
        pod.append("app.log", lines(0, 100));
        let start = || {
            let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
            shipper.wait_ready();
            shipper
        };
        let shipper = start();
        wait_docs(&sink, 100);
        stop(&shipper);
        // One was read to its end, another was never seen under its own name.
        let compress = |from: usize, count: usize, name: &str| {
            pod.dir.write(format!("logs/{name}.{suffix}"), pack(lines(from, count).as_bytes()));
        };
        compress(0, 100, "app.log.2");
        compress(100, 100, "app.log.1");
        pod.dir.write("logs/app.log", lines(200, 100));
        let shipper = start();
        wait_docs(&sink, 300);
        stop(&shipper);
        assert_exact(&sink, 300);
        assert_eq!(sink.duplicates(), 0, "{suffix}: nothing was sent again");
    }
}

// vector#1466, fluent-bit#717: a file with a backlog keeps the others waiting.
#[test]
fn a_backlog_leaves_the_other_files_their_turns() {
    let (pod, sink) = (Pod::new(), FakeHttp::start());
    sink.down();
    let line = "x".repeat(999) + "\n";
    pod.append("big.log", line.repeat(20_000));
    let shipper =
        pod.shipper("*.log", &sink.url("/")).args(["--format", "raw", "--in-flight", "2MiB"]).spawn();
    eventually("asks in vain", || (count(&shipper, "retries_total") > 0.0).then_some(()));
    pod.append("small.log", "small\n");
    eventually("both are known", || (count(&shipper, "files") == 2.0).then_some(()));
    sink.up();
    eventually("all", || (count(&shipper, "lines_delivered_total") == 20_001.0).then_some(()));
    stop(&shipper);
    let at = sink.lines().iter().position(|line| line == "small").expect("it came");
    assert!(at < 10_000, "behind {at} lines of the other");
}

#[test]
fn an_unfinished_line_goes_after_its_idle_time_and_its_rest_as_its_second_part() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).args(["--idle-line", "200ms"]).spawn();
    pod.append("app.log", "half");
    wait_docs(&sink, 1);
    pod.append("app.log", " of it\nnext\n");
    wait_docs(&sink, 3);
    stop(&shipper);
    let mut docs = sink.docs();
    docs.sort_by_key(|doc| doc.source["log.offset"].as_u64());
    let shown: Vec<_> = docs
        .iter()
        .map(|doc| [&doc.source["message"], &doc.source["log.part"], &doc.source["log.last_part"]])
        .collect();
    let none = &json!(null);
    assert_eq!(shown[0][..2], [&json!("half"), &json!(1)]);
    assert_eq!(shown[1], [&json!(" of it"), &json!(2), &json!(true)]);
    assert_eq!(shown[2], [&json!("next"), none, none]);
}

#[test]
fn a_line_that_is_too_long_comes_in_numbered_parts() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", format!("{}{}{}\nnext\n", "a".repeat(100), "b".repeat(100), "c".repeat(10)));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).args(["--max-line", "100"]).spawn();
    wait_docs(&sink, 4);
    assert_eq!(count(&shipper, "line_parts_total"), 3.0);
    stop(&shipper);
    let mut docs = sink.docs();
    docs.sort_by_key(|doc| doc.source["log.offset"].as_u64());
    let shown: Vec<_> = docs
        .iter()
        .map(|doc| {
            (
                doc.source["log.part"].as_u64(),
                doc.source["log.last_part"].as_bool(),
                doc.source["message"].as_str().map_or(0, str::len),
            )
        })
        .collect();
    assert_eq!(shown[2], (Some(3), Some(true), 10));
    assert_eq!((shown[0].0, shown[0].2, shown[1].0, shown[1].2), (Some(1), 100, Some(2), 100));
    assert_eq!(shown[3], (None, None, 4));
}

#[test]
fn from_the_end_is_for_what_is_there_at_the_very_first_start() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", "old\nbegun ");
    let start = || {
        let shipper = pod.shipper("*.log", &bulk_url(&sink)).arg("--from-end").spawn();
        shipper.wait_ready();
        shipper
    };
    let shipper = start();
    pod.append("app.log", "before\nnew\n");
    pod.append("later.log", "whole\n");
    wait_docs(&sink, 3);
    stop(&shipper);
    pod.append("app.log", "while nobody ran\n");
    pod.append("another.log", "this too\n");
    let shipper = start();
    wait_docs(&sink, 5);
    stop(&shipper);
    let mut got = messages(&sink);
    got.sort();
    assert_eq!(got, ["begun before", "new", "this too", "while nobody ran", "whole"]);
}

#[test]
fn what_is_excluded_is_not_read_whatever_becomes_of_it() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    for name in ["app.log", "deep/er/app.log", "app.debug.log", "private/app.log"] {
        pod.append(name, format!("{name}\n"));
    }
    let args = ["--exclude", "*.debug.log", &pod.log("private/**").display().to_string()].map(str::to_owned);
    let shipper = pod.shipper("**/*.log", &bulk_url(&sink)).args(args).spawn();
    wait_docs(&sink, 2);
    rename(&pod, "app.debug.log", "app.debug.log.1");
    for name in ["app.debug.log", "private/new.log", "deep/new.log"] {
        pod.append(name, format!("{name}\n"));
    }
    wait_docs(&sink, 3);
    stop(&shipper);
    let mut got = messages(&sink);
    got.sort();
    assert_eq!(got, ["app.log", "deep/er/app.log", "deep/new.log"]);
}

// The kernel forgets what does not fit into its queue: everything is looked at then.
#[test]
fn an_overflow_of_the_kernels_queue_loses_nothing() {
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("reads");
    let queue: usize = queue.trim().parse().expect("a number");
    if queue > 100_000 {
        return skip_or_fail("an overflow of inotify's queue: fs.inotify.max_queued_events is large");
    }
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", lines(0, 10));
    let shipper = pod.shipper("*.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 10);
    shipper.sigstop();
    // Each name makes messages of its own, which cannot be taken together: it comes, and it goes.
    for n in 0..=queue / 2 {
        let name = pod.log(&format!("{n}.tmp"));
        fs::write(&name, "").and_then(|()| fs::remove_file(&name)).expect("writes and deletes");
    }
    // Nobody is told of these.
    pod.append("app.log", lines(10, 10));
    rename(&pod, "app.log", "app.log.1");
    pod.append("app.log", lines(20, 10));
    pod.append("new.log", lines(30, 10));
    pod.append("gone.log", lines(40, 10));
    rename(&pod, "gone.log", "gone.log.1");
    shipper.sigcont();
    wait_docs(&sink, 50);
    // What came later is told again.
    pod.append("app.log", lines(50, 10));
    wait_docs(&sink, 60);
    assert_eq!(count(&shipper, "lost_bytes_total"), 0.0);
    stop(&shipper);
    assert_exact(&sink, 60);
}

// ENOSPC for one of two directories: one is told of, the other is polled.
#[test]
fn a_watch_for_one_of_two_directories_is_enough() {
    let script = "echo 1 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let inside = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    if Proc::new(inside[0]).args(&inside[1..]).arg("true").run().code() != Some(0) {
        return skip_or_fail("limits of inotify need a user namespace");
    }
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("a/app.log", lines(0, 10));
    pod.append("b/app.log", lines(10, 10));
    let shipper = pod.under(&inside, "*/app.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 20);
    let mut written = 20;
    for round in 1..4 {
        for dir in ["a", "b"] {
            pod.append(&format!("{dir}/app.log"), lines(written, 10));
            rename(&pod, &format!("{dir}/app.log"), &format!("{dir}/app.log.{round}"));
            pod.append(&format!("{dir}/app.log"), lines(written + 10, 10));
            written += 20;
            wait_docs(&sink, written);
        }
    }
    assert_eq!(count(&shipper, "lost_bytes_total"), 0.0);
    shipper.sigterm();
    shipper.wait_exit().expect_code(0).expect_stderr("polled").expect_stderr("max_user_watches");
    assert_exact(&sink, written);
}

#[test]
fn a_shipper_that_was_stopped_goes_on_where_it_was() {
    let (pod, sink) = (Pod::new(), FakeBulk::start());
    pod.append("app.log", lines(0, 10));
    let shipper = pod.shipper("app.log", &bulk_url(&sink)).spawn();
    wait_docs(&sink, 10);
    for round in 1..4 {
        // The request that is under way is lost with its answer.
        sink.next([Answer::AnswerLost]);
        pod.append("app.log", lines(round * 20 - 10, 10));
        shipper.sigstop();
        rename(&pod, "app.log", &format!("app.log.{}", 4 - round));
        pod.append("app.log", lines(round * 20, 10));
        shipper.sigcont();
        wait_docs(&sink, 10 + round * 20);
    }
    stop(&shipper);
    assert_exact(&sink, 70);
}
