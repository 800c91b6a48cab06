//! What the file and the flags say. `plan` turns it into what it means.

pub mod check;
pub mod plan;
mod upstream;

use std::collections::BTreeMap;

use podkit::secret::Secret;
use podkit::units::Dur;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use upstream::*;

/// The whole configuration file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the app connects to: one entry per local address.
    pub listeners: Vec<Listener>,
    /// Services that listeners and routes name. One that needs no settings can be written as a URL in `to`.
    pub upstreams: BTreeMap<String, Upstream>,
    /// One line per request and per TCP connection on stdout. Default: json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Begins a W3C trace (`traceparent`) for requests that bring none. One that is there is always passed on. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    /// Sends spans to a collector by OTLP/HTTP; implies `trace`. In builds with the cargo feature otlp, as the image is. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<Traces>,
    /// Threads that carry traffic, 1 to 16. Default: the cgroup's CPU limit, at most 4, and 1 below 2 CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Where `/livez`, `/readyz`, `/metrics`, `/statusz` are served. Default: port 9102 on all addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// How long a drain may take after SIGTERM. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_grace: Option<Dur>,
}

/// Spans to a collector: one for each request, and one below it for each try.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// The collector: `http://host:4318`, or the whole URL where it is not `/v1/traces` there.
    pub to: String,
    /// The share of requests without `traceparent` that are sampled, 0 to 1; of the others, their flag decides. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// `service.name` of the spans. Default: ambassador-proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Headers for the collector, such as `authorization: {file: PATH}`; read again for each batch.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// PEM file with the roots to trust for the collector. Default: the image's, then the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// The form of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Nothing is written.
    Off,
    /// One JSON object per line.
    Json,
    /// One line for people.
    Text,
    /// A line as an nginx `log_format` or an Envoy format string says.
    Format(String),
}

impl AccessLog {
    /// Reads a word or a format string.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ if text.contains(['$', '%']) => {
                crate::access::Format::parse(text).map(|_| Self::Format(text.to_owned()))
            }
            _ => Err(format!(
                "{text:?} is no form of the access log; write off, json, text, or a format with $variables or %OPERATORS%"
            )),
        }
    }
}

impl Serialize for AccessLog {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Off => "off",
            Self::Json => "json",
            Self::Text => "text",
            Self::Format(text) => text,
        })
    }
}

/// YAML reads a bare `off` as `false`, and nobody should have to know that.
impl<'de> Deserialize<'de> for AccessLog {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Flag(bool),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Flag(false) => Ok(Self::Off),
            Written::Flag(true) => {
                Err(serde::de::Error::custom("true is no form of the access log; write off, json or text"))
            }
            Written::Word(word) => Self::parse(&word).map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for AccessLog {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AccessLog".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The form of the access log: off, json, text, or a format: nginx's $variables or Envoy's %OPERATORS%.",
            "anyOf": [{ "enum": ["off", "json", "text"] }, { "type": "string", "pattern": "[$%]" }, { "type": "boolean" }]
        })
    }
}

/// One local address. Exactly one of `http` and `tcp` is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// Address for HTTP/1.1 and h2c: `127.0.0.1:8080`, or `unix:///path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Address for plain TCP: `127.0.0.1:5432`, or `unix:///path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// Where everything goes that no route takes: the name of an upstream, a URL (http), or HOST:PORT (tcp).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Tried in the order written; the first that matches takes the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Lets this listener bind an address that is not loopback. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expose: bool,
    /// Expects a PROXY protocol v1 or v2 header before the first byte. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// HTTP/1.1 clients that have shut down their writing side still get their answer; otherwise they count as gone. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub half_close: bool,
    /// HOST:PORT that CONNECT may reach (http only): the egress allow list of apps that use this listener as their proxy. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<String>,
}

/// Which requests go where. All conditions given have to hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Path prefix by whole segments: `/api` takes `/api` and `/api/x`, not `/apix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path, exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_path: Option<String>,
    /// Host as the client wrote it, without port; `*.example.com` takes every name below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Methods; none given means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Header names and the values they must have; `*` means any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The name of an upstream, or a URL.
    pub to: String,
    /// Replaces the prefix that `path` matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<String>,
    /// Timeouts that differ from the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Retries that differ from the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// At most this many requests per second; more get 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Faults on purpose, for tests of the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<InjectedFault>,
    /// Copies of requests to another upstream, whose answers are thrown away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// Faults on purpose. At least one of `delay` and `status` is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InjectedFault {
    /// The request waits this long first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Dur>,
    /// The proxy answers with this status itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Percent of the requests. Default: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
}

/// Copies of requests. Only those with a body of at most 64 KB, and only while the shadow keeps up.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shadow {
    /// The name of an upstream, or a URL.
    pub to: String,
    /// Percent of the requests. Default: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
}

/// A local rate limit (token bucket per process).
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// Requests per second that are let through in the long run.
    pub per_second: u32,
    /// Requests that may come at once. Default: the same as `per_second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}
