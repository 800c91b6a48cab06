//! Discovery: names that change, fail, come late.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{Proxy, start_with};
use testkit::fake::{DnsAnswer, FakeDns, FakeHttp};
use testkit::{PodDir, eventually, http};

struct World {
    dns: FakeDns,
    pod: PodDir,
}

impl World {
    fn new() -> Self {
        let (dns, pod) = (FakeDns::start(), PodDir::new());
        pod.write(
            "resolv.conf",
            dns.resolv_conf("search default.svc.cluster.local\noptions ndots:5 timeout:1 attempts:1\n"),
        );
        pod.write("hosts", "127.0.0.1 localhost\n");
        Self { dns, pod }
    }

    fn start(&self, upstream: &str) -> Proxy {
        let text = format!(
            "listeners: [{{http: '127.0.0.1:0', to: orders}}]\nupstreams:\n  orders:\n    dns: {{min_ttl: 100ms, max_ttl: 200ms}}\n{upstream}"
        );
        let config = self.pod.write("proxy.yaml", text);
        start_with(&["--config", config.to_str().unwrap(), "--workers", "1"], |proc| {
            proc.env("PODKIT_RESOLV_CONF", self.pod.join("resolv.conf"))
                .env("PODKIT_HOSTS", self.pod.join("hosts"))
        })
    }
}

fn a(address: &str) -> DnsAnswer {
    DnsAnswer::Records { ttl: 0, data: vec![address.to_owned()] }
}

const NAME: &str = "orders.default.svc.cluster.local";

fn failed_lookups(proxy: &Proxy) -> f64 {
    proxy.metrics().sum_of("ambassador_proxy_failures_total", &[("reason", "lookup")])
}

#[test]
fn a_changed_record_is_picked_up_and_an_error_changes_nothing() {
    let world = World::new();
    let (one, two) = (FakeHttp::echo(), FakeHttp::echo());
    let _ = &two;
    world.dns.set(NAME, "A", a("127.0.0.1"));
    let proxy = world.start(&format!("    url: http://orders:{}\n", one.addr().port()));
    assert_eq!(http::get(proxy.http(), "/").status, 200);
    for failure in [DnsAnswer::ServFail, DnsAnswer::NxDomain, DnsAnswer::NoData, DnsAnswer::Silent] {
        world.dns.all(Some(failure));
        let before = failed_lookups(&proxy);
        eventually("lookups fail", || (failed_lookups(&proxy) > before).then_some(()));
        assert_eq!(http::get(proxy.http(), "/").status, 200, "the last good address stays");
    }
    world.dns.all(None);
    world.dns.set(NAME, "A", a("127.0.0.2"));
    eventually("the new address is there", || {
        let endpoints = proxy.status()["endpoints"].clone();
        endpoints
            .as_array()?
            .iter()
            .any(|e| e["endpoint"].as_str().unwrap().starts_with("127.0.0.2"))
            .then_some(())
    });
    // Nobody listens on 127.0.0.2: new requests go there, and not to the old address.
    eventually("the old address gets nothing", || (http::get(proxy.http(), "/").status == 503).then_some(()));
    let count = one.count();
    assert_eq!(http::get(proxy.http(), "/").status, 503);
    assert_eq!(one.count(), count);
}

#[test]
fn it_starts_without_dns_and_serves_when_there_is_one() {
    let world = World::new();
    let upstream = FakeHttp::echo();
    world.dns.all(Some(DnsAnswer::ServFail));
    let proxy = world.start(&format!("    url: http://orders:{}\n", upstream.addr().port()));
    assert_eq!(http::get(proxy.admin(), "/readyz").status, 200);
    let response = http::get(proxy.http(), "/");
    assert_eq!(response.status, 503);
    assert!(response.header("proxy-status").unwrap().contains("error=dns_error"));
    world.dns.set(NAME, "A", a("127.0.0.1"));
    world.dns.all(None);
    eventually("it serves", || (http::get(proxy.http(), "/").status == 200).then_some(()));
    assert!(world.dns.names().contains(&NAME.to_owned()), "the search list applies");
}

#[test]
fn both_families_are_tried() {
    let world = World::new();
    let upstream = FakeHttp::echo();
    world.dns.set(NAME, "A", a("127.0.0.1"));
    world.dns.set(NAME, "AAAA", a("::1"));
    let proxy = world.start(&format!("    url: http://orders:{}\n", upstream.addr().port()));
    for _ in 0..30 {
        assert_eq!(http::post(proxy.http(), "/", "x").status, 200);
    }
}

#[test]
fn srv_records_give_ports_priorities_and_weights() {
    let world = World::new();
    let (heavy, light, spare) = (FakeHttp::echo(), FakeHttp::echo(), FakeHttp::echo());
    let record = |priority: u16, weight: u16, of: &FakeHttp| {
        format!("{priority} {weight} {} pod.{NAME}.", of.addr().port())
    };
    let data = vec![record(0, 9, &heavy), record(0, 1, &light), record(10, 1, &spare)];
    world.dns.set(&format!("_http._tcp.{NAME}"), "SRV", DnsAnswer::Records { ttl: 0, data: data.clone() });
    world.dns.set(&format!("pod.{NAME}"), "A", a("127.0.0.1"));
    let proxy = world
        .start(&format!("    url: http://_http._tcp.{NAME}\n    srv: true\n    balance: least_request\n"));
    eventually("all are known", || (proxy.status()["upstreams"][0]["endpoints"] == 3).then_some(()));
    let mut hits = BTreeMap::new();
    for _ in 0..200 {
        assert_eq!(http::get(proxy.http(), "/").status, 200);
    }
    for (name, fake) in [("heavy", &heavy), ("light", &light), ("spare", &spare)] {
        hits.insert(name, fake.count());
    }
    assert!(hits["heavy"] > hits["light"] && hits["spare"] == 0, "{hits:?}");
    // The first priority goes away: the second takes over.
    heavy.down();
    light.down();
    eventually("the spare one serves", || {
        (spare.count() > 0 || http::get(proxy.http(), "/").status == 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(1));
}
