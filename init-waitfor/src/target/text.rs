//! The grammar of targets: `[not:]scheme://rest` and `[not:]exec:rest`.

use super::{Target, Wrong};
use crate::config::{TargetConfig, Url};
use crate::report::Redactor;

/// The subcommands, for those who misspell one.
const TOOLS: [&str; 8] = ["status", "explain", "migration", "migrate", "fetch", "install", "write", "probe"];

/// A target's text in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    pub negated: bool,
    pub scheme: &'a str,
    /// After `://`, or after `exec:`.
    pub rest: &'a str,
    /// Without `not:`.
    pub whole: &'a str,
}

impl<'a> Parts<'a> {
    /// `rest` before and after its `?`.
    pub fn query(&self) -> (&'a str, Option<&'a str>) {
        match self.rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (self.rest, None),
        }
    }
}

/// Takes a target's text apart; knows no single scheme.
///
/// # Errors
/// No scheme.
pub fn split(text: &str) -> Result<Parts<'_>, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("is empty", "write for example tcp://db:5432 or dns://orders"));
    }
    let (negated, whole) = match text.strip_prefix("not:") {
        Some(rest) if rest.starts_with("not:") => {
            return Err(Wrong::new("not:not: says nothing", "leave both out"));
        }
        Some(rest) => (true, rest),
        None => (false, text),
    };
    for scheme in ["exec", "k8s"] {
        if let Some(rest) = whole.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':')) {
            return Ok(Parts { negated, scheme, rest, whole });
        }
    }
    // Both are written, with slashes and without.
    for scheme in ["sqlite", "sqlite3"] {
        if let Some(rest) = whole.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':')) {
            return Ok(Parts { negated, scheme, rest: rest.strip_prefix("//").unwrap_or(rest), whole });
        }
    }
    match whole.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() => Ok(Parts { negated, scheme, rest, whole }),
        _ => {
            let remedy = match host_port(whole, None) {
                Ok(_) => format!("write tcp://{whole}"),
                Err(_) if whole.starts_with('/') => {
                    format!("write file://{whole} (or unix://{whole} for a socket)")
                }
                Err(_) if matches!(whole, "wait" | "wait-for" | "tcp" | "http" | "dns") => {
                    "name the target alone, as a URL: init-waitfor tcp://db:5432".to_owned()
                }
                Err(_) => match podkit::config::nearest(whole, TOOLS) {
                    Some(tool) => {
                        format!("did you mean the subcommand {tool}? A target is for example dns://{whole}")
                    }
                    None => "write for example tcp://db:5432, dns://orders or file:///path".to_owned(),
                },
            };
            Err(Wrong::new(format!("{whole:?} has no scheme"), remedy))
        }
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `host:port`, `[::1]:port`; the port may be left out when there is a default.
///
/// # Errors
/// What is missing or no port.
pub fn host_port(text: &str, default: Option<u16>) -> Result<HostPort, Wrong> {
    let text = text.trim_end_matches('/');
    let example = "write for example db:5432 or [::1]:5432";
    if text.contains(',') {
        let remedy = "write one target for each, with --any when one of them is enough";
        return Err(Wrong::new(format!("{text:?} names several hosts"), remedy));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(Wrong::new(format!("{text:?}: an IPv6 address needs brackets"), example));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains(['/', '@']) {
        return Err(Wrong::new(format!("{text:?} names no host"), example));
    }
    let port = match port {
        None => default.ok_or_else(|| Wrong::new(format!("{text:?} has no port"), example))?,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(Wrong::new(format!("{port:?} is no port"), "write a number from 1 to 65535")),
        },
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// For clap: a target on the command line that cannot be read is wrong usage.
///
/// # Errors
/// What is wrong and what to write.
pub fn parse_argument(text: &str) -> Result<String, String> {
    let entry = TargetConfig { target: Url(text.to_owned()), ..TargetConfig::default() };
    let redactor = Redactor::default();
    let result: Result<Target, _> = super::target(&entry, &redactor);
    match result {
        Ok(_) => Ok(text.to_owned()),
        Err((_, wrong)) => Err(redactor.clean(&format!("{}; {}", wrong.what, wrong.remedy))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parts = split("not:dns://a?min=2").unwrap();
        assert!(parts.negated);
        assert_eq!((parts.scheme, parts.query()), ("dns", ("a", Some("min=2"))));
        assert_eq!(split("exec:sh -c 'a://b'").unwrap().rest, "sh -c 'a://b'");
        assert_eq!(split("db:5432").unwrap_err().remedy, "write tcp://db:5432");
        assert!(split("/run/x.sock").unwrap_err().remedy.contains("unix:///run/x.sock"));
        assert!(split("not:not:dns://a").is_err());
        assert!(split("").is_err());
    }

    #[test]
    fn hosts_and_ports() {
        let good = |text: &str| host_port(text, Some(53)).unwrap().to_string();
        assert_eq!(good("db:5432"), "db:5432");
        assert_eq!(good("db"), "db:53");
        assert_eq!(good("[::1]:80"), "[::1]:80");
        assert_eq!(good("[fd00::1]"), "[fd00::1]:53");
        assert_eq!(good("db:80/"), "db:80");
        for bad in ["", ":80", "db:0", "db:65536", "db:http", "::1", "fd00::1:80", "a b:1", "u@h:1"] {
            assert!(host_port(bad, Some(1)).is_err(), "{bad}");
        }
        assert!(host_port("db", None).unwrap_err().what.contains("no port"));
    }

    #[test]
    fn arguments_are_checked_and_secrets_stay_out_of_the_error() {
        assert!(parse_argument("tcp://db:5432").is_ok());
        let error = parse_argument("tcpp://db:5432").unwrap_err();
        assert!(error.contains("did you mean tcp://"), "{error}");
        let error = parse_argument("http://app:s3cret@ho st/").unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
