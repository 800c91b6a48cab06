//! What the stories share: a pod directory with inputs and an output, and the count that has to balance.

#![allow(dead_code, reason = "each story uses its part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use testkit::{PodDir, Proc, Running, eventually};

pub(crate) fn adapter() -> Proc {
    Proc::new(env!("CARGO_BIN_EXE_adapter-logformat")).json_logs()
}

/// Follows `app*.log` into `out/records.log`.
pub(crate) fn following(pod: &PodDir, more: &[&str]) -> Proc {
    adapter()
        .args(["--in", pod.join("app*.log").to_str().expect("text"), "--schema", "flat"])
        .args(if more.contains(&"--from") { &[][..] } else { &["--from", "json"] })
        .args(["--out", pod.join("out/records.log").to_str().expect("text")])
        .args(["--state", pod.join("state").to_str().expect("text"), "--admin", "127.0.0.1:0"])
        .args(more)
}

/// Lines with the ids `from..to`.
pub(crate) fn lines(from: u64, to: u64) -> String {
    (from..to)
        .map(|id| format!("{{\"level\":\"info\",\"msg\":\"line\",\"id\":{id},\"pad\":\"{id:0>80}\"}}\n"))
        .collect()
}

/// How often each id is in the output, rotated files included; every line has to be a record.
pub(crate) fn ids(pod: &PodDir) -> BTreeMap<u64, u32> {
    let mut ids = BTreeMap::new();
    for record in records(&pod.join("out")) {
        let id = record["id"].as_u64().unwrap_or_else(|| panic!("no id: {record}"));
        *ids.entry(id).or_default() += 1;
    }
    ids
}

/// All records of the output's files, the oldest first.
pub(crate) fn records(dir: &Path) -> Vec<serde_json::Value> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .map(|entries| entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.retain(|name: &String| name.starts_with("records.log"));
    names.sort_by_key(|name| {
        std::cmp::Reverse(name.rsplit_once(".log.").map_or(0, |(_, n)| n.parse().unwrap_or(0)))
    });
    let mut records = Vec::new();
    for name in names {
        let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        for line in text.lines() {
            records.push(serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        }
    }
    records
}

/// Waits until the ids `0..count` are all there.
pub(crate) fn wait_for_ids(pod: &PodDir, count: u64) {
    eventually(&format!("{count} records"), || {
        let text = |path: std::path::PathBuf| std::fs::read(path).unwrap_or_default();
        let there: usize = std::fs::read_dir(pod.join("out"))
            .ok()?
            .filter_map(Result::ok)
            .filter(|e| e.file_name().to_string_lossy().starts_with("records.log"))
            .map(|e| text(e.path()).iter().filter(|b| **b == b'\n').count())
            .sum();
        (there as u64 >= count).then_some(())
    });
}

pub(crate) fn assert_exactly_once(pod: &PodDir, count: u64) {
    let ids = ids(pod);
    let twice: Vec<_> = ids.iter().filter(|(_, times)| **times > 1).take(5).collect();
    let missing: Vec<_> = (0..count).filter(|id| !ids.contains_key(id)).take(5).collect();
    assert!(twice.is_empty() && missing.is_empty(), "twice: {twice:?}, missing: {missing:?}");
    assert_eq!(ids.len() as u64, count);
}

pub(crate) fn metric(running: &Running, name: &str) -> f64 {
    testkit::metrics::metrics(running.wait_ready().addr("admin")).value(&format!("adapter_logformat_{name}"))
}
