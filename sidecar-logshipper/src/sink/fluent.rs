//! Fluentd's Forward protocol, Forward mode, with `chunk` and its acknowledgement.
//! (fluent/fluentd wiki, "Forward Protocol Specification v1"; `require_ack_response`.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::socket::Socket;
use super::{Answer, Patience};
use crate::batch::Batch;
use crate::wire::msgpack;

/// See the module.
#[derive(Debug)]
pub struct Fluent {
    socket: Socket,
    tag: String,
}

impl Fluent {
    pub fn new(host: &str, port: u16, tag: &str, patience: Patience) -> Self {
        Self { socket: Socket::new(host, port, None, patience), tag: tag.to_owned() }
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let chunk = STANDARD.encode(fastrand::u128(..).to_le_bytes());
        let mut message = Vec::with_capacity(batch.body.len() + 128);
        msgpack::array(3, &mut message);
        msgpack::str(self.tag.as_bytes(), &mut message);
        msgpack::array(batch.items.len(), &mut message);
        message.extend_from_slice(&batch.body);
        msgpack::map(2, &mut message);
        msgpack::str(b"chunk", &mut message);
        msgpack::str(chunk.as_bytes(), &mut message);
        msgpack::str(b"size", &mut message);
        msgpack::uint(batch.items.len() as u64, &mut message);
        let acknowledged =
            |answer: &[u8]| msgpack::read(&mut &answer[..])?["ack"].as_str().map(str::to_owned);
        match self.socket.exchange(&message, acknowledged).await {
            Ok(ack) if ack == chunk => Answer::Accepted,
            Ok(ack) => Answer::Later {
                why: format!("acknowledged {ack} instead of {chunk}"),
                after: None,
                answer_lost: true,
            },
            Err((sent, why)) => Answer::Later { why, after: None, answer_lost: sent },
        }
    }
}
