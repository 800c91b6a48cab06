//! SCRAM as a client: RFC 5802 and RFC 7677, for the protocols that carry the user's name in it. PostgreSQL's leaves the name out
//! and comes with `postgres-protocol`.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Rounds that a server may ask for. OWASP's advice is 600,000; a million take half a second, and more is an attack on us.
const MOST_ROUNDS: u32 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Of MongoDB's older users. Weak as a digest, not broken as an HMAC.
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    /// As SASL calls the mechanism.
    pub fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha1 => "SCRAM-SHA-1",
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn rounds(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// One login.
pub struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    /// `client-first-message-bare`
    bare: String,
    /// What the server must say at the end; only who knows the password can.
    expected: Option<Vec<u8>>,
}

impl std::fmt::Debug for Scram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scram").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Scram {
    /// `password` as the protocol wants it: with or without SASLprep.
    pub fn new(hash: Hash, user: &str, password: &str) -> Self {
        let mut bytes = [0; 18];
        // It fails only where there is no randomness at all, and zeros only weaken our side of the proof.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self::with_nonce(hash, user, password, BASE64.encode(bytes))
    }

    fn with_nonce(hash: Hash, user: &str, password: &str, nonce: String) -> Self {
        let bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        Scram { hash, password: password.to_owned(), nonce, bare, expected: None }
    }

    /// The client's first message. No channel binding: the certificate has been checked before.
    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The answer to the server's first message.
    ///
    /// # Errors
    /// A message that is none, somebody else's nonce, or an unreasonable number of rounds.
    pub fn answer(&mut self, server: &[u8]) -> Result<String, &'static str> {
        let server = std::str::from_utf8(server).map_err(|_| "its SCRAM message is no text")?;
        let field = |key: &str| server.split(',').find_map(|part| part.strip_prefix(key));
        let (Some(nonce), Some(salt), Some(rounds)) = (field("r="), field("s="), field("i=")) else {
            return Err("its SCRAM message lacks a nonce, a salt or the number of rounds");
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its SCRAM nonce does not continue ours");
        }
        let salt = BASE64.decode(salt).map_err(|_| "its SCRAM salt is not base64")?;
        let rounds = rounds.parse::<NonZeroU32>().ok().filter(|rounds| rounds.get() <= MOST_ROUNDS);
        let rounds = rounds.ok_or("it asks for more than 1,000,000 SCRAM rounds (or for none)")?;

        let proofless = format!("c=biws,r={nonce}");
        let signed = format!("{},{server},{proofless}", self.bare);
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.rounds(), rounds, &salt, self.password.as_bytes(), &mut salted);
        let client_key = self.sign(&salted, b"Client Key");
        let stored = digest::digest(self.hash.digest(), &client_key);
        let signature = self.sign(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.sign(&salted, b"Server Key");
        self.expected = Some(self.sign(&server_key, signed.as_bytes()));
        Ok(format!("{proofless},p={}", BASE64.encode(proof)))
    }

    /// Whether the server's last message proves that it knows the password, too.
    ///
    /// # Errors
    /// It does not, or says why it refuses.
    pub fn finish(&self, server: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(server);
        if let Some(why) = text.strip_prefix("e=") {
            return Err(why.to_owned());
        }
        let said = text.split(',').find_map(|part| part.strip_prefix("v="));
        let said = said.and_then(|said| BASE64.decode(said).ok());
        if said.is_some() && said == self.expected {
            return Ok(());
        }
        Err("the server does not know the password either: it is not the one we wanted".to_owned())
    }

    fn sign(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hash.hmac(), key), data).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_specification() {
        let mut scram = Scram::with_nonce(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(
            scram.answer(server).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(scram.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(scram.finish(b"v=AAAA").unwrap_err().contains("not the one"));
        assert_eq!(scram.finish(b"e=invalid-proof").unwrap_err(), "invalid-proof");
    }

    /// RFC 5802, section 5.
    #[test]
    fn the_exchange_with_sha_1() {
        let mut scram =
            Scram::with_nonce(Hash::Sha1, "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL".to_owned());
        let server = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        assert_eq!(
            scram.answer(server).unwrap(),
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert_eq!(scram.finish(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), Ok(()));
    }

    #[test]
    fn names_are_escaped_and_bad_servers_refused() {
        let mut scram = Scram::with_nonce(Hash::Sha512, "a=b,c", "pw", "abc".to_owned());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=abc");
        for bad in [
            &b""[..],
            b"\xff",
            b"r=abcd,s=AAAA",
            b"r=abc,s=AAAA,i=4096",
            b"r=xyzabc,s=AAAA,i=4096",
            b"r=abcd,s=?,i=4096",
            b"r=abcd,s=AAAA,i=0",
            b"r=abcd,s=AAAA,i=4000000000",
        ] {
            assert!(scram.answer(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(
            scram.finish(b"").is_err(),
            "nothing is expected before the first answer, and nothing is no proof"
        );
        assert!(scram.answer(b"r=abcd,s=AAAA,i=1").is_ok());
    }
}
