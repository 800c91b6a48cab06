//! Which endpoint gets a request: hashing, health checks, breakers.

use crate::common;
use std::collections::BTreeSet;

use crate::common::start_config;
use testkit::fake::{Answer, FakeHttp, Reply};
use testkit::http::{self, Request};
use testkit::{PodDir, eventually};

fn fakes(n: usize) -> Vec<FakeHttp> {
    (0..n).map(|_| FakeHttp::start()).collect()
}

fn config(fakes: &[FakeHttp], more: &str) -> String {
    let endpoints: Vec<_> = fakes.iter().map(|fake| format!("'{}'", fake.addr())).collect();
    let list = endpoints.join(", ");
    format!(
        "listeners: [{{http: '127.0.0.1:0', to: shards}}]\nupstreams:\n  shards:\n    endpoints: [{list}]\n{more}"
    )
}

#[test]
fn a_key_always_meets_the_same_endpoint() {
    let (shards, pod) = (fakes(4), PodDir::new());
    let text = config(&shards, "    balance: hash\n    hash_on: {header: x-user}\n");
    let proxy = start_config(&pod.write("proxy.yaml", text));
    for round in 0..3 {
        for user in 0..40 {
            let request = Request::new("GET", "/").header("x-user", &format!("user-{user}"));
            assert_eq!(http::send(proxy.http(), &request).status, 200, "{round}");
        }
    }
    let mut used = 0;
    for shard in &shards {
        let users: BTreeSet<_> =
            shard.requests().iter().map(|r| r.header("x-user").unwrap().to_owned()).collect();
        assert_eq!(shard.count(), users.len() * 3, "each user came here three times");
        used += usize::from(!users.is_empty());
    }
    assert!(used >= 3, "the keys are spread");
}

#[test]
fn an_ill_endpoint_gets_nothing_until_it_is_well() {
    let (pair, pod) = (fakes(2), PodDir::new());
    let ill = |r: &testkit::fake::Received| (r.path() == "/healthz").then_some(Answer::Status(500));
    pair[0].decide(ill);
    let text = config(
        &pair,
        "    balance: round_robin\n    health: {path: /healthz, interval: 50ms, fall: 2, rise: 2}\n",
    );
    let proxy = start_config(&pod.write("proxy.yaml", text));
    let state = |wanted: &str| {
        let endpoints = proxy.status()["endpoints"].clone();
        endpoints.as_array()?.iter().any(|e| e["state"] == wanted).then_some(())
    };
    http::get(proxy.http(), "/");
    eventually("it is found ill", || state("ill"));
    let asked = |fake: &FakeHttp| fake.requests().iter().filter(|r| r.path() == "/").count();
    let before = asked(&pair[0]);
    for _ in 0..20 {
        assert_eq!(http::get(proxy.http(), "/").status, 200);
    }
    assert_eq!(asked(&pair[0]), before);
    pair[0].decide(|_| None);
    eventually("it is well again", || state("ill").is_none().then_some(()));
    eventually("it gets requests", || {
        http::get(proxy.http(), "/");
        (asked(&pair[0]) > before).then_some(())
    });
}

#[test]
fn failures_in_a_row_take_an_endpoint_out_but_never_the_last() {
    let (pair, pod) = (fakes(2), PodDir::new());
    let text = config(&pair, "    balance: round_robin\n    breaker: {failures: 3, base: 400ms}\n");
    let config = pod.write("proxy.yaml", text);
    let proxy = common::start(&["--config", config.to_str().unwrap(), "--workers", "1"]);
    pair[0].always(Answer::Status(503));
    let failed = (0..40).filter(|_| http::get(proxy.http(), "/").status == 503).count();
    assert!((3..=8).contains(&failed), "{failed} of 40 met the bad endpoint");
    pair[0].always(Answer::Ok);
    eventually("a probe brings it back", || {
        http::get(proxy.http(), "/");
        let endpoints = proxy.status()["endpoints"].clone();
        endpoints.as_array()?.iter().all(|e| e["state"] == "ok").then_some(())
    });
    pair[0].always(Answer::Status(503));
    pair[1].always(Answer::Reply(Reply::new(503, "")));
    for _ in 0..30 {
        assert_eq!(http::get(proxy.http(), "/").status, 503);
    }
    pair[0].always(Answer::Ok);
    pair[1].always(Answer::Ok);
    eventually("it never stops trying", || (http::get(proxy.http(), "/").status == 200).then_some(()));
}
