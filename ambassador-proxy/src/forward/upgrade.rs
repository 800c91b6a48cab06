//! After 101, or 200 to CONNECT: bytes both ways (WebSocket and any other Upgrade).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::finish::Finish;
use crate::listen::rewind::Rewind;
use crate::tunnel;
use crate::upstream::endpoint::Carried;
use crate::upstream::io::{Metered, Plain, Stream};

/// The upstream's side.
pub(super) enum Far {
    /// HTTP so far.
    Http(OnUpgrade),
    /// A stream of its own.
    Stream(Stream),
}

/// Both sides of an upgrade that has been agreed on.
pub(super) struct Pending {
    client_side: OnUpgrade,
    upstream_side: Far,
    carried: Carried,
    idle: Option<Duration>,
}

impl Pending {
    pub(super) fn new(
        client_side: OnUpgrade,
        upstream_side: Far,
        carried: Carried,
        idle: Option<Duration>,
    ) -> Self {
        Self { client_side, upstream_side, carried, idle }
    }

    /// Carries bytes until both sides have ended. The client's connection counts as open meanwhile.
    pub(super) fn start(self, mut finish: Box<Finish>) {
        tokio::task::spawn_local(async move {
            let Self { client_side, upstream_side, carried, idle } = self;
            let both = async {
                let near = near(client_side.await.map_err(io::Error::other)?)?;
                let far = match upstream_side {
                    Far::Stream(stream) => (stream, Bytes::new()),
                    Far::Http(upgrade) => far(upgrade.await.map_err(io::Error::other)?)?,
                };
                Ok::<_, io::Error>((near, far))
            };
            let Ok(Ok(((near, from_near), (far, from_far)))) =
                tokio::time::timeout(Duration::from_secs(10), both).await
            else {
                finish.flag("upgrade_failed");
                return;
            };
            let ended = tunnel::carry_from(near, far, &from_near, &from_far, idle).await;
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

fn strange() -> io::Error {
    io::Error::other("an upgraded connection is none of ours")
}

/// The app's connection, out of its wrappers, with what was read ahead.
fn near(upgraded: Upgraded) -> io::Result<(Plain, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<Rewind>>().map_err(|_| strange())?;
    let (plain, held) = parts.io.into_inner().into_parts();
    Ok((plain, [&parts.read_buf[..], &held].concat()))
}

fn far(upgraded: Upgraded) -> io::Result<(Stream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Metered>>().map_err(|_| strange())?;
    Ok((parts.io.into_inner().into_stream(), parts.read_buf))
}
