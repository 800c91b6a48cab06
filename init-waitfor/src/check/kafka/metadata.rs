//! A Metadata response, version 4, as far as it says whether a topic can be used. No I/O.

use bytes::{Buf as _, Bytes};

use super::take_string;

pub(super) struct Seen {
    pub brokers: i32,
    /// Below 0: there is none.
    pub controller: i32,
    /// The one topic asked for.
    pub topic: Option<Topic>,
}

pub(super) struct Topic {
    pub error: i16,
    pub partitions: usize,
    pub leaders: usize,
}

/// `None` when the bytes are not such a response.
pub(super) fn parse(mut answer: Bytes) -> Option<Seen> {
    answer.try_get_i32().ok()?; // throttle
    let brokers = answer.try_get_i32().ok()?;
    for _ in 0..brokers {
        answer.try_get_i32().ok()?; // id
        take_string(&mut answer)?; // host
        answer.try_get_i32().ok()?; // port
        take_string(&mut answer)?; // rack
    }
    take_string(&mut answer)?; // cluster
    let controller = answer.try_get_i32().ok()?;
    let topic = match answer.try_get_i32().ok()? {
        0 => None,
        1 => Some(topic(&mut answer)?),
        _ => return None,
    };
    Some(Seen { brokers, controller, topic })
}

fn topic(answer: &mut Bytes) -> Option<Topic> {
    let error = answer.try_get_i16().ok()?;
    take_string(answer)?;
    answer.try_get_u8().ok()?; // internal
    let count = answer.try_get_i32().ok()?;
    let mut topic = Topic { error, partitions: 0, leaders: 0 };
    for _ in 0..count {
        answer.try_get_i16().ok()?; // error; a missing leader is what matters of it
        answer.try_get_i32().ok()?; // index
        topic.leaders += usize::from(answer.try_get_i32().ok()? >= 0);
        topic.partitions += 1;
        for _ in 0..2 {
            // replicas, and those in sync
            for _ in 0..answer.try_get_i32().ok()? {
                answer.try_get_i32().ok()?;
            }
        }
    }
    Some(topic)
}
