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
            Ok((status, headers, body)) => match judge(status, &headers, &body) {
                Some(Answer::Refused { why }) if is_of_the_cluster(&body) => {
                    Answer::Later { why, after: None, answer_lost: false }
                }
                Some(answer) => answer,
                None => read(&body, batch.items.len()),
            },
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
    let part = |key: &str| item.error.as_ref().and_then(|error| error.get(key)?.as_str()).unwrap_or_default();
    let why = || format!("{} {}: {}", item.status, part("type"), part("reason"));
    match item.status {
        200..=299 => Verdict::Taken,
        409 => Verdict::Known,
        // What can be corrected at the server, the lines wait for.
        401 | 403 | 404 | 408 | 429 | 500..=599 => Verdict::Later(why()),
        _ if ails_the_cluster(part("reason")) => Verdict::Later(why()),
        _ => Verdict::Refused(why()),
    }
}

/// The reason of a 400 that is no document's fault and ends once somebody has seen to it: no index can be made because there are too many
/// shards (elastic/elasticsearch#70349), an alias leads to none, or the ingest pipeline is not there. Looked at from its beginning: a reason
/// may quote a line.
fn ails_the_cluster(reason: &str) -> bool {
    reason.starts_with("Validation Failed: 1: this action would add [") && reason.contains(" shards open")
        || reason.starts_with("no write index is defined for alias [")
        || reason.starts_with("pipeline with id [") && reason.ends_with("] does not exist")
}

/// The same of a refusal of the whole request.
fn is_of_the_cluster(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        error: Cause,
    }
    #[derive(Deserialize)]
    struct Cause {
        reason: String,
    }
    serde_json::from_slice(body).is_ok_and(|Refusal { error }| ails_the_cluster(&error.reason))
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
    fn a_line_that_is_quoted_in_a_reason_does_not_make_it_the_clusters() {
        for reason in [
            "failed to parse field [n] of type [long]. Preview of field's value: 'this action would add [2] shards open'",
            "failed: 'pipeline with id [x] does not exist'",
        ] {
            assert!(!ails_the_cluster(reason), "{reason}");
        }
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
