//! What an account may do, and what it is told when it may not.
//!
//! groundnuty/k8s-wait-for#6, openfga/helm-charts#132, #54: users bind cluster-admin, because nobody says what is needed.

use serde_json::Value;
use testkit::eventually;

use crate::cluster::{Cluster, SLICES, TOKEN};

/// The Role out of a message, read as YAML.
fn role(text: &str) -> Value {
    let start = text.find("{apiVersion: rbac").unwrap_or_else(|| panic!("no role in {text}"));
    let mut depth = 0;
    let end = text[start..].find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0
    });
    serde_saphyr::from_str(&text[start..=start + end.unwrap()]).unwrap()
}

#[test]
fn the_role_that_is_printed_allows_exactly_what_is_needed() {
    let cluster = Cluster::new();
    cluster.api.rules(Some(Vec::new()));
    cluster.running(0);
    let wait = cluster.waitfor().args(["k8s:job/migrate"]).spawn();
    let line = wait.wait_log("forbidden", |line| line["reason"].as_str().unwrap_or("").contains("forbidden"));
    let role = role(line["reason"].as_str().unwrap());
    assert_eq!((role["kind"].as_str(), role["metadata"]["namespace"].as_str()), (Some("Role"), Some("shop")));
    assert_eq!(role["rules"][0]["resourceNames"][0], "migrate");
    // What it says is applied, and it goes on: by a watch.
    cluster.api.rules(Some(role["rules"].as_array().unwrap().clone()));
    eventually("a watch", || (cluster.api.watching() == 1).then_some(()));
    cluster.complete();
    wait.wait_exit().expect_code(0);
    // Another Job is still none of its business.
    let done = cluster.waitfor().args(["--fail-fast", "auth", "k8s:job/other"]).run();
    done.expect_code(84).expect_stderr("resourceNames: [other]");
}

#[test]
fn slices_cannot_be_allowed_by_name_and_nodes_take_a_cluster_role() {
    let cluster = Cluster::new();
    cluster.api.rules(Some(Vec::new()));
    let wait = cluster.waitfor().args(["k8s:service/db"]).spawn();
    let line = wait.wait_log("forbidden", |line| line["reason"].as_str().unwrap_or("").contains("forbidden"));
    let role = role(line["reason"].as_str().unwrap());
    assert!(role["rules"][0]["resourceNames"].is_null());
    cluster.api.rules(Some(role["rules"].as_array().unwrap().clone()));
    eventually("a watch", || (cluster.api.watching() == 1).then_some(()));
    let slice = serde_json::json!({"metadata": {"labels": {"kubernetes.io/service-name": "db"}}, "endpoints": [{"addresses": ["10.0.0.1"]}]});
    cluster.api.put(SLICES, "db-1", slice);
    wait.wait_exit().expect_code(0);
    let done = cluster.waitfor().args(["--fail-fast", "auth", "k8s:node/n1"]).run();
    done.expect_code(84).expect_stderr("kind: ClusterRole");
}

#[test]
fn without_the_right_to_watch_it_asks_again_and_again() {
    let cluster = Cluster::new();
    let rule = serde_json::json!({"apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": ["migrate"], "verbs": ["get"]});
    cluster.api.rules(Some(vec![rule]));
    cluster.running(0);
    let wait = cluster.waitfor().args(["k8s:job/migrate"]).spawn();
    eventually("several gets", || (cluster.api.asked("get").len() > 3).then_some(()));
    assert_eq!(cluster.api.asked("watch").len(), 1);
    cluster.complete();
    let done = wait.wait_exit();
    done.expect_code(0).expect_stderr("watching is refused").expect_stderr("verbs: [get, watch]");
}

#[test]
fn a_token_is_read_at_each_use_and_shown_nowhere() {
    let cluster = Cluster::new();
    cluster.complete();
    cluster.pod.write("sa/token", "old-token-value");
    let wait = cluster.waitfor().args(["--log-level", "trace", "k8s:job/migrate"]).spawn();
    wait.wait_log("refused", |line| {
        line["reason"].as_str().unwrap_or("").contains("refuses our credentials")
    });
    cluster.pod.write("sa/token", TOKEN);
    let done = wait.wait_exit();
    done.expect_code(0);
    assert!(!done.stderr().contains("old-token-value") && !done.stderr().contains(TOKEN));
    cluster.api.authorize(Some("Bearer another"));
    let done = cluster.waitfor().args(["--timeout", "0", "--fail-fast", "auth", "k8s:job/migrate"]).run();
    done.expect_code(84).expect_stderr("expired");
}
