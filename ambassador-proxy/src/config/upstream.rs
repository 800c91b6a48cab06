//! What the file says about a service outside.

use std::collections::BTreeMap;

use podkit::secret::Secret;
use podkit::units::{Dur, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// The longest body of a request, such as 10MB; a longer one gets 413. Default: 0 = no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Size>,
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
