//! What the configuration file says, and what the command line lays over it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use podkit::secret::Secret;
use podkit::tls::TlsOptions;
use podkit::units::{Dur, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli::{Cli, HttpArgs, Tool};
use crate::migration::MigrationConfig;
use crate::target::Targets;
use crate::tools::fetch::FetchConfig;

/// A wait: targets and how long to wait for them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What to wait for.
    pub targets: Vec<TargetConfig>,
    /// How many targets must be ready: `all`, `any`, or `{min: N}`.
    pub require: Require,
    /// Total time; 0 waits for ever.
    pub timeout: Dur,
    /// Time for one attempt at one target.
    pub attempt_timeout: Dur,
    /// Upper limit of the first pause between attempts. It doubles each time; the pause is drawn at random below it.
    pub interval: Dur,
    /// Upper limit of any pause.
    pub max_interval: Dur,
    /// `auth`: end at once with exit code 84 when a server refuses the user or password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_fast: Option<FailFast>,
    /// Read this file instead of /etc/resolv.conf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolv_conf: Option<PathBuf>,
    /// Read this file instead of /etc/hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<PathBuf>,
    /// For the subcommand `fetch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            targets: Vec::new(),
            require: Require::All,
            timeout: Dur::secs(300),
            attempt_timeout: Dur::secs(3),
            interval: Dur::millis(250),
            max_interval: Dur::secs(5),
            fail_fast: None,
            resolv_conf: None,
            hosts: None,
            fetch: None,
        }
    }
}

/// How many targets must be ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Require {
    /// Every target.
    #[default]
    All,
    /// One is enough.
    Any,
    /// This many are enough.
    Min(usize),
}

impl Require {
    /// The number of ready targets that is enough, of `total`.
    pub fn number(self, total: usize) -> usize {
        match self {
            Require::All => total,
            Require::Any => total.min(1),
            Require::Min(n) => n.min(total),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailFast {
    Auth,
}

/// One target.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetConfig {
    /// What to wait for, as on the command line: `dns://name`, `tcp://host:port`, `https://host/path`, `file:///path`, …
    pub target: Url,
    /// Short name, for messages and `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Names of targets that must be ready before this one is tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Instead of the total time: time for one attempt at this target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout: Option<Dur>,
    /// For `http://` and `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConfig>,
    /// For targets that speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
    /// For `exec:`: the command and its arguments, instead of words after the colon.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// For `postgres://` and `mysql://`: instead of a query, the version of the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationConfig>,
    /// For targets that authenticate: instead of a password in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// A target's text. It may hold a password, so it is shown masked.
#[derive(Clone, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(transparent)]
pub struct Url(pub String);

impl Url {
    fn masked(&self) -> String {
        let redactor = crate::report::Redactor::default();
        redactor.learn_url(&self.0);
        redactor.clean(&self.0)
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for Url {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

/// An HTTP request and what its answer must be.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Request method; GET when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Statuses that count as ready, such as `200-299,401`; `200-399` when absent, as for the kubelet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Request headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderText>,
    /// Request body.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hidden")]
    pub body: Option<String>,
    /// Regular expression that the response body must match.
    #[serde(skip_serializing_if = "Option::is_none", rename = "match")]
    pub matches: Option<String>,
    /// Headers that the response must have, with a regular expression that a value of each must match; an empty one asks only for
    /// the header.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_headers: BTreeMap<String, String>,
    /// JSONPaths (RFC 9535) that must select something: `$.status`, or with a value: `$.status=UP`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub json: Vec<String>,
    /// Redirects to follow; with 0 the 3xx itself is the answer.
    pub redirects: usize,
    /// HTTP/2 without TLS (h2c).
    pub http2: bool,
    /// Send requests to this unix socket instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_socket: Option<PathBuf>,
    /// Response body bytes looked at; more are not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
}

/// A body written out may be a login.
fn hidden<S: serde::Serializer>(body: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    body.as_ref().map(|_| "***").serialize(serializer)
}

/// A header's value: text, or a secret that is read at each attempt.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderText {
    Text(String),
    Secret(Secret),
}

impl std::fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeaderText::Text(_) => f.write_str("***"),
            HeaderText::Secret(secret) => secret.fmt(f),
        }
    }
}

/// Plain values are masked too: an `Authorization` written out is still a secret.
impl Serialize for HeaderText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            HeaderText::Text(_) => serializer.serialize_str("***"),
            HeaderText::Secret(secret) => secret.serialize(serializer),
        }
    }
}

impl podkit::Config for Config {
    fn check(&self, report: &mut podkit::Report) {
        if let Require::Min(0) = self.require {
            report.problem("require", "0 targets are ready before anything is asked", "write 1 or more");
        }
        if let Require::Min(n) = self.require
            && n > self.targets.len()
            && !self.targets.is_empty()
        {
            let what = format!("asks for {n} of {} targets", self.targets.len());
            report.problem("require", what, "name more targets or a smaller number");
        }
        for (key, value) in [
            ("attempt_timeout", self.attempt_timeout),
            ("interval", self.interval),
            ("max_interval", self.max_interval),
        ] {
            if value.get().is_zero() {
                report.problem(key, "is zero", "write for example 250ms or 3s");
            }
        }
        for (key, what, remedy) in self.fetch.iter().flat_map(FetchConfig::problems) {
            report.problem(format!("fetch.{key}"), what, remedy);
        }
        if let Err(problems) = Targets::compile(self) {
            for problem in problems {
                report.problem(problem.key, problem.what, problem.remedy);
            }
        }
    }
}

/// Flags over the file; targets are added, because a gate that waits for too much is safer than one that forgets.
pub fn overlay(cli: &Cli, config: &mut Config) {
    let (wait, http) = (&cli.wait, &cli.http);
    if wait.any {
        config.require = Require::Any;
    }
    if let Some(n) = wait.min {
        config.require = Require::Min(n);
    }
    let set = |to: &mut Dur, from: Option<Dur>| *to = from.unwrap_or(*to);
    set(&mut config.timeout, wait.timeout);
    set(&mut config.attempt_timeout, wait.attempt_timeout);
    set(&mut config.interval, wait.interval);
    set(&mut config.max_interval, wait.max_interval);
    if wait.fail_fast.is_some() {
        config.fail_fast = Some(FailFast::Auth);
    }
    for (to, from) in [(&mut config.resolv_conf, &wait.resolv_conf), (&mut config.hosts, &wait.hosts)] {
        if from.is_some() {
            to.clone_from(from);
        }
    }
    let tls = tls(http);
    if let Some(Tool::Fetch(args)) = &cli.tool {
        config.fetch.get_or_insert_default().overlay(args, tls.clone());
    }
    let request = HttpConfig {
        method: http.http_method.clone(),
        status: http.http_status.clone(),
        headers: http
            .http_header
            .iter()
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.trim().to_owned(), HeaderText::Text(value.trim().to_owned()))
            })
            .collect(),
        body: http.http_body.clone(),
        matches: http.http_match.clone(),
        match_headers: http
            .http_match_header
            .iter()
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.trim().to_owned(), value.trim().to_owned())
            })
            .collect(),
        json: http.http_json.clone(),
        redirects: http.http_redirects.unwrap_or(0),
        http2: http.http2,
        unix_socket: http.http_unix_socket.clone(),
        max_body: None,
    };
    if let Some(database) = cli.database() {
        config.targets.push(TargetConfig {
            target: Url(database.db.clone()),
            name: Some("migration".to_owned()),
            migration: Some(database.gate()),
            tls: Some(tls.clone()),
            ..TargetConfig::default()
        });
    }
    config.targets.extend(cli.all_targets().iter().map(|text| TargetConfig {
        target: Url(text.clone()),
        http: crate::check::is_http(text).then(|| request.clone()),
        tls: Some(tls.clone()),
        ..TargetConfig::default()
    }));
}

/// The TLS flags.
pub fn tls(http: &HttpArgs) -> TlsOptions {
    TlsOptions {
        ca: http.tls_ca.clone(),
        cert: http.tls_cert.clone(),
        key: http.tls_key.clone(),
        insecure: http.tls_insecure,
    }
}
