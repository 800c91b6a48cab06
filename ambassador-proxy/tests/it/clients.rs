//! Real clients and servers: curl, Python's websockets and grpcio, psql, mariadb, dnsmasq. Each says so when it cannot run here.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::python::{program, python, run};
use crate::common::{start, start_config};
use testkit::fake::{FakeHttp, Reply};
use testkit::{PodDir, TestCa, eventually, http};

/// A server that ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn curl_speaks_http_1_h2c_and_through_the_proxy_by_connect() {
    let Some(curl) = program("curl", "curl") else { return };
    let upstream =
        FakeHttp::with(|request| Reply::new(200, format!("{} {}", request.method, request.body.len())));
    let pod = PodDir::new();
    let config = format!(
        "listeners: [{{http: '127.0.0.1:0', to: 'http://{0}', connect: ['{0}']}}]\n",
        upstream.addr()
    );
    let proxy = start_config(&pod.write("proxy.yaml", config));
    let big = pod.write("big", vec![b'x'; 3 << 20]);
    let url = format!("http://{}/x", proxy.http());
    let upload = format!("@{}", big.display());
    let through = format!("http://{}", proxy.http());
    let direct = format!("http://{}/y", upstream.addr());
    let cases: [(&[&str], &str); 7] = [
        (&[&url], "GET 0"),
        (&["--http1.0", &url], "GET 0"),
        (&["--http2-prior-knowledge", &url], "GET 0"),
        // With Expect: 100-continue, as curl does for large bodies.
        (&["--data-binary", &upload, &url], "POST 3145728"),
        (&["-H", "Transfer-Encoding: chunked", "--data-binary", &upload, &url], "POST 3145728"),
        (&["--http2-prior-knowledge", "--data-binary", &upload, &url], "POST 3145728"),
        (&["--proxytunnel", "--proxy", &through, &direct], "GET 0"),
    ];
    for (args, want) in cases {
        let output = Command::new(&curl)
            .args(["--silent", "--show-error", "--max-time", "60"])
            .args(args)
            .output()
            .unwrap();
        assert_eq!(text(&output), want, "{args:?}");
    }
}

const WEBSOCKETS: &str = r"
import asyncio, sys, os
import websockets
async def serve(ws):
    async for message in ws:
        await ws.send(message)
async def main(proxy, ready):
    async with websockets.serve(serve, '127.0.0.1', int(ready), max_size=None):
        async with websockets.connect(f'ws://{proxy}/chat', max_size=None, proxy=None) as ws:
            for size in [0, 1, 125, 126, 65535, 65536, 1 << 20, 5 << 20]:
                message = os.urandom(size)
                await ws.send(message)
                assert await ws.recv() == message, size
            await ws.send(['frag', 'men', 'ted'])
            assert await ws.recv() == 'fragmented'
            await (await ws.ping())
            await ws.close(4001, 'bye')
            print('closed', ws.close_code)
asyncio.run(main(sys.argv[1], sys.argv[2]))
";

#[test]
fn web_sockets_up_to_5_mb() {
    let Some(python) = python("websockets") else { return };
    let port = free_port();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://127.0.0.1:{port}")]);
    let out = run(&python, WEBSOCKETS, &[&proxy.http().to_string(), &port.to_string()], "");
    assert_eq!(out.trim(), "closed 4001");
    proxy.wait_log("it is logged", |line| line["status"] == 101 && line["flags"] == "upgraded");
}

const GRPC: &str = r"
import sys, concurrent.futures, grpc
def echo(request, context):
    context.set_trailing_metadata((('x-size', str(len(request))), ('x-long', 'y' * 40000)))
    return request
def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'no ' + 'z' * 1000)
def count(request, context):
    for n in range(200):
        yield b'%d' % n
def both(requests, context):
    for request in requests:
        yield request
def slow(request, context):
    import time; time.sleep(20); return b''
class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            '/t/Echo': grpc.unary_unary_rpc_method_handler(echo),
            '/t/Fail': grpc.unary_unary_rpc_method_handler(fail),
            '/t/Count': grpc.unary_stream_rpc_method_handler(count),
            '/t/Sum': grpc.stream_unary_rpc_method_handler(lambda it, c: b'%d' % sum(len(x) for x in it)),
            '/t/Both': grpc.stream_stream_rpc_method_handler(both),
            '/t/Slow': grpc.unary_unary_rpc_method_handler(slow),
        }.get(call.method)
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Handler(),))
server.add_insecure_port('127.0.0.1:' + sys.argv[2])
server.start()
options = [('grpc.max_metadata_size', 1 << 17), ('grpc.absolute_max_metadata_size', 1 << 17), ('grpc.enable_http_proxy', 0)]
channel = grpc.insecure_channel(sys.argv[1], options)
wait = dict(timeout=60, wait_for_ready=True)
message, call = channel.unary_unary('/t/Echo').with_call(b'x' * 300000, **wait)
trailers = dict(call.trailing_metadata())
assert len(message) == 300000 and trailers['x-size'] == '300000' and len(trailers['x-long']) == 40000
try:
    channel.unary_unary('/t/Fail')(b'', **wait); raise SystemExit('no error')
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION and len(error.details()) == 1003
assert [int(x) for x in channel.unary_stream('/t/Count')(b'', **wait)] == list(range(200))
assert channel.stream_unary('/t/Sum')((b'x' * 1000 for _ in range(300)), **wait) == b'300000'
assert list(channel.stream_stream('/t/Both')((b'%d' % n for n in range(100)), **wait)) == [b'%d' % n for n in range(100)]
try:
    channel.unary_unary('/t/Slow')(b'', timeout=0.5); raise SystemExit('no deadline')
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
print('ok')
server.stop(None)
";

/// linkerd/linkerd2#15199: trailers over 16 KB. One call of each kind, an error, a deadline.
#[test]
fn grpcio_calls_of_every_kind() {
    let Some(python) = python("grpc") else { return };
    let port = free_port();
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://127.0.0.1:{port}")]);
    assert_eq!(run(&python, GRPC, &[&proxy.http().to_string(), &port.to_string()], "").trim(), "ok");
}

/// A MariaDB that takes no connection without TLS, on a port of its own; `None` when it is not installed.
fn mariadb(pod: &PodDir, ca: &TestCa) -> Option<(Server, u16)> {
    let install = program("mariadb-install-db", "mariadb-server")?;
    let server = program("mariadbd", "mariadb-server").or_else(|| program("mysqld", "mariadb-server"))?;
    let (cert, key) = ca.server(&["localhost"]).write(pod, "tls");
    let data = pod.join("data");
    let user = if rustix::process::geteuid().is_root() { "--user=root" } else { "--skip-name-resolve" };
    let basedir = format!("--datadir={}", data.display());
    let made = Command::new(install)
        .args(["--no-defaults", &basedir, "--auth-root-authentication-method=normal", "--skip-test-db", user])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let port = free_port();
    let ca_file = pod.write("ca.pem", ca.pem());
    let log = std::fs::File::create(pod.join("mariadb.log")).unwrap();
    let init = pod.write(
        "init.sql",
        "CREATE USER app@'%' IDENTIFIED BY 'pw-1';\nCREATE DATABASE shop;\nGRANT ALL ON shop.* TO app@'%';\n",
    );
    let child = Command::new(server)
        .args([
            "--no-defaults",
            &basedir,
            user,
            "--skip-networking=0",
            "--bind-address=127.0.0.1",
            "--require-secure-transport=ON",
        ])
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", pod.join("s.sock").display()))
        .arg(format!("--init-file={}", init.display()))
        .arg(format!("--ssl-ca={}", ca_file.display()))
        .arg(format!("--ssl-cert={}", cert.display()))
        .arg(format!("--ssl-key={}", key.display()))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let server = Server(child);
    eventually("MariaDB listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
    Some((server, port))
}

fn mariadb_client(client: &Path, port: u16, more: &[&str], sql: &str) -> Output {
    Command::new(client)
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--host=127.0.0.1",
            "--user=app",
            "--password=pw-1",
            "--skip-column-names",
        ])
        .arg(format!("--port={port}"))
        .args(more)
        .args(["--execute", sql])
        .output()
        .unwrap()
}

#[test]
fn an_app_without_tls_reaches_a_mariadb_that_demands_it() {
    let (pod, ca) = (PodDir::new(), TestCa::new());
    let Some(client) = program("mariadb", "mariadb-client") else { return };
    let Some((_server, port)) = mariadb(&pod, &ca) else { return };
    let config = format!(
        "listeners: [{{tcp: '127.0.0.1:0', to: db}}]\nupstreams:\n  db: {{url: 'tls://localhost:{port}', endpoints: ['127.0.0.1:{port}'], tls: {{ca: {}, starttls: mysql, server_name: localhost}}}}\n",
        pod.join("ca.pem").display()
    );
    let proxy = start_config(&pod.write("proxy.yaml", config));
    let through = proxy.tcp().port();
    let plain = &["--skip-ssl"][..];
    let direct = mariadb_client(&client, port, plain, "SELECT 1");
    assert!(!direct.status.success(), "it demands TLS: {}", text(&direct));
    let ask = |database: &str, sql: &str| {
        text(&mariadb_client(&client, through, &[plain, &[database]].concat(), sql))
    };
    assert_eq!(ask("shop", "SELECT 6 * 7"), "42\n");
    let cipher = ask("shop", "SHOW STATUS LIKE 'Ssl_cipher'");
    assert!(cipher.contains("TLS_"), "the server sees TLS: {cipher:?}");
    // Also with a client that asks for TLS if it can have it, and for compression.
    assert_eq!(text(&mariadb_client(&client, through, &["--compress", "shop"], "SELECT 7")), "7\n");
    let rows = ask("shop", "SELECT REPEAT('x', 70000) FROM seq_1_to_20");
    assert_eq!(rows.len(), 20 * 70_001, "{}", &rows[..200.min(rows.len())]);
    let wrong = Command::new(&client)
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--host=127.0.0.1",
            "--user=app",
            "--password=wrong",
            "--skip-ssl",
        ])
        .arg(format!("--port={through}"))
        .args(["--execute", "SELECT 1"])
        .output()
        .unwrap();
    assert!(text(&wrong).contains("Access denied"), "the server's own word: {}", text(&wrong));
    // And as bytes, with the client's own TLS end to end.
    let bytes = start(&["--tcp", &format!("127.0.0.1:0=127.0.0.1:{port}")]);
    let ca_flag = format!("--ssl-ca={}", pod.join("ca.pem").display());
    let end_to_end = mariadb_client(&client, bytes.tcp().port(), &["--ssl", &ca_flag], "SELECT 8");
    assert_eq!(text(&end_to_end), "8\n");
}

/// Debian keeps PostgreSQL's programs in a folder of their own.
fn postgres(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|file| file.exists());
    found.or_else(|| program(name, "postgresql"))
}

/// As another user where this one is root: PostgreSQL does not run as root.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

#[test]
fn an_app_without_tls_reaches_a_postgres_that_demands_it() {
    let (Some(initdb), Some(server), Some(psql)) =
        (postgres("initdb"), postgres("postgres"), program("psql", "postgresql-client"))
    else {
        return;
    };
    let (pod, ca) = (PodDir::new(), TestCa::new());
    let identity = ca.server(&["localhost"]);
    let home = pod.join("pg");
    std::fs::create_dir(&home).unwrap();
    if rustix::process::geteuid().is_root() {
        for path in [pod.path(), &home] {
            let _ = Command::new("chown").arg("65534:65534").arg(path).status();
            let _ = Command::new("chmod").arg("755").arg(path).status();
        }
    }
    let data = home.join("data");
    let password = pod.write("password", "pw-1\n");
    let mut made = unprivileged(&initdb);
    made.args(["--auth=scram-sha-256", "--username=app", "--no-sync", "-D"]).arg(&data);
    let made = made.arg(format!("--pwfile={}", password.display())).current_dir("/tmp").output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
    for (name, content) in [("server.crt", &identity.cert), ("server.key", &identity.key)] {
        std::fs::write(data.join(name), content).unwrap();
        let _ = Command::new("chmod").arg("600").arg(data.join(name)).status();
        if rustix::process::geteuid().is_root() {
            let _ = Command::new("chown").arg("65534:65534").arg(data.join(name)).status();
        }
    }
    let port = free_port();
    let child = unprivileged(&server)
        .arg("-D")
        .arg(&data)
        .args([
            "-c",
            "ssl=on",
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            &format!("port={port}"),
        ])
        .args(["-c", &format!("unix_socket_directories={}", home.display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/tmp")
        .spawn()
        .unwrap();
    let _server = Server(child);
    let config = format!(
        "listeners: [{{tcp: '127.0.0.1:0', to: db}}]\nupstreams:\n  db: {{url: 'tls://localhost:{port}', endpoints: ['127.0.0.1:{port}'], tls: {{ca: {}, starttls: postgres, server_name: localhost}}}}\n",
        pod.write("ca.pem", ca.pem()).display()
    );
    let proxy = start_config(&pod.write("proxy.yaml", config));
    let ask = |port: u16, mode: &str, sql: &str| {
        let target =
            format!("host=127.0.0.1 port={port} user=app dbname=postgres sslmode={mode} gssencmode=disable");
        let mut psql = Command::new(&psql);
        psql.args(["-X", "-A", "-t", "-c", sql, &target]).env("PGPASSWORD", "pw-1");
        text(&psql.output().unwrap())
    };
    eventually("PostgreSQL answers", || {
        (ask(proxy.tcp().port(), "disable", "SELECT 1") == "1\n").then_some(())
    });
    assert!(ask(port, "disable", "SELECT 1").contains("no pg_hba.conf entry"), "it demands TLS");
    for mode in ["disable", "prefer", "allow"] {
        let answer =
            ask(proxy.tcp().port(), mode, "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        assert!(answer.starts_with("TLSv1"), "{mode}: {answer}");
    }
    let long = ask(proxy.tcp().port(), "disable", "SELECT repeat('x', 100000) FROM generate_series(1, 20)");
    assert_eq!(long.len(), 20 * 100_001);
}

/// Records that change under a real DNS server, by SIGHUP, with a TTL of a second (kubernetes/ingress-nginx#9546, #1613).
#[test]
fn dnsmasq_with_records_that_change() {
    let (Some(dnsmasq), Some(_)) = (program("dnsmasq", "dnsmasq-base"), program("unshare", "util-linux"))
    else {
        return;
    };
    let pod = PodDir::new();
    let (a, b) = (FakeHttp::start(), FakeHttp::start());
    // The proxy reads /etc/resolv.conf, which a test cannot change, and dnsmasq port 53, which it may not have: so both run in a
    // mount and network namespace of their own, where they can.
    if !Command::new("unshare")
        .args(["--mount", "--net", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        testkit::skip_or_fail("no namespaces here: dnsmasq cannot have port 53 of its own");
        return;
    }
    drop((a, b));
    let hosts = pod.write("hosts", "127.0.0.2 orders.test\n");
    pod.write("resolv.conf", "nameserver 127.0.0.1\n");
    let script = pod.write(
        "run.sh",
        r#"set -e
ip link set lo up 2>/dev/null || ifconfig lo up
mount --bind "$1/resolv.conf" /etc/resolv.conf
"$2" --no-daemon --no-resolv --no-hosts --addn-hosts="$1/hosts" --local-ttl=1 --port=53 --listen-address=127.0.0.1 --bind-interfaces --user=root --pid-file="$1/pid" >/dev/null 2>&1 &
dns=$!
python3 - <<'END' &
import http.server, threading
def serve(ip):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        def do_GET(self):
            body = ip.encode()
            self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
        def log_message(self, *a): pass
    http.server.ThreadingHTTPServer((ip, 8000), Handler).serve_forever()
for ip in ['127.0.0.2', '127.0.0.3']: threading.Thread(target=serve, args=(ip,), daemon=True).start()
threading.Event().wait()
END
web=$!
"$3" --admin 127.0.0.1:9102 --config "$1/proxy.yaml" >/dev/null 2>"$1/proxy.err" &
proxy=$!
trap 'kill $dns $web $proxy' EXIT
ask() { python3 -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/', timeout=5).read().decode())" 2>/dev/null; }
until_is() { for i in $(seq 300); do [ "$(ask)" = "$1" ] && return 0; sleep 0.1; done; echo "never $1: $(ask)"; cat "$1/proxy.err" 2>/dev/null; exit 1; }
until_is 127.0.0.2
echo "127.0.0.3 orders.test" > "$1/hosts"; kill -HUP $dns
until_is 127.0.0.3
: > "$1/hosts"; kill -HUP $dns
sleep 3
[ "$(ask)" = 127.0.0.3 ] || { echo "NXDOMAIN took the last good address away"; exit 1; }
kill $dns; wait $dns 2>/dev/null || true
sleep 2
[ "$(ask)" = 127.0.0.3 ] || { echo "a dead server took the last good address away"; exit 1; }
echo fine
"#,
    );
    drop(hosts);
    pod.write(
        "proxy.yaml",
        "listeners: [{http: '127.0.0.1:8080', to: up}]\nupstreams:\n  up: {url: 'http://orders.test:8000', dns: {min_ttl: 200ms, max_ttl: 1s}, pool: {idle: 100ms}}\n",
    );
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--kill-child", "timeout", "120", "sh"])
        .arg(script)
        .arg(pod.path())
        .arg(dnsmasq)
        .arg(env!("CARGO_BIN_EXE_ambassador-proxy"))
        .output()
        .unwrap();
    assert!(text(&output).contains("fine"), "{}", text(&output));
}

/// The answers of the fakes are also those of a real server: nothing here depends on a fake's habits.
#[test]
fn a_python_server_with_keep_alive() {
    let Some(python) = program("python3", "python3") else { return };
    let port = free_port();
    let script = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, http.server.ThreadingHTTPServer, port=int(sys.argv[1]), bind='127.0.0.1', protocol='HTTP/1.1')";
    let pod = PodDir::new();
    pod.write("index.html", "hello");
    let child = Command::new(python)
        .args(["-c", script, &port.to_string()])
        .current_dir(pod.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(child);
    let proxy = start(&["--http", &format!("127.0.0.1:0=http://127.0.0.1:{port}"), "--workers", "1"]);
    eventually("it serves", || (http::get(proxy.http(), "/index.html").status == 200).then_some(()));
    for _ in 0..20 {
        assert_eq!(http::get(proxy.http(), "/index.html").text(), "hello");
    }
    assert!(
        proxy.metrics().sum_of("ambassador_proxy_upstream_connections_total", &[("kind", "reused")]) > 0.0
    );
}
