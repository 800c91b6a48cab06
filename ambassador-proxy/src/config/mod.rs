//! What the file and the flags say. `plan` turns it into what it means.

pub mod check;
pub mod plan;

use std::collections::BTreeMap;

use podkit::secret::Secret;
use podkit::units::Dur;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// A service outside.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `http://host:port/prefix`, `https://…`, `tcp://host:port`, `tls://host:port`, or `unix:///path`. The host is resolved again by TTL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `HOST:PORT` of each endpoint, in place of the host in `url`; also `HOST:PORT weight=2 priority=1`. Lower priorities come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// A file with one endpoint per line, as in `endpoints`; read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints_file: Option<String>,
    /// An endpoint that is new, or back, gets its full share only after this. Default: 0 = at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Dur>,
    /// Look the host up as SRV: every target with its port, priority and weight. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub srv: bool,
    /// The protocol spoken to it. Default: auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The Host header sent. Default: upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How an endpoint is chosen. Default: peak_ewma.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// What `balance: hash`, `ring_hash` and `maglev` hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashOn>,
    /// How long things may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Connections kept open between requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// How much may be going on at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// When an endpoint is taken out for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Asking endpoints whether they are well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How often the name is resolved again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// TLS to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Who this pod says it is. The app never sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Header rules for requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderRules>,
    /// Header rules for answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderRules>,
    /// Sends a PROXY protocol header to the upstream (TCP only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// The protocol spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// ALPN over TLS; without TLS HTTP/1.1, and h2 for gRPC.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    Http2,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The better of two at random, by latency (decaying peak) times requests in flight.
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// The better of two at random, by requests in flight.
    LeastRequest,
    /// The same key goes to the same endpoint (highest random weight), see `hash_on`.
    Hash,
    /// The same by a ring of hashes (ketama).
    RingHash,
    /// The same by Maglev's table: the evenest, and cheap with many endpoints.
    Maglev,
}

/// What is hashed. Exactly one is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HashOn {
    /// The value of this request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The value of this cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub source: bool,
}

/// How long things may take.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a connection (with TLS) stands. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Dur>,
    /// From the request sent to the first byte of the answer; not for gRPC, Upgrade and event streams. Default: 15s, 0 = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Dur>,
    /// Without a byte either way inside a body, stream or tunnel. Default: 5m (http), 1h (tcp), 0 = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Dur>,
    /// The whole request with its retries. Default: 0 = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Dur>,
}

/// What is tried again. Failed connects always are, because nothing was sent yet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries in all, 1 to 10. Default: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Also on these statuses, for the methods in `methods`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// Also on these gRPC codes (names such as UNAVAILABLE) in a trailers-only answer. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grpc_codes: Vec<String>,
    /// Also when the connection broke before an answer began, for the methods in `methods`. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_reset: Option<bool>,
    /// Methods that may be repeated once sent. Default: GET, HEAD, OPTIONS, TRACE, PUT, DELETE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Each try has this long for its first byte. Default: 0 = the first-byte timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try: Option<Dur>,
    /// First pause; doubles, with full jitter. Default: 25ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Dur>,
    /// Longest pause. Default: 250ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_backoff: Option<Dur>,
    /// Retries may be this many percent of the requests of the last 10 s, plus 3 per second. Default: 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_percent: Option<u32>,
    /// Without an answer for so long, a second try races the first one: idempotent requests, with a body of up to 64 KB that is here by then, from the same budget. Default: 0 = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge_after: Option<Dur>,
}

/// Connections kept open between requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// An unused connection is closed after this; below the upstream's own limit. Default: 4s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Dur>,
    /// Unused connections kept per endpoint and worker. Default: 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_idle: Option<usize>,
    /// A connection takes no new request after this (± 10 %). Default: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Dur>,
    /// A connection takes no more requests than this (0 = no limit). Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u64>,
}

/// How much may be going on at once, per upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests (or TCP connections) in flight. Default: 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    /// More that may wait for their turn. Default: 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<usize>,
    /// How long they may wait. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_wait: Option<Dur>,
    /// Finds the number of requests in flight by itself, up to `in_flight`: down when answers slow down, up when they do not. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub adaptive: bool,
}

/// The passive circuit breaker of each endpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row (connect, reset, timeout, 502, 503, 504) that take an endpoint out; 0 = never. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// First time out; doubles until a probe succeeds. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Dur>,
    /// Longest time out. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Dur>,
}

/// Active health checks.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Asked with GET; 2xx is well. Without it a TCP connect has to succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Asked by gRPC's health protocol for this service; empty means the whole server. In place of `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Between two checks of one endpoint. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Dur>,
    /// Longest time for a check. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Dur>,
    /// Failures in a row until it counts as ill. Default: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// Successes in a row until it counts as well. Default: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
}

/// How often a name is resolved again. An error or an empty answer keeps the last good addresses for ever.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Shortest time, whatever the TTL says. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ttl: Option<Dur>,
    /// Longest time, whatever the TTL says. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Dur>,
}

/// TLS to the upstream. Files are read again when their content changes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the roots to trust. Default: the image's, then the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// PEM file with this client's certificate chain, for mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// PEM file with the key of `cert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name asked for and checked. Default: the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Names of which the certificate has to carry one (DNS name, IP address, or URI such as spiffe://…), in place of `server_name`'s check.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub san: Vec<String>,
    /// Accept any certificate. For tests; never in production.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// What is said before TLS begins (TCP only). Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starttls: Option<StartTls>,
}

/// How a plain connection becomes a TLS one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartTls {
    /// PostgreSQL: SSLRequest; also answers the app's own SSLRequest with "no".
    Postgres,
    /// MySQL and MariaDB: the app speaks plainly, also where the server requires secure transport.
    Mysql,
    /// SMTP: STARTTLS after EHLO.
    Smtp,
    /// IMAP: STARTTLS.
    Imap,
    /// POP3: STLS.
    Pop3,
    /// LDAP: the StartTLS extended operation.
    Ldap,
}

/// Who this pod says it is. Exactly one is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// `Authorization: Bearer …` from a file or variable; a rotated file is read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Secret>,
    /// `Authorization: Basic …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// A key in a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// `Authorization: Bearer …` with a token that is fetched by OAuth 2.0 client credentials, ahead of its expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// AWS Signature Version 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
    /// HTTP Message Signatures (RFC 9421) with hmac-sha256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hmac>,
}

/// OAuth 2.0 client credentials (RFC 6749, 4.4).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Where tokens are fetched: https://host/path.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// Scopes asked for, separated by spaces. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The audience asked for. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// PEM file with the roots to trust for `token_url`. Default: the image's, then the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// AWS credentials.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// The region, such as eu-central-1.
    pub region: String,
    /// The service's signing name, such as s3, execute-api or es.
    pub service: String,
    /// The access key's id.
    pub access_key_id: Secret,
    /// The secret key.
    pub secret_access_key: Secret,
    /// The session token of temporary credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
}

/// A shared key that signs method, authority, path, query and the time.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hmac {
    /// The key.
    pub key: Secret,
    /// The name by which the upstream knows the key.
    pub key_id: String,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A key in a header.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The name of the header, such as `x-api-key`.
    pub header: String,
    /// The key.
    pub value: Secret,
}

/// Header rules.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderRules {
    /// Headers that get this value, whatever the client sent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Headers that are taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// The version of the PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// The text form.
    V1,
    /// The binary form.
    V2,
}
