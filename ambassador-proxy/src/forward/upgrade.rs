//! After 101, or 200 to CONNECT: bytes both ways (WebSocket and any other Upgrade), over HTTP/1.1 or a stream of HTTP/2.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::fault::Fault;
use super::finish::Finish;
use crate::fields::Ask;
use crate::h1::server::Taken;
use crate::tunnel;
use crate::upstream::endpoint::Carried;
use crate::upstream::io::Stream;

static KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
pub(super) static ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// The app's side, once the answer has gone out.
pub(super) enum Near {
    /// All of its connection.
    Line(oneshot::Receiver<Taken>),
    /// One stream.
    Stream(OnUpgrade),
}

/// Both sides of an upgrade that has been agreed on.
pub(super) struct Pending {
    near: Near,
    far: (Stream, Bytes),
    carried: Carried,
    idle: Option<Duration>,
}

/// Time for the answer to go out.
const TAKE: Duration = Duration::from_secs(10);

impl Pending {
    /// `far` is here, with what was read of it.
    pub(super) fn new(near: Near, far: (Stream, Bytes), carried: Carried, idle: Option<Duration>) -> Self {
        Self { near, far, carried, idle }
    }

    /// Carries bytes until both sides have ended. The client's connection counts as open meanwhile.
    pub(super) fn start(self, mut finish: Box<Finish>) {
        tokio::task::spawn_local(async move {
            let Self { near, far: (far, from_far), carried, idle } = self;
            let ended = match near {
                Near::Line(near) => match tokio::time::timeout(TAKE, near).await {
                    Ok(Ok((near, from_near))) => {
                        Some(tunnel::carry_from(near, far, &from_near, &from_far, idle).await)
                    }
                    _ => None,
                },
                Near::Stream(near) => match tokio::time::timeout(TAKE, near).await {
                    Ok(Ok(near)) => {
                        Some(tunnel::carry_from(TokioIo::new(near), far, &[], &from_far, idle).await)
                    }
                    _ => None,
                },
            };
            let Some(ended) = ended else { return finish.flag("upgrade_failed") };
            finish.record.bytes = (ended.to_upstream, ended.to_client);
            finish.complete = true;
            finish.flag("upgraded");
            if let Some(error) = ended.error {
                finish.flag(if error.kind() == io::ErrorKind::TimedOut { "timeout" } else { "reset" });
            }
            drop(carried);
        });
    }
}

/// A WebSocket over HTTP/2 (RFC 8441) becomes what a service of HTTP/1.1 knows: GET with Upgrade.
///
/// # Errors
/// Another protocol is asked for.
pub(super) fn websocket(ask: &mut Ask, protocol: &[u8]) -> Result<(), Fault> {
    if !protocol.eq_ignore_ascii_case(b"websocket") {
        let detail = "of all protocols over CONNECT, only websocket is carried";
        return Err(Fault::client(StatusCode::NOT_IMPLEMENTED, "http_request_denied", detail));
    }
    ask.method = Method::GET;
    // It only proves that the service knows WebSocket, and is not told to the app.
    let key = STANDARD.encode(fastrand::u128(..).to_be_bytes());
    if let Ok(key) = HeaderValue::try_from(key) {
        ask.headers.set(&KEY, key);
    }
    Ok(())
}
