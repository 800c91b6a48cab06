//! A connection to an upstream: `request → head → body`, then the next one.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as _, Frame};
use tokio::io::Interest;

use super::decode::Decoder;
use super::encode::{self, Encoder};
use super::head::{self, Answered, Bad};
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::fields::Headers;
use crate::forward::body::{BoxError, Outgoing};
use crate::upstream::io::{Plain, Stream};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended without one.
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// The request's body did.
    Body(BoxError),
    /// Its head is too large.
    Large,
    /// It is no HTTP.
    Form(&'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it was closed"),
            Self::Io(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Large => f.write_str("its head is too large"),
            Self::Form(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Broken {}

impl From<Bad> for Broken {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::Large => Self::Large,
            Bad::Form(why) => Self::Form(why),
        }
    }
}

/// One connection, and the request that is on it.
pub(crate) struct Conn {
    stream: Stream,
    inbox: Inbox,
    out: Outbox,
    /// What is still to be sent.
    body: Option<Outgoing>,
    encoder: Encoder,
    decoder: Decoder,
    /// Bytes sent before this request.
    before: u64,
    /// A byte of an answer has come.
    answered: bool,
    /// The request is HEAD.
    head: bool,
    /// Another request may follow.
    keep: bool,
    /// Why no more can be sent. An answer may have come all the same.
    deaf: Option<io::Error>,
}

impl Conn {
    /// A connection that was made now.
    pub(crate) fn new(stream: Stream) -> Box<Self> {
        Box::new(Self {
            stream,
            inbox: Inbox::default(),
            out: Outbox::default(),
            body: None,
            encoder: Encoder::Length(0),
            decoder: Decoder::Done,
            before: 0,
            answered: false,
            head: false,
            keep: true,
            deaf: None,
        })
    }

    /// Begins a request.
    pub(crate) fn begin(&mut self, method: &Method, target: &str, headers: &Headers, body: Outgoing) {
        self.body = (!body.is_end_stream()).then_some(body);
        let known = self.body.as_ref().map(|body| body.size_hint().exact());
        (self.before, self.answered, self.keep) = (self.out.sent, false, true);
        self.head = method == Method::HEAD;
        self.encoder = encode::request(self.out.front(), method, target, headers, known);
        // Said before it was asked, it may be a server's word that it is full; but whose answer came next, nobody could tell.
        if self.before == 0 && self.is_dead() {
            (self.keep, self.answered) = (false, !self.inbox.is_empty());
        }
    }

    /// Whether a byte of the request has left.
    pub(crate) fn has_sent(&self) -> bool {
        self.out.sent > self.before
    }

    /// Whether a byte of an answer has come.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Sends what can be sent now. Only the body's own trouble is an error: what the upstream has to say may still come.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        loop {
            if self.deaf.is_some() {
                return Ok(());
            }
            // Large pieces go out before the next one is asked for.
            if self.out.is_full() && self.flush(cx).is_pending() {
                return Ok(());
            }
            let Some(body) = &mut self.body else { break };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.frame(frame)?,
                Poll::Ready(Some(Err(error))) => return Err(self.broke(error)),
                Poll::Ready(None) => self.end(None)?,
                Poll::Pending => break,
            }
        }
        let _ = self.flush(cx);
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.out.poll_flush(cx, &mut self.stream)) {
            (self.deaf, self.body, self.keep) = (Some(error), None, false);
        }
        Poll::Ready(())
    }

    fn frame(&mut self, frame: Frame<Bytes>) -> Result<(), Broken> {
        match frame.into_data() {
            Ok(data) => {
                let wrote = self.encoder.data(&mut self.out, data);
                wrote.map_err(|_| self.broke("the request body is longer than its head says".into()))?;
                if self.body.as_ref().is_some_and(|body| body.is_end_stream()) {
                    self.end(None)
                } else {
                    Ok(())
                }
            }
            Err(frame) => self.end(frame.into_trailers().ok().as_ref()),
        }
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Broken> {
        self.body = None;
        let ended = self.encoder.end(&mut self.out, trailers);
        ended.map_err(|_| self.broke("the request body is shorter than its head says".into()))
    }

    fn broke(&mut self, error: BoxError) -> Broken {
        (self.body, self.keep) = (None, false);
        Broken::Body(error)
    }

    /// The head of the answer.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answered, Broken>> {
        self.send(cx)?;
        loop {
            if !self.inbox.is_empty()
                && let Some(answered) = head::response(&mut self.inbox, self.head)?
            {
                let status = answered.status;
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    if status == StatusCode::CONTINUE
                        && let Some(body) = &self.body
                    {
                        body.wanted();
                    }
                    self.send(cx)?;
                    continue;
                }
                self.decoder = answered.body;
                self.keep &= answered.keep && status != StatusCode::SWITCHING_PROTOCOLS;
                return Poll::Ready(Ok(answered));
            }
            match ready!(self.inbox.poll_fill(cx, &mut self.stream, false)) {
                Ok(0) => return Poll::Ready(Err(self.deaf.take().map_or(Broken::Closed, Broken::Io))),
                Ok(_) => self.answered = true,
                Err(error) => return Poll::Ready(Err(Broken::Io(error))),
            }
        }
    }

    /// The next piece of the answer's body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if (self.body.is_some() || !self.out.is_empty())
            && let Err(error) = self.send(cx)
        {
            return Poll::Ready(Some(Err(Box::new(error))));
        }
        let frame = ready!(self.decoder.poll_frame(cx, &mut self.inbox, &mut self.stream));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Box::new(error) as BoxError)))
    }

    /// Whether the answer's body has been read.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.decoder.is_done()
    }

    /// What is known about the rest of the answer's body.
    pub(crate) fn size_hint(&self) -> http_body::SizeHint {
        self.decoder.size_hint()
    }

    /// Whether another request may be sent: this one is over in both directions.
    pub(crate) fn is_reusable(&self) -> bool {
        self.keep
            && self.decoder.is_done()
            && self.inbox.is_empty()
            && self.body.is_none()
            && self.out.is_empty()
    }

    /// Whether an unused connection has ended, or said something unasked. Costs no system call while nothing has come.
    pub(crate) fn is_dead(&mut self) -> bool {
        // The quick way to ask the usual kind of stream whether to look closer.
        if let Stream::Plain(Plain::Tcp(stream)) = &self.stream
            && stream.try_io(Interest::READABLE, || Ok(())).is_err()
        {
            return false;
        }
        let mut cx = Context::from_waker(Waker::noop());
        self.inbox.poll_fill(&mut cx, &mut self.stream, false).is_ready()
    }

    /// The stream behind 101, and what was read of it.
    pub(crate) fn into_stream(mut self) -> (Stream, Bytes) {
        let rest = self.inbox.rest();
        (self.stream, rest)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::HeaderMap;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Box<Conn>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Conn::new(Stream::Plain(Plain::Tcp(near))), listener.accept().await.unwrap().0)
    }

    async fn ask(conn: &mut Conn) -> u16 {
        conn.begin(&Method::GET, "/", &Headers::from(HeaderMap::new()), Outgoing::Empty);
        poll_fn(|cx| conn.poll_head(cx)).await.unwrap().status.as_u16()
    }

    #[tokio::test]
    async fn a_connection_is_used_again_unless_it_spoke_first() {
        let (mut conn, mut far) = pair().await;
        for _ in 0..2 {
            assert!(!conn.is_dead());
            let answer = async {
                assert_ne!(far.read(&mut [0; 64]).await.unwrap(), 0);
                far.write_all(b"HTTP/1.1 204 Fine\r\n\r\n").await.unwrap();
            };
            assert_eq!(tokio::join!(ask(&mut conn), answer).0, 204);
            assert!(conn.is_reusable());
        }
        far.write_all(b"more").await.unwrap();
        while !conn.is_dead() {
            tokio::task::yield_now().await;
        }
        let (mut conn, mut far) = pair().await;
        far.write_all(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let Stream::Plain(Plain::Tcp(stream)) = &conn.stream else { unreachable!() };
        stream.readable().await.unwrap();
        assert_eq!(ask(&mut conn).await, 503);
        assert!(!conn.is_reusable(), "its next answer would be nobody's");
    }
}
