//! OTLP/HTTP, binary protobuf: `ExportLogsServiceRequest` with one resource and one scope.
//! (opentelemetry-proto v1: collector/logs/v1/logs_service.proto, logs/v1/logs.proto; OTLP specification, "OTLP/HTTP".)

use bytes::Bytes;
use url::Url;

use super::request::judge;
use super::{Answer, Requester};
use crate::batch::Batch;
use crate::enrich::Origin;
use crate::style::key_value;
use crate::wire::protobuf;

/// See the module.
#[derive(Debug)]
pub struct Otlp {
    requester: Requester,
    url: Url,
    /// `Resource` as field 1 of `ResourceLogs`.
    resource: Vec<u8>,
    /// `InstrumentationScope` as field 1 of `ScopeLogs`.
    scope: Vec<u8>,
}

/// ECS names and their equals in OpenTelemetry's semantic conventions.
const NAMES: [(&str, &str); 6] = [
    ("kubernetes.pod.name", "k8s.pod.name"),
    ("kubernetes.pod.uid", "k8s.pod.uid"),
    ("kubernetes.pod.ip", "k8s.pod.ip"),
    ("kubernetes.namespace", "k8s.namespace.name"),
    ("kubernetes.node.name", "k8s.node.name"),
    ("kubernetes.container.name", "k8s.container.name"),
];

impl Otlp {
    pub fn new(requester: Requester, url: Url, origin: &Origin) -> Self {
        let mut attributes = Vec::new();
        for (name, value) in &origin.pairs {
            let name = NAMES.iter().find(|(ecs, _)| ecs == name).map_or(name.as_str(), |(_, otel)| otel);
            key_value(1, name, value, &mut attributes);
        }
        let (mut resource, mut name, mut scope) = (Vec::new(), Vec::new(), Vec::new());
        protobuf::bytes(1, &attributes, &mut resource);
        protobuf::bytes(1, crate::APP.name.as_bytes(), &mut name);
        protobuf::bytes(1, &name, &mut scope);
        Self { requester, url, resource, scope }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let body = self.envelope(&batch.body);
        match self.requester.post(&self.url, "application/x-protobuf", &body).await {
            // 502, 503, 504 and 429 are for later by the specification, and so are all others that are not the items' fault.
            Ok((status, headers, body)) => {
                judge(status, &headers, &body).unwrap_or_else(|| read(&body, batch.items.len()))
            }
            Err(answer) => answer,
        }
    }

    /// The records, which are fields of `ScopeLogs` already, in scope, resource and request.
    fn envelope(&self, records: &[u8]) -> Bytes {
        let scope_logs = self.scope.len() + records.len();
        let resource_logs = self.resource.len() + protobuf::size(2, scope_logs);
        let mut body = Vec::with_capacity(protobuf::size(1, resource_logs));
        protobuf::head(1, resource_logs, &mut body);
        body.extend_from_slice(&self.resource);
        protobuf::head(2, scope_logs, &mut body);
        body.extend_from_slice(&self.scope);
        body.extend_from_slice(records);
        body.into()
    }
}

/// `ExportLogsServiceResponse`: a partial success says how many were refused, not which, and must not be repeated
/// (OTLP specification, "Partial Success").
fn read(body: &[u8], sent: usize) -> Answer {
    match rejected(body) {
        Some((count, why)) if count > 0 && sent == 1 => Answer::Refused { why },
        Some((count, why)) if count > 0 => Answer::Partial { refused: count.min(sent as u64), why },
        _ => Answer::Accepted,
    }
}

/// `partial_success.rejected_log_records` and `.error_message`; `None` when there is none.
fn rejected(body: &[u8]) -> Option<(u64, String)> {
    let partial = field(body, 1)?;
    let mut count = 0;
    let mut rest = partial;
    while let Some((number, kind, value, next)) = next_field(rest) {
        if number == 1 && kind == 0 {
            count = read_varint(value)?.0;
        }
        rest = next;
    }
    let why = field(partial, 2).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    Some((count, format!("partial success: {why}")))
}

/// The content of a length-delimited field.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while let Some((number, kind, value, next)) = next_field(message) {
        if number == wanted && kind == 2 {
            return Some(value);
        }
        message = next;
    }
    None
}

fn next_field(message: &[u8]) -> Option<(u64, u64, &[u8], &[u8])> {
    let (tag, rest) = read_varint(message)?;
    let len = match tag & 7 {
        0 => rest.len() - read_varint(rest)?.1.len(),
        1 => 8,
        2 => {
            let (len, rest) = read_varint(rest)?;
            let (value, next) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            return Some((tag >> 3, 2, value, next));
        }
        5 => 4,
        _ => return None,
    };
    let (value, next) = rest.split_at_checked(len)?;
    Some((tag >> 3, tag & 7, value, next))
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_says_how_many() {
        let (mut partial, mut response) = (Vec::new(), Vec::new());
        protobuf::number(1, 3, &mut partial);
        protobuf::bytes(2, b"too old", &mut partial);
        protobuf::bytes(1, &partial, &mut response);
        assert_eq!(
            read(&response, 10),
            Answer::Partial { refused: 3, why: "partial success: too old".into() }
        );
        assert_eq!(read(&response, 1), Answer::Refused { why: "partial success: too old".into() });
        assert_eq!(read(b"", 10), Answer::Accepted);
        assert_eq!(read(b"{}", 10), Answer::Accepted, "what is not understood refuses nothing");
    }
}
