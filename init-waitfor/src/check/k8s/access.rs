//! Where the API server is, whom to trust, and who we are; read again for every connection, because tokens and certificates rotate.
//!
//! `KUBECONFIG`, then the pod's service account, then `~/.kube/config`.
//! <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use podkit::tls::TlsOptions;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;
use url::Url;

use super::exec::{self, Credential};
use super::kubeconfig::{self, Choice};
use crate::report::Redactor;
use crate::target::HostPort;

/// Where the kubelet mounts the service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// All that a request needs.
pub(super) struct Access {
    pub(super) at: HostPort,
    /// Before every path: API servers behind a gateway have one.
    pub(super) prefix: String,
    /// `None`: plain HTTP.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) authorization: Option<String>,
    pub(super) namespace: String,
}

/// Kept between attempts: what a credential program gave.
pub(super) type Kept = Option<Credential>;

/// # Errors
/// What is missing or cannot be read, in one sentence.
pub(super) async fn access(
    context: Option<&str>,
    kept: &mut Kept,
    redactor: &Redactor,
    until: Instant,
) -> Result<Access, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(list) = variable("KUBECONFIG") {
        let paths: Vec<PathBuf> = std::env::split_paths(&list).collect();
        return from_config(&paths, context, kept, redactor, until).await;
    }
    if context.is_none()
        && let (Some(host), Some(port)) =
            (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"))
    {
        return in_cluster(host, &port, redactor);
    }
    match variable("HOME").map(|home| Path::new(&home).join(".kube/config")).filter(|path| path.exists()) {
        Some(path) => from_config(&[path], context, kept, redactor, until).await,
        None => Err(
            "KUBERNETES_SERVICE_HOST is not set, so this is no pod of a cluster; there set KUBECONFIG, or keep ~/.kube/config"
                .to_owned(),
        ),
    }
}

fn in_cluster(host: String, port: &str, redactor: &Redactor) -> Result<Access, String> {
    let account = std::env::var_os("WAITFOR_SERVICE_ACCOUNT")
        .map_or_else(|| PathBuf::from(SERVICE_ACCOUNT), PathBuf::from);
    let read = |name: &str| {
        let path = account.join(name);
        std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(|error| {
            format!("{}: {error}; does the pod have automountServiceAccountToken: false?", path.display())
        })
    };
    let port = port.parse().map_err(|_| format!("KUBERNETES_SERVICE_PORT is {port:?}, which is no port"))?;
    let token = read("token")?;
    redactor.learn(&token);
    let tls = client(Trust::File(account.join("ca.crt")), None)?;
    Ok(Access {
        tls: Some((tls, server_name(&host)?)),
        at: HostPort { host, port },
        prefix: String::new(),
        authorization: Some(format!("Bearer {token}")),
        namespace: read("namespace")?,
    })
}

async fn from_config(
    paths: &[PathBuf],
    context: Option<&str>,
    kept: &mut Kept,
    redactor: &Redactor,
    until: Instant,
) -> Result<Access, String> {
    let Choice { cluster, context, user } = kubeconfig::load(paths, context)?;
    let url = Url::parse(&cluster.server)
        .map_err(|_| format!("kubeconfig: server {:?} is no URL", cluster.server))?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(format!("kubeconfig: server {:?} names no host", cluster.server));
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    let data = |what: &str, data: &Option<String>, file: &Option<PathBuf>| {
        kubeconfig::pem(what, data.as_ref(), file.as_ref())
    };
    let certificate = data("client-certificate", &user.client_certificate_data, &user.client_certificate)?;
    let key = data("client-key", &user.client_key_data, &user.client_key)?;
    let mut identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(
                "kubeconfig: client-certificate and client-key go together; one is missing".to_owned()
            );
        }
    };
    // A token file counts more than a token, as in client-go: it is the one that is renewed.
    let token = match &user.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|error| format!("tokenFile {}: {error}", path.display()))?.trim().to_owned())
        }
        None => user.token.clone(),
    };
    let mut authorization = token.map(|token| {
        redactor.learn(&token);
        format!("Bearer {token}")
    });
    if let (None, Some(name)) = (&authorization, &user.username) {
        let password = user.password.clone().unwrap_or_default();
        redactor.learn(&password);
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        redactor.learn(&pair);
        authorization = Some(format!("Basic {pair}"));
    }
    if let (None, None, Some(program)) = (&authorization, &identity, &user.exec) {
        if kept.as_ref().is_none_or(Credential::is_over) {
            *kept = Some(exec::run(program, &cluster, until).await?);
        }
        let credential = kept.clone().unwrap_or_default();
        authorization = credential.token.map(|token| {
            redactor.learn(&token);
            format!("Bearer {token}")
        });
        identity = credential.certificate;
    }
    let tls = match url.scheme() {
        "http" => None,
        "https" => {
            let ca = data(
                "certificate-authority",
                &cluster.certificate_authority_data,
                &cluster.certificate_authority,
            )?;
            let trust = match ca {
                _ if cluster.insecure_skip_tls_verify => Trust::Anyone,
                Some(pem) => Trust::Pem(pem),
                None => Trust::System,
            };
            let name = cluster.tls_server_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&host);
            Some((client(trust, identity)?, server_name(name)?))
        }
        other => return Err(format!("kubeconfig: server with {other}://; write https://")),
    };
    Ok(Access {
        at: HostPort { host, port },
        prefix: url.path().trim_end_matches('/').to_owned(),
        tls,
        authorization,
        namespace: context.namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned()),
    })
}

enum Trust {
    System,
    Anyone,
    File(PathBuf),
    Pem(Vec<u8>),
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no host name"))
}

fn client(trust: Trust, identity: Option<(Vec<u8>, Vec<u8>)>) -> Result<Arc<ClientConfig>, String> {
    let files = |options: &TlsOptions| {
        podkit::tls::client_config(options, &["http/1.1"]).map_err(|error| error.to_string())
    };
    let mut config = match trust {
        Trust::System => files(&TlsOptions::default())?,
        Trust::Anyone => files(&TlsOptions { insecure: true, ..TlsOptions::default() })?,
        Trust::File(path) => files(&TlsOptions { ca: Some(path), ..TlsOptions::default() })?,
        Trust::Pem(pem) => {
            podkit::tls::install_provider();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
            if roots.is_empty() {
                return Err("kubeconfig: certificate-authority holds no certificate".to_owned());
            }
            let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(config)
        }
    };
    if let Some((certificate, key)) = identity {
        // The parser's words may quote the key.
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate).flatten().collect();
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| "kubeconfig: client-key holds no key")?;
        let pair = CertifiedKey::from_der(chain, key, config.crypto_provider())
            .map_err(|error| format!("kubeconfig: client-certificate: {error}"))?;
        let own = Arc::make_mut(&mut config);
        own.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
    }
    Ok(config)
}
