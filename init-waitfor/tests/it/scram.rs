//! The server's side of SCRAM (RFC 5802), for the fakes of servers that Debian does not have.

use std::num::NonZeroU32;
use std::sync::Mutex;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

const SALT: &[u8] = b"sixteen bytes...";
const ROUNDS: u32 = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sha1,
    Sha256,
    Sha512,
}

/// Knows one user, and one login at a time.
pub(crate) struct ScramServer {
    pub user: &'static str,
    pub password: &'static str,
    pub kind: Kind,
    /// The client's first message without its header, and our answer.
    said: Mutex<Option<(String, String)>>,
}

impl ScramServer {
    pub(crate) fn new(user: &'static str, password: &'static str, kind: Kind) -> Self {
        ScramServer { user, password, kind, said: Mutex::default() }
    }

    /// The answer to a message of the client; an error when it does not know the password.
    pub(crate) fn answer(&self, message: &[u8]) -> Result<String, &'static str> {
        let message = std::str::from_utf8(message).map_err(|_| "no text")?;
        if let Some(bare) = message.strip_prefix("n,,") {
            let (user, nonce) = bare.split_once(",r=").ok_or("no nonce")?;
            if user != format!("n={}", self.user) {
                return Err("no such user");
            }
            let ours = format!("r={nonce}server,s={},i={ROUNDS}", BASE64.encode(SALT));
            *self.said.lock().unwrap() = Some((bare.to_owned(), ours.clone()));
            return Ok(ours);
        }
        let (bare, ours) = self.said.lock().unwrap().take().ok_or("out of turn")?;
        let (proofless, proof) = message.split_once(",p=").ok_or("no proof")?;
        let nonce = ours.split(',').next().ok_or("no nonce")?;
        if proofless != format!("c=biws,{nonce}") {
            return Err("another nonce");
        }
        let signed = format!("{bare},{ours},{proofless}");
        let (hash, rounds) = match self.kind {
            Kind::Sha1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, pbkdf2::PBKDF2_HMAC_SHA1),
            Kind::Sha256 => (&digest::SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
            Kind::Sha512 => (&digest::SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
        };
        let mut salted = vec![0; hash.output_len()];
        let times = NonZeroU32::new(ROUNDS).ok_or("rounds")?;
        pbkdf2::derive(rounds, times, SALT, self.password.as_bytes(), &mut salted);
        let stored = digest::digest(hash, &self.sign(&salted, b"Client Key"));
        let signature = self.sign(stored.as_ref(), signed.as_bytes());
        let proof = BASE64.decode(proof).map_err(|_| "no base64")?;
        let key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if digest::digest(hash, &key).as_ref() != stored.as_ref() {
            return Err("a wrong proof");
        }
        let server_key = self.sign(&salted, b"Server Key");
        Ok(format!("v={}", BASE64.encode(self.sign(&server_key, signed.as_bytes()))))
    }

    fn sign(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Kind::Sha256 => hmac::HMAC_SHA256,
            Kind::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(kind, key), data).as_ref().to_vec()
    }
}
