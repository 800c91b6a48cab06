//! What can go wrong between us and a server.

use std::io;

use podkit::dial::DialError;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::check::{NotYet, Verdict};

/// An attempt that did not come to its end. Carries what a [`NotYet`] needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Trouble {
    pub class: &'static str,
    pub reason: String,
    /// The server (or the DNS, or the kernel of its host) has said no.
    pub definite: bool,
    pub code: Option<u8>,
    /// The server's own code: an SQLSTATE, an error number.
    pub state: Option<String>,
}

impl Trouble {
    pub fn no(class: &'static str, reason: impl Into<String>) -> Self {
        Trouble { class, reason: reason.into(), definite: true, code: None, state: None }
    }

    pub fn unknown(class: &'static str, reason: impl Into<String>) -> Self {
        Trouble { class, reason: reason.into(), definite: false, code: None, state: None }
    }

    /// Exit code 84 if it stays like this.
    pub fn auth(reason: impl Into<String>) -> Self {
        Trouble { code: Some(crate::code::AUTH), ..Self::unknown("auth", reason) }
    }

    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }

    pub fn ended() -> Self {
        Self::unknown("reply", "the server hung up")
    }

    pub fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::ended()
            }
            _ => Self::unknown("reply", error.to_string()),
        }
    }

    /// A failed TLS handshake: a bad certificate is an answer, the rest is none.
    pub fn tls(error: &io::Error) -> Self {
        match rustls_error(error) {
            Some(rustls::Error::InvalidCertificate(why)) => {
                Self::no("certificate", format!("certificate: {}", certificate(why)))
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                Self::unknown("handshake", "the server does not speak TLS")
            }
            _ if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::unknown("handshake", "the server hung up during the TLS handshake")
            }
            _ => Self::unknown("handshake", error.to_string()),
        }
    }
}

/// What TLS has said, however deep the libraries in between have wrapped it.
pub(crate) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| rustls_error(inner.downcast_ref()?))
}

/// What is wrong with a certificate, with dates that people read, and what may help.
pub(crate) fn certificate(why: &CertificateError) -> String {
    let day = |time: &UnixTime| {
        let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(second).map_or_else(|_| "?".to_owned(), |at| at.to_string())
    };
    match why {
        CertificateError::ExpiredContext { not_after, .. } => format!("expired {}", day(not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("not valid before {}", day(not_before))
        }
        CertificateError::UnknownIssuer => {
            "signed by an authority that is not trusted here; --tls-ca (or tls.ca) names the one to trust"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
            format!("not valid for {}, only for {names}", expected.to_str())
        }
        other => other.to_string(),
    }
}

impl From<DialError> for Trouble {
    fn from(error: DialError) -> Self {
        let class = if matches!(error, DialError::Dns(_)) { "dns" } else { "connect" };
        Trouble { class, reason: error.to_string(), definite: error.is_definite(), code: None, state: None }
    }
}

impl From<Trouble> for Verdict {
    fn from(trouble: Trouble) -> Self {
        let Trouble { class, reason, definite, code, state: _ } = trouble;
        Verdict::NotYet(NotYet { class, reason, definite, code, again: None })
    }
}
