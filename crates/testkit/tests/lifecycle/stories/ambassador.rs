//! ambassador-proxy: localhost in, a reliable world out.

use std::collections::{BTreeMap, BTreeSet};

use testkit::fake::{FakeHttp, Received, Reply};
use testkit::{TestCa, http};

use super::{get, local};
use crate::kubelet::Kubelet;
use crate::postgres::{PASSWORD, Postgres};
use crate::world::World;

const PROXY: &str = "ambassador-proxy";

pub(crate) fn routes() {
    let (world, orders, prices) = (World::new(), FakeHttp::echo(), FakeHttp::echo());
    // The names exist, nobody answers: the pod starts all the same.
    orders.down();
    world.service("orders", 80, orders.addr());
    world.service("prices", 80, prices.addr());
    let mut pod = Kubelet::new("ambassador-http.yaml", &world);
    pod.start();
    pod.assert_start_order();
    orders.up();
    let asked =
        |server: &FakeHttp, path: &str| server.requests().iter().any(|r| r.target == path).then_some(());
    pod.until("orders are asked", |_| asked(&orders, "/stock/7"));
    pod.until("prices are asked", |_| asked(&prices, "/prices"));
    // "Not now" to a request that may be repeated is not the app's business.
    pod.until("orders answer", |_| (get(8080, "/stock/7").status == 200).then_some(()));
    orders.next([Reply::new(503, "not now").into()]);
    assert_eq!(get(8080, "/once").status, 200);
    pod.crash(PROXY);
    pod.until("the next call succeeds", |_| (get(8080, "/stock/8").status == 200).then_some(()));
    pod.stop();
    pod.assert_end_order();
}

pub(crate) fn postgres_tls() {
    let ca = TestCa::new();
    let Some(postgres) = Postgres::start(Some(&ca.server(&["orders-db"]))) else { return };
    let world = World::new();
    world.service("orders-db", 5432, postgres.addr());
    world.put_secret("orders-db", &[("password", PASSWORD), ("ca.crt", ca.pem())]);
    postgres.sql("postgres", &format!("CREATE ROLE reports LOGIN PASSWORD '{PASSWORD}'"));
    postgres.sql("postgres", "CREATE DATABASE orders OWNER reports");
    world.program(
        "psql",
        "#!/bin/sh\nfor psql in /usr/lib/postgresql/*/bin/psql; do :; done\nexec \"$psql\" \"$@\"\n",
    );
    let mut pod = Kubelet::new("ambassador-postgres-tls.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let encrypted = |pod: &Kubelet<'_>| pod.stdout("app").iter().filter(|line| *line == "TLSv1.3").count();
    pod.until("the server says TLSv1.3", |pod| (encrypted(pod) > 0).then_some(()));
    pod.crash(PROXY);
    let before = encrypted(&pod);
    pod.until("it does so again", |pod| (encrypted(pod) > before).then_some(()));
    pod.stop();
    pod.assert_end_order();
}

pub(crate) fn token() {
    let (world, vault) = (World::new(), FakeHttp::echo());
    world.service("vault", 8200, vault.addr());
    world.put_secret("token", &[("token", "first")]);
    let mut pod = Kubelet::new("ambassador-token.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let with = |token: &str| {
        let wanted = format!("Bearer {token}");
        vault.requests().iter().any(|r| r.header("authorization") == Some(&wanted)).then_some(())
    };
    pod.until("the first token is sent", |_| with("first"));
    // The kubelet rotates it.
    pod.volumes.swap("vault-token", &[("token", "second")]);
    pod.until("the second token is sent", |_| with("second"));
    // What the app sends in its place does not get through.
    let request = http::Request::new("GET", "/mine")
        .header("x-vault-token", "stolen")
        .header("authorization", "Bearer mine");
    assert_eq!(http::send(local(8080), &request).status, 200);
    let requests = vault.requests();
    let mine: Vec<&Received> = requests.iter().filter(|request| request.target == "/mine").collect();
    assert_eq!(mine[0].header("x-vault-token"), None);
    assert_eq!(mine[0].header("authorization"), Some("Bearer second"));
    assert!(!pod.stdout(PROXY).concat().contains("second"), "the token is in the access log");
    pod.crash(PROXY);
    pod.stop();
    pod.assert_end_order();
}

pub(crate) fn shards() {
    let world = World::new();
    let shards: Vec<FakeHttp> = (0..3).map(|_| FakeHttp::echo()).collect();
    let backends: Vec<_> = shards.iter().map(FakeHttp::addr).collect();
    let addresses = world.headless("cache", 8080, &backends);
    let mut pod = Kubelet::new("ambassador-shards.yaml", &world);
    pod.start();
    pod.assert_start_order();
    // user → the shards that saw it
    let homes = || -> BTreeMap<String, BTreeSet<usize>> {
        let mut homes: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (at, shard) in shards.iter().enumerate() {
            for request in shard.requests() {
                homes.entry(request.header("x-user").unwrap_or("").to_owned()).or_default().insert(at);
            }
        }
        homes
    };
    let all = |pod: &mut Kubelet<'_>, more: usize| {
        let before: usize = shards.iter().map(FakeHttp::count).sum();
        pod.until("every user came again", |_| {
            (shards.iter().map(FakeHttp::count).sum::<usize>() > before + more).then_some(())
        });
    };
    all(&mut pod, 45);
    let first = homes();
    assert_eq!(first.len(), 20, "{first:?}");
    assert!(first.values().all(|homes| homes.len() == 1), "a user has one shard: {first:?}");
    let used: BTreeSet<usize> = first.values().flatten().copied().collect();
    assert!(used.len() > 1, "the users are spread: {first:?}");
    // A shard goes: only its own users move.
    world.dns_to("cache", &addresses[..2]);
    pod.until("the users of the third shard have moved", |_| {
        let now = homes();
        first.iter().filter(|(_, home)| home.contains(&2)).all(|(user, _)| now[user].len() == 2).then_some(())
    });
    let now = homes();
    let stayed = first.iter().filter(|(_, home)| !home.contains(&2)).all(|(user, home)| now[user] == *home);
    assert!(stayed, "users of the other shards moved: {first:?} → {now:?}");
    pod.crash(PROXY);
    pod.stop();
    pod.assert_end_order();
}

pub(crate) fn inbound() {
    let world = World::new();
    let mut pod = Kubelet::new("inbound-proxy.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let page = get(8080, "/");
    assert!(page.text().contains("The Chandlery"), "{}", page.text());
    assert_eq!(get(8080, "/admin/users").status, 503);
    pod.crash(PROXY);
    assert_eq!(get(8080, "/").status, get(8000, "/").status);
    pod.stop();
    pod.assert_end_order();
}
