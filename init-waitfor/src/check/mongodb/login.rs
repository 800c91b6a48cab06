//! The login by SCRAM-SHA-256 or, for users of before MongoDB 4 and for DocumentDB, SCRAM-SHA-1: `saslStart`, `saslContinue`.
//! <https://github.com/mongodb/specifications/blob/master/source/auth/auth.md>

use std::borrow::Cow;
use std::collections::BTreeMap;

use md5::{Digest as _, Md5};

use super::bson::{Document, Field};
use super::{ask, complaint};
use crate::target::{Login, Wrong};
use crate::wire::scram::{Hash, Scram};
use crate::wire::{Trouble, Wire};

/// AuthenticationFailed, and MechanismUnavailable for users that were made before MongoDB 4.
const REFUSED: [f64; 2] = [18.0, 334.0];

/// What may be tried, in order.
pub(super) fn mechanisms(login: &Login) -> Result<&'static [Hash], Wrong> {
    match login.query.get("authMechanism") {
        None | Some("DEFAULT") => Ok(&[Hash::Sha256, Hash::Sha1]),
        Some("SCRAM-SHA-256") => Ok(&[Hash::Sha256]),
        Some("SCRAM-SHA-1") => Ok(&[Hash::Sha1]),
        Some(other) => Err(Wrong::new(
            format!("authMechanism={other} is not spoken"),
            "only SCRAM-SHA-256 and SCRAM-SHA-1 are",
        )),
    }
}

pub(super) async fn log_in(
    wire: &mut Wire,
    login: &Login,
    user: &str,
    password: Option<&str>,
) -> Result<(), Trouble> {
    let password = password.ok_or_else(|| {
        Trouble::auth("there is a user and no password; give one in the URL or by `password`")
    })?;
    let database = login
        .query
        .get("authSource")
        .or(login.path.as_deref())
        .filter(|name| !name.is_empty())
        .unwrap_or("admin");
    let allowed = mechanisms(login).unwrap_or(&[Hash::Sha256]);
    let mut began = Err(Trouble::unknown("login", "no way to log in"));
    for hash in allowed {
        let scram = Scram::new(*hash, user, &prepared(*hash, user, password));
        let start = Document::default()
            .int("saslStart", 1)
            .text("mechanism", hash.mechanism())
            .binary("payload", scram.first().as_bytes())
            .document("options", Document::default().truth("skipEmptyExchange", true))
            .text("$db", database);
        // No word about the password yet: refused is the user, or the mechanism.
        began = said(ask(wire, start).await?).map(|first| (scram, first));
        if began.is_ok() {
            break;
        }
    }
    let (mut scram, first) = began?;
    let answer = scram.answer(payload(&first)).map_err(|why| Trouble::unknown("login", why))?;
    let last = said(ask(wire, go_on(&first, answer.as_bytes(), database)).await?)?;
    scram.finish(payload(&last)).map_err(Trouble::auth)?;
    // A server that does not know skipEmptyExchange (before 4.4) wants one more, empty round.
    if last.get("done") != Some(&Field::Bool(true)) {
        said(ask(wire, go_on(&first, b"", database)).await?)?;
    }
    Ok(())
}

/// SASLprep (RFC 4013), which the specification asks for; what it forbids is sent as it is, and refused there. For SHA-1 what MongoDB
/// had before SCRAM instead.
fn prepared<'a>(hash: Hash, user: &str, password: &'a str) -> Cow<'a, str> {
    if hash == Hash::Sha1 {
        let digest = Md5::digest(format!("{user}:mongo:{password}"));
        return digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    }
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

fn go_on(first: &BTreeMap<String, Field>, payload: &[u8], database: &str) -> Document {
    let conversation = match first.get("conversationId") {
        #[expect(clippy::cast_possible_truncation, reason = "it came as an int32")]
        Some(Field::Number(id)) => *id as i32,
        _ => 1,
    };
    Document::default()
        .int("saslContinue", 1)
        .int("conversationId", conversation)
        .binary("payload", payload)
        .text("$db", database)
}

fn payload(answer: &BTreeMap<String, Field>) -> &[u8] {
    match answer.get("payload") {
        Some(Field::Binary(bytes)) => bytes,
        _ => b"",
    }
}

/// The answer, when it is not a refusal.
fn said(answer: BTreeMap<String, Field>) -> Result<BTreeMap<String, Field>, Trouble> {
    match (complaint(&answer), answer.get("code")) {
        (None, _) => Ok(answer),
        (Some(why), Some(Field::Number(code))) if REFUSED.contains(code) => Err(Trouble::auth(why)),
        (Some(why), _) => Err(Trouble::unknown("server", why)),
    }
}
