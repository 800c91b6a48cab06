//! The response body on its way to the client: counted, watched, and at its end the connection goes back to the pool.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::{BoxError, Exchange};
use super::finish::Finish;
use super::send::Rest;
use crate::clock::{self, Alarm};
use crate::config::plan::PoolPlan;
use crate::stats::Reason;
use crate::upstream::endpoint::Carried;
use crate::upstream::pool::{self, Wire};

/// A body for the client.
pub enum Answer {
    /// Made by the proxy.
    Own(Option<Bytes>, Option<Box<Finish>>),
    /// From the upstream.
    Relay(Box<Relay>),
}

/// A body from the upstream.
pub struct Relay {
    rest: Rest,
    wire: Option<Wire>,
    carried: Carried,
    pool: PoolPlan,
    finish: Box<Finish>,
    exchange: Rc<Exchange>,
    idle: Option<Duration>,
    deadline: Option<Instant>,
    alarm: Alarm,
    over: bool,
    /// Read by a task that does not look at the clock itself.
    apart: bool,
}

impl Relay {
    /// Wraps a body whose head has come.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that ends with the body")]
    pub fn new(
        rest: Rest,
        wire: Wire,
        carried: Carried,
        pool: PoolPlan,
        finish: Box<Finish>,
        exchange: Rc<Exchange>,
        idle: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Box<Self> {
        let wire = Some(wire);
        let (alarm, over, apart) = (Alarm::default(), false, false);
        let mut relay =
            Self { rest, wire, carried, pool, finish, exchange, idle, deadline, alarm, over, apart };
        if relay.is_read() {
            relay.end();
        }
        Box::new(relay)
    }

    /// Whether the upstream has sent all of it.
    fn is_read(&self) -> bool {
        match (&self.rest, &self.wire) {
            (Rest::H2(incoming), _) => incoming.is_end_stream(),
            (Rest::Line, Some(Wire::H1(lease))) => lease.conn.is_end_stream(),
            (Rest::Line, _) => true,
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match (&mut self.rest, &mut self.wire) {
            (Rest::H2(incoming), _) => {
                Pin::new(incoming).poll_frame(cx).map_err(|error| Box::new(error) as BoxError)
            }
            (Rest::Line, Some(Wire::H1(lease))) => lease.conn.poll_frame(cx),
            (Rest::Line, _) => Poll::Ready(None),
        }
    }

    /// The whole body has been read: the connection may serve another request.
    fn end(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.finish.complete = true;
        // A request body that is still being sent keeps the connection busy; such a connection is not kept.
        if self.exchange.body_done.get().is_some()
            && let Some(Wire::H1(lease)) = self.wire.take()
        {
            pool::give_back(&self.carried.0, lease, self.pool, clock::now());
        }
    }

    fn fail(&mut self, flag: &'static str, reason: Reason, error: BoxError) -> BoxError {
        self.over = true;
        self.finish.complete = true;
        self.finish.flag(flag);
        self.finish.record.error = Some(error.to_string());
        if let Some(upstream) = &self.finish.upstream {
            upstream.stats.failures[reason as usize].add(1);
            upstream.failed(&self.carried.0);
        }
        self.wire = None;
        error
    }

    /// Too long without a byte, or the whole took too long.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        loop {
            let now = clock::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                return Some("the whole request took longer than timeouts.total");
            }
            let idle = self.idle.map(|idle| self.exchange.active.get() + idle);
            if idle.is_some_and(|idle| now >= idle) {
                return Some("no byte passed for timeouts.idle");
            }
            let next = idle.into_iter().chain(self.deadline).min()?;
            if self.alarm.poll(cx, next).is_pending() {
                return None;
            }
            clock::turn();
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        if this.apart {
            clock::turn();
        }
        match this.poll_rest(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.finish.record.bytes.1 += data.len() as u64;
                }
                this.exchange.active.set(clock::now());
                if this.is_read() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(this.fail("broken_answer", Reason::Reset, error))))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => match this.overdue(cx) {
                Some(why) => Poll::Ready(Some(Err(this.fail("timeout", Reason::Timeout, why.into())))),
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.is_read()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.rest, &self.wire) {
            (Rest::H2(incoming), _) => incoming.size_hint(),
            (Rest::Line, Some(Wire::H1(lease))) => lease.conn.size_hint(),
            (Rest::Line, _) => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.over && self.is_read() {
            self.end();
        }
        self.finish.record.bytes.0 = self.exchange.sent.get();
    }
}

impl Answer {
    /// The body will be read by hyper, in a task of its own.
    pub(super) fn set_apart(&mut self) {
        if let Self::Relay(relay) = self {
            relay.apart = true;
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Own(bytes, finish) => {
                drop(finish.take());
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Relay(relay) => Pin::new(&mut **relay).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes, _) => bytes.is_none(),
            Self::Relay(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relay(relay) => relay.size_hint(),
        }
    }
}
