//! TLS as a server: who we are and whom we let in, from files that may be renewed while we run.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::{TlsError, certificates, install_provider, private_key, roots};

/// PEM files, such as those of a Secret of type `kubernetes.io/tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Our certificate with its chain.
    pub cert: PathBuf,
    /// The private key of `cert`.
    pub key: PathBuf,
    /// With it clients have to show a certificate of one of these authorities.
    pub client_ca: Option<PathBuf>,
}

impl ServerTls {
    /// All files, for a watch on them.
    pub fn files(&self) -> Vec<PathBuf> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca).cloned().collect()
    }

    /// A server configuration; reads the files now.
    ///
    /// It sends no session tickets. A client that only sends never reads them, and closing a socket with unread bytes makes its kernel reset the
    /// connection, with what was still on its way to us.
    ///
    /// # Errors
    /// Unreadable or unusable files, by name; a key that is not the certificate's.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        install_provider();
        let builder = ServerConfig::builder();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots(Some(ca))?)).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::File {
                    what: "CA file",
                    path: ca.clone(),
                    cause: error.to_string(),
                })?)
            }
        };
        let chain = certificates("certificate", &self.cert)?;
        let mut config =
            builder.with_single_cert(chain, private_key(&self.key)?).map_err(TlsError::Server)?;
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_named() {
        let tls = ServerTls { cert: "/nonexistent/tls.crt".into(), ..ServerTls::default() };
        let text = tls.config().unwrap_err().to_string();
        assert!(text.contains("certificate /nonexistent/tls.crt"), "{text}");
        let tls = ServerTls { client_ca: Some("/nonexistent/ca.crt".into()), ..ServerTls::default() };
        assert_eq!(tls.files().len(), 3);
        let text = tls.config().unwrap_err().to_string();
        assert!(text.contains("CA file /nonexistent/ca.crt"), "{text}");
    }
}
