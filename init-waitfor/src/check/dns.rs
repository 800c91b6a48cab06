//! `dns://name[?type=…&min=N&expect=V&server=IP:PORT]`

use podkit::dns::{DnsError, Kind, Resolver, conf};

use super::{Attempt, Verdict};
use crate::target::{Parts, Query, Wrong};

/// A name with enough, and the right, records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    pub name: String,
    /// `None`: addresses of either family.
    pub kind: Option<Kind>,
    min: usize,
    expect: Vec<String>,
    pub servers: Vec<std::net::SocketAddr>,
}

impl Dns {
    pub(super) fn parse(parts: &Parts<'_>) -> Result<Self, Wrong> {
        let (name, query) = parts.query();
        let query = Query::parse(query, &["type", "min", "expect", "server"])?;
        let name = name.trim_end_matches('/');
        if name.is_empty() || name.contains(['/', ':', '@']) && name.parse::<std::net::IpAddr>().is_err() {
            return Err(Wrong::new(format!("{name:?} is no name"), "write for example dns://orders?type=A"));
        }
        let label = |label: &str| (1..=63).contains(&label.len());
        let special = name == "." || name.parse::<std::net::IpAddr>().is_ok();
        if !special && !name.trim_end_matches('.').split('.').all(label) {
            let what = format!("{name:?} has a part that is empty or longer than 63");
            return Err(Wrong::new(what, "write for example dns://orders.shop"));
        }
        let kind = match query.get("type") {
            Some(text) => Some(text.parse::<Kind>().map_err(|why| Wrong::new(why, "correct type"))?),
            None => None,
        };
        let servers = query.all("server").map(|text| {
            conf::server(text)
                .ok_or_else(|| Wrong::new(format!("server={text} is no address"), "write IP or IP:PORT"))
        });
        let min = query.number::<usize>("min")?.unwrap_or(1);
        if min == 0 {
            return Err(Wrong::new("min=0 is always met", "write not:dns://… to wait until a name is gone"));
        }
        Ok(Dns {
            name: name.to_owned(),
            kind,
            min,
            expect: query.all("expect").map(str::to_owned).collect(),
            servers: servers.collect::<Result<_, _>>()?,
        })
    }

    /// The resolver, or one that asks `server=`.
    pub(crate) fn resolver(&self, resolver: &Resolver) -> Resolver {
        if self.servers.is_empty() { resolver.clone() } else { resolver.asking(self.servers.clone()) }
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        let resolver = self.resolver(attempt.resolver).within(attempt.left());
        let found: Result<(String, Vec<String>), DnsError> = match self.kind {
            Some(kind) => resolver
                .lookup(&self.name, kind)
                .await
                .map(|records| (records.name, records.values.iter().map(ToString::to_string).collect())),
            None => resolver
                .ips(&self.name)
                .await
                .map(|answer| (answer.name, answer.addrs.iter().map(ToString::to_string).collect())),
        };
        let (name, values) = match found {
            Ok(found) => found,
            Err(error) if error.is_definite() => return Verdict::no("dns", error.to_string()),
            Err(error) => return Verdict::unknown("dns", error.to_string()),
        };
        self.judge(&name, &values)
    }

    fn judge(&self, name: &str, values: &[String]) -> Verdict {
        let list = values.join(", ");
        let missing: Vec<&str> = self
            .expect
            .iter()
            .filter(|wanted| !values.iter().any(|value| same(value, wanted)))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Verdict::no("records", format!("{name} has {list}, not {}", missing.join(", ")));
        }
        if values.len() < self.min {
            return Verdict::no(
                "records",
                format!("{name} has {} of {} records: {list}", values.len(), self.min),
            );
        }
        Verdict::ready(format!("{name} {list}"))
    }
}

/// Names without regard to case and root dot; a part of a record (the port of an SRV record, a target) is enough.
fn same(value: &str, wanted: &str) -> bool {
    let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    if let (Ok(a), Ok(b)) = (value.parse::<std::net::IpAddr>(), wanted.parse::<std::net::IpAddr>()) {
        return a == b;
    }
    plain(value) == plain(wanted)
        || (value.contains(' ') && value.split(' ').next_back().map(plain) == Some(plain(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::split;

    fn dns(text: &str) -> Result<Dns, Wrong> {
        Dns::parse(&split(text).unwrap())
    }

    #[test]
    fn options() {
        let got = dns("dns://_http._tcp.web?type=srv&min=2&expect=a&server=10.0.0.1").unwrap();
        assert_eq!((got.kind, got.min, got.name.as_str()), (Some(Kind::Srv), 2, "_http._tcp.web"));
        assert_eq!(got.servers, ["10.0.0.1:53".parse().unwrap()]);
        for bad in [
            "dns://",
            "dns://a?type=PTRX",
            "dns://a?min=0",
            "dns://a?server=kube-dns",
            "dns://a?tpye=A",
            "dns://a:53",
            "dns://a..b",
            "dns://.a",
        ] {
            assert!(dns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn min_and_expect() {
        let values = |list: &[&str]| list.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let two = dns("dns://a?min=2").unwrap();
        assert!(matches!(two.judge("a", &values(&["10.0.0.1"])), Verdict::NotYet(no) if no.definite));
        assert!(matches!(two.judge("a", &values(&["10.0.0.1", "10.0.0.2"])), Verdict::Ready(_)));
        let expect = dns("dns://a?type=SRV&expect=Web.example.").unwrap();
        assert!(matches!(expect.judge("a", &values(&["10 5 80 web.example"])), Verdict::Ready(_)));
        assert!(matches!(expect.judge("a", &values(&["10 5 80 other.example"])), Verdict::NotYet(_)));
        assert!(same("fd00::1", "FD00:0::1"));
    }
}
