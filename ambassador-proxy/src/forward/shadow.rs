//! Copies of requests for another upstream. Nothing about them reaches the app: neither answers nor errors nor waiting.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Limited};

use super::attempt::Job;
use super::body::{Exchange, Outgoing, Source};
use super::send::{self, Rest, Sent};
use crate::clock;
use crate::config::plan::Policy;
use crate::fields::Ask;
use crate::fields::name::EXPECT;
use crate::upstream::local::{Choice, LocalUpstream};
use crate::upstream::pool::{self, Wire};

/// Of an answer, this much is read so that its connection can be kept.
const ANSWER: usize = 1 << 20;

/// Starts a copy, if the shadow has room for it now and the body is known.
pub(super) fn start(upstream: &Rc<LocalUpstream>, job: &Job, ask: Ask, source: Option<&Rc<Source>>) {
    // A body that is still being read is not copied.
    let body = match source {
        None => Some(Bytes::new()),
        Some(source) => source.known(),
    };
    let Some(body) = body.filter(|_| job.upgrade.is_none()) else { return };
    let Some(Ok(permit)) = upstream.shared.in_flight.acquire().now_or_never() else { return };
    let plan = &upstream.shared.plan;
    let policy = Policy {
        upstream: plan.name.clone(),
        timeouts: plan.timeouts,
        retry: plan.retry.clone(),
        replace_prefix: job.policy.replace_prefix.clone(),
        rate_limit: None,
        fault: None,
        shadow: None,
    };
    let copy = Job {
        upstream: upstream.clone(),
        policy: Arc::new(policy),
        client: job.client.clone(),
        started: Instant::now(),
        grpc: job.grpc,
        upgrade: None,
        tunnel: Cell::default(),
        shadow: None,
    };
    tokio::task::spawn_local(async move {
        let _permit = permit;
        run(copy, ask, body).await;
    });
}

async fn run(job: Job, mut ask: Ask, body: Bytes) {
    clock::turn();
    // One that has to be signed by its body would need a second pass; a shadow that demands it is rare.
    let Ok(None) = job.prepare(&mut ask) else { return };
    ask.headers.remove(&EXPECT);
    let Ok(limit) = job.limit(None) else { return };
    let choice = Choice { want: job.want(&ask), fresh: false, once: true, key: None, avoid: &[], limit };
    let leased = match job.upstream.kept(&choice) {
        Ok(leased) => Ok(leased),
        Err(first) => job.upstream.lease(&choice, first).await,
    };
    let Ok(mut leased) = leased else { return };
    let body = if body.is_empty() { Outgoing::Empty } else { Outgoing::Whole(Some(body)) };
    let exchange = Exchange::new(job.started, true, None);
    let sent = {
        let mut sending = pin!(send::send(&job, &ask, &ask.headers, body, &mut leased, &exchange, None));
        poll_fn(|cx| {
            clock::turn();
            sending.as_mut().poll(cx)
        })
        .await
    };
    let Sent::Answer(got) = sent else { return };
    let class = usize::from(got.status.as_u16() / 100).min(5);
    job.upstream.stats.classes[class].add(1);
    let limit = job.policy.timeouts.idle.unwrap_or(std::time::Duration::from_secs(300));
    let wire = match got.rest {
        Rest::H2(incoming) => {
            let _ = tokio::time::timeout(limit, Limited::new(incoming, ANSWER).collect()).await;
            return;
        }
        Rest::Line => leased.wire,
    };
    let Wire::H1(mut lease) = wire else { return };
    let read = async {
        let mut left = ANSWER;
        while let Some(Ok(frame)) = poll_fn(|cx| lease.conn.poll_frame(cx)).await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(length) else { return };
            left = less;
        }
    };
    // One that is not at its end is not kept.
    if tokio::time::timeout(limit, read).await.is_ok() {
        pool::give_back(&leased.carried.0, lease, job.upstream.shared.plan.pool, Instant::now());
    }
}
