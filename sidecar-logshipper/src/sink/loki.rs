//! Loki's push API: protobuf in a snappy block, one stream per file. (Loki, pkg/push/push.proto; "POST /loki/api/v1/push".)

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use url::Url;

use super::request::judge;
use super::{Answer, Requester};
use crate::batch::Batch;
use crate::enrich::Origin;
use crate::wire::protobuf;

/// Loki's own default limit (`max_label_names_per_series`).
pub const MOST_LABELS: usize = 15;

/// See the module.
#[derive(Debug)]
pub struct Loki {
    requester: Requester,
    url: Url,
    /// `{pod="…",…` without the file's name and the brace at the end.
    labels: String,
}

/// ECS names and the labels that Loki's own agents give.
const NAMES: [(&str, &str); 5] = [
    ("kubernetes.namespace", "namespace"),
    ("kubernetes.pod.name", "pod"),
    ("kubernetes.container.name", "container"),
    ("kubernetes.node.name", "node"),
    ("host.name", "host"),
];

/// A field that is a label where none are configured. The others, and all fields where some are, go with each entry.
pub fn is_default_label(name: &str) -> bool {
    NAMES.iter().any(|(ecs, _)| *ecs == name)
}

impl Loki {
    pub fn new(
        requester: Requester,
        url: Url,
        configured: &BTreeMap<String, String>,
        origin: &Origin,
    ) -> Self {
        let mut labels = configured.clone();
        if labels.is_empty() {
            for (ecs, label) in NAMES {
                if let Some(value) = origin.pairs.get(ecs) {
                    labels.insert(label.into(), value.clone());
                }
            }
        }
        let list: Vec<String> =
            labels.iter().take(MOST_LABELS - 1).map(|(name, value)| label(name, value)).collect();
        Self { requester: requester.by_status(), url, labels: list.join(",") }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let Ok(body) = snap::raw::Encoder::new().compress_vec(&self.request(batch)) else {
            return Answer::TooLarge { why: "more than snappy can hold".into() };
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        match self.requester.post_with(&self.url, "application/x-protobuf", &Bytes::from(body), headers).await
        {
            Ok((status, headers, body)) => match judge(status, &headers, &body).unwrap_or(Answer::Accepted) {
                Answer::Refused { why } if is_setup(&body) => {
                    Answer::Later { why, after: None, answer_lost: false }
                }
                answer => answer,
            },
            Err(answer) => answer,
        }
    }

    /// `PushRequest`: entries are fields of `StreamAdapter` already; those of one file go together, in their order.
    fn request(&self, batch: &Batch) -> Vec<u8> {
        let mut streams: BTreeMap<Arc<Path>, Vec<&[u8]>> = BTreeMap::new();
        for item in batch.items.iter() {
            streams.entry(item.path).or_default().push(&batch.body[item.at]);
        }
        let mut request = Vec::with_capacity(batch.body.len() + 1024);
        for (path, entries) in streams {
            let comma = if self.labels.is_empty() { "" } else { "," };
            let labels = format!("{{{}{comma}{}}}", self.labels, label("filename", &path.to_string_lossy()));
            let size =
                protobuf::size(1, labels.len()) + entries.iter().map(|entry| entry.len()).sum::<usize>();
            protobuf::head(1, size, &mut request);
            protobuf::bytes(1, labels.as_bytes(), &mut request);
            entries.iter().for_each(|entry| request.extend_from_slice(entry));
        }
        request
    }
}

/// A 400 that is no entry's fault (Loki, pkg/validation/validate.go; it names streams, and quotes no entry): a limit of this server, such as
/// Loki 2's default, which takes no structured metadata.
fn is_setup(body: &[u8]) -> bool {
    [
        "includes structured metadata, but this feature is disallowed",
        " label names; limit ",
        "missing required labels ",
        "ingestion blocked for user ",
    ]
    .iter()
    .any(|sign| memchr::memmem::find(body, sign.as_bytes()).is_some())
}

/// A name that Prometheus accepts, and a value quoted as Go does.
fn label(name: &str, value: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_and_their_names_plain() {
        assert_eq!(label("k8s.pod", "a\"b\\é"), r#"k8s_pod="a\"b\\é""#);
    }
}
