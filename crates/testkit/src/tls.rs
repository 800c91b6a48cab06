//! Certificates of a made-up authority, and a TLS end in front of any fake.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{ToSpan as _, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::PodDir;
use crate::listener::{Listener, reset};

/// A certificate authority that exists for one test.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for TestCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCa").finish_non_exhaustive()
    }
}

impl TestCa {
    #[must_use]
    pub fn new() -> Self {
        // With names of their own: a client that does not know one must not take it for another.
        static CAS: AtomicU64 = AtomicU64::new(1);
        let mut params = params(&format!("Test CA {}", CAS.fetch_add(1, Ordering::Relaxed)), &[], 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("generate a key");
        let pem = params.self_signed(&key).expect("sign itself").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The certificate to trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate for DNS names and IP addresses, valid for 30 days.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Identity {
        self.server_for(names, 30)
    }

    /// A server's certificate that ends in so many days; below 0 it has expired.
    #[must_use]
    pub fn server_for(&self, names: &[&str], days: i64) -> Identity {
        self.issue(
            params(names.first().unwrap_or(&"server"), names, days),
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A client's certificate with this common name and DNS name.
    #[must_use]
    pub fn client(&self, name: &str) -> Identity {
        self.issue(params(name, &[name], 30), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("generate a key");
        let cert = params.signed_by(&key, &self.issuer).expect("sign").pem();
        Identity { cert, key: key.serialize_pem() }
    }
}

fn params(name: &str, names: &[&str], days: i64) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("DNS names and IP addresses");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let day = |days: i64| {
        let date = Zoned::now().checked_add(days.days()).expect("a date").date();
        let part = |number: i8| u8::try_from(number).expect("a month and a day");
        rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    params.not_before = day(days.min(0) - 2);
    params.not_after = day(days);
    params
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    pub cert: String,
    pub key: String,
}

impl Identity {
    /// Writes both as a Secret of type `kubernetes.io/tls` has them: `tls.crt` and `tls.key` in a folder.
    #[track_caller]
    pub fn write(&self, dir: &PodDir, folder: &str) -> (PathBuf, PathBuf) {
        let write = |name: &str, pem: &str| dir.write(PathBuf::from(folder).join(name), pem);
        (write("tls.crt", &self.cert), write("tls.key", &self.key))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Ends TLS in front of a plain fake: `TlsShim::to(fake.addr(), &ca.server(&["localhost", "127.0.0.1"]))`.
#[derive(Debug)]
pub struct TlsShim {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    config: Mutex<Arc<ServerConfig>>,
    handshakes: AtomicU64,
    failures: AtomicU64,
}

impl TlsShim {
    /// # Panics
    ///
    /// When the certificate does not fit its key.
    #[must_use]
    #[track_caller]
    pub fn to(upstream: SocketAddr, identity: &Identity) -> Self {
        Self::with(upstream, config(identity, None, &[]))
    }

    /// As [`TlsShim::to`], and asks clients for a certificate of `clients`.
    #[must_use]
    #[track_caller]
    pub fn mutual(upstream: SocketAddr, identity: &Identity, clients: &TestCa) -> Self {
        Self::with(upstream, config(identity, Some(clients), &[]))
    }

    /// As [`TlsShim::to`], and speaks these protocols: `["h2"]` in front of a [`crate::fake::FakeH2`].
    #[must_use]
    #[track_caller]
    pub fn alpn(upstream: SocketAddr, identity: &Identity, protocols: &[&str]) -> Self {
        Self::with(upstream, config(identity, None, protocols))
    }

    fn with(upstream: SocketAddr, config: Arc<ServerConfig>) -> Self {
        let shared = Arc::new(Shared {
            upstream,
            config: Mutex::new(config),
            handshakes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        Self { listener: Listener::start(move |stream| serving.serve(&stream)), shared }
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Shows another certificate to further connections, as a server that has renewed its own does.
    #[track_caller]
    pub fn renew(&self, identity: &Identity) {
        *self.shared.config() = config(identity, None, &[]);
    }

    /// How many handshakes succeeded.
    #[must_use]
    pub fn handshakes(&self) -> u64 {
        self.shared.handshakes.load(Ordering::Relaxed)
    }

    /// How many handshakes failed, for example because the client did not trust the certificate.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// Stops listening and resets all connections: connecting is refused.
    pub fn down(&self) {
        self.listener.down();
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        self.listener.up();
    }
}

impl Shared {
    fn config(&self) -> MutexGuard<'_, Arc<ServerConfig>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, client: &TcpStream) {
        let config = Arc::clone(&self.config());
        let done = crate::listener::block_on(client, |client| async move {
            let Ok(mut client) = TlsAcceptor::from(config).accept(client).await else {
                self.failures.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            };
            self.handshakes.fetch_add(1, Ordering::Relaxed);
            let mut server = tokio::net::TcpStream::connect(self.upstream).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
        });
        if done.is_err() {
            reset(client);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

#[track_caller]
fn config(identity: &Identity, clients: Option<&TestCa>, protocols: &[&str]) -> Arc<ServerConfig> {
    // The provider is given, not installed: what a test's own code installs is its business.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certs = |pem: &str| {
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(|cert| cert.expect("a certificate")).collect()
    };
    let chain: Vec<_> = certs(&identity.cert);
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("TLS versions of the provider");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            let cas: Vec<_> = certs(ca.pem());
            cas.into_iter().for_each(|cert| roots.add(cert).expect("a root"));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let mut config = builder.with_single_cert(chain, key).expect("a certificate with its key");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}
