//! What has to happen when a request is over, however it ended: one guard that counts and logs when it is dropped.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::access::{Log, Record};
use crate::listen::Client;
use crate::policy::limit::Permit;
use crate::stats::{Board, Reason};
use crate::tap::Head;
use crate::trace::span::Span;
use crate::upstream::local::LocalUpstream;

/// A request under way.
pub struct Finish {
    /// What the log will say.
    pub record: Record,
    /// Where it went.
    pub upstream: Option<Rc<LocalUpstream>>,
    /// The right to be in flight.
    pub permit: Option<Permit>,
    /// The response has been handed over to its end; otherwise the client went away.
    pub complete: bool,
    /// The request as a span, if it is sampled.
    pub span: Option<Box<Span>>,
    /// The try that counts, as a span.
    pub trying: u64,
    /// Somebody looks at this request.
    pub tap: Option<(Head, Arc<Board>)>,
    started: Instant,
    log: Rc<Log>,
    client: Rc<Client>,
}

impl Finish {
    /// From now on.
    pub fn new(record: Record, log: Rc<Log>, client: Rc<Client>, started: Instant) -> Box<Self> {
        client.begin();
        Box::new(Self {
            record,
            upstream: None,
            permit: None,
            complete: false,
            span: None,
            trying: 0,
            tap: None,
            started,
            log,
            client,
        })
    }

    /// Sets the upstream and counts it in.
    pub fn upstream(&mut self, upstream: &Rc<LocalUpstream>) {
        upstream.stats.in_flight.add(1);
        self.record.upstream = Some(upstream.name.clone());
        self.upstream = Some(upstream.clone());
    }

    /// Since the request came.
    pub fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// A try begins.
    pub fn begin_try(&mut self) {
        if let Some(span) = &mut self.span {
            self.trying = span.begin();
        }
    }

    /// It got an answer.
    pub fn answered_try(&mut self, status: u16) {
        if let Some(span) = &mut self.span {
            span.answered(self.trying, status);
        }
    }

    /// It is over, and another may follow.
    pub fn end_try(&mut self, error: &'static str) {
        if let Some(span) = &mut self.span {
            span.ended(self.trying, error);
        }
    }

    /// Adds a reason flag once.
    pub fn flag(&mut self, flag: &'static str) {
        if !self.record.flags.contains(&flag) {
            self.record.flags.push(flag);
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let looks = self.record.at != jiff::Timestamp::UNIX_EPOCH;
        if looks || self.tap.is_some() {
            self.record.took = self.started.elapsed();
        }
        if !self.complete {
            self.flag("client_gone");
        }
        if let Some(upstream) = &self.upstream {
            let stats = &upstream.stats;
            stats.in_flight.add(-1);
            stats.bytes[0].add(self.record.bytes.0);
            stats.bytes[1].add(self.record.bytes.1);
            if self.record.http {
                let class = usize::from(self.record.status / 100).min(5);
                stats.classes[class].add(1);
            } else {
                stats.tunnels.add(1);
            }
            if !self.complete {
                stats.failures[Reason::ClientGone as usize].add(1);
            }
        }
        if let Some((head, board)) = self.tap.take() {
            board.tap.done(head, &self.record);
        }
        if let Some(span) = self.span.take() {
            span.finish(&self.record);
        }
        self.client.end();
        // It may have been switched on since: then too little is known.
        if self.log.on() && looks {
            self.log.add(&self.record);
        }
    }
}
