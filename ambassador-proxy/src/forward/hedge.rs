//! A second try beside one that takes long; the first good answer wins, and the other try is cut.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::attempt::Job;
use super::body::{Exchange, Outgoing, Source};
use super::finish::Finish;
use super::send::{self, Sent};
use crate::fields::{Ask, Headers};
use crate::stats::Again;
use crate::upstream::local::{Choice, Leased};

/// Sends a request, and once more to another endpoint when no answer came within `after` and the budget allows it. A body has to be
/// here whole by then, and kept (64 KB).
#[expect(clippy::too_many_arguments, reason = "everything about one try, and when the second begins")]
pub(super) async fn send(
    job: &Job,
    ask: &Ask,
    headers: &Headers,
    source: Option<&Rc<Source>>,
    after: Duration,
    mut leased: Leased,
    exchange: &Rc<Exchange>,
    deadline: Option<Instant>,
    finish: &mut Finish,
) -> (Sent, Leased) {
    let (slow, began) = (leased.carried.0.clone(), Instant::now());
    let mut first = pin!(async move {
        let body = Outgoing::new(source);
        let sent = send::send(job, ask, headers, body, &mut leased, exchange, deadline).await;
        (sent, leased)
    });
    tokio::select! {
        biased;
        done = &mut first => return done,
        () = tokio::time::sleep(after) => {}
    }
    if source.is_some_and(|source| !source.is_whole()) || !job.granted(finish) {
        return first.await;
    }
    job.count(finish, Again::Hedge);
    finish.record.attempts += 1;
    let one = finish.trying;
    finish.begin_try();
    let other = std::mem::replace(&mut finish.trying, one);
    let span = &mut finish.span;
    let avoid = [slow.clone()];
    let mut second = pin!(async {
        let choice = Choice {
            want: job.want(ask),
            fresh: false,
            once: false,
            key: None,
            avoid: &avoid,
            limit: job.limit(deadline).ok()?,
        };
        let mut leased = match job.upstream.kept(&choice) {
            Ok(leased) => leased,
            Err(first) => job.upstream.lease(&choice, first).await.ok()?,
        };
        let own = job.for_one_try(ask, &leased, None, None, deadline, span.as_deref_mut(), other).ok()?;
        let (headers, body) = (own.as_ref().unwrap_or(&ask.headers), Outgoing::new(source));
        let sent = send::send(job, ask, headers, body, &mut leased, exchange, deadline).await;
        Some((sent, leased))
    });
    let (mut done_first, mut done_second) = (None, false);
    loop {
        tokio::select! {
            biased;
            done = &mut first, if done_first.is_none() => {
                if done_second || good(&done.0) {
                    return done;
                }
                done_first = Some(done);
            }
            done = &mut second, if !done_second => {
                done_second = true;
                if let Some(done) = done && (done_first.is_some() || good(&done.0)) {
                    // It would look as fast as ever otherwise: its answer was not waited for.
                    slow.observe(began.elapsed(), Instant::now());
                    finish.trying = other;
                    finish.record.endpoint = Some(done.1.carried.0.name.clone());
                    return done;
                }
                if let Some(done) = done_first.take() {
                    return done;
                }
            }
        }
    }
}

fn good(sent: &Sent) -> bool {
    matches!(sent, Sent::Answer(got) if got.status.as_u16() < 500)
}
