//! NDJSON or a JSON array by POST: a 2xx takes the whole batch.

use bytes::Bytes;
use url::Url;

use super::request::judge;
use super::{Answer, Requester};
use crate::batch::Batch;
use crate::config::Body;

/// See the module.
#[derive(Debug)]
pub struct Http {
    requester: Requester,
    url: Url,
    body: Body,
}

impl Http {
    pub fn new(requester: Requester, url: Url, body: Body) -> Self {
        Self { requester: requester.by_status(), url, body }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let posted = if self.body == Body::Array {
            self.requester.post(&self.url, "application/json", &array(&batch.body)).await
        } else {
            self.requester.post(&self.url, "application/x-ndjson", &batch.body).await
        };
        match posted {
            Ok((status, headers, body)) => judge(status, &headers, &body).unwrap_or(Answer::Accepted),
            Err(answer) => answer,
        }
    }
}

/// JSON texts, each on a line, as one array. No raw newline can be in them.
pub(super) fn array(lines: &[u8]) -> Bytes {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let mut body = Vec::with_capacity(lines.len() + 2);
    body.push(b'[');
    body.extend_from_slice(lines);
    body.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
    body.push(b']');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_array() {
        assert_eq!(array(b"{\"a\":1}\n{}\n"), &b"[{\"a\":1},{}]"[..]);
        assert_eq!(array(b""), &b"[]"[..]);
    }
}
