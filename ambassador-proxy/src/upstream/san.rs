//! Names in a certificate, and a verifier that insists on one of them (SAN pinning).
//!
//! With pins, the chain is checked as always, and then one of the pins has to be among the subject alternative names: also for
//! certificates of workloads, which carry a URI (`spiffe://…`) and no DNS name.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Checks the chain, then the pins.
#[derive(Debug)]
pub struct Pinned {
    inner: Arc<WebPkiServerVerifier>,
    pins: Vec<String>,
}

impl Pinned {
    /// Trusts these roots, and of what they signed only these names.
    ///
    /// # Errors
    /// When there is no root.
    pub fn new(roots: RootCertStore, pins: Vec<String>) -> Result<Arc<Self>, String> {
        podkit::tls::install_provider();
        let inner =
            WebPkiServerVerifier::builder(Arc::new(roots)).build().map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { inner, pins }))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is checked last: with these errors, the chain was good.
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        let names = names(end_entity).unwrap_or_default();
        if self.pins.iter().any(|pin| names.iter().any(|name| name.is(pin))) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Dns(String),
    Uri(String),
    Ip(IpAddr),
}

impl Name {
    /// Exactly, but for the case of DNS names: a pin is no pattern, and a wildcard in a certificate is only itself.
    fn is(&self, pin: &str) -> bool {
        match self {
            Self::Dns(name) => name.eq_ignore_ascii_case(pin),
            Self::Uri(uri) => uri == pin,
            Self::Ip(ip) => pin.parse() == Ok(*ip),
        }
    }
}

/// One DER element: tag, content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, first, rest) = (*bytes.first()?, *bytes.get(1)?, bytes.get(2..)?);
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The subject alternative names (RFC 5280, 4.1 and 4.2.1.6).
fn names(certificate: &[u8]) -> Option<Vec<Name>> {
    const EXTENSIONS: u8 = 0xa3;
    const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let mut extensions = loop {
        let (tag, content, rest) = element(fields)?;
        if tag == EXTENSIONS {
            break element(content)?.1;
        }
        fields = rest;
    };
    while let Some((_, extension, rest)) = element(extensions) {
        extensions = rest;
        let (_, oid, mut value) = element(extension)?;
        if oid != SUBJECT_ALT_NAME {
            continue;
        }
        if value.first() == Some(&1) {
            value = element(value)?.2; // BOOLEAN critical
        }
        let (_, mut list, _) = element(element(value)?.1)?;
        let mut found = Vec::new();
        while let Some((tag, content, rest)) = element(list) {
            list = rest;
            let text = || String::from_utf8(content.to_vec()).ok();
            match (tag, content.len()) {
                (0x82, _) => found.extend(text().map(Name::Dns)),
                (0x86, _) => found.extend(text().map(Name::Uri)),
                (0x87, 4) => found.extend(<[u8; 4]>::try_from(content).map(|ip| Name::Ip(ip.into()))),
                (0x87, 16) => found.extend(<[u8; 16]>::try_from(content).map(|ip| Name::Ip(ip.into()))),
                _ => {}
            }
        }
        return Some(found);
    }
    None
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn names_are_read() {
        let identity = testkit::TestCa::new().server(&["db.example.com", "127.0.0.1"]);
        let certificate = CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap();
        let found = names(&certificate).unwrap();
        assert!(found.iter().any(|name| name.is("DB.example.com")), "{found:?}");
        assert!(!found.iter().any(|name| name.is("example.com") || name.is("*.example.com")), "{found:?}");
        for end in 0..certificate.len().min(400) {
            let _ = names(&certificate[..end]);
        }
    }
}
