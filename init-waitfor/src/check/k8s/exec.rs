//! Credentials from a program: the `ExecCredential` protocol of client-go.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

use std::process::Stdio;

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::kubeconfig::{Cluster, Exec};

/// What the program may print; credentials are a few kilobytes.
const LIMIT: u64 = 1 << 20;
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// What the program gave. Kept until it says that it is over, or the server refuses it.
#[derive(Clone, Default)]
pub(super) struct Credential {
    pub(super) token: Option<String>,
    /// Certificate and key, PEM.
    pub(super) certificate: Option<(Vec<u8>, Vec<u8>)>,
    until: Option<Timestamp>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(***)")
    }
}

impl Credential {
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Timestamp::now())
    }
}

/// Runs the program, with its process group ended at `until`.
pub(super) async fn run(exec: &Exec, cluster: &Cluster, until: Instant) -> Result<Credential, String> {
    let command = &exec.command;
    if !VERSIONS.contains(&exec.api_version.as_str()) {
        return Err(format!(
            "kubeconfig: exec apiVersion {:?} is not known; {} is",
            exec.api_version, VERSIONS[0]
        ));
    }
    if exec.interactive_mode.as_deref() == Some("Always") {
        return Err(format!("kubeconfig: {command} wants a person at a terminal (interactiveMode: Always)"));
    }
    let mut process = tokio::process::Command::new(command);
    process.args(&exec.args).envs(exec.env.iter().map(|variable| (&variable.name, &variable.value)));
    process.env("KUBERNETES_EXEC_INFO", info(exec, cluster)?.to_string());
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = process.process_group(0).kill_on_drop(true).spawn().map_err(|error| {
        let hint = exec.install_hint.as_deref().unwrap_or("it has to be in this image");
        format!("kubeconfig: {command} cannot be run: {error}; {hint}")
    })?;
    let group = Group(child.id());
    let work = async {
        let mut text = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LIMIT).read_to_end(&mut text).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, text))
    };
    let done = tokio::time::timeout_at(until, work).await;
    drop(group);
    let (status, text) = done
        .map_err(|_| format!("kubeconfig: {command} gave no credentials in time"))?
        .map_err(|error| format!("kubeconfig: {command}: {error}"))?;
    if !status.success() {
        return Err(format!("kubeconfig: {command} failed: {status}"));
    }
    read(&text).ok_or_else(|| format!("kubeconfig: {command} gave no ExecCredential with a status"))
}

fn info(exec: &Exec, cluster: &Cluster) -> Result<Value, String> {
    let mut spec = json!({ "interactive": false });
    if exec.provide_cluster_info {
        let ca = super::kubeconfig::pem(
            "certificate-authority",
            cluster.certificate_authority_data.as_ref(),
            cluster.certificate_authority.as_ref(),
        )?;
        let ca = ca.map(|pem| base64::engine::general_purpose::STANDARD.encode(pem));
        spec["cluster"] = json!({
            "server": cluster.server,
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
            "certificate-authority-data": ca,
        });
    }
    Ok(json!({ "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec }))
}

fn read(text: &[u8]) -> Option<Credential> {
    let answer: Value = serde_json::from_slice(text).ok()?;
    let status = answer.get("status")?;
    let field = |name: &str| status[name].as_str().map(str::to_owned);
    let certificate = field("clientCertificateData").zip(field("clientKeyData"));
    let credential = Credential {
        token: field("token"),
        certificate: certificate.map(|(certificate, key)| (certificate.into_bytes(), key.into_bytes())),
        until: field("expirationTimestamp").and_then(|text| text.parse().ok()),
    };
    (credential.token.is_some() || credential.certificate.is_some()).then_some(credential)
}

/// Ends the program with all that it started.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let both = br#"{"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2020-01-01T00:00:00Z"}}"#;
        let credential = read(both).unwrap();
        assert!(credential.token.as_deref() == Some("t") && credential.is_over());
        assert!(read(br#"{"status":{}}"#).is_none() && read(b"").is_none());
        assert!(!read(br#"{"status":{"clientCertificateData":"c","clientKeyData":"k"}}"#).unwrap().is_over());
    }
}
