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

/// Between questions whether an event is indexed.
const ASK_EVERY: Duration = Duration::from_millis(200);

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

#[derive(Deserialize)]
struct Taken {
    #[serde(rename = "ackId")]
    ack: Option<u64>,
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
        Self { requester, url, ack, channel, patience }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let mut headers = HeaderMap::new();
        if let Ok(channel) = HeaderValue::from_str(&self.channel) {
            headers.insert(HeaderName::from_static("x-splunk-request-channel"), channel);
        }
        match self.requester.post_with(&self.url, "application/json", &batch.body, headers).await {
            Ok((status, headers, body)) => match judge(status, &headers, &body) {
                Some(answer) => answer,
                None => match serde_json::from_slice::<Taken>(&body) {
                    Ok(Taken { ack: Some(id) }) => self.wait_for(id).await,
                    _ => Answer::Accepted,
                },
            },
            Err(answer) => answer,
        }
    }

    /// Taken is not indexed: asks until it is, or until patience ends.
    async fn wait_for(&self, id: u64) -> Answer {
        let question = Bytes::from(format!("{{\"acks\":[{id}]}}"));
        let end = tokio::time::Instant::now() + self.patience;
        while tokio::time::Instant::now() < end {
            if let Ok((200, _, body)) = self.requester.post(&self.ack, "application/json", &question).await
                && let Ok(Acks { acks }) = serde_json::from_slice(&body)
                && acks.get(&id.to_string()) == Some(&true)
            {
                return Answer::Accepted;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Answer::Later { why: format!("ackId {id} was not confirmed in time"), after: None, answer_lost: true }
    }
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
    fn a_guid_has_its_version_and_variant() {
        assert_eq!(guid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(guid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
