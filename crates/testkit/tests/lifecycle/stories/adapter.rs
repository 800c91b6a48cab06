//! adapter-logformat, with a shipper behind it: two sidecars that drain one after the other.

use serde_json::Value;

use super::{field, get, local, records};
use crate::kubelet::Kubelet;
use crate::world::World;

const SHIPPER: &str = "sidecar-logshipper";
const ADAPTER: &str = "adapter-logformat";

fn shown(pod: &Kubelet<'_>) -> Vec<Value> {
    records(&pod.stdout(SHIPPER))
}

fn tagged(record: &Value, tag: &str) -> bool {
    record["tags"].as_array().is_some_and(|tags| tags.iter().any(|found| found == tag))
}

pub(crate) fn nginx() {
    let world = World::new();
    let mut pod = Kubelet::new("adapter-nginx.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let visit = |pod: &mut Kubelet<'_>, path: &str| {
        get(8080, path);
        pod.until(&format!("a record of {path}"), |pod| {
            shown(pod).into_iter().find(|record| field(record, "url.original") == path)
        })
    };
    let record = visit(&mut pod, "/one");
    assert_eq!(record["http.response.status_code"], 200, "{record}");
    assert_eq!((field(&record, "service.name"), field(&record, "event.dataset")), ("shop", "nginx.access"));
    pod.crash(ADAPTER);
    visit(&mut pod, "/two");
    pod.crash(SHIPPER);
    visit(&mut pod, "/three");
    pod.stop();
    pod.assert_end_order();
    let records = shown(&pod);
    let unread: Vec<&Value> = records.iter().filter(|record| tagged(record, "unparsed")).collect();
    assert!(unread.is_empty(), "nginx' own log_format is read: {unread:?}");
    for (file, dataset) in [("access.log", "nginx.access"), ("error.log", "nginx.error")] {
        let originals: Vec<&str> = records
            .iter()
            .filter(|record| field(record, "event.dataset") == dataset)
            .map(|record| record["event.original"].as_str().unwrap_or(field(record, "message")))
            .collect();
        for line in pod.volumes.lines("nginx-logs", file) {
            assert!(originals.contains(&line.as_str()), "{file}: missing {line}");
        }
    }
    let last = records.iter().filter(|record| field(record, "message").ends_with("exit")).count();
    assert!(last > 0, "nginx' last word is among the records");
}

pub(crate) fn metrics() {
    let world = World::new();
    let mut pod = Kubelet::new("adapter-metrics.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let counted = |labels: &[(&str, &str)]| {
        testkit::metrics::metrics(local(9103)).sum_of("adapter_logformat_log_requests_total", labels)
    };
    pod.until("visits are counted", |_| {
        get(8080, "/");
        (counted(&[("method", "GET"), ("class", "2xx")]) > 20.0).then_some(())
    });
    get(8080, "/missing");
    pod.until("so is what fails", |_| (counted(&[("class", "4xx")]) == 1.0).then_some(()));
    let sizes = testkit::metrics::metrics(local(9103)).sum("adapter_logformat_log_response_bytes_count");
    assert!(sizes > 20.0, "{sizes}");
    pod.crash(ADAPTER);
    get(8080, "/missing");
    pod.until("it goes on counting, from 0", |_| (counted(&[("class", "4xx")]) == 1.0).then_some(()));
    pod.stop();
    pod.assert_end_order();
    // The records are those of the log, each line once or, around the kill, twice.
    let shown: Vec<String> =
        records(&pod.stdout(ADAPTER)).iter().map(|r| field(r, "message").to_owned()).collect();
    super::assert_arrived(&pod.volumes.lines("nginx-logs", "access.log"), &shown);
}

pub(crate) fn legacy() {
    let world = World::new();
    let mut pod = Kubelet::new("adapter-legacy.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let trace = pod.until("a stack trace in one record", |pod| {
        shown(pod).into_iter().find(|record| field(record, "error.type").contains("IllegalStateException"))
    });
    assert!(field(&trace, "error.stack_trace").contains("Caused by"), "{trace}");
    assert_eq!(field(&trace, "log.level"), "error", "{trace}");
    let daemon = pod.until("the daemon's record", |pod| {
        shown(pod).into_iter().find(|record| field(record, "service.name") == "legacyd")
    });
    assert_eq!(field(&daemon, "process.name"), "legacyd", "{daemon}");
    pod.crash(ADAPTER);
    pod.crash(SHIPPER);
    pod.stop();
    pod.assert_end_order();
    let records = shown(&pod);
    let stopped = |service: &str| {
        records.iter().any(|record| {
            field(record, "service.name") == service && field(record, "message").contains("stopped")
        })
    };
    assert!(stopped("shop") && stopped("legacyd"), "the last line of both: {:?}", records.last());
    let told: Vec<String> = pod.stdout(SHIPPER).into_iter().filter(|line| line.contains("anna@")).collect();
    assert!(told.is_empty(), "a mail address went out: {told:?}");
}
