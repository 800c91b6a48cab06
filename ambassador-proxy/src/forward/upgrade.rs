//! After 101, or 200 to CONNECT: bytes both ways (WebSocket and any other Upgrade).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::finish::Finish;
use crate::h1::server::Taken;
use crate::tunnel;
use crate::upstream::endpoint::Carried;
use crate::upstream::io::Stream;

/// Both sides of an upgrade that has been agreed on.
pub(super) struct Pending {
    near: oneshot::Receiver<Taken>,
    far: (Stream, Bytes),
    carried: Carried,
    idle: Option<Duration>,
}

impl Pending {
    /// `near` comes when the answer has gone out; `far` is here, with what was read of it.
    pub(super) fn new(
        near: oneshot::Receiver<Taken>,
        far: (Stream, Bytes),
        carried: Carried,
        idle: Option<Duration>,
    ) -> Self {
        Self { near, far, carried, idle }
    }

    /// Carries bytes until both sides have ended. The client's connection counts as open meanwhile.
    pub(super) fn start(self, mut finish: Box<Finish>) {
        tokio::task::spawn_local(async move {
            let Self { near, far: (far, from_far), carried, idle } = self;
            let Ok(Ok((near, from_near))) = tokio::time::timeout(Duration::from_secs(10), near).await else {
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
