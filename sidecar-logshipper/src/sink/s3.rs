//! Objects in S3 and what speaks its protocol: each batch becomes one, by PUT with a presigned URL (AWS Signature Version 4; rusty-s3).
//! The name of an object is made of what is in it, so that a repeated request overwrites its own object.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use rusty_s3::actions::S3Action as _;
use rusty_s3::{Bucket, Credentials, UrlStyle};

use super::request::retry_after;
use super::{Answer, Patience, Requester, SetupError};
use crate::batch::Batch;
use crate::config::{Auth, Compression, Place, SinkPlan};
use crate::content::time_of;
use crate::enrich::Origin;
use crate::index::IndexPattern;

/// How long a signature is valid: longer than any request takes.
const SIGNED_FOR: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub struct S3 {
    requester: Requester,
    bucket: Bucket,
    prefix: String,
    dated: Option<IndexPattern>,
    /// Tells the objects of this pod from those of any other.
    seed: u32,
    suffix: &'static str,
    auth: Option<Auth>,
}

impl S3 {
    /// # Errors
    /// An endpoint that cannot be used.
    pub fn new(
        plan: &SinkPlan,
        patience: Patience,
        place: &Place,
        origin: &Origin,
    ) -> Result<Self, SetupError> {
        let Place { endpoint, bucket, prefix, region } = place;
        let bucket = Bucket::new(endpoint.clone(), UrlStyle::Path, bucket.clone(), region.clone())
            .map_err(|e| SetupError::Bucket(e.to_string()))?;
        Ok(Self {
            // The credentials sign the URL; they are no header.
            requester: Requester::new(&SinkPlan { auth: None, ..plan.clone() }, patience)?.by_status(),
            bucket,
            prefix: prefix.clone(),
            dated: IndexPattern::parse(prefix).unwrap_or_default(),
            seed: origin.seed,
            suffix: match plan.compression {
                Compression::None => "ndjson",
                Compression::Gzip => "ndjson.gz",
                Compression::Zstd => "ndjson.zst",
            },
            auth: plan.auth.clone(),
        })
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let later = |why: String, after, answer_lost| Answer::Later { why, after, answer_lost };
        let credentials = match self.credentials() {
            Ok(credentials) => credentials,
            Err(why) => return later(why, None, false),
        };
        let key = self.key(batch);
        let url = self.bucket.put_object(Some(&credentials), &key).sign(SIGNED_FOR);
        let answer =
            self.requester.send(Method::PUT, &url, "application/x-ndjson", &batch.body, HeaderMap::new());
        match answer.await {
            Ok((200..=299, ..)) => Answer::Accepted,
            // A 400 is about the request (a clock that is wrong, a token that has expired), never about a line.
            Ok((status, headers, body)) => {
                let text = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned();
                later(format!("{status} {text}"), retry_after(&headers), false)
            }
            Err(answer) => answer,
        }
    }

    /// `PREFIX/20260131T235959Z-POD-OFFSET-CRC.ndjson`: by the time of the first line, and the same for the same bytes of the same file. Another
    /// file with the same bytes must not take its place.
    fn key(&self, batch: &Batch) -> String {
        let first = batch.items.get(0);
        let nanos = first.as_ref().and_then(|item| time_of(batch.document(item))).unwrap_or_else(now);
        let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
        let prefix = match self.dated.clone() {
            Some(mut dated) => dated.name(nanos).to_owned(),
            None => self.prefix.clone(),
        };
        let mut crc = crc32fast::Hasher::new();
        if let Some(item) = &first {
            crc.update(item.path.as_os_str().as_bytes());
        }
        crc.update(&batch.body);
        format!(
            "{prefix}{}-{:08x}-{}-{:08x}.{}",
            time.strftime("%Y%m%dT%H%M%SZ"),
            self.seed,
            first.map_or(0, |item| item.offset),
            crc.finalize(),
            self.suffix
        )
    }

    /// Key and secret of `auth: {basic: …}`, read afresh because they rotate; otherwise `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    fn credentials(&self) -> Result<Credentials, String> {
        match &self.auth {
            Some(Auth::Basic { user, password }) => {
                Ok(Credentials::new(user.clone(), password.read().map_err(|e| e.to_string())?))
            }
            _ => Credentials::from_env()
                .ok_or_else(|| "no credentials: write auth: {basic: …}, or set AWS_ACCESS_KEY_ID".to_owned()),
        }
    }
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)
}
