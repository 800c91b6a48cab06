//! Which format reads a system's logs, what its fields are called here, and why some differ. Tables.

use std::path::Path;

/// The flags that read a log; `None` where no format of ours is for it.
pub(crate) fn format(system: &str, log: &Path) -> Option<&'static [&'static str]> {
    let path = log.to_string_lossy();
    Some(match system {
        "auditd" => &["--from", "auditd"],
        "icinga" => &["--from", "icinga"],
        "apache" if path.contains("error") => &["--from", "apache-error"],
        "apache" => &["--from", "apache"],
        "nginx" if path.contains("error") => &["--from", "nginx-error", "--multiline", r"^\d{4}/"],
        "nginx" => &["--from", "nginx"],
        "elasticsearch" => &["--from", "elasticsearch"],
        "haproxy" => &["--from", "haproxy"],
        "iis" => &["--from", "w3c"],
        "kafka" => &["--from", "kafka"],
        "kibana" => &["--from", "json"],
        "logstash" if path.contains("json") => &["--from", "json"],
        "logstash" => &["--from", "elasticsearch"],
        "mongodb" => &["--from", "mongodb"],
        "mysql" if path.contains("slow") => &["--from", "mysql-slow"],
        "mysql" => &["--from", "mysql-error"],
        "postgresql" => &["--from", "postgresql"],
        "redis" => &["--from", "redis"],
        "syslog" => &["--from", "syslog", "--multiline", r"^(?:<\d+>)?(?:[A-Z][a-z]{2} [ \d]\d |\d{4}-)"],
        "traefik" => &["--from", "traefik"],
        _ => return None,
    })
}

/// The same for the logs whose records are OTLP/JSON: here most servers are read by their layout's own pattern.
pub(crate) fn other_format(system: &str, log: &Path) -> Option<&'static [&'static str]> {
    let path = log.to_string_lossy();
    Some(match system {
        "cassandra" => &[
            "--from",
            "logback",
            "--pattern",
            "%-5level [%thread] %date{ISO8601} %F:%L - %msg%n",
            "--multiline",
            r"^[A-Z]+ +\[",
        ],
        "couchbase" => {
            &["--from", "logback", "--pattern", "%d{ISO8601} %p %c: %m%n", "--multiline", r"^\d{4}-"]
        }
        "flink" => &[
            "--from",
            "logback",
            "--pattern",
            "%d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n",
            "--multiline",
            r"^\d{4}-",
        ],
        "wildfly" => &[
            "--from",
            "logback",
            "--pattern",
            "%d{yyyy-MM-dd HH:mm:ss,SSS} %-5p [%c] (%t) %m%n",
            "--multiline",
            r"^\d{4}-",
        ],
        "solr" => &[
            "--from",
            "logback",
            "--pattern",
            "%d{yyyy-MM-dd HH:mm:ss.SSS} %-5p (%t) [%X] %c %m%n",
            "--multiline",
            r"^\d{4}-",
        ],
        "jetty" | "varnish" => &["--from", "apache"],
        "tomcat" if path.contains("access") => &["--from", "apache"],
        "tomcat" => &["--from", "tomcat"],
        "rabbitmq" => &["--from", "rabbitmq"],
        "mysql" if path.contains("general") => return None,
        "oracledb" | "couchdb" | "ops-agent-processors" => return None,
        _ => return format(system, log),
    })
}

/// Fields to compare: without enrichment (places, user agents taken apart), and without what the other program says about itself.
pub(crate) fn counts(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "fileset.",
        "input.",
        "log.offset",
        "service.type",
        "ecs.version",
        "event.",
        "log.file.",
        "related.",
        "agent.",
    ];
    let enriched = name.contains(".geo.")
        || name.contains(".as.")
        || name.starts_with("user_agent.") && name != "user_agent.original";
    !enriched && !OTHERS.iter().any(|prefix| name.starts_with(prefix))
}

/// True for the names of the Elastic Common Schema; all others are one program's own.
pub(crate) fn schema(name: &str) -> bool {
    const SETS: [&str; 13] = [
        "@timestamp",
        "message",
        "tags",
        "log",
        "http",
        "url",
        "source",
        "destination",
        "user",
        "user_agent",
        "process",
        "host",
        "error",
    ];
    SETS.contains(&name.split('.').next().unwrap_or(name)) && name != "log.flags"
}

/// What a field is called here.
pub(crate) fn ours<'a>(system: &str, name: &'a str) -> Vec<&'a str> {
    let other = match (system, name) {
        ("haproxy", "http.response.bytes") => "haproxy.bytes_read",
        ("haproxy", "haproxy.source") => "source.address",
        ("haproxy", "haproxy.http.request.raw_request_line") => "http.request.raw",
        ("apache", "apache.error.module") => "apache.module",
        ("nginx", "nginx.error.connection_id") => "nginx.connection_id",
        ("nginx", "nginx.access.remote_ip_list") => "nginx.remote_addrs",
        ("nginx" | "apache", "destination.domain" | "destination.ip") => "url.domain",
        ("nginx", "destination.port") => "url.port",
        ("iis", "iis.error.reason_phrase") => "iis.s-reason",
        ("iis", "destination.ip") => "destination.ip",
        ("kafka", "kafka.log.class") => "log.logger",
        ("mongodb", "mongodb.log.component") => "mongodb.component",
        ("mongodb", "mongodb.log.context") => "mongodb.context",
        ("mysql", "mysql.thread_id") => "process.thread.id",
        ("mysql", "mysql.slowlog.query") => "message",
        ("mysql", "mysql.slowlog.current_user") => "user.name",
        ("syslog" | "postgresql", "host.hostname") => "host.name",
        ("elasticsearch", "elasticsearch.component") => "log.logger",
        ("elasticsearch", "elasticsearch.server.stacktrace") => "error.stack_trace",
        ("logstash", "logstash.log.module") => "log.logger",
        ("logstash", "logstash.log.pipeline_id") => "logstash.pipeline_id",
        ("logstash", "logstash.log.thread") => "process.thread.name",
        ("traefik", "traefik.access.frontend_name") => "traefik.router_name",
        ("traefik", "traefik.access.backend_url") => "traefik.server_url",
        ("traefik", "traefik.access.request_count") => "traefik.request_count",
        // The number in brackets is the process's (%p); that of threads does not exist there.
        ("postgresql", "process.thread.id") => "process.pid",
        ("auditd", "auditd.log.addr") => "source.address",
        ("auditd", "auditd.log.new_auid") => "user.audit.id",
        ("auditd", "auditd.log.new_ses") => "auditd.log.ses",
        ("auditd", "process.ppid") => "process.parent.pid",
        ("auditd", "user.terminal") => "auditd.log.terminal",
        ("icinga", "icinga.main.facility" | "icinga.startup.facility") => "log.logger",
        ("kibana", "kibana.log.tags") => "tags",
        ("kibana", "kibana.log.meta.type") => "app.type",
        ("kibana", "kibana.log.state") => "app.state",
        ("kibana", "kibana.log.meta.prevState") => "app.prevState",
        ("kibana", "kibana.log.meta.prevMsg") => "app.prevMsg",
        _ => "",
    };
    [name, other].into_iter().filter(|n| !n.is_empty()).collect()
}

/// Fields for which a server writes a dash, or `[unknown]`, when there is nothing to say.
pub(crate) fn nothing(name: &str) -> bool {
    matches!(
        name,
        "user.name"
            | "http.request.referrer"
            | "user_agent.original"
            | "haproxy.http.request.captured_cookie"
            | "haproxy.http.response.captured_cookie"
            | "traefik.access.user_identifier"
            | "postgresql.log.database"
            | "kafka.log.component"
    )
}

/// Why a field differs, where that is on purpose or cannot be otherwise.
pub(crate) fn explain(system: &str, name: &str) -> Option<&'static str> {
    Some(match (system, name) {
        (_, "log.flags") => {
            "says that an event has several lines; here they are one record, and `message` holds them"
        }
        ("haproxy", "haproxy.http.request.raw_request_line") => {
            "the request is taken apart: http.request.method, url.original, http.version"
        }
        ("haproxy", "haproxy.http.request.captured_cookie" | "haproxy.http.response.captured_cookie") => {
            "a dash means that there is none"
        }
        ("haproxy", "source.address" | "source.ip") => "see haproxy.source",
        (_, "user.name" | "http.request.referrer") => {
            "a dash means that there is none; here the field is left out"
        }
        ("traefik", "traefik.access.user_identifier") => "the identity of RFC 1413, a dash in all lines",
        ("mysql", "@timestamp") => "whole seconds of SET timestamp there; here the microseconds of # Time",
        ("syslog", "process.name") => "with its caller in parentheses there; here the name alone",
        ("iis", "source.ip" | "destination.ip") => "an address with a zone, which is no value of that type",
        ("elasticsearch", "log.level" | "elasticsearch.component") => {
            "an object over several lines, of which the first record has another there"
        }
        ("haproxy", "haproxy.http.request.captured_headers" | "haproxy.http.response.captured_headers") => {
            "a list there; as written here"
        }
        ("kibana", "service.name") => "the pipeline's own, not in the line",
        ("syslog", "message") => "the end of a text of several lines is cut there",
        ("traefik", _) => "a line without what Traefik adds, which is Apache's format and not Traefik's",
        ("elasticsearch", "source.address") => "address and port in one there; the port is source.port here",
        (
            "elasticsearch",
            "@timestamp" | "elasticsearch.cluster.name" | "elasticsearch.server.stacktrace",
        ) => "an object over several lines, of which the first record has another there",
        ("elasticsearch", "elasticsearch.node.name" | "http.request.body.content") => {
            "elasticsearch.audit.node and .request_body here"
        }
        ("flink", "message") => "the empty context `[] - ` of the pattern is left in the message there",
        ("solr", "message") => "the arrow in front of the trace is cut there",
        ("mongodb", "message") => {
            "without its number, or the object below attr, there; here the text that the server wrote"
        }
        ("rabbitmq", "message") => "a report of several lines with all that is in front of it there",
        ("auditd", "process.args" | "process.args_count") => "process.command_line here",
        ("auditd", "auditd.log.success") => "event.outcome here",
        ("postgresql", "log.level") => "PANIC is emergency here: it ends all sessions",
        ("cassandra", "message") => {
            "its file and line in front are left in the message there; here they are log.origin.file.*"
        }
        ("apache", "message") => {
            "the system's error, the client and the code are cut out there; here it is as written"
        }
        ("iis", "@timestamp") => "read as local time there; the times of the format are in UTC",
        ("iis", "url.original") => "path and query stand apart in the line: url.path and url.query here",
        ("apache", "source.domain") => "the name is source.address here",
        ("mysql", "message") => "the code in brackets is error.code here, the subsystem log.logger",
        ("postgresql", "message") => "the whole line there; here what is behind the prefix",
        ("nginx", "source.address" | "source.ip") => {
            "the first public address of the list there; here the first"
        }
        ("kafka", "message") => {
            "the component in brackets is taken out of the message there; here the message is whole"
        }
        ("postgresql", "postgresql.log.timestamp") => "the time as written, which event.original has",
        ("postgresql", "postgresql.log.core_id") => "session_line_number here",
        ("postgresql", "postgresql.log.query" | "postgresql.log.query_step") => {
            "taken out of the message there also where it is no statement"
        }
        ("mysql", "mysql.slowlog.current_user") => {
            "the name in brackets behind the user's, which is nearly always the same"
        }
        ("elasticsearch", field)
            if field.starts_with("elasticsearch.audit.") || field.starts_with("elasticsearch.slowlog.") =>
        {
            "one server's own fields inside of the message, which is kept whole"
        }
        (
            "elasticsearch",
            "elasticsearch.index.name" | "elasticsearch.index.id" | "elasticsearch.shard.id",
        ) => "one server's own fields inside of the message, which is kept whole",
        ("kibana", field) if field.starts_with("kibana.") => {
            "the same value stands under app., as in any JSON without a schema"
        }
        ("logstash", field)
            if field.starts_with("logstash.slowlog.") || field.starts_with("logstash.log.log_event.") =>
        {
            "the same value stands under app., as in any JSON without a schema"
        }
        ("elasticsearch", "message") => {
            "index, shard or process in brackets are taken out of the message there; here it is whole"
        }
        ("postgresql", "@timestamp") => {
            "EST in July is read as daylight saving time there; here it is what it says, five hours west"
        }
        ("nginx", "nginx.access.remote_ip_list") => "a list there; as written here",
        ("nginx" | "kibana", "source.domain" | "kibana.log.meta.req.userAgent") => {
            "the name is source.address here"
        }
        ("redis" | "syslog", "@timestamp") => {
            "without a year: the nearest one, which the expected record could not know"
        }
        _ => return None,
    })
}
