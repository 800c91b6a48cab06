//! OTLP/HTTP, binary protobuf or JSON: `ExportLogsServiceRequest` with one resource and one scope.
//! (opentelemetry-proto v1: collector/logs/v1/logs_service.proto, logs/v1/logs.proto; OTLP specification, "OTLP/HTTP".)

use podkit::otlp::{Envelope, rejected};
use serde_json::json;
use url::Url;

use super::request::judge;
use super::{Answer, Requester};
use crate::batch::Batch;
use crate::config::Body;
use crate::enrich::{Origin, otel_name};

/// See the module.
#[derive(Debug)]
pub struct Otlp {
    requester: Requester,
    url: Url,
    envelope: Envelope,
    /// In JSON: what stands before the records.
    json: Option<Vec<u8>>,
}

impl Otlp {
    pub fn new(requester: Requester, url: Url, body: Body, origin: &Origin) -> Self {
        let attributes = origin.pairs.iter().map(|(name, value)| (otel_name(name), value.as_str()));
        let envelope = Envelope::new(&crate::APP, attributes);
        let json = (body == Body::Json).then(|| json_head(origin));
        Self { requester, url, envelope, json }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let (body, content_type) = match &self.json {
            Some(head) => {
                let body = [head, &super::http::array(&batch.body)[..], b"}]}]}"].concat().into();
                (body, "application/json")
            }
            None => (self.envelope.around(&batch.body), "application/x-protobuf"),
        };
        match self.requester.post(&self.url, content_type, &body).await {
            // 502, 503, 504 and 429 are for later by the specification, and so are all others that are not the items' fault.
            Ok((status, headers, body)) => judge(status, &headers, &body).unwrap_or_else(|| {
                let rejected = if self.json.is_some() { rejected_json(&body) } else { rejected(&body) };
                read(rejected, batch.items.len())
            }),
            Err(answer) => answer,
        }
    }
}

/// `ExportLogsServiceResponse`: a partial success says how many were refused, not which, and must not be repeated
/// (OTLP specification, "Partial Success").
fn read(rejected: Option<(u64, String)>, sent: usize) -> Answer {
    match rejected {
        Some((count, why)) if count > 0 && sent == 1 => Answer::Refused { why },
        Some((count, why)) if count > 0 => Answer::Partial { refused: count.min(sent as u64), why },
        _ => Answer::Accepted,
    }
}

/// `{"resourceLogs":[{"resource":{"attributes":[…]},"scopeLogs":[{"scope":{…},"logRecords":`
fn json_head(origin: &Origin) -> Vec<u8> {
    let attribute =
        |(name, value): (&String, &String)| json!({"key": otel_name(name), "value": {"stringValue": value}});
    let attributes: Vec<_> = origin.pairs.iter().map(attribute).collect();
    let resource = json!({"attributes": attributes});
    let scope = json!({"name": crate::APP.name, "version": Envelope::VERSION});
    format!(
        "{{\"resourceLogs\":[{{\"resource\":{resource},\"scopeLogs\":[{{\"scope\":{scope},\"logRecords\":"
    )
    .into_bytes()
}

/// The same of a JSON answer, whose numbers may be texts.
fn rejected_json(body: &[u8]) -> Option<(u64, String)> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = answer.get("partialSuccess")?;
    let count = partial.get("rejectedLogRecords")?;
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    let why = partial.get("errorMessage").and_then(serde_json::Value::as_str).unwrap_or_default();
    Some((count, format!("partial success: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protobuf;

    #[test]
    fn a_partial_success_says_how_many() {
        let (mut partial, mut response) = (Vec::new(), Vec::new());
        protobuf::number(1, 3, &mut partial);
        protobuf::bytes(2, b"too old", &mut partial);
        protobuf::bytes(1, &partial, &mut response);
        assert_eq!(
            read(rejected(&response), 10),
            Answer::Partial { refused: 3, why: "partial success: too old".into() }
        );
        assert_eq!(read(rejected(&response), 1), Answer::Refused { why: "partial success: too old".into() });
        assert_eq!(read(rejected(b""), 10), Answer::Accepted);
        assert_eq!(read(rejected(b"{}"), 10), Answer::Accepted, "what is not understood refuses nothing");
        let json = br#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}"#;
        assert_eq!(rejected_json(json), Some((2, "partial success: no".into())));
        assert_eq!(rejected_json(b"{\"partialSuccess\":{}}"), None);
    }
}
