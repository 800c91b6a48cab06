//! `/etc/resolv.conf` and `/etc/hosts` as text in, settings out: resolv.conf(5), hosts(5). No I/O here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// glibc's MAXNS: a fourth nameserver is ignored there, so it is here.
const MAX_SERVERS: usize = 3;
/// What the kubelet lets through (32 domains); more would only multiply the queries.
const MAX_SEARCH: usize = 32;

/// What resolv.conf says, with glibc's defaults and caps for what it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    pub servers: Vec<SocketAddr>,
    pub search: Vec<String>,
    /// Names with at least this many dots are tried as they are first.
    pub ndots: usize,
    /// How long one server may take before the next try starts.
    pub timeout: Duration,
    /// How often the whole list of servers is asked.
    pub attempts: u32,
    pub rotate: bool,
    /// `use-vc`: TCP only.
    pub tcp_only: bool,
    /// `no-aaaa`: IPv4 only.
    pub no_aaaa: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        ResolvConf {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            tcp_only: false,
            no_aaaa: false,
        }
    }
}

impl ResolvConf {
    /// Never fails: like the libc, a line that makes no sense is passed over.
    pub fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    if let Some(server) = words.next().and_then(server)
                        && conf.servers.len() < MAX_SERVERS
                    {
                        conf.servers.push(server);
                    }
                }
                // The last of `domain` and `search` counts.
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => conf.search = words.take(MAX_SEARCH).map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (key, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u32>().ok();
        match (key, number) {
            ("ndots", Some(n)) => self.ndots = n.min(15) as usize,
            ("timeout", Some(n)) => self.timeout = Duration::from_secs(u64::from(n.clamp(1, 30))),
            ("attempts", Some(n)) => self.attempts = n.clamp(1, 5),
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.tcp_only = true,
            ("no-aaaa", _) => self.no_aaaa = true,
            _ => {}
        }
    }
}

/// `10.0.0.1`, `fd00::1`, `fe80::1%2`, and OpenBSD's `[10.0.0.1]:5353`, which glibc does not know.
pub fn server(word: &str) -> Option<SocketAddr> {
    if let Ok(ip) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 53));
    }
    if let Ok(address) = word.parse::<SocketAddr>() {
        return Some(address);
    }
    if let Some((ip, port)) = word.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?));
    }
    let (ip, scope) = word.split_once('%')?;
    Some(SocketAddr::V6(SocketAddrV6::new(ip.parse().ok()?, 53, 0, scope.parse().ok()?)))
}

/// The addresses that a hosts file gives for a name, in the order of the file.
pub fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// Every name to ask for, in order, without the root dot. glibc's `res_search`: as it is first when it has
/// enough dots, then with each suffix, then as it is if that has not been tried; a trailing dot means as it is.
pub fn candidates(name: &str, conf: &ResolvConf) -> Vec<String> {
    if let Some(absolute) = name.strip_suffix('.') {
        return vec![absolute.to_owned()];
    }
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    let mut list: Vec<String> = Vec::new();
    let mut add = |candidate: String| {
        if !list.iter().any(|known| known.eq_ignore_ascii_case(&candidate)) {
            list.push(candidate);
        }
    };
    if dots >= conf.ndots {
        add(name.to_owned());
    }
    for suffix in &conf.search {
        // `search .` is what some runtimes write for "no domain"; it is the name itself.
        match suffix.trim_matches('.') {
            "" => add(name.to_owned()),
            suffix => add(format!("{name}.{suffix}")),
        }
    }
    add(name.to_owned());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

    #[test]
    fn a_pods_resolv_conf() {
        let conf = ResolvConf::parse(POD);
        assert_eq!(conf.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(conf.ndots, 5);
        assert_eq!(
            candidates("orders", &conf),
            [
                "orders.default.svc.cluster.local",
                "orders.svc.cluster.local",
                "orders.cluster.local",
                "orders"
            ]
        );
        assert_eq!(
            candidates("orders.default.svc.cluster.local.", &conf),
            ["orders.default.svc.cluster.local"]
        );
        assert_eq!(candidates("a.b.c.d.e.f", &conf)[0], "a.b.c.d.e.f");
        assert_eq!(candidates("a.b.c.d.e.f", &conf).len(), 4);
    }

    #[test]
    fn caps_defaults_and_nonsense() {
        let conf = ResolvConf::parse(
            "garbage\nnameserver\nnameserver nonsense\nsearch a b ; c\ndomain last.example # x\noptions ndots:99 timeout:0 attempts:77 rotate ndots:x use-vc no-aaaa",
        );
        assert_eq!(conf.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(conf.search, ["last.example"]);
        assert_eq!((conf.ndots, conf.attempts, conf.timeout.as_secs()), (15, 5, 1));
        assert!(conf.rotate && conf.tcp_only && conf.no_aaaa);
        assert_eq!(ResolvConf::parse("nameserver 1.1.1.1\n".repeat(9).as_str()).servers.len(), 3);
    }

    #[test]
    fn servers_with_ports_and_scopes() {
        assert_eq!(server("[127.0.0.1]:5353"), Some("127.0.0.1:5353".parse().unwrap()));
        assert_eq!(server("[::1]:5353"), Some("[::1]:5353".parse().unwrap()));
        assert_eq!(server("127.0.0.1:5353"), Some("127.0.0.1:5353".parse().unwrap()));
        assert_eq!(server("fe80::1%2").map(|s| s.port()), Some(53));
        assert_eq!(server("kube-dns"), None);
    }

    #[test]
    fn a_search_for_the_root_is_the_name_itself() {
        let conf = ResolvConf::parse("search . example.com\n");
        assert_eq!(candidates("db", &conf), ["db", "db.example.com"]);
    }

    #[test]
    fn hosts_lines() {
        let text = "127.0.0.1 localhost\n# no\n10.0.0.1\tdb  DB.example. # main\n::1 localhost\nbroken db\n10.0.0.2 db\n";
        assert_eq!(hosts(text, "db"), ["10.0.0.1".parse::<IpAddr>().unwrap(), "10.0.0.2".parse().unwrap()]);
        assert_eq!(hosts(text, "db.EXAMPLE."), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(hosts(text, "d").is_empty());
    }
}
