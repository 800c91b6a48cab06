//! The login: SaslHandshake version 1, then the mechanism's messages in SaslAuthenticate (KIP-43, KIP-152).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{SASL_AUTHENTICATE, SASL_HANDSHAKE, ask, foreign, put_string, take_string};
use crate::target::Wrong;
use crate::wire::scram::{Hash, Scram};
use crate::wire::{Trouble, Wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) enum Mechanism {
    Plain,
    Scram(Hash),
}

impl Mechanism {
    pub(super) fn default_for(secure: bool) -> Self {
        if secure { Mechanism::Plain } else { Mechanism::Scram(Hash::Sha512) }
    }

    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(hash) => hash.mechanism(),
        }
    }
}

impl std::str::FromStr for Mechanism {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text.to_ascii_uppercase().as_str() {
            "PLAIN" => Ok(Mechanism::Plain),
            "SCRAM-SHA-256" => Ok(Mechanism::Scram(Hash::Sha256)),
            "SCRAM-SHA-512" => Ok(Mechanism::Scram(Hash::Sha512)),
            _ => Err(Wrong::new(
                format!("sasl={text} is not spoken"),
                "write plain, scram-sha-256 or scram-sha-512",
            )),
        }
    }
}

pub(super) async fn log_in(
    wire: &mut Wire,
    mechanism: Mechanism,
    user: &str,
    password: Option<&str>,
) -> Result<(), Trouble> {
    let password = password.ok_or_else(|| {
        Trouble::auth("there is a user and no password; give one in the URL or by `password`")
    })?;
    handshake(wire, mechanism).await?;
    match mechanism {
        Mechanism::Plain => {
            authenticate(wire, 4, format!("\0{user}\0{password}").as_bytes()).await?;
        }
        Mechanism::Scram(hash) => {
            let mut scram = Scram::new(hash, user, password);
            let first = authenticate(wire, 4, scram.first().as_bytes()).await?;
            let answer = scram.answer(&first).map_err(|why| Trouble::unknown("login", why))?;
            let last = authenticate(wire, 5, answer.as_bytes()).await?;
            scram.finish(&last).map_err(Trouble::auth)?;
        }
    }
    Ok(())
}

async fn handshake(wire: &mut Wire, mechanism: Mechanism) -> Result<(), Trouble> {
    let mut body = BytesMut::new();
    put_string(&mut body, mechanism.name());
    let mut answer = ask(wire, SASL_HANDSHAKE, 1, 3, &body).await?;
    let error = answer.try_get_i16().map_err(|_| foreign())?;
    if error == 0 {
        return Ok(());
    }
    let mut offered = Vec::new();
    for _ in 0..answer.try_get_i32().unwrap_or(0).min(32) {
        offered.extend(take_string(&mut answer).flatten());
    }
    Err(match error {
        // UNSUPPORTED_SASL_MECHANISM
        33 => Trouble::auth(format!(
            "the broker does not take {}; it offers {}; write ?sasl=… in the target",
            mechanism.name(),
            offered.join(", ")
        )),
        // ILLEGAL_SASL_STATE
        34 => Trouble::auth("the broker wants no login on this listener; leave the user out"),
        other => Trouble::unknown("login", format!("SaslHandshake: error {other}")),
    })
}

async fn authenticate(wire: &mut Wire, id: i32, bytes: &[u8]) -> Result<Bytes, Trouble> {
    let mut body = BytesMut::new();
    body.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    body.put_slice(bytes);
    let mut answer = ask(wire, SASL_AUTHENTICATE, 0, id, &body).await?;
    let error = answer.try_get_i16().map_err(|_| foreign())?;
    let said = take_string(&mut answer).ok_or_else(foreign)?.unwrap_or_default();
    match error {
        0 => {
            let length = usize::try_from(answer.try_get_i32().map_err(|_| foreign())?).unwrap_or(0);
            if answer.len() < length { Err(foreign()) } else { Ok(answer.split_to(length)) }
        }
        // SASL_AUTHENTICATION_FAILED
        58 => {
            Err(Trouble::auth(if said.is_empty() { "the broker refuses the login".to_owned() } else { said }))
        }
        other => Err(Trouble::unknown("login", format!("SaslAuthenticate: error {other} {said}"))),
    }
}
