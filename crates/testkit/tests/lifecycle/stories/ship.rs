//! sidecar-logshipper: from the first line to the last.

use std::time::Duration;

use rustix::process::Signal;
use testkit::fake::{FakeBulk, FakeHttp, Received};
use testkit::{TestCa, TlsShim};

use super::{assert_arrived, get};
use crate::kubelet::Kubelet;
use crate::world::World;

const SHIPPER: &str = "sidecar-logshipper";
const FIRST: &str = "the shop is open";
const LAST: &str = "the shop is closed";

pub(crate) fn tailer() {
    let world = World::new();
    let mut pod = Kubelet::new("log-tailer.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let seen = |pod: &mut Kubelet<'_>, path: &str| {
        assert_eq!(get(8080, path).status, 200);
        let arrived =
            |pod: &Kubelet<'_>| pod.stdout(SHIPPER).iter().any(|line| line.contains(path)).then_some(());
        pod.until(&format!("the visit to {path} is shown"), arrived);
    };
    seen(&mut pod, "/before");
    // logrotate's way: rename, then nginx opens a new file.
    let log = pod.volumes.path("nginx-logs").join("access.log");
    std::fs::rename(&log, log.with_extension("log.1")).expect("rename");
    assert_eq!(get(8080, "/between").status, 200);
    pod.signal("app", Signal::USR1);
    seen(&mut pod, "/after");
    pod.crash(SHIPPER);
    seen(&mut pod, "/again");
    pod.stop();
    pod.assert_end_order();
    let mut written = Vec::new();
    for file in ["access.log.1", "access.log", "error.log"] {
        written.extend(pod.volumes.lines("nginx-logs", file));
    }
    // nginx' own last word.
    assert!(written.last().is_some_and(|line| line.ends_with(": exit")), "{written:?}");
    assert_arrived(&written, &pod.stdout(SHIPPER));
}

pub(crate) fn elasticsearch() {
    let (world, store, ca) = (World::new(), FakeBulk::start(), TestCa::new());
    store.only_create();
    let tls = TlsShim::to(store.addr(), &ca.server(&["elasticsearch"]));
    world.service("elasticsearch", 9200, tls.addr());
    world.put_secret("elasticsearch", &[("api-key", "c2hvcDpzZWNyZXQ="), ("ca.crt", ca.pem())]);
    let mut pod = Kubelet::new("logs-to-elasticsearch.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let messages = |store: &FakeBulk| -> Vec<String> {
        store.docs().iter().map(|doc| doc.source["message"].as_str().unwrap_or("").to_owned()).collect()
    };
    let has = |text: &'static str| messages(&store).iter().any(|line| line.contains(text)).then_some(());
    pod.until("the first line arrives", |_| has(FIRST));
    // The store dies, the app works on, the pod's time is over: everybody is killed with lines that nobody has.
    store.down();
    let before = pod.volumes.lines("app-logs", "app.log").len();
    pod.until("more lines", |pod| {
        (pod.volumes.lines("app-logs", "app.log").len() > before + 1).then_some(())
    });
    pod.stop_within(Duration::from_millis(300));
    assert!(has(LAST).is_none(), "the last line cannot have arrived");
    // On the same volumes the next start delivers what is missing, and nothing twice.
    store.up();
    pod.events.clear();
    pod.start();
    pod.crash(SHIPPER);
    pod.stop();
    pod.assert_end_order();
    let (written, mut arrived) = (pod.volumes.lines("app-logs", "app.log"), messages(&store));
    assert_arrived(&written, &arrived);
    arrived.sort();
    let mut wanted = written.clone();
    wanted.sort();
    assert_eq!(arrived, wanted, "each line is there once");
    let doc = &store.docs()[0];
    assert_eq!(
        (doc.index.as_str(), doc.source["service.name"].as_str()),
        ("logs-shop-default", Some("shop"))
    );
    assert_eq!(doc.source["kubernetes.pod.name"], "shop-0");
    let keyed = |request: &Received| request.header("authorization") == Some("ApiKey c2hvcDpzZWNyZXQ=");
    assert!(store.requests().iter().all(keyed), "every request has the key");
}

pub(crate) fn loki() {
    let (world, server) = (World::new(), FakeHttp::with(|_| testkit::fake::Reply::new(204, "")));
    world.service("loki", 3100, server.addr());
    let text = |request: &Received| {
        let plain = snap::raw::Decoder::new().decompress_vec(&request.body).expect("snappy");
        String::from_utf8_lossy(&plain).into_owned()
    };
    all_lines("logs-to-loki.yaml", &world, &server, &text);
    assert!(text(&server.requests()[0]).contains("shop"), "the label");
}

pub(crate) fn otlp() {
    let (world, server) = (World::new(), FakeHttp::with(|_| testkit::fake::Reply::new(200, "")));
    world.service("otel-collector", 4318, server.addr());
    let text = |request: &Received| String::from_utf8_lossy(&request.decoded()).into_owned();
    all_lines("logs-to-otlp.yaml", &world, &server, &text);
    let all: String = server.requests().iter().map(text).collect();
    assert!(all.contains("k8s.pod.name") && all.contains("shop-0"), "the resource");
}

/// A pod that logs until it ends: each line is in one of the requests, also through an outage and a crash.
fn all_lines(manifest: &str, world: &World, server: &FakeHttp, text: &dyn Fn(&Received) -> String) {
    let mut pod = Kubelet::new(manifest, world);
    pod.start();
    pod.assert_start_order();
    let all = || -> String { server.requests().iter().map(text).collect() };
    pod.until("the first line arrives", |_| all().contains(FIRST).then_some(()));
    server.down();
    pod.crash(SHIPPER);
    server.up();
    pod.stop();
    pod.assert_end_order();
    let all = all();
    let written = pod.volumes.lines("app-logs", "app.log");
    assert!(written.last().is_some_and(|line| line.contains(LAST)), "{written:?}");
    let missing: Vec<&String> = written.iter().filter(|line| !all.contains(line.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The block of the README that people copy, in a Deployment of somebody who has read nothing else.
pub(crate) fn readme() {
    let readme = std::fs::read_to_string(crate::yaml::root().join("README.md")).expect("README.md");
    let block =
        readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a yaml block");
    let block: serde_json::Value = serde_saphyr::from_str(block).expect("YAML");
    let mut deployment: serde_json::Value = serde_saphyr::from_str(DEPLOYMENT).expect("YAML");
    paste(&mut deployment["spec"]["template"], &block);
    let (world, documents) = (World::new(), [deployment]);
    let mut pod = Kubelet::made_of(&documents, &world);
    pod.start();
    pod.assert_start_order();
    pod.until("the line is shown", |pod| pod.stdout(SHIPPER).contains(&"open".to_owned()).then_some(()));
    pod.stop();
    pod.assert_end_order();
    assert_eq!(pod.stdout(SHIPPER), ["open", "closed"]);
}

/// What a person does: what is there stays, what is new comes along, and "yours" is the container that is there.
fn paste(into: &mut serde_json::Value, block: &serde_json::Value) {
    use serde_json::Value::{Array, Null, Object};
    match (into, block) {
        (Object(into), Object(block)) => {
            for (key, value) in block {
                paste(into.entry(key.as_str()).or_insert(Null), value);
            }
        }
        (Array(into), Array(block)) => {
            for item in block {
                match into.iter_mut().find(|there| there["name"] == item["name"]) {
                    Some(there) => paste(there, item),
                    None => into.push(item.clone()),
                }
            }
        }
        (into, block) => *into = block.clone(),
    }
}

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: mine }
spec:
  selector: { matchLabels: { app: mine } }
  template:
    metadata: { labels: { app: mine } }
    spec:
      containers:
        - name: app
          image: busybox:1.37.0
          command:
            - sh
            - -c
            - trap 'echo closed >> /var/log/app/a.log; exit 0' TERM; echo open > /var/log/app/a.log; while :; do sleep 1 & wait $!; done
"#;

pub(crate) fn job() {
    let world = World::new();
    let mut pod = Kubelet::new("job-with-sidecar.yaml", &world);
    pod.start();
    pod.until_done();
    pod.assert_start_order();
    pod.assert_end_order();
    let (written, shown) = (pod.volumes.lines("app-logs", "app.log"), pod.stdout(SHIPPER));
    assert_eq!(shown, written, "every line once, in order");
    assert_eq!(shown.len(), 502);
    assert!(shown[501].ends_with("the import is done"));
}

pub(crate) fn ordinary() {
    let world = World::new();
    let mut pod = Kubelet::new("pre-1.29.yaml", &world);
    pod.start();
    pod.assert_start_order();
    pod.until("lines are shown", |pod| (pod.stdout(SHIPPER).len() > 1).then_some(()));
    // Both get SIGTERM together; the shipper waits until the app's files are quiet.
    pod.stop();
    pod.assert_end_order();
    let (written, shown) = (pod.volumes.lines("app-logs", "app.log"), pod.stdout(SHIPPER));
    assert_eq!(shown, written, "every line once, in order");
    assert!(shown.last().is_some_and(|line| line.contains(LAST)), "{shown:?}");
}
