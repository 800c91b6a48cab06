//! The request body on its way out: streamed, and kept up to 64 KB while a replay may be needed.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use super::expect::Gate;
use crate::h1::server::Upload;

/// Bytes kept for a replay at most.
pub const REPLAY: usize = 64 << 10;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the request's parts tell each other while it runs.
#[derive(Debug)]
pub struct Exchange {
    /// Bytes of the request body that went out.
    pub sent: Cell<u64>,
    /// When the last of the request body went out; at once without one.
    pub body_done: Cell<Option<Instant>>,
    /// When a byte last passed, either way.
    pub active: Cell<Instant>,
    /// The client broke off while sending, or sends too much.
    pub client_failed: Cell<bool>,
    /// The most that the request's body may have.
    pub most: Option<u64>,
}

impl Exchange {
    /// For a request that came now, with a body of `most` bytes at most.
    pub fn new(now: Instant, no_body: bool, most: Option<u64>) -> Rc<Self> {
        Rc::new(Self {
            sent: Cell::new(0),
            body_done: Cell::new(no_body.then_some(now)),
            active: Cell::new(now),
            client_failed: Cell::new(false),
            most,
        })
    }

    /// The limit that the body has gone over.
    pub fn too_long(&self) -> Option<u64> {
        self.most.filter(|most| self.sent.get() > *most)
    }
}

/// A request body as the client sends it.
pub enum Inbound {
    /// None.
    Empty,
    /// Over HTTP/1.
    Line(Upload),
    /// Over HTTP/2.
    H2(Incoming),
    /// None, but bytes both ways once the request has been granted: CONNECT over HTTP/2, and the protocol asked for with it.
    Tunnel(OnUpgrade, Option<Protocol>),
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty | Self::Tunnel(..) => Poll::Ready(None),
            Self::Line(upload) => upload.poll_frame(cx),
            Self::H2(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(|error| Box::new(error) as BoxError)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(..) => true,
            Self::Line(upload) => upload.is_end_stream(),
            Self::H2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(..) => SizeHint::with_exact(0),
            Self::Line(upload) => upload.size_hint(),
            Self::H2(incoming) => incoming.size_hint(),
        }
    }
}

/// A request body that may be sent more than once.
pub enum Outgoing {
    /// None.
    Empty,
    /// All of it, once.
    Whole(Option<Bytes>),
    /// From the client; the number says how many pieces this sender has sent.
    Stream(Rc<Source>, usize),
}

/// Where a request body comes from.
pub struct Source {
    state: RefCell<State>,
    exchange: Rc<Exchange>,
    total: Option<u64>,
    pub(super) gate: Option<Gate>,
}

/// Why a body could not be read before it was sent.
pub(super) enum Unread {
    /// The client broke off, or it is malformed.
    Broken,
    /// More than may be kept.
    TooLarge,
}

struct State {
    incoming: Inbound,
    kept: Vec<Piece>,
    kept_bytes: usize,
    /// Whether everything read so far is kept.
    complete: bool,
    read: usize,
    ended: bool,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl Source {
    /// Wraps a client's body; nothing of it moves before `gate` opens.
    pub(super) fn new(incoming: Inbound, gate: Option<Gate>, exchange: &Rc<Exchange>) -> Option<Rc<Self>> {
        if incoming.is_end_stream() {
            return None;
        }
        let total = incoming.size_hint().exact();
        let keep = total.is_none_or(|total| total <= REPLAY as u64);
        let state =
            State { incoming, kept: Vec::new(), kept_bytes: 0, complete: keep, read: 0, ended: false };
        let (state, exchange) = (RefCell::new(state), exchange.clone());
        Some(Rc::new(Self { state, exchange, total, gate }))
    }

    /// Reads a body to its end before anything is sent, up to `most` bytes.
    ///
    /// # Errors
    /// Why there is no whole body.
    pub(super) async fn collect(
        mut incoming: Inbound,
        most: usize,
        exchange: Rc<Exchange>,
    ) -> Result<Option<Rc<Self>>, Unread> {
        if incoming.is_end_stream() {
            return Ok(None);
        }
        let (mut bytes, mut kept) = (bytes::BytesMut::new(), Vec::new());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|_| Unread::Broken)?;
            exchange.active.set(Instant::now());
            match frame.into_data() {
                Ok(data) if bytes.len() + data.len() > most => return Err(Unread::TooLarge),
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => kept.extend(frame.into_trailers().ok().map(Piece::Trailers)),
            }
        }
        let kept_bytes = bytes.len();
        exchange.sent.set(kept_bytes as u64);
        exchange.body_done.set(Some(Instant::now()));
        if kept_bytes > 0 {
            kept.insert(0, Piece::Data(bytes.freeze()));
        }
        Ok(Some(Self::whole(incoming, kept, kept_bytes, exchange)))
    }

    fn whole(incoming: Inbound, kept: Vec<Piece>, kept_bytes: usize, exchange: Rc<Exchange>) -> Rc<Self> {
        let total =
            (!kept.iter().any(|piece| matches!(piece, Piece::Trailers(_)))).then_some(kept_bytes as u64);
        let read = kept.len();
        let state = State { incoming, kept, kept_bytes, complete: true, read, ended: true };
        Rc::new(Self { state: RefCell::new(state), exchange, total, gate: None })
    }

    /// The bytes of a body, if it was read to its end before it was sent, and has no trailers.
    pub(super) fn known(&self) -> Option<Bytes> {
        let state = self.state.borrow();
        let plain = state.kept.iter().all(|piece| matches!(piece, Piece::Data(_)));
        (state.ended && state.complete && plain).then(|| self.bytes())
    }

    /// The bytes of a body that was read to its end.
    pub(super) fn bytes(&self) -> Bytes {
        let state = self.state.borrow();
        state
            .kept
            .iter()
            .find_map(|piece| match piece {
                Piece::Data(data) => Some(data.clone()),
                Piece::Trailers(_) => None,
            })
            .unwrap_or_default()
    }

    /// Whether all of it is here and kept, so that several can send it at once.
    pub(super) fn is_whole(&self) -> bool {
        let state = self.state.borrow();
        state.ended && state.complete && !self.exchange.client_failed.get()
    }

    /// Whether the body can be sent from its start.
    pub fn replayable(&self) -> bool {
        let state = self.state.borrow();
        // A body that broke off must never be sent as if it had ended.
        !self.exchange.client_failed.get() && (state.complete || state.read == 0)
    }
}

impl Outgoing {
    /// A sender from the start of the body.
    pub fn new(source: Option<&Rc<Source>>) -> Self {
        source.map_or(Self::Empty, |source| Self::Stream(source.clone(), 0))
    }

    /// The upstream says that it wants the body.
    pub(crate) fn wanted(&self) {
        if let Self::Stream(source, _) = self
            && let Some(gate) = &source.gate
        {
            gate.open();
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (source, sent) = match self.get_mut() {
            Self::Empty => return Poll::Ready(None),
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(source, sent) => (source, sent),
        };
        let exchange = &source.exchange;
        if let Some(gate) = &source.gate {
            ready!(gate.poll(cx));
        }
        let state = &mut *source.state.borrow_mut();
        if state.complete
            && let Some(piece) = state.kept.get(*sent)
        {
            *sent += 1;
            return Poll::Ready(Some(Ok(piece.clone().frame())));
        }
        if exchange.client_failed.get() {
            return Poll::Ready(Some(Err("the client broke off".into())));
        }
        if *sent != state.read {
            // Another sender of the same body has gone on; this one belongs to a connection that was given up.
            return Poll::Ready(Some(Err("the request body went elsewhere".into())));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut state.incoming).poll_frame(cx));
        // Also polled by connections of HTTP/2, whose tasks are not ours.
        let now = Instant::now();
        exchange.active.set(now);
        let Some(frame) = frame else {
            state.ended = true;
            exchange.body_done.set(Some(now));
            return Poll::Ready(None);
        };
        let frame = frame.inspect_err(|_| exchange.client_failed.set(true))?;
        let piece = match frame.into_data() {
            Ok(data) => {
                exchange.sent.set(exchange.sent.get() + data.len() as u64);
                if exchange.too_long().is_some() {
                    // Nothing of this piece goes out: what has gone is cut, and never looks like the whole.
                    exchange.client_failed.set(true);
                    return Poll::Ready(Some(Err("the request body is longer than limits.body".into())));
                }
                state.kept_bytes += data.len();
                Piece::Data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Piece::Trailers(trailers),
                Err(_) => return Poll::Ready(Some(Err("unknown kind of body frame".into()))),
            },
        };
        if state.complete && state.kept_bytes > REPLAY {
            state.complete = false;
            state.kept = Vec::new();
        }
        if state.complete {
            state.kept.push(piece.clone());
        }
        state.read += 1;
        *sent += 1;
        if state.incoming.is_end_stream() {
            state.ended = true;
            exchange.body_done.set(Some(now));
        }
        Poll::Ready(Some(Ok(piece.frame())))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(source, sent) => {
                let state = source.state.borrow();
                state.ended && *sent == state.read && !source.exchange.client_failed.get()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream(source, 0) => source.total.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Stream(..) => SizeHint::default(),
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
