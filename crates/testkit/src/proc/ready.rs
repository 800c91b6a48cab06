//! The line that says "ready", and the addresses on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Map, Value};

/// The ready line: `{"level":"INFO","message":"ready","admin":"127.0.0.1:41234",…}`.
#[derive(Clone, Debug)]
pub struct Ready {
    pub fields: Map<String, Value>,
}

impl Ready {
    /// Recognises the ready line among the JSON lines of stderr: it has the target `ready`, or an address. Something
    /// else that is "ready", such as a target waited for, has neither. Fields may be nested under `fields`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let Value::Object(mut fields) = serde_json::from_str(line).ok()? else { return None };
        if let Some(Value::Object(nested)) = fields.remove("fields") {
            fields.extend(nested);
        }
        let is_addr = |field: &Value| field.as_str().is_some_and(|text| text.parse::<SocketAddr>().is_ok());
        let by_target = fields.get("target").is_some_and(|target| target == "ready");
        let named = fields.get("message")? == "ready" && (by_target || fields.values().any(is_addr));
        named.then_some(Self { fields })
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// The address in the field `name`, the first if there are several; `0.0.0.0` and `[::]` become loopback, to be
    /// connected to.
    ///
    /// # Panics
    ///
    /// When there is no such field, or it is not an address.
    #[must_use]
    #[track_caller]
    pub fn addr(&self, name: &str) -> SocketAddr {
        let addrs = self.addrs(name);
        *addrs.first().unwrap_or_else(|| panic!("no address {name:?} on the ready line: {:?}", self.fields))
    }

    /// All addresses in the field `name`: an array, or text separated by commas or spaces.
    ///
    /// # Panics
    ///
    /// When something there is not an address.
    #[must_use]
    #[track_caller]
    pub fn addrs(&self, name: &str) -> Vec<SocketAddr> {
        let texts: Vec<&str> = match self.fields.get(name) {
            Some(Value::String(text)) => text.split([',', ' ']).filter(|part| !part.is_empty()).collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let parse = |text: &str| match text.parse::<SocketAddr>() {
            Ok(addr) => connectable(addr),
            Err(error) => panic!("{name}={text:?} on the ready line: {error}"),
        };
        texts.into_iter().map(parse).collect()
    }
}

fn connectable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_addresses() {
        let line =
            r#"{"level":"INFO","message":"ready","admin":"[::]:9104","http":"127.0.0.1:1, 127.0.0.1:2"}"#;
        let ready = Ready::parse(line).expect("the ready line");
        assert_eq!(ready.addr("admin").to_string(), "[::1]:9104");
        assert_eq!(ready.addrs("http").len(), 2);
        assert_eq!(ready.addrs("none"), []);
        assert_eq!(ready.get("level"), Some("INFO"));
    }

    #[test]
    fn nested_fields_count_other_lines_do_not() {
        let ready = Ready::parse(r#"{"fields":{"message":"ready","admin":"127.0.0.1:1"}}"#).expect("ready");
        assert_eq!(ready.addr("admin").port(), 1);
        assert!(Ready::parse(r#"{"message":"ready","target":"ready","admin":"off"}"#).is_some());
        assert!(Ready::parse(r#"{"message":"ready","on":"tcp://db:5432"}"#).is_none());
        assert!(Ready::parse(r#"{"message":"not ready","admin":"127.0.0.1:1"}"#).is_none());
        assert!(Ready::parse("ready").is_none());
        assert!(Ready::parse("[]").is_none());
    }
}
