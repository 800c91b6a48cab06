//! NDJSON by POST: a 2xx takes the whole batch.

use url::Url;

use super::request::judge;
use super::{Answer, Requester};
use crate::batch::Batch;

/// See the module.
#[derive(Debug)]
pub struct Http {
    requester: Requester,
    url: Url,
}

impl Http {
    pub fn new(requester: Requester, url: Url) -> Self {
        Self { requester, url }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        match self.requester.post(&self.url, "application/x-ndjson", &batch.body).await {
            Ok((status, headers, body)) => judge(status, &headers, &body).unwrap_or(Answer::Accepted),
            Err(answer) => answer,
        }
    }
}
