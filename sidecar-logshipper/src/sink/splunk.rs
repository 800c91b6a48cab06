//! Splunk's HTTP Event Collector, with indexer acknowledgement where the token asks for it.
//! ("Set up and use HTTP Event Collector" and "HTTP Event Collector indexer acknowledgment", Splunk documentation.)

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::request::judge;
use super::{Answer, Requester};
use crate::batch::Batch;

/// Between questions whether an event is indexed: at first …
const ASK_SOON: Duration = Duration::from_millis(200);
/// … and when it takes long, as with an indexer cluster that replicates.
const ASK_LATER: Duration = Duration::from_secs(5);
/// Until then they are not sent again: what other senders wait (Splunk Connect for Kafka, Vector; Firehose between 180 and 600 s).
const INDEXED_WITHIN: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub struct Splunk {
    requester: Requester,
    url: Url,
    ack: Url,
    /// A GUID that names this client.
    channel: String,
    patience: Duration,
}

/// What a 2xx says.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// For good: the token asks for no acknowledgement.
    Whole,
    /// To be asked for.
    Ack(u64),
    /// It cannot be known.
    Unclear,
    /// Success by its status only.
    No,
}

#[derive(Deserialize)]
struct Acks {
    acks: std::collections::BTreeMap<String, bool>,
}

impl Splunk {
    pub fn new(requester: Requester, url: Url, patience: Duration) -> Self {
        let mut ack = url.clone();
        let base = url.path().strip_suffix("/event").unwrap_or(url.path()).to_owned();
        ack.set_path(&format!("{base}/ack"));
        let channel = guid(fastrand::u128(..));
        ack.query_pairs_mut().append_pair("channel", &channel);
        Self { requester, url, ack, channel, patience: patience.max(INDEXED_WITHIN) }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let mut headers = HeaderMap::new();
        if let Ok(channel) = HeaderValue::from_str(&self.channel) {
            headers.insert(HeaderName::from_static("x-splunk-request-channel"), channel);
        }
        match self.requester.post_with(&self.url, "application/json", &batch.body, headers).await {
            Ok((status, headers, body)) => match judge(status, &headers, &body) {
                // Of a token or a channel that can be corrected; the lines wait.
                Some(Answer::Refused { why }) if is_setup(&body) => {
                    Answer::Later { why, after: None, answer_lost: false }
                }
                Some(answer) => answer,
                None => match taken(&body) {
                    Taken::Whole => Answer::Accepted,
                    Taken::Ack(id) => self.wait_for(id).await,
                    unclear => {
                        let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
                        let why = format!("the answer is no success: {}", text.trim());
                        Answer::Later { why, after: None, answer_lost: unclear == Taken::Unclear }
                    }
                },
            },
            Err(answer) => answer,
        }
    }

    /// Taken is not indexed: asks until it is, or until patience ends.
    async fn wait_for(&self, id: u64) -> Answer {
        let question = Bytes::from(format!("{{\"acks\":[{id}]}}"));
        let end = tokio::time::Instant::now() + self.patience;
        let mut pause = ASK_SOON;
        while tokio::time::Instant::now() < end {
            if let Ok((200, _, body)) = self.requester.post(&self.ack, "application/json", &question).await
                && let Ok(Acks { acks }) = serde_json::from_slice(&body)
                && acks.get(&id.to_string()) == Some(&true)
            {
                return Answer::Accepted;
            }
            self.requester.pause(pause).await;
            pause = (pause * 2).min(ASK_LATER);
        }
        Answer::Later { why: format!("ackId {id} was not confirmed in time"), after: None, answer_lost: true }
    }
}

/// Of anything that is no JSON object, a 2xx is what counts; an object that is cut off, or has an `ackId` that is no number, may belong to a
/// token that asks for acknowledgement.
fn taken(body: &[u8]) -> Taken {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Taken::Whole;
    }
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else { return Taken::Unclear };
    match (&answer["code"], &answer["ackId"]) {
        (code, _) if !code.is_null() && *code != 0 => Taken::No,
        (_, serde_json::Value::Null) => Taken::Whole,
        (_, id) => id.as_u64().map_or(Taken::Unclear, Taken::Ack),
    }
}

/// A 400 that is no line's fault: 7 is "Incorrect index", 10 and 11 are about the channel, 14 "ACK is disabled".
/// ("Troubleshoot HTTP Event Collector", possible error codes.)
fn is_setup(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        code: u32,
    }
    serde_json::from_slice(body).is_ok_and(|Refusal { code }| matches!(code, 7 | 10 | 11 | 14))
}

/// RFC 9562, version 4.
fn guid(random: u128) -> String {
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_at_the_server_is_no_lines_fault() {
        assert!(is_setup(br#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#));
        assert!(!is_setup(br#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#));
        assert!(!is_setup(b"<html>"));
    }

    #[test]
    fn a_success_says_so_as_a_whole() {
        for (body, means) in [
            (&br#"{"text":"Success","code":0}"#[..], Taken::Whole),
            (br#"{"text":"Success","code":0,"ackId":7}"#, Taken::Ack(7)),
            (br#"{"text":"Success","code":0,"ackId":null}"#, Taken::Whole),
            (br#"{"text":"Success","code":0,"ackId":-1}"#, Taken::Unclear),
            (br#"{"text":"Success","code":0,"#, Taken::Unclear),
            (br#"{"text":"Server is busy","code":9}"#, Taken::No),
            (b"{}", Taken::Whole),
            (b"OK", Taken::Whole),
            (b"", Taken::Whole),
        ] {
            assert_eq!(taken(body), means, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_guid_has_its_version_and_variant() {
        assert_eq!(guid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(guid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
