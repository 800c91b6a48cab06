//! What `to` and `url` may say.

use std::sync::Arc;

use super::{Known, Problems, upstream};
use crate::config::plan::{Host, Source};
use crate::config::{Config, Upstream};

/// A parsed URL of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Whether bytes or HTTP go there.
    pub(crate) tcp: bool,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Host and port, or a file.
    pub(crate) source: Source,
    /// The host alone, for SNI.
    pub(crate) host: String,
    /// `host[:port]` for the Host header; without a default port.
    pub(crate) authority: String,
    /// The path, without a slash at the end.
    pub(crate) prefix: String,
}

/// The name of the upstream that `to` means; a URL or HOST:PORT becomes an upstream of that name.
pub(crate) fn resolve(
    to: &str,
    tcp: bool,
    path: &str,
    config: &Config,
    known: &mut Known,
    problems: &mut Problems,
) -> Option<String> {
    if let Some((_, used)) = known.get_mut(to) {
        *used = true;
        return Some(to.to_owned());
    }
    if config.upstreams.contains_key(to) {
        return None; // Its own problems are reported where it is written.
    }
    let looks_like_name = !to.contains(':') && !to.contains('/');
    if looks_like_name {
        let near = podkit::config::nearest(to, config.upstreams.keys().map(String::as_str));
        let remedy = match near {
            Some(name) => format!("did you mean {name:?}?"),
            None => "write an upstream of that name, or a URL".to_owned(),
        };
        problems.add(path, format!("there is no upstream {to:?}"), remedy);
        return None;
    }
    let url = if tcp && !to.contains("://") { format!("tcp://{to}") } else { to.to_owned() };
    let name = podkit::secret::mask_url(to).into_owned();
    let plan =
        upstream::one(&name, &Upstream { url: Some(url), ..Upstream::default() }, path, true, problems)?;
    known.insert(name.clone(), (Arc::new(plan), true));
    Some(name)
}

/// Parses `http(s)://`, `tcp://`, `tls://`, `unix:///path`.
///
/// # Errors
/// What is wrong and what to write.
pub(crate) fn parse(text: &str) -> Result<Target, (String, String)> {
    let bad = |what: &str, remedy: &str| {
        (format!("{:?} {what}", podkit::secret::mask_url(text)), remedy.to_owned())
    };
    if let Some(file) = text.strip_prefix("unix://") {
        if !file.starts_with('/') {
            return Err(bad("has no absolute path", "write unix:///path/to/socket"));
        }
        let source = Source::Unix(file.into());
        let (host, authority) = ("localhost".to_owned(), "localhost".to_owned());
        return Ok(Target { tcp: false, tls: false, source, host, authority, prefix: String::new() });
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(bad("is no URL", "write http://host:port, https://…, tcp://host:port or unix:///path"));
    };
    let (tcp, tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (false, false, Some(80)),
        "https" => (false, true, Some(443)),
        "tcp" => (true, false, None),
        "tls" => (true, true, None),
        _ => {
            return Err(bad("has a scheme this proxy does not speak", "write http, https, tcp, tls or unix"));
        }
    };
    // The url crate knows the default ports and IDNA of http(s); the others borrow its rules.
    let borrowed = format!("http://{rest}");
    let url = url::Url::parse(&borrowed)
        .map_err(|error| bad(&format!("is no URL ({error})"), "write scheme://host:port"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            "carries a user or password",
            "write them as `credentials`, from a file or variable",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("has a query or fragment", "write the URL up to the path"));
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    // The url crate drops `:80`, which is no default port for https or tcp.
    let explicit = url.port().or_else(|| borrowed_port_80(rest));
    let Some(port) = explicit.or(default_port) else {
        return Err(bad("has no port", "write HOST:PORT"));
    };
    if host.is_empty() || port == 0 {
        return Err(bad("has no host or port 0", "write HOST:PORT"));
    }
    let prefix = url.path().trim_end_matches('/').to_owned();
    if tcp && !prefix.is_empty() {
        return Err(bad("has a path", "write HOST:PORT only"));
    }
    let authority = if Some(port) == default_port { host.clone() } else { format!("{host}:{port}") };
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Target {
        tcp,
        tls,
        source: Source::Hosts(vec![Host::plain(bare.clone(), port)]),
        host: bare,
        authority,
        prefix,
    })
}

fn borrowed_port_80(rest: &str) -> Option<u16> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.ends_with(":80").then_some(80)
}

/// `HOST:PORT`, and maybe `weight=N` and `priority=N` behind it.
pub(crate) fn endpoint(text: &str) -> Option<Host> {
    let mut words = text.split_ascii_whitespace();
    let (host, port) = words.next()?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    let sane = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    let mut parsed = sane.then(|| Host::plain(host, port))?;
    for word in words {
        match word.split_once('=')? {
            ("weight", n) => parsed.weight = n.parse().ok().filter(|n| (1..=1000).contains(n))?,
            ("priority", n) => parsed.priority = n.parse().ok()?,
            _ => return None,
        }
    }
    Some(parsed)
}

/// The endpoints of a file: one per line; empty lines and those that begin with `#` do not count.
///
/// # Errors
/// The first line that is no endpoint, by its number.
pub fn endpoints(text: &str) -> Result<Vec<Host>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(i, line)| {
            endpoint(line)
                .ok_or_else(|| format!("line {}: {line:?} is no HOST:PORT [weight=N] [priority=N]", i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> (Source, String, String) {
        let target = parse(text).unwrap();
        (target.source, target.authority, target.prefix)
    }

    #[test]
    fn urls_are_understood() {
        let orders = Source::Hosts(vec![Host::plain("orders", 80)]);
        assert_eq!(host("http://orders"), (orders.clone(), "orders".into(), String::new()));
        assert_eq!(host("http://orders:80/v1/"), (orders, "orders".into(), "/v1".into()));
        assert_eq!(host("https://api:80").1, "api:80");
        assert_eq!(
            host("https://api.example.com").0,
            Source::Hosts(vec![Host::plain("api.example.com", 443)])
        );
        assert_eq!(host("tcp://[::1]:5432").0, Source::Hosts(vec![Host::plain("::1", 5432)]));
        assert!(parse("tls://db:5432").unwrap().tls);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        for text in [
            "orders:80",
            "ftp://x",
            "tcp://db",
            "http://u:p@x",
            "http://x/?q",
            "tcp://x:1/p",
            "unix://rel",
            "http://",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let (what, _) = parse("http://u:secret@x").unwrap_err();
        assert!(!what.contains("secret"), "{what}");
    }

    #[test]
    fn endpoints_have_weights_and_priorities() {
        let host = endpoint("a:80 weight=3 priority=1").unwrap();
        assert_eq!((host.weight, host.priority), (3, 1));
        for bad in ["a", "a:0", "a:80 weight=0", "a:80 heavy", "a:80 colour=red", "a b:80", ""] {
            assert!(endpoint(bad).is_none(), "{bad}");
        }
        assert_eq!(endpoints("# two\na:1\n\n  [::1]:2 weight=2\n").unwrap().len(), 2);
        assert!(endpoints("a:1\nb").unwrap_err().starts_with("line 2:"));
    }
}
