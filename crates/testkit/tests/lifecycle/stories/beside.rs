//! Ordinary containers, helper tasks, and all four at once.

use std::collections::BTreeSet;

use testkit::fake::{FakeHttp, FakeTcp, Reply, TcpAnswer};
use testkit::{Proc, http};

use super::{assert_arrived, get, local};
use crate::kubelet::Kubelet;
use crate::world::World;
use crate::yaml::binary;

pub(crate) fn co_located() {
    let world = World::new();
    let mut pod = Kubelet::new("co-located.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let page = get(8080, "/").text();
    assert!(page.contains("It is"), "{page}");
    pod.until("the page changes", |_| (get(8080, "/").text() != page).then_some(()));
    pod.crash("sidecar-logshipper");
    pod.stop();
    pod.assert_end_order();
    let mut written = pod.volumes.lines("nginx-logs", "access.log");
    written.extend(pod.volumes.lines("nginx-logs", "error.log"));
    assert_arrived(&written, &pod.stdout("sidecar-logshipper"));
}

pub(crate) fn helper_tasks() {
    // The store refuses the first upload and loses nothing by it.
    let (world, store) = (World::new(), FakeHttp::with(|_| Reply::new(201, "")));
    store.next([Reply::new(503, "not now").into()]);
    world.service("dumps", 80, store.addr());
    let mut pod = Kubelet::new("helper-tasks.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let dumps = |store: &FakeHttp| {
        let requests = store.requests();
        requests
            .iter()
            .filter(|r| r.method == "PUT" && r.body.len() == 100_000)
            .map(|r| r.target.clone())
            .collect::<BTreeSet<_>>()
    };
    // A shell that has no trap yet would end by it.
    pod.until("the app is up", |pod| (!pod.stdout("app").is_empty()).then_some(()));
    pod.signal("app", rustix::process::Signal::USR1);
    pod.until("the dump is in the store", |_| (dumps(&store).len() == 1).then_some(()));
    pod.until("the volume is empty again", |pod| {
        std::fs::read_dir(pod.volumes.path("dumps")).expect("list").next().is_none().then_some(())
    });
    pod.crash("collector");
    pod.crash("ambassador-proxy");
    // What the app leaves at its end is collected after it.
    std::fs::write(pod.volumes.path("dumps").join("last.hprof"), vec![7; 100_000]).expect("write");
    let last = pod.volumes.path("dumps").join("last.hprof");
    std::os::unix::fs::chown(last, Some(65532), Some(65532)).expect("chown");
    pod.stop();
    pod.assert_end_order();
    assert!(dumps(&store).iter().any(|target| target.ends_with("/shop-0/last.hprof")), "{:?}", dumps(&store));
}

pub(crate) fn full() {
    let world = World::new();
    let backend = Proc::new(binary("demo-backend"))
        .env("BACKEND_ORDERS", "127.0.0.1:8090")
        .env("BACKEND_ELASTICSEARCH", "127.0.0.1:9290")
        .spawn();
    world.service("orders", 80, local(8090));
    world.service("logs", 9200, local(9290));
    let mut pod = Kubelet::new("full.yaml", &world);
    pod.start();
    pod.assert_start_order();
    let stats = || http::get(local(8090), "/stats").json();
    let received = || stats()["lines_distinct"].as_u64().unwrap_or(0);
    pod.until("lines arrive", |_| (received() > 50).then_some(()));
    debug_page(&world, &pod);
    // The store is out, and the pod is killed with lines on the way.
    http::post(local(8090), "/outage?seconds=1000", "");
    let before = received();
    std::thread::sleep(std::time::Duration::from_millis(500));
    pod.stop_within(std::time::Duration::from_millis(500));
    assert!(received() <= before + 200);
    http::post(local(8090), "/outage?seconds=0", "");
    pod.events.clear();
    pod.start();
    for sidecar in ["ambassador-proxy", "sidecar-logshipper", "adapter-logformat"] {
        pod.crash(sidecar);
    }
    pod.stop();
    pod.assert_end_order();
    let written: usize = std::fs::read_dir(pod.volumes.path("app-logs"))
        .expect("list")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(".log"))
        .map(|entry| std::fs::read_to_string(entry.path()).expect("read").lines().count())
        .sum();
    assert_eq!(received(), written as u64, "every line once: {}", stats());
    drop(backend);
}

/// Every command of examples/pods/debug.md, in the pod it speaks of.
fn debug_page(world: &World, pod: &Kubelet<'_>) {
    let database = FakeTcp::start(TcpAnswer::Hang);
    world.service("mydb", 5432, database.addr());
    let page = std::fs::read_to_string(crate::yaml::root().join("examples/pods/debug.md")).expect("debug.md");
    let mut ran = 0;
    for line in page.lines().filter_map(|line| line.strip_prefix("$ kubectl ")) {
        let (how, command) = line.split_once(" -- ").unwrap_or_else(|| panic!("no command in {line}"));
        let (how, command): (Vec<&str>, Vec<&str>) =
            (how.split_whitespace().collect(), command.split_whitespace().collect());
        let exited = match how[..] {
            ["debug", "shop", "--image", image, ..] => {
                pod.ephemeral(image.split(':').next().unwrap_or(image), &command)
            }
            ["exec", "shop", "-c", container] => pod.exec_in(container, command),
            _ => panic!("who runs {line}?"),
        };
        exited.expect_code(0);
        let said = exited.stdout() + &exited.stderr();
        assert!(!said.is_empty(), "{line} says nothing");
        ran += 1;
    }
    assert!(ran >= 7, "only {ran} commands were found");
}
