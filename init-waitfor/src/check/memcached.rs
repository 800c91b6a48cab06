//! `memcached://host:port`: `version`. <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>

use super::Verdict;
use crate::wire::{Trouble, Wire};

pub(super) async fn talk(wire: &mut Wire) -> Result<Verdict, Trouble> {
    wire.send(b"version\r\n").await?;
    let line = wire.line().await?;
    match line.strip_prefix("VERSION ") {
        Some(version) => Ok(Verdict::ready(format!("memcached {version} answers"))),
        None => Err(Trouble::unknown("reply", "this is not memcached")),
    }
}
