//! `kafka://[user:password@]host:port[?topic=NAME&sasl=MECHANISM]`: ApiVersions, the login if there is one, Metadata.
//! <https://kafka.apache.org/protocol>

mod metadata;
mod sasl;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Verdict;
use crate::target::{Login, Wrong};
use crate::wire::{Trouble, Wire};
pub(super) use sasl::Mechanism;

const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
/// The first that can forbid the broker to make the topic by being asked (Kafka 0.11, 2017).
const METADATA_VERSION: i16 = 4;

/// How to log in: only who gives a user does. Without TLS the default is the mechanism that does not show the password to whoever answers.
pub(super) fn mechanism(login: &Login, secure: bool) -> Result<Option<Mechanism>, Wrong> {
    let wanted = login.query.get("sasl").map(str::parse).transpose()?;
    match (&login.user, wanted) {
        (None, Some(_)) => {
            Err(Wrong::new("sasl without a user", "write the user into the URL, before the host and an @"))
        }
        (None, None) => Ok(None),
        (Some(_), Some(mechanism)) => Ok(Some(mechanism)),
        (Some(_), None) => Ok(Some(Mechanism::default_for(secure))),
    }
}

pub(super) async fn talk(
    wire: &mut Wire,
    login: &Login,
    password: Option<&str>,
    secure: bool,
) -> Result<Verdict, Trouble> {
    let mut answer = ask(wire, API_VERSIONS, 0, 1, &[]).await?;
    let error = answer.try_get_i16().map_err(|_| foreign())?;
    // 35: this version is not supported; it is a broker all the same.
    if !matches!(error, 0 | 35) {
        return Err(Trouble::unknown("server", format!("ApiVersions: error {error}")));
    }
    let mechanism = mechanism(login, secure).map_err(|wrong| Trouble::unknown("options", wrong.what))?;
    if let (Some(mechanism), Some(user)) = (mechanism, &login.user) {
        sasl::log_in(wire, mechanism, user, password).await?;
    }
    let topic = login.query.get("topic");
    let mut body = BytesMut::new();
    body.put_i32(i32::from(topic.is_some()));
    topic.into_iter().for_each(|topic| put_string(&mut body, topic));
    body.put_u8(0);
    let answer = ask(wire, METADATA, METADATA_VERSION, 2, &body).await?;
    let seen = metadata::parse(answer).ok_or_else(foreign)?;
    Ok(match (topic, seen.topic) {
        _ if seen.controller < 0 => Verdict::no("controller", "the cluster has no controller yet"),
        (None, _) => Verdict::ready(format!("{} brokers, a controller", seen.brokers)),
        (Some(topic), None) => Verdict::no("topic", format!("no topic {topic}")),
        (Some(topic), Some(state)) => match state.error {
            3 => Verdict::no("topic", format!("no topic {topic}")),
            29 => return Err(Trouble::auth(format!("topic {topic}: not authorised"))),
            0 | 5 if state.leaders < state.partitions || state.partitions == 0 => Verdict::no(
                "topic",
                format!("topic {topic}: {} of {} partitions have a leader", state.leaders, state.partitions),
            ),
            0 => Verdict::ready(format!("topic {topic} with {} partitions", state.partitions)),
            other => return Err(Trouble::unknown("server", format!("topic {topic}: error {other}"))),
        },
    })
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
            Trouble::unknown("reply", "the server hung up; it may want TLS (kafkas://) or a login (user@)")
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

/// A string with its length in two bytes; `Some(None)` is null.
fn take_string(answer: &mut Bytes) -> Option<Option<String>> {
    let Ok(length) = usize::try_from(answer.try_get_i16().ok()?) else { return Some(None) };
    (answer.len() >= length).then(|| Some(String::from_utf8_lossy(&answer.split_to(length)).into_owned()))
}
