use std::borrow::Cow;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use podkit::secret::mask_url;
use url::Url;

/// Where a sink's URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
    /// NDJSON by POST.
    Http(Url),
    /// `_bulk`, into this data stream or index.
    Elasticsearch {
        base: Url,
        index: String,
    },
    /// OTLP/HTTP, protobuf.
    Otlp(Url),
    /// Push API, protobuf and snappy.
    Loki(Url),
    /// HTTP Event Collector.
    Splunk(Url),
    /// RFC 5424.
    Syslog {
        transport: Transport,
        host: String,
        port: u16,
    },
    /// Fluentd's Forward protocol.
    Fluent {
        host: String,
        port: u16,
        tag: String,
    },
    /// Objects in a bucket.
    S3(Place),
    /// Records in a topic.
    Kafka(Topic),
}

/// A topic of a Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// `host:port` of some brokers; they name the others.
    pub brokers: Vec<String>,
    pub name: String,
    pub tls: bool,
    pub sasl: Sasl,
}

/// How a user and a password are shown to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sasl {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// A bucket and what the names of its objects begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub endpoint: Url,
    pub bucket: String,
    pub prefix: String,
    pub region: String,
}

/// How syslog messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    Tls,
}

/// What is wrong with a URL, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub remedy: Cow<'static, str>,
}

/// Elasticsearch's built-in template for `logs-*-*` makes this a data stream.
const DEFAULT_INDEX: &str = "logs-generic-default";

const SINKS: &str = "write stdout, file:///path, http(s)://host/path, elasticsearch+http(s)://host:port/index, or one of the others in --help";

impl Target {
    /// Reads a URL as given with `--to`.
    ///
    /// # Errors
    /// It names no known sink, or not completely.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |what: String, remedy: &'static str| Wrong { what, remedy: remedy.into() };
        let shown = mask_url(text);
        if text == "stdout" || text == "-" {
            return Ok(Self::Stdout);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Wrong { what: format!("{shown:?} is no sink"), remedy: meant(&shown) });
        };
        if scheme == "file" {
            return match rest.strip_prefix('/') {
                Some(path) if !path.is_empty() => Ok(Self::File(PathBuf::from(rest))),
                _ => Err(wrong(format!("{shown:?} has no absolute path"), "write file:///var/log/out.log")),
            };
        }
        if let Some(target) = socket(scheme, rest) {
            let example = if scheme == "fluent" { "fluent://host:24224" } else { "syslog+tcp://host:601" };
            return target.ok_or_else(|| Wrong {
                what: format!("{shown:?} has no host and port"),
                remedy: format!("write for example {example}").into(),
            });
        }
        if let "kafka" | "kafka+tls" = scheme {
            return topic(rest, scheme == "kafka+tls").map(Self::Kafka).ok_or_else(|| {
                wrong(
                    format!("{shown:?} names no brokers and topic"),
                    "write kafka://host:9092,host:9092/TOPIC, with ?sasl=plain, scram-sha-256 or scram-sha-512",
                )
            });
        }
        let (kind, transport) = scheme.split_once('+').unwrap_or(("", scheme));
        let unknown =
            || Wrong { what: format!("{scheme:?} is no known kind of sink"), remedy: meant(&shown) };
        if !matches!(transport, "http" | "https") {
            return Err(unknown());
        }
        let url = Url::parse(&format!("{transport}://{rest}"))
            .map_err(|e| wrong(format!("{shown:?} is no URL: {e}"), "write scheme://host:port/path"))?;
        match kind {
            "" => Ok(Self::Http(url)),
            "elasticsearch" | "opensearch" => elasticsearch(url).ok_or_else(|| {
                wrong(
                    format!("{shown:?} names no index"),
                    "write elasticsearch+http://host:9200/logs-app-default",
                )
            }),
            "otlp" => Ok(Self::Otlp(with_path(url, "/v1/logs"))),
            "loki" => Ok(Self::Loki(with_path(url, "/loki/api/v1/push"))),
            "s3" => place(&url).map(Self::S3).ok_or_else(|| {
                wrong(
                    format!("{shown:?} names no bucket"),
                    "write s3+https://s3.eu-central-1.amazonaws.com/BUCKET/PREFIX/?region=eu-central-1",
                )
            }),
            "splunk" => Ok(Self::Splunk(with_path(url, "/services/collector/event"))),
            _ => Err(unknown()),
        }
    }

    /// True when it is asked by HTTP.
    pub fn is_http(&self) -> bool {
        self.url().is_some()
    }

    /// True when its connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Syslog { transport, .. } => *transport == Transport::Tls,
            Self::Kafka(topic) => topic.tls,
            _ => self.is_https(),
        }
    }

    /// Where its requests go, when it is sent to over HTTP.
    fn url(&self) -> Option<&Url> {
        match self {
            Self::Stdout | Self::File(_) | Self::Syslog { .. } | Self::Fluent { .. } | Self::Kafka(_) => None,
            Self::Http(url)
            | Self::Elasticsearch { base: url, .. }
            | Self::Otlp(url)
            | Self::Loki(url)
            | Self::Splunk(url)
            | Self::S3(Place { endpoint: url, .. }) => Some(url),
        }
    }

    /// True when its HTTP client needs TLS.
    pub fn is_https(&self) -> bool {
        self.url().is_some_and(|url| url.scheme() == "https")
    }

    /// True when it is sent to over HTTP on this machine.
    pub fn is_loopback(&self) -> bool {
        match self.url().and_then(Url::host) {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
    }

    /// True when a request is sent over a network.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::Stdout | Self::File(_))
    }

    /// Every line has an id, so that what comes twice is there once.
    pub fn has_ids(&self) -> bool {
        matches!(self, Self::Elasticsearch { .. })
    }

    /// One connection, one message after the other.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Syslog { .. } | Self::Fluent { .. } | Self::Kafka(_))
    }

    /// Every batch becomes an object of its own: few large ones are wanted.
    pub fn is_object_store(&self) -> bool {
        matches!(self, Self::S3(_))
    }

    /// Bytes are for eyes and files there: as they are.
    pub fn is_raw_by_default(&self) -> bool {
        !self.is_remote()
    }

    /// A name for files and metrics: what tells sinks apart, without secrets.
    pub fn name(&self) -> String {
        let text = match self {
            Self::Stdout => "stdout".to_owned(),
            Self::File(path) => format!("file{}", path.display()),
            Self::Http(url) => format!("http-{}{}", authority(url), url.path()),
            Self::Otlp(url) => format!("otlp-{}{}", authority(url), url.path()),
            Self::Loki(url) => format!("loki-{}{}", authority(url), url.path()),
            Self::Splunk(url) => format!("splunk-{}{}", authority(url), url.path()),
            Self::Syslog { transport, host, port } => {
                format!("syslog-{transport:?}-{host}-{port}").to_lowercase()
            }
            Self::Kafka(topic) => {
                format!("kafka-{}-{}", topic.brokers.first().map_or("", String::as_str), topic.name)
            }
            Self::S3(Place { endpoint, bucket, prefix, .. }) => {
                format!("s3-{}-{bucket}-{prefix}", authority(endpoint))
            }
            Self::Fluent { host, port, tag } => format!("fluent-{host}-{port}-{tag}"),
            Self::Elasticsearch { base, index } => {
                format!("elasticsearch-{}{}-{index}", authority(base), base.path().trim_end_matches('/'))
            }
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
        text.chars().map(plain).collect::<String>().trim_matches('-').to_owned()
    }
}

/// What to write instead of something that is near a sink. `shown` holds no password.
fn meant(shown: &str) -> Cow<'static, str> {
    let Some((scheme, rest)) = shown.split_once("://") else {
        return if podkit::config::nearest(shown, ["stdout"]).is_some() {
            "did you mean \"stdout\"?".into()
        } else if shown.starts_with('/') {
            format!("write file://{shown}").into()
        } else {
            SINKS.into()
        };
    };
    let (first, second) = scheme.split_once('+').unwrap_or((scheme, ""));
    let kind = match (first, second) {
        ("http" | "https", kind) | (kind, _) => kind,
    };
    match podkit::config::nearest(kind, HTTP_KINDS.into_iter().chain(["syslog", "fluent"])) {
        _ if matches!(kind, "tcp" | "udp" | "tls") => {
            format!("write syslog+{kind}://{rest}; for other protocols see --help").into()
        }
        Some("syslog") => {
            format!("write syslog+tcp://{rest}, or syslog+tls or syslog+udp in front of it").into()
        }
        Some("fluent") => format!("write fluent://{rest}").into(),
        Some(kind) => format!("write {kind}+http://{rest} or {kind}+https://{rest}").into(),
        None => SINKS.into(),
    }
}

/// Protocols over HTTP, as they stand before `+http`.
const HTTP_KINDS: [&str; 5] = ["elasticsearch", "opensearch", "loki", "otlp", "splunk"];

/// Sinks that are no HTTP: `Some(None)` when host or port are missing.
fn socket(scheme: &str, rest: &str) -> Option<Option<Target>> {
    let transport = match scheme {
        "syslog+tcp" => Some(Transport::Tcp),
        "syslog+udp" => Some(Transport::Udp),
        "syslog+tls" => Some(Transport::Tls),
        "fluent" => None,
        _ => return None,
    };
    let url = Url::parse(&format!("tcp://{rest}")).ok();
    let place = url.and_then(|url| {
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some((host, url.port()?, url.path().trim_matches('/').replace('/', ".")))
    });
    Some(place.filter(|(host, ..)| !host.is_empty()).map(|(host, port, path)| match transport {
        Some(transport) => Target::Syslog { transport, host, port },
        None => Target::Fluent { host, port, tag: if path.is_empty() { "logs".into() } else { path } },
    }))
}

/// A URL that names only the server gets the path that the protocol's documentation gives.
fn with_path(mut url: Url, path: &str) -> Url {
    if matches!(url.path(), "" | "/") {
        url.set_path(path);
    }
    url
}

fn authority(url: &Url) -> String {
    format!("{}-{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// `host:port,host:port/topic?sasl=…`
fn topic(rest: &str, tls: bool) -> Option<Topic> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (brokers, name) = place.split_once('/')?;
    let brokers: Vec<String> = brokers.split(',').map(str::to_owned).collect();
    let known = |broker: &String| {
        let (host, port) = broker.rsplit_once(':').unwrap_or_default();
        !host.is_empty() && port.parse::<u16>().is_ok() && !host.contains('@')
    };
    // Kafka's own rule for names.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let sasl = match query {
        "" | "sasl=scram-sha-512" => Sasl::ScramSha512,
        "sasl=scram-sha-256" => Sasl::ScramSha256,
        "sasl=plain" => Sasl::Plain,
        _ => return None,
    };
    let valid = brokers.iter().all(known) && !name.is_empty() && name.chars().all(plain);
    valid.then(|| Topic { brokers, name: name.to_owned(), tls, sasl })
}

/// The first segment of the path is the bucket, the rest what the names of objects begin with.
fn place(url: &Url) -> Option<Place> {
    let path = url.path().trim_start_matches('/').to_owned();
    let (bucket, prefix) = path.split_once('/').unwrap_or((&path, ""));
    // As it is meant: the URL has a blank as `%20`, and the request encodes it again. What a date is made of (`%Y/%m`) stays.
    let prefix = percent_decode_str(prefix).decode_utf8_lossy().into_owned();
    let region = url.query_pairs().find(|(name, _)| name == "region").map(|(_, region)| region.into_owned());
    let mut endpoint = url.clone();
    endpoint.set_path("/");
    endpoint.set_query(None);
    (!bucket.is_empty()).then(|| Place {
        endpoint,
        bucket: bucket.to_owned(),
        prefix,
        region: region.unwrap_or_else(|| "us-east-1".into()),
    })
}

/// The last segment of the path is the index; what stands before it is a prefix that a proxy wants.
fn elasticsearch(mut url: Url) -> Option<Target> {
    let path = url.path().trim_end_matches('/').to_owned();
    let (prefix, index) = path.rsplit_once('/').unwrap_or(("", ""));
    let index = if index.is_empty() { DEFAULT_INDEX } else { index };
    if index.starts_with('_') {
        return None;
    }
    let (prefix, index) = (format!("{prefix}/"), index.to_owned());
    url.set_path(&prefix);
    Some(Target::Elasticsearch { base: url, index })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn es(text: &str) -> (String, String) {
        match Target::parse(text) {
            Ok(Target::Elasticsearch { base, index }) => (base.to_string(), index),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn urls_name_sinks() {
        assert_eq!(Target::parse("stdout"), Ok(Target::Stdout));
        assert_eq!(Target::parse("file:///a/b"), Ok(Target::File("/a/b".into())));
        assert!(matches!(Target::parse("https://h/x?y=1"), Ok(Target::Http(_))));
        assert_eq!(es("elasticsearch+http://h:9200"), ("http://h:9200/".into(), DEFAULT_INDEX.into()));
        assert_eq!(es("elasticsearch+http://h:9200/app"), ("http://h:9200/".into(), "app".into()));
        assert!(
            matches!(Target::parse("otlp+http://h:4318"), Ok(Target::Otlp(url)) if url.path() == "/v1/logs")
        );
        assert!(
            matches!(Target::parse("loki+http://h/x/push"), Ok(Target::Loki(url)) if url.path() == "/x/push")
        );
        assert_eq!(
            Target::parse("syslog+tls://[::1]:6514"),
            Ok(Target::Syslog { transport: Transport::Tls, host: "::1".into(), port: 6514 })
        );
        let fluent = Target::Fluent { host: "h".into(), port: 24224, tag: "shop.web".into() };
        assert_eq!(Target::parse("fluent://h:24224/shop/web"), Ok(fluent));
        let kafka = Topic {
            brokers: vec!["a:9092".into(), "b:9093".into()],
            name: "logs.shop".into(),
            tls: true,
            sasl: Sasl::Plain,
        };
        assert_eq!(Target::parse("kafka+tls://a:9092,b:9093/logs.shop?sasl=plain"), Ok(Target::Kafka(kafka)));
        assert!(
            matches!(Target::parse("s3+https://h/logs/a b/%Y%m%d/"), Ok(Target::S3(place)) if place.prefix == "a b/%Y%m%d/")
        );
        assert!(matches!(Target::parse("s3+https://h/logs/a/%Y/?region=eu"), Ok(Target::S3(place))
                if (place.bucket.as_str(), place.prefix.as_str(), place.region.as_str()) == ("logs", "a/%Y/", "eu")));
        assert_eq!(es("opensearch+https://h/es/app/"), ("https://h/es/".into(), "app".into()));
    }

    #[test]
    fn what_is_no_sink_says_what_to_write() {
        for text in [
            "nowhere",
            "file://relative",
            "ftp://h",
            "redis+http://h",
            "elasticsearch+tcp://h",
            "http://",
            "syslog+tcp://h",
            "fluent://",
            "kafka://h/t",
            "kafka://h:9092",
            "kafka://user:pw@h:9092/t",
            "kafka://h:9092/t?sasl=kerberos",
            "s3+https://h",
        ] {
            let wrong = Target::parse(text).expect_err(text);
            assert!(wrong.remedy.starts_with("write "), "{text}: {wrong:?}");
        }
        assert_eq!(Target::parse("stduot").expect_err("no sink").remedy, "did you mean \"stdout\"?");
        for text in ["ftp://user:s3cret@h", "loki://user:s3cret@h"] {
            let wrong = Target::parse(text).expect_err("no sink");
            assert!(!wrong.what.contains("s3cret") && !wrong.remedy.contains("s3cret"), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_near_a_sink_is_told_how_to_be_written() {
        for (text, remedy) in [
            ("loki://h:3100", "write loki+http://h:3100 or loki+https://h:3100"),
            (
                "elasticsearch://h:9200/x",
                "write elasticsearch+http://h:9200/x or elasticsearch+https://h:9200/x",
            ),
            ("https+otlp://h", "write otlp+http://h or otlp+https://h"),
            ("elastic+http://h", "write elasticsearch+http://h or elasticsearch+https://h"),
            ("syslog://h:514", "write syslog+tcp://h:514, or syslog+tls or syslog+udp in front of it"),
            ("udp://h:514", "write syslog+udp://h:514; for other protocols see --help"),
            ("fluentd://h:24224", "write fluent://h:24224"),
            ("fluent://h", "write for example fluent://host:24224"),
            ("/var/log/out.log", "write file:///var/log/out.log"),
        ] {
            assert_eq!(Target::parse(text).expect_err(text).remedy, remedy, "{text}");
        }
    }

    #[test]
    fn names_hold_no_secret_and_tell_sinks_apart() {
        let name = |text: &str| Target::parse(text).expect("a sink").name();
        assert_eq!(
            name("elasticsearch+http://user:pw@h:9200/logs-app-default"),
            "elasticsearch-h-9200-logs-app-default"
        );
        assert_eq!(name("http://h/x"), "http-h-80-x");
        assert_eq!(name("file:///var/log/out.log"), "file-var-log-out.log");
    }
}
