//! Spans to a collector: OTLP/HTTP, binary protobuf (OTLP specification, "OTLP/HTTP"; trace/v1/trace.proto).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use podkit::backoff::Backoff;
use podkit::dns::Resolver;
use podkit::http::retry_after;
use podkit::otlp::{self, Envelope};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use super::{Counts, Message, Sink};
use crate::config::plan::TracesPlan;
use crate::control;

/// A batch is sent when it has so many spans, or so many bytes, or is so old.
const SPANS: u64 = 512;
const BYTES: usize = 512 << 10;
const AGE: Duration = Duration::from_secs(1);
/// Times that a batch is offered before it is given up; the queue goes on filling meanwhile.
const OFFERS: u32 = 5;
/// The longest pause that a collector may ask for.
const LONGEST: Duration = Duration::from_secs(30);

/// A running exporter: its end of the queue, and its task, which ends when every [`Sink`] is gone and everything is sent.
pub struct Exporter {
    /// What it was made for.
    pub plan: Arc<TracesPlan>,
    /// Where spans go.
    pub sink: Sink,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts it.
    pub fn start(plan: Arc<TracesPlan>, resolver: Resolver, counts: Arc<Counts>) -> Self {
        let (sink, queue) = Sink::new(counts.clone());
        let task = tokio::task::spawn_local(run(plan.clone(), resolver, queue, counts));
        Self { plan, sink, task }
    }

    /// Sends what is left, at most for `limit`. No worker may hold a [`Sink`] any more.
    pub async fn end(self, limit: Duration) {
        drop(self.sink);
        if tokio::time::timeout(limit, self.task).await.is_err() {
            tracing::warn!("spans were left when the time for the drain was over");
        }
    }
}

async fn run(plan: Arc<TracesPlan>, resolver: Resolver, mut queue: Receiver<Message>, counts: Arc<Counts>) {
    let envelope = envelope(&plan.service, |name| std::env::var(name).ok());
    let mut trouble = false;
    while let Some(first) = queue.recv().await {
        let (mut spans, mut records) = (first.spans, first.bytes);
        let full = tokio::time::sleep(AGE);
        tokio::pin!(full);
        while spans < SPANS && records.len() < BYTES {
            tokio::select! {
                biased;
                more = queue.recv() => match more {
                    Some(more) => {
                        spans += more.spans;
                        records.extend_from_slice(&more.bytes);
                    }
                    None => break,
                },
                () = &mut full => break,
            }
        }
        let lost = match offer(&plan, &resolver, envelope.around(&records)).await {
            Ok(refused) => {
                trouble = false;
                refused.map(|(count, why)| (count.min(spans), why))
            }
            Err(why) => Some((spans, why)),
        };
        counts.sent.fetch_add(spans - lost.as_ref().map_or(0, |(count, _)| *count), Relaxed);
        if let Some((count, why)) = lost.filter(|(count, _)| *count > 0) {
            counts.lost.fetch_add(count, Relaxed);
            // Once, until it works again.
            if !std::mem::replace(&mut trouble, true) {
                tracing::warn!(collector = %plan.place.url, spans = count, error = %why, "spans are lost");
            }
        }
    }
}

/// Offers a batch until it is taken, refused for good, or there is no hope: how many spans of it were refused.
async fn offer(plan: &TracesPlan, resolver: &Resolver, body: Bytes) -> Result<Option<(u64, String)>, String> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    let mut offers = 0;
    loop {
        offers += 1;
        let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))];
        for (name, secret) in &plan.headers {
            let value = secret.read().map_err(|error| error.to_string())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| format!("{name} is no header value"))?;
            value.set_sensitive(true);
            headers.push((HeaderName::clone(name), value));
        }
        let (why, pause) = match control::post(&plan.place, resolver, headers, body.clone()).await {
            Ok((200..=299, _, answer)) => return Ok(otlp::rejected(&answer)),
            // These four are for later by the specification, all others never.
            Ok((status @ (429 | 502 | 503 | 504), headers, _)) => {
                (format!("the collector answers {status}"), retry_after(&headers, LONGEST))
            }
            Ok((status, ..)) => return Err(format!("the collector answers {status}")),
            Err(error) => (error, None),
        };
        if offers >= OFFERS {
            return Err(why);
        }
        tokio::time::sleep(pause.unwrap_or_else(|| backoff.next_pause())).await;
    }
}

/// The service, and what the pod knows of itself. `var` answers for the environment.
fn envelope(service: &str, var: impl Fn(&str) -> Option<String>) -> Envelope {
    let pod: Vec<_> = otlp::downward(var).collect();
    let pod = pod.iter().map(|(name, value)| (*name, value.as_str()));
    Envelope::new(&crate::APP, std::iter::once(("service.name", service)).chain(pod))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_whose_spans_they_are() {
        let var = |name: &str| (name == "POD_NAME").then(|| "shop-1".to_owned());
        let mut spans = Vec::new();
        otlp::bytes(2, b"span", &mut spans);
        let body = envelope("shop", var).around(&spans);
        let resource_spans = otlp::field(&body, 1).unwrap();
        let resource = String::from_utf8_lossy(otlp::field(resource_spans, 1).unwrap()).into_owned();
        assert!(
            ["service.name", "shop", "k8s.pod.name", "shop-1"].iter().all(|text| resource.contains(text))
        );
        let scope_spans = otlp::field(resource_spans, 2).unwrap();
        let scope = otlp::field(scope_spans, 1).unwrap();
        assert_eq!(otlp::field(scope, 1), Some(&b"ambassador-proxy"[..]));
        assert_eq!(otlp::field(scope_spans, 2), Some(&b"span"[..]));
    }
}
