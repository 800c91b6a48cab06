//! Logins of MySQL and MariaDB: `mysql_native_password`, `caching_sha2_password`, `mysql_clear_password`.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};

use crate::wire::Trouble;

/// What to do about a continuation of the login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    Send(Vec<u8>),
}

/// The answer to a nonce. `private`: nobody else can read what we send.
pub(super) fn first(plugin: &str, password: &str, nonce: &[u8], private: bool) -> Result<Vec<u8>, Trouble> {
    match plugin {
        "mysql_native_password" => Ok(native(password, nonce)),
        "caching_sha2_password" => Ok(sha2(password, nonce)),
        "mysql_clear_password" | "dialog" if private => Ok(terminated(password)),
        "mysql_clear_password" | "dialog" => {
            Err(Trouble::auth("the server wants the password in clear text; add sslmode=require"))
        }
        other => Err(Trouble::auth(format!(
            "the server wants {other}, a login that is not known here (mysql_native_password and caching_sha2_password are)"
        ))),
    }
}

/// `caching_sha2_password` goes on: 3 = known, 4 = the whole password please; a key follows if it has to be encrypted.
pub(super) fn next(
    plugin: &str,
    data: &[u8],
    password: &str,
    nonce: &[u8],
    private: bool,
) -> Result<Step, Trouble> {
    if plugin != "caching_sha2_password" {
        return Err(Trouble::auth(format!("{plugin} goes on in a way that is not known here")));
    }
    match data {
        [3] => Ok(Step::Wait),
        [4] if private => Ok(Step::Send(terminated(password))),
        // Asks for the server's public key.
        [4] => Ok(Step::Send(vec![2])),
        key => encrypted(key, password, nonce).map(Step::Send),
    }
}

/// SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))
fn native(password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
    let mut all = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    all.update(nonce);
    all.update(twice.as_ref());
    xor(once.as_ref(), all.finish().as_ref())
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)
fn sha2(password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = digest(&SHA256, password.as_bytes());
    let twice = digest(&SHA256, once.as_ref());
    let mut all = Context::new(&SHA256);
    all.update(twice.as_ref());
    all.update(nonce);
    xor(once.as_ref(), all.finish().as_ref())
}

fn encrypted(pem: &[u8], password: &str, nonce: &[u8]) -> Result<Vec<u8>, Trouble> {
    use rustls::pki_types::SubjectPublicKeyInfoDer;
    use rustls::pki_types::pem::PemObject as _;

    let bad = |_| Trouble::auth("the server's public key cannot be used");
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
        .map_err(|_| Trouble::auth("the server sent no public key"))?;
    let key = PublicEncryptingKey::from_der(&key)
        .map_err(|_| Trouble::auth("the server's public key cannot be used"))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(bad)?;
    let mixed: Vec<u8> =
        terminated(password).iter().zip(nonce.iter().cycle()).map(|(byte, salt)| byte ^ salt).collect();
    let mut out = vec![0; key.ciphertext_size()];
    let written = key.encrypt(&OAEP_SHA1_MGF1SHA1, &mixed, &mut out, None).map_err(bad)?.len();
    out.truncate(written);
    Ok(out)
}

fn terminated(password: &str) -> Vec<u8> {
    [password.as_bytes(), &[0]].concat()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hashlib from the formulas above.
    #[test]
    fn known_answers() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let nonce: Vec<u8> = (1..=20).collect();
        assert_eq!(hex(&native("secret", &nonce)), NATIVE);
        assert_eq!(hex(&sha2("secret", &nonce)), SHA2);
        assert!(native("", &nonce).is_empty() && sha2("", &nonce).is_empty());
    }

    const NATIVE: &str = "b32bb3a583e1340c0a1108d58b1be49781ad8c2f";
    const SHA2: &str = "746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9";

    #[test]
    fn clear_text_only_where_nobody_listens() {
        assert!(first("mysql_clear_password", "x", &[], false).is_err());
        assert_eq!(first("mysql_clear_password", "x", &[], true).unwrap(), b"x\0");
        assert_eq!(next("caching_sha2_password", &[4], "x", &[1], false).unwrap(), Step::Send(vec![2]));
        assert_eq!(next("caching_sha2_password", &[3], "x", &[1], false).unwrap(), Step::Wait);
        assert!(first("authentication_ldap", "x", &[], true).is_err());
    }
}
