//! The table of formats: what `--from` accepts and `adapter-logformat formats` lists. A long file, because it is a table.
//!
//! In the order of detection, the most specific first; the variants of [`Format`] stand in the same order.

use super::{
    Context, Decoded, apache_error, apache_pattern, auditd, aws, cef, cri, csv, envelope, envoy, haproxy,
    haproxy_pattern, java, java_pattern, json, key_value, klog, logfmt, mysql, nginx, nginx_error,
    nginx_pattern, plain, postgres, postgres_pattern, proxies, python, python_pattern, rails, refuse, regex,
    registry::{Compile, Entry, Join},
    servers, syslog, w3c,
};
use crate::record::Record;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Format {
    Cri,
    Docker,
    Journald,
    Json,
    Traefik,
    IngressNginx,
    AwsS3,
    Nginx,
    Istio,
    Envoy,
    NginxError,
    ApacheError,
    AwsAlb,
    AwsElb,
    AwsVpcFlow,
    Auditd,
    Cef,
    Haproxy,
    Postgresql,
    PostgresqlCsv,
    MysqlError,
    Redis,
    Mongodb,
    Rabbitmq,
    Zookeeper,
    Kafka,
    Elasticsearch,
    Etcd,
    Icinga,
    Tomcat,
    Spring,
    Rails,
    Python,
    Zap,
    Syslog,
    Klog,
    Ltsv,
    W3c,
    Logfmt,
    Apache,
    AwsCloudfront,
    Caddy,
    MysqlSlow,
    Logback,
    Csv,
    Tsv,
    KeyValue,
    Regex,
    Grok,
    Plain,
}

fn digit(first: u8) -> bool {
    first.is_ascii_digit()
}

fn bracket(first: u8) -> bool {
    first == b'['
}

fn word(first: u8) -> bool {
    first.is_ascii_alphanumeric()
}

fn text(first: u8) -> bool {
    first != b'{' && first != b'['
}

/// Needs a pattern; the configuration is refused without one.
fn needs_pattern<'a>(_: &'a [u8], _: &mut Context, _: &mut Record<'a>) -> Decoded {
    refuse(0, "the format needs a pattern")
}

pub const FORMATS: &[Entry] = &[
    Entry::new(
        Format::Cri,
        "cri",
        cri::decode,
        "container runtime lines (containerd, CRI-O); partial lines are joined, the content is read as auto",
        "2026-11-21T12:24:10.123456789Z stdout F {\"level\":\"info\",\"msg\":\"started\"}",
    )
    .detect(digit)
    .join(Join::Partial),
    Entry::new(
        Format::Docker,
        "docker",
        envelope::docker_decode,
        "Docker's json-file; pieces of long lines are joined, the content is read as auto",
        "{\"log\":\"listening on 8080\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-21T12:24:10.123456789Z\"}",
    )
    .detect(|first| first == b'{')
    .join(Join::Partial),
    Entry::new(
        Format::Journald,
        "journald",
        envelope::journald_decode,
        "journald's JSON (journalctl -o json); the message is read as auto",
        "{\"__REALTIME_TIMESTAMP\":\"1795263850123456\",\"PRIORITY\":\"6\",\"_PID\":\"711\",\"MESSAGE\":\"listening on 8080\"}",
    )
    .detect(|first| first == b'{'),
    Entry::new(
        Format::Json,
        "json",
        json::decode,
        "one object per line: pino, bunyan, winston, zap, logrus, zerolog, slog, log4j2, logback, python, structlog, loguru, Serilog, tracing, ECS",
        "{\"level\":\"info\",\"ts\":1795263850.123,\"msg\":\"started\",\"port\":8080}",
    )
    .detect(|first| matches!(first, b'{' | b' ' | b'\t')),
    Entry::new(
        Format::Traefik,
        "traefik",
        proxies::traefik,
        "Traefik access log, common and JSON",
        "192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET /orders HTTP/1.1\" 200 512 \"-\" \"curl/8.5.0\" 271 \"shop@docker\" \"http://10.0.0.3:8080\" 3ms",
    )
    .detect(text),
    Entry::new(
        Format::IngressNginx,
        "ingress-nginx",
        proxies::ingress,
        "access log of the Kubernetes ingress controller",
        "192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET /orders HTTP/1.1\" 200 512 \"-\" \"curl/8.5.0\" 345 0.012 [shop-orders-80] [] 10.0.0.3:8080 512 0.011 200 4e1f0b2c8d",
    )
    .detect(text),
    Entry::new(
        Format::AwsS3,
        "aws-s3",
        aws::s3,
        "server access log of Amazon S3",
        "79a59df900b949e5 shop-files [21/Nov/2026:12:24:10 +0000] 192.0.2.7 arn:aws:iam::123456789012:user/bob 3E57427F3EXAMPLE REST.GET.OBJECT photos/a.jpg \"GET /shop-files/photos/a.jpg HTTP/1.1\" 200 - 2662992 3462992 70 10 \"-\" \"S3Console/0.4\" -",
    )
    .detect(word),
    Entry::new(
        Format::Nginx,
        "nginx",
        nginx::decode,
        "nginx access log: combined (also with fields behind it), or any log_format string given as the pattern",
        "192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET /orders HTTP/1.1\" 200 512 \"-\" \"curl/8.5.0\"",
    )
    .detect(|first| first != b'{')
    .pattern(nginx_pattern::compile),
    Entry::new(
        Format::Istio,
        "istio",
        envoy::istio,
        "access log of Istio's proxies, or any accessLogFormat given as the pattern",
        "[2026-11-21T12:24:10.123Z] \"GET /orders HTTP/1.1\" 200 - via_upstream - \"-\" 0 512 12 11 \"-\" \"curl/8.5.0\" \"9d2ba7b5\" \"shop:8080\" \"10.0.0.3:8080\" inbound|8080|| 127.0.0.6:40213 10.0.0.3:8080 10.0.0.9:51000 outbound_.80_._.shop default",
    )
    .detect(bracket)
    .pattern(envoy::compile),
    Entry::new(
        Format::Envoy,
        "envoy",
        envoy::decode,
        "access log of Envoy, or any of its format strings given as the pattern",
        "[2026-11-21T12:24:10.123Z] \"GET /orders HTTP/1.1\" 200 - 0 512 12 11 \"-\" \"curl/8.5.0\" \"9d2ba7b5\" \"shop:8080\" \"10.0.0.3:8080\"",
    )
    .detect(bracket)
    .pattern(envoy::compile),
    Entry::new(
        Format::NginxError,
        "nginx-error",
        nginx_error::decode,
        "nginx error log",
        "2026/11/21 12:24:10 [error] 31#31: *7 open() \"/srv/x\" failed (2: No such file or directory), client: 192.0.2.7, server: shop",
    )
    .detect(digit),
    Entry::new(
        Format::ApacheError,
        "apache-error",
        apache_error::decode,
        "Apache httpd error log, 2.2 and 2.4",
        "[Sat Nov 21 12:24:10.123456 2026] [core:error] [pid 31:tid 32] [client 192.0.2.7:5000] AH00126: Invalid URI in request",
    )
    .detect(bracket),
    Entry::new(
        Format::AwsAlb,
        "aws-alb",
        aws::alb,
        "access log of an AWS Application Load Balancer",
        "https 2026-11-21T12:24:10.123456Z app/shop/50dc6c495c0c9188 192.0.2.7:2817 10.0.0.3:80 0.086 0.048 0.037 200 200 0 57 \"GET https://shop.example.com:443/ HTTP/1.1\" \"curl/8.5.0\" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/shop/73e2d6bc24d8a067 \"Root=1-58337281-1d84f3d73c47ec4e58577259\" \"shop.example.com\" \"arn:aws:acm:us-east-2:123456789012:certificate/1\" 1 2026-11-21T12:24:10.000000Z \"forward\" \"-\" \"-\" \"10.0.0.3:80\" \"200\" \"-\" \"-\"",
    )
    .detect(|first| matches!(first, b'h' | b'g' | b'w')),
    Entry::new(
        Format::AwsElb,
        "aws-elb",
        aws::elb,
        "access log of a classic AWS load balancer",
        "2026-11-21T12:24:10.123456Z shop 192.0.2.7:2817 10.0.0.3:80 0.000073 0.001048 0.000057 200 200 0 29 \"GET http://shop.example.com:80/ HTTP/1.1\" \"curl/8.5.0\" - -",
    )
    .detect(digit),
    Entry::new(
        Format::AwsVpcFlow,
        "aws-vpc-flow",
        aws::vpc_flow,
        "VPC flow log records, version 2 fields",
        "2 123456789010 eni-1235b8ca 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1795263850 1795263910 ACCEPT OK",
    )
    .detect(digit),
    Entry::new(
        Format::Auditd,
        "auditd",
        auditd::decode,
        "the Linux audit log, raw or enriched; hexadecimal texts are made readable",
        "type=USER_LOGIN msg=audit(1795263850.123:4711): pid=711 uid=0 auid=1000 ses=3 msg='op=login acct=\"bob\" exe=\"/usr/sbin/sshd\" addr=192.0.2.7 res=success'",
    )
    .detect(|first| matches!(first, b't' | b'n')),
    Entry::new(
        Format::Cef,
        "cef",
        cef::decode,
        "ArcSight Common Event Format, bare or behind a syslog head",
        "CEF:0|Security|threatmanager|1.0|100|worm successfully stopped|10|rt=1795263850123 src=192.0.2.7 dst=10.0.0.3 spt=1232 msg=stopped at the gate",
    )
    .detect(|first| matches!(first, b'C' | b'<' | b'A'..=b'Z')),
    Entry::new(
        Format::Haproxy,
        "haproxy",
        haproxy::decode,
        "HAProxy httplog, tcplog, errors and connects, bare or behind a syslog head; any log-format string given as the pattern",
        "192.0.2.7:5000 [21/Nov/2026:12:24:10.123] http-in shop/app1 0/0/1/12/13 200 512 - - ---- 1/1/0/0/0 0/0 \"GET /orders HTTP/1.1\"",
    )
    .detect(|first| word(first) || first == b'<')
    .pattern(haproxy_pattern::compile),
    Entry::new(
        Format::Postgresql,
        "postgresql",
        postgres::decode,
        "PostgreSQL's log with any usual prefix, or the log_line_prefix given as the pattern; jsonlog is json",
        "2026-11-21 12:24:10.123 UTC [31] app@shop LOG:  duration: 0.286 ms  statement: select 1",
    )
    .detect(|first| digit(first) || first == b'<')
    .pattern(postgres_pattern::compile)
    .join(Join::Indented)
    .whole(),
    Entry::new(
        Format::PostgresqlCsv,
        "postgresql-csv",
        postgres::csvlog,
        "PostgreSQL's csvlog",
        "2026-11-21 12:24:10.123 UTC,\"app\",\"shop\",31,\"[local]\",6b01bf75.32a8,1,\"SELECT\",2026-11-21 12:24:09 UTC,3/3,0,ERROR,22012,\"division by zero\",,,,,,\"select 1/0\",,,\"psql\",\"client backend\",,0",
    )
    .detect(digit)
    .join(Join::Quotes)
    .whole(),
    Entry::new(
        Format::MysqlError,
        "mysql-error",
        mysql::error,
        "error log of MySQL 5.5 to 8.4 and MariaDB",
        "2026-11-21T12:24:10.123456Z 0 [Warning] [MY-010068] [Server] CA certificate ca.pem is self signed.",
    )
    .detect(digit)
    .join(Join::Start(r"^\d{4}-\d\d-\d\d|^\d{6} "))
    .whole(),
    Entry::new(
        Format::Redis,
        "redis",
        servers::redis,
        "Redis and Valkey",
        "31:M 21 Nov 2026 12:24:10.123 * Ready to accept connections",
    )
    .detect(|first| digit(first) || first == b'['),
    Entry::new(
        Format::Mongodb,
        "mongodb",
        servers::mongodb,
        "MongoDB, the text of 3.0 to 4.2 and the JSON since",
        "2026-11-21T12:24:10.123+0000 I NETWORK  [conn7] end connection 192.0.2.7:5000",
    )
    .detect(digit),
    Entry::new(
        Format::Rabbitmq,
        "rabbitmq",
        servers::rabbitmq,
        "RabbitMQ 3.7 and later",
        "2026-11-21 12:24:10.123456+00:00 [info] <0.222.0> Server startup complete; 0 plugins started.",
    )
    .detect(digit)
    .join(Join::Start(r"^\d{4}-\d\d-\d\d "))
    .whole(),
    Entry::new(
        Format::Zookeeper,
        "zookeeper",
        java::zookeeper,
        "ZooKeeper",
        "2026-11-21 12:24:10,123 [myid:1] - INFO  [main:QuorumPeerConfig@177] - Reading configuration from: zoo.cfg",
    )
    .detect(digit)
    .join(Join::Start(r"^\d{4}-\d\d-\d\d ")),
    Entry::new(
        Format::Kafka,
        "kafka",
        java::kafka,
        "Kafka",
        "[2026-11-21 12:24:10,123] INFO [KafkaServer id=0] started (kafka.server.KafkaServer)",
    )
    .detect(bracket)
    .join(Join::Start(r"^\[\d{4}-"))
    .whole(),
    Entry::new(
        Format::Elasticsearch,
        "elasticsearch",
        java::elasticsearch,
        "Elasticsearch and OpenSearch, text and JSON",
        "[2026-11-21T12:24:10,123][INFO ][o.e.n.Node               ] [es-0] started",
    )
    .detect(bracket)
    .join(Join::Start(r#"^\[\d{4}-|^\{""#)),
    Entry::new(
        Format::Etcd,
        "etcd",
        servers::etcd,
        "etcd, capnslog and JSON",
        "2026-11-21 12:24:10.123456 I | etcdserver: published {Name:default} to cluster cdf818194e3a8c32",
    )
    .detect(digit),
    Entry::new(
        Format::Icinga,
        "icinga",
        servers::icinga,
        "Icinga 2: its log, and what it says at start",
        "[2026-11-21 12:24:10 +0000] warning/PluginNotificationTask: Notification command terminated with exit code 127",
    )
    .detect(bracket)
    .join(Join::Start(r"^\[\d{4}-\d\d-\d\d |^(?:debug|notice|information|warning|critical)/"))
    .whole(),
    Entry::new(
        Format::Tomcat,
        "tomcat",
        java::tomcat,
        "Tomcat's catalina and localhost logs; its access log is apache",
        "21-Nov-2026 12:24:10.123 INFO [main] org.apache.catalina.startup.Catalina.start Server startup in [512] milliseconds",
    )
    .detect(digit)
    .join(Join::Start(r"^\d\d-[A-Z][a-z]{2}-\d{4} ")),
    Entry::new(
        Format::Spring,
        "spring-boot",
        java::spring,
        "Spring Boot's console, 2 and 3, with application and trace ids",
        "2026-11-21T12:24:10.123Z  INFO 31 --- [shop] [           main] com.example.shop.Shop                    : Started Shop in 1.5 seconds",
    )
    .detect(digit)
    .join(Join::Start(r"^\d{4}-\d\d-\d\d[ T]")),
    Entry::new(
        Format::Rails,
        "rails",
        rails::decode,
        "Ruby's Logger and Rails",
        "I, [2026-11-21T12:24:10.123456 #31]  INFO -- : Started GET \"/orders\" for 192.0.2.7 at 2026-11-21 12:24:10 +0000",
    )
    .detect(|first| matches!(first, b'D' | b'I' | b'W' | b'E' | b'F' | b'A'))
    .join(Join::Start(r"^[DIWEFA], \[|^Started |^Processing by |^Completed |^  Parameters: "))
    .whole(),
    Entry::new(
        Format::Python,
        "python",
        python::decode,
        "Python's logging: basicConfig, the documentation's format, gunicorn, uvicorn, or any format string given as the pattern",
        "WARNING:shop.orders:stock is low",
    )
    .detect(|first| first.is_ascii_uppercase() || digit(first) || first == b'[')
    .pattern(python_pattern::compile)
    .join(Join::Traces),
    Entry::new(
        Format::Zap,
        "zap",
        servers::zap,
        "zap's console encoder (JSON is json)",
        "2026-11-21T12:24:10.123Z\tINFO\torders\tmain.go:42\tlistening\t{\"port\": 8080}",
    )
    .detect(digit)
    .join(Join::Start(r"^\d{4}-\d\d-\d\dT")),
    Entry::new(
        Format::Syslog,
        "syslog",
        syslog::decode,
        "syslog lines, RFC 5424 and RFC 3164, with or without priority",
        "<34>1 2026-11-21T12:24:10.003Z web1 sshd 711 ID47 - Accepted publickey for root",
    )
    .detect(|first| first == b'<' || first.is_ascii_uppercase() || first.is_ascii_digit()),
    Entry::new(
        Format::Klog,
        "klog",
        klog::decode,
        "klog and glog, with structured pairs (Kubernetes components)",
        "I1121 12:24:10.123456    1234 server.go:79] \"Starting\" port=10250",
    )
    .detect(|first| matches!(first, b'I' | b'W' | b'E' | b'F' | b'D')),
    Entry::new(
        Format::Ltsv,
        "ltsv",
        csv::ltsv,
        "labels and values with tabs between them",
        "time:2026-11-21T12:24:10Z\thost:192.0.2.7\treq:GET /orders HTTP/1.1\tstatus:200\tsize:512",
    )
    .detect(|first| first.is_ascii_alphabetic()),
    Entry::new(
        Format::W3c,
        "w3c",
        w3c::decode,
        "W3C extended logs such as those of IIS; the #Fields line names the columns",
        "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) sc-status time-taken\n2026-11-21 12:24:10 10.0.0.3 GET /orders id=7 80 - 192.0.2.7 curl/8.5.0 200 13",
    ),
    Entry::new(
        Format::Logfmt,
        "logfmt",
        logfmt::decode,
        "key=value pairs (go-kit, logrus text, Heroku)",
        "ts=2026-11-21T12:24:10.123Z level=info msg=\"listening\" addr=:8080",
    )
    .detect(|first| first != b'{'),
    Entry::new(
        Format::Apache,
        "apache",
        nginx::decode,
        "Apache httpd access log: common, combined, vhost_combined, or any LogFormat string given as the pattern (auto calls it nginx)",
        "192.0.2.7 - bob [21/Nov/2026:12:24:10 +0000] \"GET /orders HTTP/1.1\" 200 512",
    )
    .pattern(apache_pattern::compile),
    Entry::new(
        Format::AwsCloudfront,
        "aws-cloudfront",
        w3c::cloudfront,
        "standard log of Amazon CloudFront",
        "2026-11-21\t12:24:10\tLAX1\t2390282\t192.0.2.7\tGET\td111111abcdef8.cloudfront.net\t/index.html\t200\t-\tcurl/8.5.0\t-\t-\tHit\tSOX4xwn4XV6Q4rgb7XiVGOHms_BGlTAC4KyHmureZmBNrjGdRLiNIQ==\td111111abcdef8.cloudfront.net\thttps\t23\t0.001\t-\tTLSv1.2\tECDHE-RSA-AES128-GCM-SHA256\tHit\tHTTP/2.0\t-\t-\t11040\t0.001\tHit\ttext/html\t78\t-\t-",
    ),
    Entry::new(
        Format::Caddy,
        "caddy",
        json::decode,
        "Caddy's access log and its own (auto calls it json)",
        "{\"level\":\"info\",\"ts\":1795263850.123,\"logger\":\"http.log.access\",\"msg\":\"handled request\",\"request\":{\"remote_ip\":\"192.0.2.7\",\"remote_port\":\"5000\",\"proto\":\"HTTP/2.0\",\"method\":\"GET\",\"host\":\"shop.example.com\",\"uri\":\"/orders\",\"headers\":{\"User-Agent\":[\"curl/8.5.0\"]}},\"duration\":0.0012,\"size\":512,\"status\":200,\"resp_headers\":{}}",
    ),
    Entry::new(
        Format::MysqlSlow,
        "mysql-slow",
        mysql::slow,
        "slow query log of MySQL, MariaDB and Percona; a query is one record",
        "# Time: 2026-11-21T12:24:10.123456Z",
    )
    .join(Join::Slow)
    .whole(),
    Entry::new(
        Format::Logback,
        "logback",
        needs_pattern,
        "logback, log4j 1 and 2: the layout's pattern string given as the pattern",
        "2026-11-21 12:24:10,123 [main] INFO  com.example.shop.Shop - Started",
    )
    .compile(Compile::Needed(java_pattern::compile))
    .join(Join::Traces),
    Entry::new(
        Format::Csv,
        "csv",
        csv::decode,
        "comma (or ; | tab) separated values with a header line",
        "time,level,message\n2026-11-21T12:24:10Z,info,\"listening, at last\"",
    )
    .compile(Compile::Columns)
    .join(Join::Quotes)
    .whole(),
    Entry::new(
        Format::Tsv,
        "tsv",
        csv::tsv,
        "tab separated values with a header line",
        "time\tlevel\tmessage\n2026-11-21T12:24:10Z\tinfo\tlistening",
    )
    .compile(Compile::Columns),
    Entry::new(
        Format::KeyValue,
        "key-value",
        key_value::decode,
        "key=value in any spelling, with text in front",
        "2026-11-21T12:24:10Z INFO order placed, id=7; user='bob'",
    ),
    Entry::new(
        Format::Regex,
        "regex",
        needs_pattern,
        "a regular expression with named groups, given as the pattern",
        "2026-11-21T12:24:10Z INFO listening",
    )
    .compile(Compile::Pattern(regex::Pattern::regex)),
    Entry::new(
        Format::Grok,
        "grok",
        needs_pattern,
        "a grok expression such as %{IP:client_ip} %{NUMBER:took:float}, given as the pattern",
        "192.0.2.7 0.012",
    )
    .compile(Compile::Pattern(regex::Pattern::grok)),
    Entry::new(
        Format::Plain,
        "plain",
        plain::decode,
        "text; a time and a level at its start are taken over when they are there",
        "2026-11-21 12:24:10,123 INFO listening on 8080",
    )
    .join(Join::Traces),
];
