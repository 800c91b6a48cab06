//! TLS: one provider (aws-lc-rs) in the whole process, roots loaded only where a connection needs them.

mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use server::ServerTls;

/// Whom to trust and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// PEM file with the only authorities to trust; the system's roots when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate and its chain, for mutual TLS. Needs `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of `cert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Accept any certificate. Anyone on the way can then read and change what is sent.
    pub insecure: bool,
}

impl TlsOptions {
    /// Changes when one of the files does: by inode, size and time of change, so that it may be asked before every use.
    pub fn stamp(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        use std::os::unix::fs::MetadataExt;
        let mut hasher = DefaultHasher::new();
        for file in [&self.ca, &self.cert, &self.key].into_iter().flatten() {
            let found = std::fs::metadata(file).ok();
            found.map(|at| (at.ino(), at.size(), at.mtime(), at.mtime_nsec())).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Files that cannot serve as certificates or keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} {path}: {cause}; give a readable PEM file")]
    File { what: &'static str, path: PathBuf, cause: String },
    #[error("cert and key go together: {0} is missing; give both or none")]
    Half(&'static str),
    #[error("the client certificate does not work: {0}; give a certificate and the key that belongs to it")]
    Client(rustls::Error),
    #[error("the certificate does not work: {0}; give a certificate and the key that belongs to it")]
    Server(rustls::Error),
}

/// Makes aws-lc-rs the process's TLS provider. May be called any number of times; the first call counts.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // The error says that another thread was faster with the same provider.
        let _ = aws_lc_rs::default_provider().install_default();
    }
}

/// A client configuration; reads the files now. `alpn` in order of preference (`h2`, `http/1.1`), may be empty.
///
/// # Errors
/// Unreadable or unusable files, by name.
pub fn client_config(options: &TlsOptions, alpn: &[&str]) -> Result<Arc<ClientConfig>, TlsError> {
    install_provider();
    let builder = ClientConfig::builder();
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone::new()))
    } else {
        builder.with_root_certificates(roots(options.ca.as_deref())?)
    };
    let mut config = match (&options.cert, &options.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates("client certificate", cert)?, private_key(key)?)
            .map_err(TlsError::Client)?,
        (None, Some(_)) => return Err(TlsError::Half("cert")),
        (Some(_), None) => return Err(TlsError::Half("key")),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// A configuration that trusts nobody, for clients that speak plain text but are built with TLS. Costs no memory.
pub fn no_roots() -> ClientConfig {
    install_provider();
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

/// The authorities in `ca`, or the system's (`SSL_CERT_FILE`, `SSL_CERT_DIR`, the usual places), or, where a scratch image
/// has none, Mozilla's as built in.
///
/// # Errors
/// A CA file that cannot be read or holds no certificate.
pub fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca {
        let (added, _) = store.add_parsable_certificates(certificates("CA file", path)?);
        if added == 0 {
            let cause = "holds no certificate that can be used".to_owned();
            return Err(TlsError::File { what: "CA file", path: path.to_owned(), cause });
        }
        return Ok(store);
    }
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(store)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let problem = |cause: String| TlsError::File { what, path: path.to_owned(), cause };
    let bytes = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match list {
        Ok(list) if list.is_empty() => Err(problem("holds no certificate".to_owned())),
        Ok(list) => Ok(list),
        Err(error) => Err(problem(error.to_string())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let problem = |cause: String| TlsError::File { what: "private key", path: path.to_owned(), cause };
    let bytes = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    // The error of the parser may quote its input; a key must not end up in a log.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| problem("holds no private key".to_owned()))
}

/// Accepts every certificate, but still checks that the peer holds the key it shows.
#[derive(Debug)]
struct TrustAnyone(rustls::crypto::WebPkiSupportedAlgorithms);

impl TrustAnyone {
    fn new() -> Self {
        TrustAnyone(aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_named() {
        let missing = TlsOptions { ca: Some("/nonexistent/ca.pem".into()), ..TlsOptions::default() };
        let text = client_config(&missing, &[]).unwrap_err().to_string();
        assert!(text.contains("CA file /nonexistent/ca.pem"), "{text}");
        let half = TlsOptions { cert: Some("c.pem".into()), ..TlsOptions::default() };
        assert!(client_config(&half, &[]).unwrap_err().to_string().contains("key is missing"));
        let not_pem = TlsOptions { ca: Some("/proc/self/cmdline".into()), ..TlsOptions::default() };
        assert!(client_config(&not_pem, &[]).unwrap_err().to_string().contains("holds no certificate"));
    }

    #[test]
    fn insecure_and_system_roots_build() {
        let config = client_config(&TlsOptions { insecure: true, ..TlsOptions::default() }, &["h2"]).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
        client_config(&TlsOptions::default(), &[]).unwrap();
    }
}
