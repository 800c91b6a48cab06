//! Jobs and other objects: waited for by a watch, whatever happens to it.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Running, eventually};

use crate::api::Fate;
use crate::cluster::{Cluster, JOBS, SLICES};

/// Until it watches: what happens now is told by an event.
fn watches(cluster: &Cluster, times: usize) {
    eventually("a watch", || {
        (cluster.api.asked("watch").len() >= times && cluster.api.watching() == 1).then_some(())
    });
}

fn says(wait: &Running, text: &str) {
    wait.wait_log(text, |line| line["reason"].as_str().unwrap_or("").contains(text));
}

/// groundnuty/k8s-wait-for#17, #45, #53: one failed pod is not a failed Job. kubernetes/kubernetes#106802: wait for a Job at all.
#[test]
fn a_job_is_got_once_and_then_watched() {
    let cluster = Cluster::new();
    cluster.running(0);
    let wait = cluster.waitfor().args(["--attempt-timeout", "500ms", "k8s:job/migrate"]).spawn();
    watches(&cluster, 1);
    for failed in 1..4 {
        cluster.running(failed);
    }
    // Longer than one attempt: the watch outlives it.
    std::thread::sleep(Duration::from_millis(1200));
    cluster.job(json!({"active": 0}));
    cluster.complete();
    wait.wait_exit().expect_code(0);
    assert_eq!((cluster.api.asked("get").len(), cluster.api.asked("watch").len()), (1, 1));
    let watch = &cluster.api.asked("watch")[0];
    assert_eq!(watch.query["fieldSelector"], "metadata.name=migrate");
    assert_eq!(watch.path, JOBS);
    // It is there already: one question.
    cluster.waitfor().args(["k8s:job/migrate"]).run().expect_code(0);
    assert_eq!((cluster.api.asked("get").len(), cluster.api.asked("watch").len()), (2, 1));
}

/// groundnuty/k8s-wait-for#75; kubernetes/kubectl#1482, #665: a failed Job ends the wait, also when Complete was asked for.
#[test]
fn a_job_that_fails_ends_the_wait_at_once() {
    for target in ["k8s:job/migrate", "k8s:job/migrate?for=condition=Complete"] {
        let cluster = Cluster::new();
        cluster.running(0);
        let wait = cluster.waitfor().args(["--timeout", "0", target]).spawn();
        watches(&cluster, 1);
        cluster.failed();
        wait.wait_exit().expect_code(85).expect_stderr("BackoffLimitExceeded");
        cluster.waitfor().args(["--timeout", "0", target]).run().expect_code(85);
    }
    let cluster = Cluster::new();
    cluster.api.put(JOBS, "migrate", json!({"spec": {"suspend": true}, "status": {}}));
    let wait = cluster.waitfor().args(["k8s:job/migrate"]).spawn();
    says(&wait, "suspended");
    cluster.complete();
    wait.wait_exit().expect_code(0);
}

/// groundnuty/k8s-wait-for#50, y-scope/clp#2043, bitnami/charts#29847: a finished Job is removed by ttlSecondsAfterFinished.
/// kubernetes/kubectl#1516, kubernetes/kubernetes#75227, helm/helm#9285: a wait for what is not there yet.
#[test]
fn what_is_missing_is_waited_for_accepted_or_an_error() {
    let cluster = Cluster::new();
    let wait = cluster.waitfor().args(["k8s:job/migrate"]).spawn();
    says(&wait, "not found");
    watches(&cluster, 1);
    cluster.running(0);
    says(&wait, "1 active");
    cluster.complete();
    wait.wait_exit().expect_code(0);
    cluster.api.delete(JOBS, "migrate");

    cluster
        .waitfor()
        .args(["--timeout", "8s", "k8s:job/migrate"])
        .run()
        .expect_code(124)
        .expect_stderr("not found");
    cluster.waitfor().args(["k8s:job/migrate?missing=ok"]).run().expect_code(0);
    cluster.waitfor().args(["--timeout", "0", "k8s:job/migrate?missing=fail"]).run().expect_code(85);
    cluster.waitfor().args(["k8s:job/migrate?for=delete"]).run().expect_code(0);

    // It goes away while it is waited for.
    for (target, code) in [
        ("k8s:job/migrate?missing=ok", 0),
        ("k8s:job/migrate?missing=fail", 85),
        ("k8s:job/migrate?for=delete", 0),
    ] {
        let cluster = Cluster::new();
        cluster.running(0);
        let wait = cluster.waitfor().args(["--timeout", "30s", target]).spawn();
        watches(&cluster, 1);
        cluster.api.delete(JOBS, "migrate");
        wait.wait_exit().expect_code(code);
    }
}

#[test]
fn a_watch_goes_on_where_it_was_after_every_kind_of_end() {
    let cluster = Cluster::new();
    cluster.running(0);
    let wait = cluster.waitfor().args(["k8s:job/migrate"]).spawn();
    watches(&cluster, 1);
    let mut times = 1;
    for fate in [Fate::Ended, Fate::Cut, Fate::Ended] {
        cluster.api.fate(fate);
        times += 1;
        watches(&cluster, times);
        cluster.running(times as u64);
    }
    // Nothing of it took another get.
    assert_eq!(cluster.api.asked("get").len(), 1);
    // A bookmark moves on without a change of the object; only from there can be gone on.
    let bookmark = cluster.api.bookmark();
    std::thread::sleep(Duration::from_millis(500));
    cluster.api.fate(Fate::Cut);
    watches(&cluster, times + 1);
    let last = cluster.api.asked("watch").pop().unwrap();
    assert_eq!(last.query["resourceVersion"], bookmark.to_string());
    assert_eq!(cluster.api.asked("get").len(), 1);
    // The server itself goes away and comes back.
    cluster.shim.down();
    says(&wait, "API server");
    cluster.shim.up();
    cluster.complete();
    wait.wait_exit().expect_code(0);
}

#[test]
fn what_is_expired_is_got_again() {
    let cluster = Cluster::new();
    cluster.running(0);
    let wait = cluster.waitfor().args(["k8s:job/migrate"]).spawn();
    watches(&cluster, 1);
    // As an event in the stream.
    cluster.api.fate(Fate::Expired);
    eventually("another get", || (cluster.api.asked("get").len() >= 2).then_some(()));
    eventually("a watch again", || (cluster.api.watching() == 1).then_some(()));
    // As the answer to the watch.
    cluster.api.forget();
    cluster.api.fate(Fate::Cut);
    eventually("410", || cluster.api.asked("watch").iter().any(|asked| asked.status == 410).then_some(()));
    eventually("another get", || (cluster.api.asked("get").len() >= 3).then_some(()));
    // Another error than that is told, and got over.
    eventually("a watch again", || (cluster.api.watching() == 1).then_some(()));
    cluster.api.fate(Fate::Failed);
    says(&wait, "500: etcd is away");
    eventually("a watch again", || (cluster.api.watching() == 1).then_some(()));
    cluster.complete();
    wait.wait_exit().expect_code(0);
}

#[test]
fn slow_heads_errors_and_huge_answers_are_no_answer() {
    let cluster = Cluster::new();
    cluster.running(0);
    cluster.api.slow_head(Some(Duration::from_secs(2)));
    let wait = cluster.waitfor().args(["--attempt-timeout", "400ms", "not:k8s:job/migrate"]).spawn();
    says(&wait, "does not answer in time");
    cluster.api.slow_head(None);
    cluster.api.broken(Some(500));
    says(&wait, "HTTP 500");
    cluster.api.put(JOBS, "migrate", json!({"status": {"junk": "x".repeat(9 << 20)}}));
    cluster.api.broken(None);
    says(&wait, "larger than 8 MiB");
    // None of it was the definite "no" that `not:` waits for; this is.
    assert!(wait.is_running());
    cluster.running(0);
    wait.wait_exit().expect_code(0);
    // The same in the middle of a watch.
    let cluster = Cluster::new();
    cluster.running(0);
    let wait = cluster.waitfor().args(["--attempt-timeout", "20s", "k8s:job/migrate"]).spawn();
    watches(&cluster, 1);
    cluster.api.put(JOBS, "migrate", json!({"status": {"junk": "x".repeat(9 << 20)}}));
    says(&wait, "larger than 8 MiB");
    cluster.complete();
    wait.wait_exit().expect_code(0);
}

/// sapcc/helm-charts#11472 to #11493: Endpoints are gone, EndpointSlices are what there is.
#[test]
fn a_service_is_ready_by_its_endpoint_slices() {
    let cluster = Cluster::new();
    let slice = |addresses: &[(&str, bool)]| {
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|(address, ready)| json!({"addresses": [address], "conditions": {"ready": ready}}))
            .collect();
        json!({"metadata": {"labels": {"kubernetes.io/service-name": "db"}}, "addressType": "IPv4", "endpoints": endpoints})
    };
    let other = json!({"metadata": {"labels": {"kubernetes.io/service-name": "other"}}, "endpoints": [{"addresses": ["10.9.9.9"]}]});
    cluster.api.put(SLICES, "other-1", other);
    let wait = cluster.waitfor().args(["k8s:service/db?min=2"]).spawn();
    says(&wait, "0 ready endpoints");
    watches(&cluster, 1);
    cluster.api.put(SLICES, "db-1", slice(&[("10.0.0.1", true), ("10.0.0.2", false)]));
    cluster.api.put(SLICES, "db-2", slice(&[("10.0.0.1", true)]));
    cluster.api.delete(SLICES, "db-2");
    // Two addresses, but the same one twice and one that is not ready.
    std::thread::sleep(Duration::from_millis(500));
    assert!(wait.is_running());
    cluster.api.put(SLICES, "db-3", slice(&[("10.0.0.3", true)]));
    wait.wait_exit().expect_code(0);
    assert_eq!(cluster.api.asked("list").len(), 1);
    cluster
        .waitfor()
        .args(["status", "k8s:svc/db?min=3"])
        .run()
        .expect_code(1)
        .expect_stdout("2 ready endpoints");
    // Of the Service itself, in kubectl's words.
    cluster.api.put("/api/v1/namespaces/shop/services", "db", json!({"spec": {"clusterIP": "10.96.0.1"}}));
    cluster
        .waitfor()
        .args(["status", "k8s:svc/db?for=jsonpath={.spec.clusterIP}=10.96.0.1"])
        .run()
        .expect_code(0);
}

#[test]
fn every_kind_has_its_own_readiness() {
    let cluster = Cluster::new();
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let rolled = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1,
        "desiredNumberScheduled": 1, "numberAvailable": 1, "updatedNumberScheduled": 1});
    let set =
        |status: &Value| json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": status});
    let apps = |plural: &str| format!("/apis/apps/v1/namespaces/shop/{plural}");
    cluster.api.put(
        "/api/v1/namespaces/shop/pods",
        "x",
        json!({"status": {"phase": "Running", "conditions": ready}}),
    );
    cluster.api.put("/api/v1/namespaces/shop/configmaps", "x", json!({"data": {}}));
    cluster.api.put("/api/v1/nodes", "x", json!({"status": {"conditions": ready}}));
    for plural in ["deployments", "statefulsets", "daemonsets"] {
        cluster.api.put(&apps(plural), "x", set(&rolled));
    }
    for target in ["pod/x", "cm/x", "deploy/x", "sts/x", "ds/x", "node/x?for=condition=Ready"] {
        cluster.waitfor().args(["status", &format!("k8s:{target}")]).run().expect_code(0);
    }
    for plural in ["deployments", "statefulsets", "daemonsets"] {
        cluster.api.put(&apps(plural), "x", set(&json!({"observedGeneration": 0})));
    }
    for target in ["deploy/x", "sts/x", "ds/x"] {
        let done = cluster.waitfor().args(["status", &format!("k8s:{target}")]).run();
        done.expect_code(1).expect_stdout("has not seen the latest change");
    }
}

#[test]
fn the_words_of_kubectl_wait() {
    let cluster = Cluster::new();
    let pods = "/api/v1/namespaces/data/pods";
    cluster.api.put(
        pods,
        "db-0",
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    for (wanted, code) in [
        ("condition=Ready", 0),
        ("condition=ready=true", 0),
        ("condition=Ready=False", 1),
        ("condition=Initialized", 1),
        ("jsonpath={.status.phase}=Running", 0),
        ("jsonpath='{.status.phase}'=Pending", 1),
        ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", 0),
        ("jsonpath={.status.podIP}", 1),
        ("create", 0),
        ("delete", 1),
    ] {
        let target = format!("k8s:pod/db-0?namespace=data&for={wanted}");
        let done = cluster.waitfor().args(["status", &target]).run();
        assert_eq!(done.code(), Some(code), "{wanted}: {}", done.stdout());
    }
}

#[test]
fn other_resources_are_found_in_their_group_also_when_they_come_later() {
    let cluster = Cluster::new();
    let wait = cluster.waitfor().args(["k8s:certificate.cert-manager.io/web?for=condition=Ready"]).spawn();
    says(&wait, "knows no certificate in the group cert-manager.io");
    let group = json!({"kind": "APIGroup", "name": "cert-manager.io", "preferredVersion": {"groupVersion": "cert-manager.io/v1", "version": "v1"},
        "versions": [{"groupVersion": "cert-manager.io/v1", "version": "v1"}]});
    let list = json!({"kind": "APIResourceList", "groupVersion": "cert-manager.io/v1", "resources": [
        {"name": "certificates", "singularName": "certificate", "kind": "Certificate", "namespaced": true, "verbs": ["get", "watch"]},
        {"name": "clusterissuers", "singularName": "clusterissuer", "kind": "ClusterIssuer", "namespaced": false, "verbs": ["get", "watch"]}]});
    cluster.api.discovery("/apis/cert-manager.io/v1", list);
    cluster.api.discovery("/apis/cert-manager.io", group);
    says(&wait, "\"web\" not found");
    let certificates = "/apis/cert-manager.io/v1/namespaces/shop/certificates";
    cluster.api.put(
        certificates,
        "web",
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    wait.wait_exit().expect_code(0);
    cluster.api.put("/apis/cert-manager.io/v1/clusterissuers", "ca", json!({}));
    cluster
        .waitfor()
        .args(["status", "k8s:clusterissuers.cert-manager.io/ca?for=create"])
        .run()
        .expect_code(0);
    // With the version nothing is asked before.
    cluster
        .waitfor()
        .args(["status", "k8s:certificates.v1.cert-manager.io/web?for=create"])
        .run()
        .expect_code(0);
}
