//! After 101: bytes both ways (WebSocket and any other Upgrade).

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::finish::Finish;
use crate::tunnel;
use crate::upstream::endpoint::Carried;

/// Both sides of an upgrade that has been agreed on.
pub(super) struct Pending {
    client_side: OnUpgrade,
    upstream_side: OnUpgrade,
    carried: Carried,
    idle: Option<Duration>,
}

impl Pending {
    pub(super) fn new(
        client_side: OnUpgrade,
        upstream_side: OnUpgrade,
        carried: Carried,
        idle: Option<Duration>,
    ) -> Self {
        Self { client_side, upstream_side, carried, idle }
    }

    /// Carries bytes until both sides have ended. The client's connection counts as open meanwhile.
    pub(super) fn start(self, mut finish: Box<Finish>) {
        tokio::task::spawn_local(async move {
            let Self { client_side, upstream_side, carried, idle } = self;
            let both = async { tokio::try_join!(client_side, upstream_side) };
            let Ok(Ok((near, far))) = tokio::time::timeout(Duration::from_secs(10), both).await else {
                finish.flag("upgrade_failed");
                return;
            };
            let ended = tunnel::carry(TokioIo::new(near), TokioIo::new(far), idle).await;
            finish.record.bytes = (ended.to_upstream, ended.to_client);
            finish.complete = true;
            finish.flag("upgraded");
            drop(carried);
        });
    }
}
