//! What is outside of the pod: cluster DNS, Services with addresses of their own, Secrets.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use testkit::fake::FakeDns;

/// The address of the cluster's DNS.
const DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

/// A cluster of one namespace, `default`.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dns: FakeDns,
    next: Cell<u8>,
    secrets: RefCell<BTreeMap<String, Vec<(String, String)>>>,
    /// Files that stand in for what an image brings: (name, content), all executable, at `/stand-in`.
    stand_ins: RefCell<Vec<(String, String)>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let stand_ins = vec![
            ("nginx.conf".to_owned(), NGINX.to_owned()),
            ("default.conf".to_owned(), "server { listen 8080; location / { return 200; } }\n".to_owned()),
        ];
        let dns = FakeDns::start();
        on_port_53(dns.addr());
        Self { dns, next: Cell::new(1), secrets: RefCell::default(), stand_ins: RefCell::new(stand_ins) }
    }

    /// As the kubelet writes it.
    pub(crate) fn resolv_conf(&self) -> String {
        let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
        format!("{search}\nnameserver {DNS}\noptions ndots:5\n")
    }

    /// A Service: its name resolves to an address of its own, whose `port` leads to `backend`.
    pub(crate) fn service(&self, name: &str, port: u16, backend: SocketAddr) {
        self.host(name, &[(port, backend)]);
    }

    /// A name with several ports on one address; one with a dot is outside of the cluster.
    pub(crate) fn host(&self, name: &str, ports: &[(u16, SocketAddr)]) -> Ipv4Addr {
        let address = Ipv4Addr::new(127, 1, 0, self.next.get());
        self.next.set(self.next.get() + 1);
        ports.iter().for_each(|(port, backend)| listen((address, *port), *backend));
        let name =
            if name.contains('.') { name.to_owned() } else { format!("{name}.default.svc.cluster.local") };
        self.dns.records(&name, "A", &[&address.to_string()]);
        address
    }

    /// A headless Service: its name resolves to an address for each backend.
    pub(crate) fn headless(&self, name: &str, port: u16, backends: &[SocketAddr]) -> Vec<Ipv4Addr> {
        let addresses: Vec<Ipv4Addr> = backends.iter().map(|backend| self.address(port, *backend)).collect();
        self.dns_to(name, &addresses);
        addresses
    }

    pub(crate) fn dns_to(&self, name: &str, addresses: &[Ipv4Addr]) {
        let texts: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.dns.records(&format!("{name}.default.svc.cluster.local"), "A", &texts);
    }

    fn address(&self, port: u16, backend: SocketAddr) -> Ipv4Addr {
        let address = Ipv4Addr::new(127, 1, 0, self.next.get());
        self.next.set(self.next.get() + 1);
        listen((address, port), backend);
        address
    }

    pub(crate) fn put_secret(&self, name: &str, files: &[(&str, &str)]) {
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned()));
        self.secrets.borrow_mut().insert(name.to_owned(), files.collect());
    }

    pub(crate) fn secret(&self, name: &str) -> Vec<(String, String)> {
        self.secrets.borrow().get(name).cloned().unwrap_or_default()
    }

    /// A script at `/stand-in/NAME`, first on the path; `app/…` is also `/app/…`.
    pub(crate) fn program(&self, name: &str, script: &str) {
        self.stand_ins.borrow_mut().push((name.to_owned(), script.to_owned()));
    }

    pub(crate) fn stand_ins(&self) -> Vec<(String, String)> {
        self.stand_ins.borrow().clone()
    }
}

/// The cluster's DNS where glibc looks for it, too: on port 53.
fn on_port_53(dns: SocketAddr) {
    let tcp = TcpListener::bind((DNS, 53)).expect("port 53 over TCP");
    std::thread::spawn(move || {
        for client in tcp.incoming().flatten() {
            std::thread::spawn(move || forward(&client, dns));
        }
    });
    let udp = UdpSocket::bind((DNS, 53)).expect("port 53 over UDP");
    std::thread::spawn(move || {
        let mut query = [0; 4096];
        while let Ok((count, client)) = udp.recv_from(&mut query) {
            let (query, back) = (query[..count].to_vec(), udp.try_clone());
            std::thread::spawn(move || -> io::Result<()> {
                let ask = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                ask.set_read_timeout(Some(Duration::from_secs(10)))?;
                ask.send_to(&query, dns)?;
                let mut answer = [0; 4096];
                let count = ask.recv(&mut answer)?;
                back?.send_to(&answer[..count], client).map(drop)
            });
        }
    });
}

fn listen(at: (Ipv4Addr, u16), backend: SocketAddr) {
    let listener = TcpListener::bind(at).expect("a port of a Service");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || forward(&client, backend));
        }
    });
}

/// As kube-proxy does: what nobody accepts behind the Service is refused to the client.
pub(crate) fn forward(client: &TcpStream, backend: SocketAddr) {
    let Ok(server) = TcpStream::connect(backend) else {
        let _ = rustix::net::connect_unspec(client);
        return;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pipe(client, &server));
        pipe(&server, client);
    });
}

fn pipe(mut from: &TcpStream, mut to: &TcpStream) {
    let ended = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    if ended.is_err() {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// The part of nginxinc/nginx-unprivileged that Debian's nginx lacks: its nginx.conf.
const NGINX: &str = "daemon off;
pid /tmp/nginx.pid;
error_log /var/log/nginx/error.log notice;
events {}
http {
    client_body_temp_path /tmp/client;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    access_log /var/log/nginx/access.log combined;
    include /etc/nginx/conf.d/*.conf;
}
";
