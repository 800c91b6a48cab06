//! The table of formats: what `--from` accepts and `adapter-logformat formats` lists.

use super::{Context, Decoded, apache_error, cri, json, klog, logfmt, nginx, nginx_error, plain, syslog};
use crate::record::Record;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Format {
    Nginx,
    NginxError,
    Apache,
    ApacheError,
    Json,
    Logfmt,
    Syslog,
    Klog,
    Cri,
    Plain,
}

/// One row of `adapter-logformat formats`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub format: Format,
    /// For `--from`.
    pub name: &'static str,
    pub about: &'static str,
    /// A line of this format.
    pub example: &'static str,
    /// Strict enough to be tried by `--from auto`, in this order.
    pub detect: bool,
}

/// In the order of detection: the most specific first.
pub const FORMATS: &[Entry] = &[
    Entry {
        format: Format::Cri,
        name: "cri",
        about: "container runtime lines (containerd, CRI-O); partial lines are joined, the content is read as auto",
        example: "2026-11-21T12:24:10.123456789Z stdout F {\"level\":\"info\",\"msg\":\"started\"}",
        detect: true,
    },
    Entry {
        format: Format::Json,
        name: "json",
        about: "one object per line: pino, bunyan, winston, zap, logrus, zerolog, slog, log4j2, logback, python, structlog, Serilog, tracing, ECS",
        example: "{\"level\":\"info\",\"ts\":1795263850.123,\"msg\":\"started\",\"port\":8080}",
        detect: true,
    },
    Entry {
        format: Format::Nginx,
        name: "nginx",
        about: "nginx access log: combined (also with fields behind it), or any log_format string given as the pattern",
        example: "192.0.2.7 - - [21/Nov/2026:12:24:10 +0000] \"GET /orders HTTP/1.1\" 200 512 \"-\" \"curl/8.5.0\"",
        detect: true,
    },
    Entry {
        format: Format::NginxError,
        name: "nginx-error",
        about: "nginx error log",
        example: "2026/11/21 12:24:10 [error] 31#31: *7 open() \"/srv/x\" failed (2: No such file or directory), client: 192.0.2.7, server: shop",
        detect: true,
    },
    Entry {
        format: Format::ApacheError,
        name: "apache-error",
        about: "Apache httpd error log, 2.2 and 2.4",
        example: "[Sat Nov 21 12:24:10.123456 2026] [core:error] [pid 31:tid 32] [client 192.0.2.7:5000] AH00126: Invalid URI in request",
        detect: true,
    },
    Entry {
        format: Format::Syslog,
        name: "syslog",
        about: "syslog lines, RFC 5424 and RFC 3164, with or without priority",
        example: "<34>1 2026-11-21T12:24:10.003Z web1 sshd 711 ID47 - Accepted publickey for root",
        detect: true,
    },
    Entry {
        format: Format::Klog,
        name: "klog",
        about: "klog and glog, with structured pairs (Kubernetes components)",
        example: "I1121 12:24:10.123456    1234 server.go:79] \"Starting\" port=10250",
        detect: true,
    },
    Entry {
        format: Format::Logfmt,
        name: "logfmt",
        about: "key=value pairs (go-kit, logrus text, Heroku)",
        example: "ts=2026-11-21T12:24:10.123Z level=info msg=\"listening\" addr=:8080",
        detect: true,
    },
    Entry {
        format: Format::Apache,
        name: "apache",
        about: "Apache httpd access log: common, combined, vhost_combined, or any LogFormat string given as the pattern (auto calls it nginx)",
        example: "192.0.2.7 - bob [21/Nov/2026:12:24:10 +0000] \"GET /orders HTTP/1.1\" 200 512",
        detect: false,
    },
    Entry {
        format: Format::Plain,
        name: "plain",
        about: "text; a time and a level at its start are taken over when they are there",
        example: "2026-11-21 12:24:10,123 INFO listening on 8080",
        detect: false,
    },
];

impl Format {
    /// Its place in [`FORMATS`].
    pub fn index(self) -> usize {
        // Every variant has a row: the test below holds that.
        FORMATS.iter().position(|e| e.format == self).unwrap_or(FORMATS.len() - 1)
    }

    pub fn entry(self) -> &'static Entry {
        &FORMATS[self.index()]
    }

    pub fn name(self) -> &'static str {
        self.entry().name
    }

    pub fn by_name(name: &str) -> Option<Self> {
        FORMATS.iter().find(|e| e.name == name).map(|e| e.format)
    }

    pub fn decode<'a>(self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
        match self {
            Format::Nginx | Format::Apache => nginx::decode(line, cx, record),
            Format::ApacheError => apache_error::decode(line, cx, record),
            Format::NginxError => nginx_error::decode(line, cx, record),
            Format::Json => json::decode(line, cx, record),
            Format::Logfmt => logfmt::decode(line, cx, record),
            Format::Syslog => syslog::decode(line, cx, record),
            Format::Klog => klog::decode(line, cx, record),
            Format::Cri => cri::decode(line, cx, record),
            Format::Plain => plain::decode(line, cx, record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::detect,
        time::{Clock, Time},
    };

    #[test]
    fn each_example_is_read_by_its_own_format_and_detected_as_it() {
        for entry in FORMATS {
            assert_eq!(entry.format.name(), entry.name);
            assert_eq!(Format::by_name(entry.name), Some(entry.format));
            let mut cx = Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::now()));
            let mut record = Record::default();
            assert_eq!(
                entry.format.decode(entry.example.as_bytes(), &mut cx, &mut record),
                Ok(()),
                "{}",
                entry.name
            );
            assert!(record.time.is_some(), "{} has a time", entry.name);
            assert_eq!(record.partial, None, "{}", entry.name);
            let mut record = Record::default();
            if entry.format == Format::Apache {
                continue;
            }
            let (found, _) = detect::first(entry.example.as_bytes(), &mut cx, &mut record);
            assert_eq!(found, entry.format, "{}", entry.name);
        }
    }
}
