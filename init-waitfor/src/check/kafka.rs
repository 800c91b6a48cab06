//! `kafka://host:port[?topic=NAME]`: ApiVersions, and Metadata when a topic must exist. <https://kafka.apache.org/protocol>
//! SASL is not spoken: such a broker is "not yet", with its reason.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Verdict;
use crate::target::Login;
use crate::wire::{Trouble, Wire};

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
/// The first that can forbid the broker to make the topic by being asked (Kafka 0.11, 2017).
const METADATA_VERSION: i16 = 4;

pub(super) async fn talk(wire: &mut Wire, login: &Login) -> Result<Verdict, Trouble> {
    let mut answer = ask(wire, API_VERSIONS, 0, 1, &[]).await?;
    let error = answer.try_get_i16().map_err(|_| foreign())?;
    // 35: this version is not supported; it is a broker all the same.
    if !matches!(error, 0 | 35) {
        return Err(Trouble::unknown("server", format!("ApiVersions: error {error}")));
    }
    let Some(topic) = login.query.get("topic") else { return Ok(Verdict::ready("ApiVersions answered")) };
    let mut body = BytesMut::new();
    body.put_i32(1);
    put_string(&mut body, topic);
    body.put_u8(0);
    let answer = ask(wire, METADATA, METADATA_VERSION, 2, &body).await?;
    let (error, partitions) = topic_of(answer).ok_or_else(foreign)?;
    match error {
        0 if partitions > 0 => Ok(Verdict::ready(format!("topic {topic} with {partitions} partitions"))),
        0 | 5 => Ok(Verdict::no("topic", format!("topic {topic} has no leader yet"))),
        3 => Ok(Verdict::no("topic", format!("no topic {topic}"))),
        29 => Err(Trouble::auth(format!("topic {topic}: not authorised"))),
        other => Err(Trouble::unknown("server", format!("topic {topic}: error {other}"))),
    }
}

async fn ask(wire: &mut Wire, key: i16, version: i16, id: i32, body: &[u8]) -> Result<Bytes, Trouble> {
    let mut request = BytesMut::new();
    request.put_i16(key);
    request.put_i16(version);
    request.put_i32(id);
    put_string(&mut request, "init-waitfor");
    request.put_slice(body);
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(request.len()).unwrap_or(u32::MAX));
    out.put_slice(&request);
    wire.send(&out).await?;
    let size = wire.take(4).await.map_err(|trouble| {
        // A listener with TLS or SASL hangs up on plain requests.
        if trouble == Trouble::ended() {
            Trouble::unknown("reply", "the server hung up; it may want TLS or SASL")
        } else {
            trouble
        }
    })?;
    let size = usize::try_from(size.clone().get_u32()).unwrap_or(usize::MAX);
    if !(4..1 << 20).contains(&size) {
        return Err(foreign());
    }
    let mut answer = wire.take(size).await?;
    if answer.get_i32() != id {
        return Err(foreign());
    }
    Ok(answer)
}

fn foreign() -> Trouble {
    Trouble::unknown("reply", "this is not Kafka")
}

fn put_string(out: &mut BytesMut, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(249)];
    out.put_i16(i16::try_from(bytes.len()).unwrap_or(0));
    out.put_slice(bytes);
}

/// Error code and number of partitions of the one topic in a Metadata response, version 4.
fn topic_of(mut answer: Bytes) -> Option<(i16, i32)> {
    fn string(answer: &mut Bytes) -> Option<()> {
        let length = usize::try_from(answer.try_get_i16().ok()?.max(0)).ok()?;
        (answer.len() >= length).then(|| answer.advance(length))
    }
    answer.try_get_i32().ok()?; // throttle
    for _ in 0..answer.try_get_i32().ok()? {
        answer.try_get_i32().ok()?;
        string(&mut answer)?;
        answer.try_get_i32().ok()?;
        string(&mut answer)?;
    }
    string(&mut answer)?; // cluster
    answer.try_get_i32().ok()?; // controller
    (answer.try_get_i32().ok()? == 1).then_some(())?;
    let error = answer.try_get_i16().ok()?;
    string(&mut answer)?;
    answer.try_get_u8().ok()?;
    Some((error, answer.try_get_i32().ok()?))
}
