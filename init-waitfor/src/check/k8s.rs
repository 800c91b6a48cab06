//! `k8s:KIND/NAME[?namespace=NS&for=…&missing=wait|ok|fail&min=N]`: one GET on exactly the named object.
//!
//! In a cluster only: address from the environment, token and CA from the service account's directory, read at each use, because
//! tokens rotate. <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>

mod judge;

use std::path::PathBuf;
use std::time::Duration;

use podkit::http::{ClientOptions, client, describe};
use podkit::tls::TlsOptions;

use super::{Attempt, Verdict};
use crate::target::{Parts, Query, Wrong};
use judge::{For, judge};

/// A Job (or what was asked for by `missing=fail`) has failed.
pub(super) const JOB_FAILED: u8 = 85;
/// Where the kubelet mounts the service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An object larger than this is larger than etcd takes.
const MOST: usize = 8 << 20;

#[derive(Debug)]
pub struct K8s {
    resource: Resource,
    name: String,
    namespace: Option<String>,
    wanted: For,
    missing: Missing,
}

/// What the API calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    kind: Kind,
    group: String,
    version: String,
    plural: String,
    cluster: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Job,
    Deployment,
    StatefulSet,
    DaemonSet,
    Service,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Wait,
    Ok,
    Fail,
}

/// (names, kind, group, plural)
const KINDS: [(&[&str], Kind, &str, &str); 9] = [
    (&["pod", "pods", "po"], Kind::Pod, "", "pods"),
    (&["job", "jobs"], Kind::Job, "batch", "jobs"),
    (&["deployment", "deployments", "deploy"], Kind::Deployment, "apps", "deployments"),
    (&["statefulset", "statefulsets", "sts"], Kind::StatefulSet, "apps", "statefulsets"),
    (&["daemonset", "daemonsets", "ds"], Kind::DaemonSet, "apps", "daemonsets"),
    (&["service", "services", "svc"], Kind::Service, "discovery.k8s.io", "endpointslices"),
    (&["configmap", "configmaps", "cm"], Kind::Other, "", "configmaps"),
    (&["persistentvolumeclaim", "persistentvolumeclaims", "pvc"], Kind::Other, "", "persistentvolumeclaims"),
    (&["serviceaccount", "serviceaccounts", "sa"], Kind::Other, "", "serviceaccounts"),
];

impl K8s {
    pub(super) fn parse(parts: &Parts<'_>) -> Result<Self, Wrong> {
        let (object, query) = parts.query();
        let query = Query::parse(query, &["namespace", "for", "missing", "min", "scope"])?;
        let example = "write for example k8s:job/migrate, k8s:service/db or k8s:certificates.v1.cert-manager.io/web?for=condition=Ready";
        let (kind, name) = object
            .split_once('/')
            .filter(|(kind, name)| !kind.is_empty() && plain(name))
            .ok_or_else(|| Wrong::new(format!("{object:?} names no object"), example))?;
        let resource = resource(kind, query.get("scope") == Some("cluster"))?;
        let namespace = query.get("namespace").map(str::to_owned);
        if namespace.as_deref().is_some_and(|namespace| !plain(namespace)) {
            return Err(Wrong::new(
                "namespace is no name",
                "write a namespace, or leave it out for the pod's own",
            ));
        }
        let missing = match query.get("missing") {
            None | Some("wait") => Missing::Wait,
            Some("ok") => Missing::Ok,
            Some("fail") => Missing::Fail,
            Some(other) => {
                return Err(Wrong::new(format!("missing={other}"), "write missing=wait, ok or fail"));
            }
        };
        let wanted = For::parse(resource.kind, query.get("for"), query.number("min")?)?;
        Ok(K8s { resource, name: name.to_owned(), namespace, wanted, missing })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        match tokio::time::timeout_at(attempt.until, self.attempt(attempt)).await {
            Ok(Ok(verdict) | Err(verdict)) => verdict,
            Err(_) => Verdict::unknown("api", "the API server does not answer in time"),
        }
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Verdict, Verdict> {
        let account = std::env::var_os("WAITFOR_SERVICE_ACCOUNT")
            .map_or_else(|| PathBuf::from(SERVICE_ACCOUNT), PathBuf::from);
        let read = |name: &str| {
            std::fs::read_to_string(account.join(name)).map(|text| text.trim().to_owned()).map_err(|error| {
                let path = account.join(name);
                Verdict::unknown(
                    "account",
                    format!(
                        "{}: {error}; does the pod have automountServiceAccountToken: false?",
                        path.display()
                    ),
                )
            })
        };
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| {
                Verdict::unknown("account", format!("{name} is not set: this is no pod of a cluster"))
            })
        };
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let token = read("token")?;
        attempt.redactor.learn(&token);
        let namespace = match &self.namespace {
            Some(namespace) => namespace.clone(),
            None => read("namespace")?,
        };
        let client = client(&ClientOptions {
            tls: Some(TlsOptions { ca: Some(account.join("ca.crt")), ..TlsOptions::default() }),
            resolver: attempt.resolver.clone(),
            connect_timeout: Duration::from_secs(3600),
            timeout: None,
            idle_per_host: 0,
            ..ClientOptions::default()
        });
        let client = client.map_err(|error| Verdict::unknown("account", error.to_string()))?;
        let url = format!("https://{host}:{port}{}", self.path(&namespace));
        let sent = client.get(url).bearer_auth(token).header("accept", "application/json").send().await;
        let mut response = sent.map_err(|error| Verdict::unknown("api", describe(&error)))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| Verdict::unknown("api", describe(&error)))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MOST {
                return Err(Verdict::unknown("api", "the answer is larger than 8 MiB"));
            }
        }
        Ok(self.read(status, &body, &namespace))
    }

    fn read(&self, status: u16, body: &[u8], namespace: &str) -> Verdict {
        let object: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let message = object["message"].as_str().unwrap_or("no message").to_owned();
        match status {
            200 => judge(self.resource.kind, &self.wanted, &object),
            404 if self.wanted == For::Delete => Verdict::ready("is gone"),
            404 => match self.missing {
                Missing::Wait => Verdict::no("missing", message),
                Missing::Ok => Verdict::ready("is not there, which is allowed"),
                Missing::Fail => Verdict::Terminal { code: JOB_FAILED, reason: message },
            },
            401 => crate::wire::Trouble::auth(format!("the API server refuses the token: {message}")).into(),
            403 => crate::wire::Trouble::auth(format!(
                "forbidden; this Role (and a RoleBinding) would allow it: {}",
                self.role(namespace)
            ))
            .into(),
            _ => Verdict::unknown("api", format!("HTTP {status}: {message}")),
        }
    }

    fn path(&self, namespace: &str) -> String {
        let Resource { group, version, plural, cluster, kind } = &self.resource;
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let place = if *cluster { root } else { format!("{root}/namespaces/{namespace}") };
        match kind {
            Kind::Service => {
                format!("{place}/{plural}?labelSelector=kubernetes.io%2Fservice-name%3D{}", self.name)
            }
            _ => format!("{place}/{plural}/{}", self.name),
        }
    }

    /// YAML in one line. A list cannot be allowed by name.
    fn role(&self, namespace: &str) -> String {
        let Resource { group, plural, cluster, kind, .. } = &self.resource;
        let group = if group.is_empty() { "\"\"" } else { group };
        let rule = match kind {
            Kind::Service => format!("{{apiGroups: [{group}], resources: [{plural}], verbs: [list]}}"),
            _ => format!(
                "{{apiGroups: [{group}], resources: [{plural}], resourceNames: [{}], verbs: [get]}}",
                self.name
            ),
        };
        let (role, place) = if *cluster {
            ("ClusterRole", String::new())
        } else {
            ("Role", format!(", namespace: {namespace}"))
        };
        format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: {role}, metadata: {{name: init-waitfor{place}}}, rules: [{rule}]}}"
        )
    }
}

/// A name that can stand in a path as it is (RFC 1123, and the dots and colons that some objects have).
fn plain(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c))
}

fn resource(kind: &str, cluster: bool) -> Result<Resource, Wrong> {
    let lower = kind.to_ascii_lowercase();
    if let Some((_, kind, group, plural)) = KINDS.iter().find(|row| row.0.contains(&lower.as_str())) {
        return Ok(Resource {
            kind: *kind,
            group: (*group).to_owned(),
            version: "v1".to_owned(),
            plural: (*plural).to_owned(),
            cluster,
        });
    }
    // kubectl's RESOURCE.VERSION.GROUP; without a version, v1.
    let mut parts = lower.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(plural), Some(version), Some(group))
            if plain(plural) && version.starts_with('v') && plain(group) =>
        {
            Ok(Resource {
                kind: Kind::Other,
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural.to_owned(),
                cluster,
            })
        }
        _ => {
            let known: Vec<&str> = KINDS.iter().flat_map(|row| row.0.iter().copied()).collect();
            let remedy = match crate::target::closest(&lower, &known) {
                Some(close) => format!("did you mean k8s:{close}/…?"),
                None => {
                    "write a known kind, or RESOURCE.VERSION.GROUP such as certificates.v1.cert-manager.io"
                        .to_owned()
                }
            };
            Err(Wrong::new(format!("unknown kind {kind:?}"), remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::split;

    fn k8s(text: &str) -> Result<K8s, Wrong> {
        K8s::parse(&split(text).unwrap())
    }

    #[test]
    fn paths() {
        let path = |text: &str| k8s(text).unwrap().path("shop");
        assert_eq!(path("k8s:job/migrate"), "/apis/batch/v1/namespaces/shop/jobs/migrate");
        assert_eq!(path("k8s:po/db-0"), "/api/v1/namespaces/shop/pods/db-0");
        assert_eq!(
            path("k8s:svc/db"),
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Ddb"
        );
        assert_eq!(
            path("k8s:certificates.v1.cert-manager.io/web?for=condition=Ready"),
            "/apis/cert-manager.io/v1/namespaces/shop/certificates/web"
        );
        assert_eq!(path("k8s:nodes.v1.x.io/a?scope=cluster&for=create"), "/apis/x.io/v1/nodes/a");
        for bad in [
            "k8s:job",
            "k8s:job/",
            "k8s:job/../pods",
            "k8s:jop/x",
            "k8s:job/x?for=condition",
            "k8s:job/x?missing=no",
            "k8s:job/x?frо=1",
        ] {
            assert!(k8s(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_role_for_403() {
        let role = k8s("k8s:job/migrate").unwrap().role("shop");
        assert!(
            role.contains(
                "rules: [{apiGroups: [batch], resources: [jobs], resourceNames: [migrate], verbs: [get]}]"
            ),
            "{role}"
        );
    }
}
