//! Everybody that the documentation's examples talk to, by name. A port takes HTTP with and without TLS, as it comes.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use testkit::fake::{FakeBulk, FakeHttp, FakeTcp, Received, Reply, TcpAnswer};
use testkit::{PodDir, Proc, Running, TestCa, TlsShim};

use crate::world::World;

/// Who serves HTTP, and where.
const WEB: [(&str, &[u16]); 13] = [
    ("orders", &[80]),
    ("orders-headless", &[80]),
    ("cache", &[8080]),
    ("auth", &[443]),
    ("api", &[80, 443]),
    ("files", &[443]),
    ("collector", &[443, 4318]),
    ("loki", &[3100]),
    ("splunk", &[8088]),
    ("api.example.com", &[443]),
    ("db", &[5432]),
    ("mydb", &[5432]),
    ("mq", &[5672]),
];
/// Who takes Elasticsearch's bulk requests.
const STORES: [&str; 3] = ["es", "elasticsearch", "logs"];
/// Where ours listens that plays `http://proxy:3128`.
const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 13128);
const JOB: &str = r#"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"migrate","namespace":"default","resourceVersion":"1"},"status":{"conditions":[{"type":"Complete","status":"True"}]}}"#;

pub(crate) struct Services {
    api: Ipv4Addr,
    _held: Vec<Box<dyn std::any::Any>>,
}

impl Services {
    pub(crate) fn start(world: &World, ca: &TestCa) -> Self {
        let web = FakeHttp::with(answer);
        let store = FakeBulk::start();
        let mut names: Vec<&str> = WEB.iter().map(|(name, _)| *name).chain(STORES).collect();
        // The API server is known by its address: the first one that is given away.
        let api = Ipv4Addr::new(127, 1, 0, 1);
        let address = api.to_string();
        names.push(&address);
        let identity = ca.server(&names);
        let (web_tls, store_tls) = (TlsShim::to(web.addr(), &identity), TlsShim::to(store.addr(), &identity));
        let either_web = either(web.addr(), web_tls.addr());
        let either_store = either(store.addr(), store_tls.addr());
        world.host("kubernetes", &[(443, web_tls.addr())]);
        for (name, ports) in WEB {
            let ports: Vec<(u16, SocketAddr)> = ports.iter().map(|port| (*port, either_web)).collect();
            let address = world.host(name, &ports);
            // The address that the documentation expects `db` to have leads nowhere; the other one does.
            if name == "db" {
                world.dns_to(name, &[address, Ipv4Addr::new(10, 0, 0, 1)]);
            }
        }
        let syslog = FakeTcp::start(TcpAnswer::Hang);
        let syslog_tls = TlsShim::to(syslog.addr(), &identity);
        for name in STORES {
            world.host(name, &[(9200, either_store), (6514, syslog_tls.addr())]);
        }
        world.host("fluentd", &[(24224, fluentd())]);
        let (proxy, proxy_dir) = https_proxy(world);
        world.host("proxy", &[(3128, PROXY)]);
        let held: Vec<Box<dyn std::any::Any>> = vec![
            Box::new(web),
            Box::new(store),
            Box::new(web_tls),
            Box::new(store_tls),
            Box::new(syslog),
            Box::new(syslog_tls),
            Box::new(proxy),
            Box::new(proxy_dir),
        ];
        Services { api, _held: held }
    }

    pub(crate) fn api(&self) -> Ipv4Addr {
        self.api
    }
}

fn answer(request: &Received) -> Reply {
    match request.path() {
        "/loki/api/v1/push" => Reply::new(204, ""),
        "/v1/logs" => Reply::new(200, ""),
        "/site.tar.gz" => Reply::new(200, site()),
        path if path.starts_with("/services/collector") => {
            Reply::new(200, r#"{"text":"Success","code":0}"#).header("content-type", "application/json")
        }
        path if path.ends_with("/jobs/migrate") => {
            Reply::new(200, JOB).header("content-type", "application/json")
        }
        path if path.ends_with("/jobs") => {
            let list = format!(
                r#"{{"apiVersion":"batch/v1","kind":"JobList","metadata":{{"resourceVersion":"1"}},"items":[{JOB}]}}"#
            );
            Reply::new(200, list).header("content-type", "application/json")
        }
        _ => Reply::new(200, r#"{"status":"UP"}"#).header("content-type", "application/json"),
    }
}

/// A site of one page, in one folder.
fn site() -> Vec<u8> {
    let dir = PodDir::new();
    dir.write("site/index.html", "hello");
    Proc::new("tar").args(["-czf", "site.tar.gz", "site"]).current_dir(dir.path()).run().expect_code(0);
    dir.read("site.tar.gz").expect("an archive")
}

/// A port that leads to `tls` when a client begins with a handshake.
fn either(plain: SocketAddr, tls: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let addr = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut first = [0];
                let hello = client.peek(&mut first).is_ok_and(|count| count == 1) && first[0] == 22;
                crate::world::forward(&client, if hello { tls } else { plain });
            });
        }
    });
    addr
}

/// Acknowledges every chunk of the Forward protocol: the option `{"chunk": ID}` at a message's end is answered with `{"ack": ID}`.
fn fluentd() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let addr = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || acknowledge(client));
        }
    });
    addr
}

fn acknowledge(mut client: TcpStream) {
    const KEY: &[u8] = b"\xa5chunk";
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = client.read(&mut part) {
        seen.extend_from_slice(&part[..count]);
        while let Some(at) = seen.windows(KEY.len()).position(|window| window == KEY) {
            let id = &seen[at + KEY.len()..];
            // A string of MessagePack: its length in five bits, or in the byte behind 0xd9.
            let length = match id {
                [short @ 0xa0..=0xbf, ..] => 1 + usize::from(short & 0x1f),
                [0xd9, long, ..] => 2 + usize::from(*long),
                _ => break,
            };
            let Some(id) = id.get(..length) else { break };
            let answer = [&b"\x81\xa3ack"[..], id].concat();
            seen = seen[at + KEY.len() + length..].to_vec();
            if client.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// `http://proxy:3128`, for HTTPS to the collector: the one of ours that can do that.
fn https_proxy(world: &World) -> (Running, PodDir) {
    let dir = PodDir::new();
    let config =
        dir.write("proxy.yaml", format!("listeners:\n  - http: {PROXY}\n    connect: [collector:443]\n"));
    // It runs outside of the reader's root, in the mount namespace of this test.
    let resolv = dir.write("resolv.conf", world.resolv_conf());
    Proc::new("mount").args(["--bind"]).arg(resolv).arg("/etc/resolv.conf").run().expect_code(0);
    let args = ["--admin", "off", "--access-log", "off", "--config"];
    let proxy = Proc::new(crate::yaml::binary("ambassador-proxy")).json_logs();
    let proxy = proxy.args(args).arg(config).spawn();
    let _ = proxy.wait_ready();
    (proxy, dir)
}
