//! Names against Knot, an authoritative server that knows nothing of our expectations.

use testkit::PodDir;

use crate::servers::{directory, free_port, give, program, start};
use crate::waitfor;

const ZONE: &str = "\
$ORIGIN cluster.local.
$TTL 30
@ SOA ns1 admin 1 3600 600 86400 5
  NS ns1
ns1 A 127.0.0.1
orders.default.svc A 10.96.3.7
orders.default.svc AAAA fd00::7
alias CNAME orders.default.svc
only6 AAAA fd00::6
web MX 10 mail
web TXT \"v=1 ready\" \"go\"
_http._tcp.web SRV 10 5 8080 web-0
_http._tcp.web SRV 10 5 8080 web-1
";

struct Knot {
    port: u16,
    pod: PodDir,
}

impl Knot {
    fn start() -> Option<Self> {
        let program = program("knotd", "knot")?;
        let (dir, port) = (directory("nobody"), free_port());
        // More than fits into a datagram, so that the answer comes truncated and then by TCP.
        let many: String = (0..400).map(|n| format!("pods A 10.1.{}.{}\n", n / 200, n % 200 + 1)).collect();
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let config = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {}\n  udp-workers: 1\n  tcp-workers: 2\n  background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {}\nzone:\n  - domain: cluster.local\n    file: {}\n    journal-content: none\n  - domain: broken.example\n    file: {}\n    journal-content: none\n",
            dir.display(),
            at("db"),
            at("zone"),
            at("missing")
        );
        std::fs::create_dir(dir.join("db")).unwrap();
        for (name, text) in [("zone", format!("{ZONE}{many}")), ("conf", config)] {
            std::fs::write(dir.join(name), text).unwrap();
            give(&dir.join(name), "nobody");
        }
        give(&dir.join("db"), "nobody");
        start("nobody", &program, &dir, ["-c".to_owned(), at("conf")]);
        let knot = Knot { port, pod: PodDir::new() };
        // The gate waits for it: this is what it is for.
        knot.ask("dns://ns1.cluster.local.").run_with("--timeout", "25s").expect_code(0);
        Some(knot)
    }

    fn ask<'a>(&'a self, target: &'a str) -> Ask<'a> {
        Ask { knot: self, target }
    }
}

struct Ask<'a> {
    knot: &'a Knot,
    target: &'a str,
}

impl Ask<'_> {
    /// With `--timeout` a wait, with `--attempt-timeout` one look.
    fn run_with(&self, flag: &str, value: &str) -> testkit::Exited {
        let text = format!(
            "nameserver [127.0.0.1]:{}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
            self.knot.port
        );
        let conf = self.knot.pod.write("resolv.conf", text);
        let look = (flag == "--attempt-timeout").then_some("status");
        let proc = waitfor().arg("--resolv-conf").arg(conf).args([flag, value, "-o", "json"]);
        proc.args(look).arg(self.target).run()
    }

    /// One attempt is enough, and one is made.
    fn at_once(&self, words: &str) {
        let done = self.run_with("--timeout", "25s");
        done.expect_code(0).expect_stdout("\"attempts\":1").expect_stdout(words);
    }

    fn never(&self, words: &str) {
        self.run_with("--attempt-timeout", "20s").expect_code(1).expect_stdout(words);
    }
}

#[test]
fn the_seed_case_and_every_type() {
    let Some(knot) = Knot::start() else { return };
    // docker-library/busybox#48, #27, #61, #75; kubernetes/website#12050: `until nslookup orders` never ends.
    knot.ask("dns://orders").at_once("orders.default.svc.cluster.local");
    knot.ask("dns://orders.default").at_once("10.96.3.7");
    knot.ask("dns://orders.default.svc.cluster.local").at_once("fd00::7");
    knot.ask("dns://orders.default.svc.cluster.local.").at_once("10.96.3.7");
    knot.ask("dns://only6?expect=fd00::6").at_once("fd00::6");
    knot.ask("dns://alias?type=CNAME&expect=orders.default.svc.cluster.local").at_once("orders.default");
    knot.ask("dns://alias?expect=10.96.3.7").at_once("10.96.3.7");
    knot.ask("dns://web?type=MX&expect=mail.cluster.local").at_once("mail.cluster.local");
    knot.ask("dns://web?type=TXT").at_once("v=1 ready");
    knot.ask("dns://cluster.local?type=NS&expect=ns1.cluster.local").at_once("ns1.cluster.local");
    knot.ask("dns://_http._tcp.web?type=SRV&min=2&expect=web-1.cluster.local").at_once("8080");
    // Truncated, then by TCP.
    knot.ask("dns://pods?type=A&min=400").at_once("pods.cluster.local 10.1.");
}

#[test]
fn what_a_real_server_refuses() {
    let Some(knot) = Knot::start() else { return };
    knot.ask("dns://missing.cluster.local.").never("missing.cluster.local. A/AAAA: NXDOMAIN");
    knot.ask("dns://only6.cluster.local.?type=A").never("A: NODATA");
    knot.ask("dns://elsewhere.example.").never("A/AAAA: REFUSED");
    knot.ask("dns://a.broken.example.").never("A/AAAA: SERVFAIL");
    knot.ask("not:dns://missing.cluster.local.").at_once("NXDOMAIN");
    knot.ask("not:dns://only6.cluster.local.?type=A").at_once("NODATA");
    // No answer is no "no".
    knot.ask("not:dns://elsewhere.example.").never("REFUSED");
    knot.ask("not:dns://a.broken.example.").never("SERVFAIL");
    // The suffixes say NXDOMAIN, the bare name REFUSED: the whole is unknown, and every candidate is named.
    let done = knot.ask("dns://nothing").run_with("--attempt-timeout", "20s");
    for words in
        ["nothing.default.svc.cluster.local NXDOMAIN", "nothing.cluster.local NXDOMAIN", "nothing REFUSED"]
    {
        done.expect_code(1).expect_stdout(words);
    }
}
