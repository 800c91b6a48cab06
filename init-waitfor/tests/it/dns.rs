//! Names: the `until nslookup` loop that never ends, and what servers do wrong.

use std::time::Duration;

use testkit::fake::{DnsAnswer, FakeDns};
use testkit::{PodDir, Proc};

use crate::waitfor;

/// What the kubelet writes into a pod.
const POD: &str = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5";

fn asking(pod: &PodDir, dns: &FakeDns, rest: &str) -> Proc {
    let file = pod.write("resolv.conf", dns.resolv_conf(rest));
    waitfor().arg("--resolv-conf").arg(file)
}

/// docker-library/busybox#48, #27, #61, #75; kubernetes/website#12050, #13327; GoogleCloudPlatform/cloud-ops-sandbox#995.
#[test]
fn a_short_service_name_is_ready_at_the_first_attempt() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.records("orders.default.svc.cluster.local", "A", &["10.96.3.7"]);
    let done = asking(&pod, &dns, POD).args(["-o", "json", "dns://orders"]).run();
    done.expect_code(0)
        .expect_stdout("orders.default.svc.cluster.local 10.96.3.7")
        .expect_stdout("\"attempts\":1");
    assert!(dns.names().iter().all(|name| name == "orders.default.svc.cluster.local"), "{:?}", dns.names());
}

#[test]
fn suffixes_that_do_not_exist_do_not_spoil_the_one_that_does() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    // What busybox's nslookup ends with 1 on: found under one suffix, NXDOMAIN under the others.
    dns.records("orders.cluster.local", "A", &["10.96.3.7"]);
    asking(&pod, &dns, POD).args(["--timeout", "20s", "dns://orders"]).run().expect_code(0);
    // A name with a dot, and one with more dots than ndots asks for.
    dns.records("orders.shop.svc.cluster.local", "A", &["10.96.3.8"]);
    asking(&pod, &dns, POD).args(["--timeout", "20s", "dns://orders.shop"]).run().expect_code(0);
    asking(&pod, &dns, "search svc.cluster.local\noptions ndots:1")
        .args(["--timeout", "20s", "dns://orders.shop"])
        .run()
        .expect_code(0);
}

/// kubernetes/kubernetes#64924: musl gives up at the first suffix that fails.
#[test]
fn a_servfail_or_silent_suffix_does_not_stop_the_list() {
    for answer in
        [DnsAnswer::ServFail, DnsAnswer::Refused, DnsAnswer::Silent, DnsAnswer::Garbage(vec![1, 2, 3])]
    {
        let (pod, dns) = (PodDir::new(), FakeDns::start());
        for kind in ["A", "AAAA"] {
            dns.set("orders.default.svc.cluster.local", kind, answer.clone());
        }
        dns.records("orders.svc.cluster.local", "A", &["10.96.3.7"]);
        let done = asking(&pod, &dns, POD).args(["-o", "json", "--timeout", "25s", "dns://orders"]).run();
        done.expect_code(0).expect_stdout("orders.svc.cluster.local 10.96.3.7");
        done.expect_stdout("\"attempts\":1");
    }
}

#[test]
fn a_trailing_dot_is_absolute() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.records("orders.default.svc.cluster.local", "A", &["10.96.3.7"]);
    let done = asking(&pod, &dns, POD).args(["status", "dns://orders."]).run();
    done.expect_code(1).expect_stdout("NXDOMAIN");
    assert!(dns.names().iter().all(|name| name == "orders"), "{:?}", dns.names());
    asking(&pod, &dns, POD).args(["status", "dns://orders.default.svc.cluster.local."]).run().expect_code(0);
}

#[test]
fn rcodes_are_told_apart() {
    for (answer, word) in [
        (DnsAnswer::NxDomain, "NXDOMAIN"),
        (DnsAnswer::NoData, "NODATA"),
        (DnsAnswer::ServFail, "SERVFAIL"),
        (DnsAnswer::Refused, "REFUSED"),
        (DnsAnswer::Silent, "timeout"),
    ] {
        let (pod, dns) = (PodDir::new(), FakeDns::start());
        dns.all(Some(answer));
        let done =
            asking(&pod, &dns, POD).args(["status", "--attempt-timeout", "1500ms", "dns://orders"]).run();
        done.expect_code(1).expect_stdout(&format!("A/AAAA: {word}")).expect_stdout(&dns.addr().to_string());
    }
}

/// wait4x: inverted, any error counts as "down".
#[test]
fn not_accepts_a_no_but_not_an_error() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    for (answer, code) in [
        (DnsAnswer::NxDomain, 0),
        (DnsAnswer::NoData, 0),
        (DnsAnswer::ServFail, 1),
        (DnsAnswer::Silent, 1),
        (DnsAnswer::records(["10.0.0.1"]), 1),
    ] {
        dns.all(Some(answer));
        asking(&pod, &dns, "search a.example")
            .args(["status", "--attempt-timeout", "1500ms", "not:dns://orders?type=A"])
            .run()
            .expect_code(code);
    }
}

#[test]
fn truncated_answers_are_fetched_by_tcp() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    let many: Vec<String> = (1..=200).map(|n| format!("10.1.{}.{}", n / 100, n % 100 + 1)).collect();
    dns.set("pods.example", "A", DnsAnswer::truncated(DnsAnswer::records(&many)));
    asking(&pod, &dns, "").args(["status", "dns://pods.example?type=A&min=200"]).run().expect_code(0);
    assert!(dns.questions().iter().any(|question| question.over_tcp));
}

#[test]
fn the_second_server_answers_when_the_first_is_dead_silent_or_broken() {
    for first in [DnsAnswer::Silent, DnsAnswer::ServFail, DnsAnswer::Refused] {
        let (pod, bad, good) = (PodDir::new(), FakeDns::start(), FakeDns::start());
        bad.all(Some(first));
        good.records("db.example", "A", &["10.0.0.5"]);
        let conf = format!("nameserver {}\nnameserver {}\noptions timeout:1\n", bad.addr(), good.addr());
        let conf = pod.write("resolv.conf", conf);
        waitfor().arg("--resolv-conf").arg(conf).args(["status", "dns://db.example"]).run().expect_code(0);
    }
    let (pod, good) = (PodDir::new(), FakeDns::start());
    good.records("db.example", "A", &["10.0.0.5"]);
    // Port 1: closed.
    let conf = pod.write("resolv.conf", format!("nameserver 127.0.0.1:1\n{}", good.resolv_conf("")));
    waitfor().arg("--resolv-conf").arg(conf).args(["status", "dns://db.example"]).run().expect_code(0);
}

#[test]
fn forged_slow_and_one_sided_answers() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.set("forged.example", "A", DnsAnswer::Forged(Box::new(DnsAnswer::records(["10.0.0.1"]))));
    dns.set(
        "slow.example",
        "A",
        DnsAnswer::after(Duration::from_millis(700), DnsAnswer::records(["10.0.0.2"])),
    );
    dns.set("half.example", "A", DnsAnswer::records(["10.0.0.3"]));
    dns.set("half.example", "AAAA", DnsAnswer::Silent);
    for name in ["forged", "slow", "half"] {
        asking(&pod, &dns, "").args(["status", &format!("dns://{name}.example")]).run().expect_code(0);
    }
}

#[test]
fn every_record_type_with_min_and_expect() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.records("web.example", "A", &["10.0.0.1", "10.0.0.2"]);
    dns.records("web.example", "AAAA", &["fd00::1"]);
    dns.records("alias.example", "CNAME", &["web.example."]);
    dns.records("_http._tcp.web.example", "SRV", &["10 5 8080 web-0.example.", "10 5 8080 web-1.example."]);
    dns.records("web.example", "MX", &["10 mail.example."]);
    dns.records("web.example", "NS", &["ns1.example."]);
    dns.records("web.example", "TXT", &["\"v=1 ready\""]);
    for (target, code) in [
        ("dns://web.example", 0),
        ("dns://web.example?min=3", 0),
        ("dns://web.example?min=4", 1),
        ("dns://web.example?type=A&expect=10.0.0.2", 0),
        ("dns://web.example?type=A&expect=10.0.0.9", 1),
        ("dns://web.example?type=AAAA&expect=fd00:0::1", 0),
        ("dns://alias.example", 0),
        ("dns://alias.example?type=CNAME&expect=WEB.example.", 0),
        ("dns://_http._tcp.web.example?type=SRV&min=2&expect=web-1.example", 0),
        ("dns://web.example?type=MX&expect=mail.example", 0),
        ("dns://web.example?type=NS&expect=ns1.example", 0),
        ("dns://web.example?type=TXT&expect=v=1%20ready", 0),
        ("dns://other.example?type=SRV", 1),
    ] {
        let done = asking(&pod, &dns, "").args(["status", target]).run();
        done.expect_code(code);
    }
}

/// wait4x asks only the first nameserver for these types, and a public one where resolv.conf cannot be read.
#[test]
fn every_type_goes_to_the_second_server_and_to_none_that_is_not_ours() {
    let (pod, bad, good) = (PodDir::new(), FakeDns::start(), FakeDns::start());
    bad.all(Some(DnsAnswer::ServFail));
    good.records("web.example", "MX", &["10 mail.example."]);
    good.records("web.example", "NS", &["ns1.example."]);
    good.records("web.example", "TXT", &["\"x\""]);
    good.records("web.example", "SRV", &["1 1 80 a.example."]);
    let servers = format!("nameserver {}\nnameserver {}\noptions timeout:1\n", bad.addr(), good.addr());
    let conf = pod.write("resolv.conf", servers);
    for kind in ["MX", "NS", "TXT", "SRV"] {
        let target = format!("dns://web.example?type={kind}");
        waitfor().arg("--resolv-conf").arg(&conf).args(["status", &target]).run().expect_code(0);
    }
    let done = waitfor()
        .args([
            "--resolv-conf",
            "/nonexistent",
            "--attempt-timeout",
            "1s",
            "explain",
            "-o",
            "json",
            "web.example",
        ])
        .run();
    let told: serde_json::Value = serde_json::from_str(&done.expect_code(1).stdout()).unwrap();
    assert_eq!(told["servers"], serde_json::json!(["127.0.0.1:53"]));
}

/// k3s-io/k3s#6132, #6561; moby/moby#45553; kubernetes/kubernetes#64924: what musl's resolver stumbles over.
#[test]
fn what_musl_stumbles_over() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.records("db.example", "A", &["10.0.0.5"]);
    dns.records("a.b.example.corp", "A", &["10.0.0.6"]);
    for (rest, name) in [
        ("search .", "db.example"),
        ("search . corp", "db.example"),
        ("search . corp\noptions ndots:5", "a.b.example"),
        // As many dots as ndots: tried as it is first, with the list behind.
        ("search corp\noptions ndots:2", "a.b.example"),
        ("search corp\noptions ndots:1", "a.b.example"),
    ] {
        let done =
            asking(&pod, &dns, rest).args(["-o", "json", "--timeout", "25s", &format!("dns://{name}")]).run();
        done.expect_code(0).expect_stdout("\"attempts\":1");
    }
    // The name itself answers SERVFAIL, which is what CoreDNS's upstream does to names of the cluster.
    dns.set("a.b.example", "A", DnsAnswer::ServFail);
    dns.set("a.b.example", "AAAA", DnsAnswer::ServFail);
    let done =
        asking(&pod, &dns, "search corp").args(["-o", "json", "--timeout", "25s", "dns://a.b.example"]).run();
    done.expect_code(0).expect_stdout("\"attempts\":1").expect_stdout("a.b.example.corp 10.0.0.6");
}

#[test]
fn a_name_that_appears_late_is_seen_without_a_cache_in_between() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    let wait =
        asking(&pod, &dns, POD).args(["--timeout", "60s", "--max-interval", "300ms", "dns://late"]).spawn();
    wait.wait_log("NXDOMAIN", |line| {
        line["message"] == "not yet" && line["reason"].as_str().unwrap_or("").contains("NXDOMAIN")
    });
    dns.records("late.default.svc.cluster.local", "A", &["10.0.0.1"]);
    wait.wait_exit().expect_code(0);
}

#[test]
fn resolv_conf_is_read_at_every_attempt() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.records("db.example", "A", &["10.0.0.1"]);
    let conf = pod.write("resolv.conf", "nameserver 127.0.0.1:1\n");
    let wait = waitfor()
        .arg("--resolv-conf")
        .arg(&conf)
        .args(["--max-interval", "300ms", "dns://db.example"])
        .spawn();
    wait.wait_log("unreachable", |line| line["reason"].as_str().unwrap_or("").contains("port closed"));
    std::fs::write(conf, dns.resolv_conf("")).unwrap();
    wait.wait_exit().expect_code(0);
}

/// ufoscout/docker-compose-wait#19, #21: host names and localhost without the libc.
#[test]
fn hosts_files_literals_and_localhost_need_no_server() {
    let pod = PodDir::new();
    let hosts = pod.write("hosts", "10.9.8.7 db db.internal\n");
    let conf = pod.write("resolv.conf", "nameserver 127.0.0.1:1\n");
    let mut proc = Proc::new(env!("CARGO_BIN_EXE_init-waitfor")).arg("--hosts").arg(hosts);
    proc = proc.arg("--resolv-conf").arg(conf).arg("status");
    let targets = [
        "dns://db?expect=10.9.8.7",
        "dns://DB.internal.",
        "dns://localhost",
        "dns://10.0.0.1",
        "dns://a.localhost",
    ];
    proc.args(targets).run().expect_code(0);
}

#[test]
fn another_server_than_the_pods() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.records("db.example", "A", &["10.0.0.1"]);
    let conf = pod.write("resolv.conf", "nameserver 127.0.0.1:1\n");
    let target = format!("dns://db.example?server={}", dns.addr());
    waitfor().arg("--resolv-conf").arg(conf).args(["status", &target]).run().expect_code(0);
}

#[test]
fn explain_shows_every_candidate_server_rcode_and_answer() {
    let (pod, dns) = (PodDir::new(), FakeDns::start());
    dns.set("orders.default.svc.cluster.local", "A", DnsAnswer::ServFail);
    dns.records("orders.svc.cluster.local", "A", &["10.96.3.7"]);
    let done = asking(&pod, &dns, POD).args(["explain", "dns://orders"]).run();
    done.expect_code(0);
    let text = done.stdout();
    for word in [
        "ndots     5",
        "orders.default.svc.cluster.local",
        "SERVFAIL",
        "NXDOMAIN",
        "10.96.3.7 (ttl 30s)",
        &dns.addr().to_string(),
        "=> orders.svc.cluster.local: 10.96.3.7",
    ] {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }
    let done = asking(&pod, &dns, POD).args(["explain", "-o", "json", "nothing"]).run();
    done.expect_code(1);
    let told: serde_json::Value = serde_json::from_str(&done.stdout()).unwrap();
    assert_eq!(told["candidates"].as_array().unwrap().len(), 4);
    assert_eq!(told["error"], "NXDOMAIN");
}
