//! A client's connection: `head → forward → answer`, again and again.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::AsyncWrite as _;

use super::decode::Decoder;
use super::encode::{self, Encoder, To};
use super::head::{self, Asked, Bad};
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::forward::answer::Answer;
use crate::forward::body::{BoxError, Inbound};
use crate::forward::{Reply as Made, respond};
use crate::listen::Client;
use crate::listen::framing::Refusal;
use crate::listen::rewind::{REFUSED, Rewind};
use crate::shelf::Placed;
use crate::upstream::io::Plain;
use crate::worker::Worker;

/// A client that is still sending when it has been answered is listened to for so long: closed at once, it might never see the answer.
const LINGER: Duration = Duration::from_secs(2);

/// What the task that serves a connection and the body of its request share.
pub(crate) struct Line {
    io: Rewind,
    inbox: Inbox,
    out: Outbox,
    body: Decoder,
    /// The client waits for 100.
    expects: bool,
}

/// A request's body, read when it is asked for.
pub struct Upload(Rc<RefCell<Line>>);

/// Bytes that follow a switch of protocols, and where more of them come from.
pub(crate) type Taken = (Plain, Bytes);

impl Line {
    /// A connection whose first bytes have been looked at.
    pub(crate) fn new(io: Rewind) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            io,
            inbox: Inbox::default(),
            out: Outbox::default(),
            body: Decoder::Done,
            expects: false,
        }))
    }

    /// The next request; `None` when there is none any more.
    fn poll_head(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<io::Result<Option<Asked>>> {
        loop {
            if client.closing.get() {
                return Poll::Ready(Ok(None));
            }
            if !self.inbox.is_empty() {
                match head::request(&mut self.inbox) {
                    Ok(Some(asked)) => return Poll::Ready(Ok(Some(asked))),
                    Ok(None) => {}
                    Err(bad) => {
                        let refusal = match bad {
                            Bad::Large => Refusal { status: 431, why: "there are more than 100 headers" },
                            Bad::Form(why) => Refusal { status: 400, why },
                        };
                        let _ = client.watch.refusal.set(refusal);
                        self.inbox = Inbox::from(REFUSED);
                        continue;
                    }
                }
            }
            if ready!(self.inbox.poll_fill(cx, &mut self.io, false))? == 0 {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Ready when the client has gone while it is waited for something else.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.is_done() || !self.inbox.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.inbox.poll_fill(cx, &mut self.io, false)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_flush(cx, &mut self.io)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        // Once the answer has begun, the client knows without that word.
        if std::mem::take(&mut self.expects) {
            self.out.front().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            // What cannot go now goes with the answer.
            let _ = self.poll_flush(cx)?;
        }
        self.body.poll_frame(cx, &mut self.inbox, &mut self.io)
    }

    /// Reads over what is left of a body that nobody wanted, if it is here.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(self.body.poll_frame(cx, &mut self.inbox, &mut self.io)) {}
        Poll::Ready(())
    }
}

impl Upload {
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.0.borrow_mut().poll_body(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Box::new(error) as BoxError)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.0.borrow().body.is_done()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.0.borrow().body.size_hint()
    }
}

/// How the answering of one request ended.
enum Ended {
    /// The next one may come.
    Kept,
    /// The connection is to be closed.
    Closed,
    /// Another protocol follows.
    Switched,
}

/// An answer on its way.
struct Reply {
    body: Answer,
    encoder: Encoder,
    /// Nothing may follow the head, whatever there is.
    silent: bool,
    over: bool,
}

impl Reply {
    /// Writes until all of it is out; `gone` says whether somebody still waits for it.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        line: &RefCell<Line>,
        gone: &mut impl FnMut(&mut Context<'_>) -> bool,
    ) -> Poll<io::Result<()>> {
        loop {
            // Large pieces go out before the next one is asked for.
            if self.over || line.borrow().out.is_full() {
                ready!(line.borrow_mut().poll_flush(cx))?;
            }
            if self.over {
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.frame(frame, &mut line.borrow_mut().out)?,
                Poll::Ready(None) => self.end(None, &mut line.borrow_mut().out)?,
                Poll::Ready(Some(Err(error))) => {
                    let _ = line.borrow_mut().poll_flush(cx);
                    return Poll::Ready(Err(io::Error::other(error)));
                }
                Poll::Pending => {
                    let _ = line.borrow_mut().poll_flush(cx)?;
                    if gone(cx) {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn frame(&mut self, frame: Frame<Bytes>, out: &mut Outbox) -> io::Result<()> {
        match frame.into_data() {
            Ok(_) if self.silent => {}
            Ok(data) => self.encoder.data(out, data).map_err(|_| mismatch())?,
            Err(frame) => return self.end(frame.into_trailers().ok().as_ref(), out),
        }
        if self.body.is_end_stream() { self.end(None, out) } else { Ok(()) }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Outbox) -> io::Result<()> {
        self.over = true;
        if self.silent { Ok(()) } else { self.encoder.end(out, trailers).map_err(|_| mismatch()) }
    }
}

fn mismatch() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer's body is not as long as its head says")
}

/// Serves requests until the connection ends.
///
/// # Errors
/// What broke it.
pub(crate) async fn serve(worker: Rc<Worker>, client: Rc<Client>, line: Rc<RefCell<Line>>) -> io::Result<()> {
    let half_close = client.door.plan().half_close;
    loop {
        let asked = poll_fn(|cx| line.borrow_mut().poll_head(cx, &client)).await?;
        let Some(asked) = asked else { break };
        match answer(&worker, &client, &line, asked, half_close).await? {
            Ended::Kept => {}
            Ended::Closed => return close(&line).await,
            Ended::Switched => {
                if let (Some(line), Some(taker)) = (Rc::into_inner(line), client.taker.take()) {
                    let Line { io, mut inbox, .. } = line.into_inner();
                    let (plain, held) = io.into_parts();
                    let _ = taker.send((plain, [&inbox.rest()[..], &held[..]].concat().into()));
                }
                return Ok(());
            }
        }
    }
    poll_fn(|cx| Pin::new(&mut line.borrow_mut().io).poll_shutdown(cx)).await
}

/// One request and its answer.
async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    line: &Rc<RefCell<Line>>,
    asked: Asked,
    half_close: bool,
) -> io::Result<Ended> {
    let Asked { ask, body, keep, expects } = asked;
    let to = To {
        head: ask.method == Method::HEAD,
        connect: ask.method == Method::CONNECT,
        version: ask.version,
        keep,
    };
    {
        let mut line = line.borrow_mut();
        (line.body, line.expects) = (body, expects);
    }
    let inbound = if body.is_done() { Inbound::Empty } else { Inbound::Line(Upload(line.clone())) };
    let mut gone = |cx: &mut Context<'_>| !half_close && line.borrow_mut().poll_gone(cx).is_ready();
    let made = {
        // In a box, which is there only while a request is.
        let mut work = pin!(Placed::new(worker, respond(worker.clone(), client.clone(), ask, inbound)));
        let made = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(made) => Poll::Ready(Some(made)),
            Poll::Pending if gone(cx) => Poll::Ready(None),
            Poll::Pending => {
                // 100 may be on its way.
                let mut line = line.borrow_mut();
                if !line.out.is_empty() {
                    let _ = line.poll_flush(cx);
                }
                Poll::Pending
            }
        });
        made.await.ok_or(io::ErrorKind::ConnectionAborted)?
    };
    let Made { status, headers, body } = made;
    let (encoder, keep) = {
        let mut line = line.borrow_mut();
        // A client that was never told to go on may leave its body out: what came next could be one or the other.
        let keep = to.keep && !std::mem::take(&mut line.expects);
        let known = body.size_hint().exact();
        encode::response(line.out.front(), status, &headers, known, To { keep, ..to })
    };
    drop(headers);
    let mut reply = Reply { silent: to.is_bodiless(status), body, encoder, over: false };
    if reply.body.is_end_stream() {
        reply.end(None, &mut line.borrow_mut().out)?;
    }
    poll_fn(|cx| reply.poll(cx, line, &mut gone)).await?;
    drop(reply);
    if to.switches(status) {
        return Ok(Ended::Switched);
    }
    // An answer may come before the request has been read: then the rest of it has to be here, or the connection ends.
    let read = keep && poll_fn(|cx| Poll::Ready(line.borrow_mut().poll_rest(cx).is_ready())).await;
    Ok(if read && line.borrow().body.is_done() { Ended::Kept } else { Ended::Closed })
}

/// Says that nothing follows, and lets a client that is still sending read that before the connection goes.
async fn close(line: &RefCell<Line>) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut line.borrow_mut().io).poll_shutdown(cx)).await?;
    let sends = {
        let line = line.borrow();
        !line.body.is_done() || line.io.is_dead()
    };
    if sends {
        let waste = poll_fn(|cx| {
            let Line { io, inbox, .. } = &mut *line.borrow_mut();
            while let 1.. = ready!(inbox.poll_fill(cx, io.plain(), true)).unwrap_or(0) {
                *inbox = Inbox::default();
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(LINGER, waste).await;
    }
    Ok(())
}
