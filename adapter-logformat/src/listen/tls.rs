//! TLS below a byte stream, as RFC 5425 has it for syslog: handshakes that end, and certificates that are renewed while connections are served.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use podkit::limit::Every;
use podkit::reload::Changes;
use podkit::tls::{ServerTls, TlsError};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{error, info, warn};

use super::{Listener, Shared};
use crate::meter::TlsFailure;

/// A handshake has a place among the connections; so long it may keep it.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What is in the files, and a watch on them.
#[derive(Debug)]
pub(super) struct Credentials {
    files: ServerTls,
    config: Arc<ServerConfig>,
    changes: Changes,
}

impl Credentials {
    pub(super) fn read(files: &ServerTls) -> Result<Self, TlsError> {
        // Watched before they are read: what changes in between is heard of.
        let changes = Changes::new(files.files());
        Ok(Self { files: files.clone(), config: files.config()?, changes })
    }
}

/// What the connections of a listener share.
pub(super) struct Secure {
    listener: Arc<Listener>,
    config: RefCell<Arc<ServerConfig>>,
    shared: Shared,
    every: Every,
}

impl Secure {
    pub(super) fn start(credentials: Credentials, listener: &Arc<Listener>, shared: &Shared) -> Rc<Self> {
        let Credentials { files, config, changes } = credentials;
        let secure = Rc::new(Self {
            listener: listener.clone(),
            config: RefCell::new(config),
            shared: shared.clone(),
            every: Every::new(Duration::from_secs(10)),
        });
        tokio::task::spawn_local(renew(Rc::downgrade(&secure), files, changes, shared.shutdown.clone()));
        secure
    }

    /// `None` when it failed; that is said and counted.
    pub(super) async fn handshake(self: Rc<Self>, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.config.borrow().clone());
        let peer = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string());
        let (reason, error) = match self.shared.patient(Some(HANDSHAKE), acceptor.accept(stream)).await {
            Some(Ok(stream)) => return Some(stream),
            Some(Err(error)) => (TlsFailure::Handshake, error.to_string()),
            None if self.shared.shutdown.is_started() => return None,
            None => (TlsFailure::Timeout, "not done within 10 s".to_owned()),
        };
        self.shared.meter.tls_failed(reason);
        if let Some(suppressed) = self.every.allow() {
            let listener = &self.listener.text;
            warn!(
                listener,
                peer, error, suppressed, "a TLS handshake failed; nothing was read from that connection"
            );
        }
        None
    }
}

/// Takes over what changed; connections that are open keep what they have. What cannot be used leaves the old one in force.
async fn renew(
    secure: std::rc::Weak<Secure>,
    files: ServerTls,
    mut changes: Changes,
    shutdown: podkit::shutdown::Shutdown,
) {
    loop {
        tokio::select! {
            () = shutdown.started() => return,
            () = changes.changed() => {}
        }
        let Some(secure) = secure.upgrade() else { return };
        let listener = &secure.listener.text;
        match files.config() {
            Ok(config) => {
                *secure.config.borrow_mut() = config;
                info!(listener, "the certificate was renewed: further connections get the new one");
            }
            Err(problem) => {
                secure.shared.meter.tls_failed(TlsFailure::Certificate);
                error!(listener, %problem, "the changed certificate cannot be used; the old one stays in force");
            }
        }
    }
}
