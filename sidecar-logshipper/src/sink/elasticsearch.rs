//! Elasticsearch and OpenSearch `_bulk`: a 200 says nothing until every item's status was read.
//! ("Bulk API" of the Elasticsearch reference; `create` is what a data stream takes.)

use serde::Deserialize;
use url::Url;

use super::request::judge;
use super::{Answer, Requester, Verdict};
use crate::batch::Batch;

/// See the module.
#[derive(Debug)]
pub struct Elasticsearch {
    requester: Requester,
    url: Url,
}

#[derive(Deserialize)]
struct BulkAnswer {
    #[serde(default)]
    errors: Option<bool>,
    #[serde(default)]
    items: Vec<BulkItem>,
}

#[derive(Deserialize)]
struct BulkItem {
    #[serde(alias = "index", alias = "update")]
    create: ItemResult,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

impl Elasticsearch {
    /// Asks for no more of the answer than is read: the whole has some hundred bytes per item. An index with a date in
    /// its name stands in each action instead. A query of the URL, such as `pipeline=NAME`, is kept.
    pub fn new(requester: Requester, base: &Url, index: &str) -> Self {
        let mut url = base.clone();
        let prefix = base.path().trim_end_matches('/').to_owned();
        let own = if index.contains('%') { String::new() } else { format!("/{index}") };
        url.set_path(&format!("{prefix}{own}/_bulk"));
        url.query_pairs_mut()
            .append_pair("filter_path", "errors,items.*.status,items.*.error.type,items.*.error.reason");
        Self { requester, url }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        match self.requester.post(&self.url, "application/x-ndjson", &batch.body).await {
            Ok((status, headers, body)) => {
                judge(status, &headers, &body).unwrap_or_else(|| read(&body, batch.items.len()))
            }
            Err(answer) => answer,
        }
    }
}

/// What a 200 says.
fn read(body: &[u8], sent: usize) -> Answer {
    let unreadable = |why: String| Answer::Later { why, after: None, answer_lost: true };
    let answer: BulkAnswer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(e) => return unreadable(format!("the answer is no bulk answer: {e}")),
    };
    if answer.errors == Some(false) {
        return Answer::Accepted;
    }
    if answer.items.len() != sent {
        return unreadable(format!("the answer has {} items of {sent}", answer.items.len()));
    }
    Answer::Items(answer.items.into_iter().map(|item| verdict(&item.create)).collect())
}

fn verdict(item: &ItemResult) -> Verdict {
    let why = || {
        let part =
            |key: &str| item.error.as_ref().and_then(|error| error.get(key)?.as_str()).unwrap_or_default();
        format!("{} {}: {}", item.status, part("type"), part("reason"))
    };
    match item.status {
        200..=299 => Verdict::Taken,
        409 => Verdict::Known,
        // What can be corrected at the server, the lines wait for.
        401 | 403 | 404 | 408 | 429 | 500..=599 => Verdict::Later(why()),
        _ => Verdict::Refused(why()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_its_own_fate() {
        let body = br#"{"took":1,"errors":true,"items":[
            {"create":{"status":201}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue"}}},
            {"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"no date"}}},
            {"create":{"status":503}}]}"#;
        let Answer::Items(verdicts) = read(body, 5) else { panic!("items") };
        assert_eq!(verdicts[..2], [Verdict::Taken, Verdict::Known]);
        assert!(matches!(verdicts[2], Verdict::Later(_)) && matches!(verdicts[4], Verdict::Later(_)));
        assert_eq!(verdicts[3], Verdict::Refused("400 document_parsing_exception: no date".into()));
    }

    #[test]
    fn a_200_without_errors_is_enough_and_anything_else_is_not() {
        assert_eq!(read(br#"{"errors":false}"#, 3), Answer::Accepted);
        for body in [
            &b""[..],
            b"ok",
            b"{}",
            br#"{"errors":true,"items":[]}"#,
            br#"{"items":[{"create":{"status":201}}]}"#,
        ] {
            assert!(matches!(read(body, 3), Answer::Later { answer_lost: true, .. }), "{body:?}");
        }
    }
}
