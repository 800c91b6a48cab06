//! The sink for Kafka, against librdkafka's mock cluster (what its own tests run against), which Python's confluent-kafka brings along.
#![cfg(feature = "kafka")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use common::{Pod, count, lines, stop};
use serde_json::{Value, json};
use testkit::{eventually, skip_or_fail};

/// Starts the cluster, prints its address, and answers each line of input with all records that are there.
const CLUSTER: &str = r#"
import json, sys
import confluent_kafka as ck
producer = ck.Producer({"test.mock.num.brokers": 1, "log_level": 0})
brokers = producer.list_topics(timeout=10).brokers
addr = ",".join(f"{b.host}:{b.port}" for b in brokers.values())
# A mock cluster makes a topic when someone asks for it.
producer.list_topics("logs", timeout=10)
print(addr, flush=True)
for line in sys.stdin:
    consumer = ck.Consumer({"bootstrap.servers": addr, "group.id": "g", "auto.offset.reset": "earliest", "log_level": 0})
    topic = consumer.list_topics("logs", timeout=10).topics["logs"]
    consumer.assign([ck.TopicPartition("logs", p, 0) for p in topic.partitions])
    records = []
    while (message := consumer.poll(2.0)) is not None:
        if message.error() is None:
            records.append({"partition": message.partition(), "key": message.key().decode(),
                            "value": message.value().decode(), "time": message.timestamp()[1]})
    consumer.close()
    print(json.dumps(records), flush=True)
"#;

struct Cluster {
    child: Child,
    stdin: ChildStdin,
    out: Receiver<String>,
    addr: String,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that `cargo xtask test --full` has set up, or the system's.
fn python() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/venv/bin/python3");
    [ours, "python3".into()].into_iter().find(|python| {
        let import =
            Command::new(python).args(["-c", "import confluent_kafka"]).stderr(Stdio::null()).status();
        import.is_ok_and(|status| status.success())
    })
}

impl Cluster {
    fn start() -> Option<Self> {
        let mut child = Command::new(python()?)
            .args(["-c", CLUSTER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let (send, out) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(send.send(line)))
        });
        let stdin = child.stdin.take().expect("piped");
        let addr = out.recv_timeout(testkit::timeout()).expect("an address");
        Some(Self { child, stdin, out, addr })
    }

    fn records(&mut self) -> Vec<Value> {
        writeln!(self.stdin, "?").expect("asks");
        let line = self.out.recv_timeout(testkit::timeout()).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }
}

#[test]
fn lines_become_records_in_the_order_of_their_file() {
    let Some(mut cluster) = Cluster::start() else {
        return skip_or_fail("Kafka needs Python's confluent-kafka (xtask/requirements-full.txt)");
    };
    let kinds = ["none", "gzip", "zstd"];
    for compression in kinds {
        let pod = Pod::new();
        pod.append("a.log", "{\"@timestamp\":\"2026-01-01T00:00:00.5Z\",\"n\":1}\n");
        pod.append("b.log", lines(0, 100));
        let to = format!("kafka://{}/logs", cluster.addr);
        let args = ["--format", "auto", "--batch-lines", "7", "--compression", compression];
        let shipper = pod.shipper("*.log", &to).args(args).spawn();
        eventually("delivered", || (count(&shipper, "lines_delivered_total") == 101.0).then_some(()));
        stop(&shipper);
        // The topic keeps those of the other turns, too, and gives them out partition by partition.
        let root = pod.dir.join("").display().to_string();
        let mut records = cluster.records();
        records.retain(|record| record["key"].as_str().is_some_and(|key| key.starts_with(&root)));
        assert_eq!(records.len(), 101, "{compression}");
        let of = |name: &str| -> Vec<&Value> {
            let key = json!(pod.log(name).display().to_string());
            records.iter().filter(|record| record["key"] == key).collect()
        };
        assert_eq!(of("a.log")[0]["value"], "{\"@timestamp\":\"2026-01-01T00:00:00.5Z\",\"n\":1}");
        assert_eq!(of("a.log")[0]["time"], 1_767_225_600_500_u64);
        let b = of("b.log");
        assert!(b.iter().all(|record| record["partition"] == b[0]["partition"]), "one partition per file");
        for (n, record) in b.iter().enumerate() {
            let value: Value = serde_json::from_str(record["value"].as_str().expect("text")).expect("JSON");
            assert_eq!(value["message"], format!("line {n}"), "in order");
        }
    }
}

#[test]
fn a_topic_that_is_missing_is_named_and_waited_for() {
    let pod = Pod::new();
    pod.append("app.log", "one\n");
    // Nobody listens there.
    let shipper = pod
        .shipper("*.log", "kafka://127.0.0.1:1/logs")
        .args(["--timeout", "1s", "--shutdown-grace", "1s"])
        .spawn();
    eventually("retries", || (count(&shipper, "retries_total") > 1.0).then_some(()));
    assert_eq!(count(&shipper, "answers_lost_total"), 0.0, "nothing was sent");
    shipper.sigterm();
    shipper.wait_exit().expect_code(1);
    assert!(pod.dead_letters().is_empty());
}

#[test]
fn the_example_is_accepted() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/config/sidecar-logshipper-kafka.yaml");
    let shipper = testkit::Proc::new(env!("CARGO_BIN_EXE_sidecar-logshipper"));
    shipper.args(["--check", "--config", example]).run().expect_code(0);
}
