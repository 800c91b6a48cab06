//! What the API calls a thing, where it is, and which Role would let us look at it. No I/O.

use crate::target::Wrong;

/// Kinds that have a "ready" of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Job,
    Deployment,
    StatefulSet,
    DaemonSet,
    /// Its EndpointSlices, a list.
    Endpoints,
    Other,
}

/// A resource as the API has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    /// Not in a namespace.
    pub(super) cluster: bool,
}

/// What a target names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Known(Resource),
    /// `certificates.cert-manager.io`: version and scope are asked from the API.
    InGroup {
        name: String,
        group: String,
    },
}

/// (names, kind, group, plural, not in a namespace)
const KINDS: [(&[&str], Kind, &str, &str, bool); 18] = [
    (&["pod", "pods", "po"], Kind::Pod, "", "pods", false),
    (&["job", "jobs"], Kind::Job, "batch", "jobs", false),
    (&["deployment", "deployments", "deploy"], Kind::Deployment, "apps", "deployments", false),
    (&["statefulset", "statefulsets", "sts"], Kind::StatefulSet, "apps", "statefulsets", false),
    (&["daemonset", "daemonsets", "ds"], Kind::DaemonSet, "apps", "daemonsets", false),
    (&["service", "services", "svc"], Kind::Endpoints, "discovery.k8s.io", "endpointslices", false),
    (&["replicaset", "replicasets", "rs"], Kind::Other, "apps", "replicasets", false),
    (&["cronjob", "cronjobs", "cj"], Kind::Other, "batch", "cronjobs", false),
    (&["configmap", "configmaps", "cm"], Kind::Other, "", "configmaps", false),
    (&["secret", "secrets"], Kind::Other, "", "secrets", false),
    (
        &["persistentvolumeclaim", "persistentvolumeclaims", "pvc"],
        Kind::Other,
        "",
        "persistentvolumeclaims",
        false,
    ),
    (&["serviceaccount", "serviceaccounts", "sa"], Kind::Other, "", "serviceaccounts", false),
    (&["ingress", "ingresses", "ing"], Kind::Other, "networking.k8s.io", "ingresses", false),
    (&["lease", "leases"], Kind::Other, "coordination.k8s.io", "leases", false),
    (&["node", "nodes", "no"], Kind::Other, "", "nodes", true),
    (&["namespace", "namespaces", "ns"], Kind::Other, "", "namespaces", true),
    (&["persistentvolume", "persistentvolumes", "pv"], Kind::Other, "", "persistentvolumes", true),
    (
        &["customresourcedefinition", "customresourcedefinitions", "crd", "crds"],
        Kind::Other,
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        true,
    ),
];

/// `job`, `certificates.v1.cert-manager.io`, `certificates.cert-manager.io`; the latter two as kubectl has them.
pub(super) fn named(kind: &str, cluster: bool) -> Result<Named, Wrong> {
    let lower = kind.to_ascii_lowercase();
    if let Some((_, kind, group, plural, not_in_namespace)) =
        KINDS.iter().find(|row| row.0.contains(&lower.as_str()))
    {
        return Ok(Named::Known(Resource {
            kind: *kind,
            group: (*group).to_owned(),
            version: "v1".to_owned(),
            plural: (*plural).to_owned(),
            cluster: *not_in_namespace,
        }));
    }
    if let Some((name, rest)) = lower.split_once('.')
        && plain(name)
    {
        if let Some((version, group)) = rest.split_once('.')
            && is_version(version)
            && plain(group)
        {
            return Ok(Named::Known(with_known_kind(name, version, group, cluster)));
        }
        if is_version(rest) {
            // `pods.v1.` is kubectl's, `pods.v1` what people write.
            return Ok(Named::Known(with_known_kind(name, rest, "", cluster)));
        }
        if plain(rest) {
            return Ok(Named::InGroup { name: name.to_owned(), group: rest.to_owned() });
        }
    }
    let known = KINDS.iter().flat_map(|row| row.0.iter().copied());
    let remedy = match podkit::config::nearest(&lower, known) {
        Some(close) => format!("did you mean k8s:{close}/…?"),
        None => "write a known kind, or RESOURCE.GROUP such as certificates.cert-manager.io".to_owned(),
    };
    Err(Wrong::new(format!("unknown kind {kind:?}"), remedy))
}

/// `jobs.v1.batch` is as good as `job`.
fn with_known_kind(plural: &str, version: &str, group: &str, cluster: bool) -> Resource {
    let known = KINDS.iter().find(|row| row.2 == group && row.3 == plural && row.1 != Kind::Endpoints);
    Resource {
        kind: known.map_or(Kind::Other, |row| row.1),
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        cluster: known.map_or(cluster, |row| row.4),
    }
}

/// v1, v2beta1: Kubernetes API versions.
fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let stage = digits.strip_prefix("alpha").or(digits.strip_prefix("beta"));
    digits.len() < rest.len()
        && (digits.is_empty()
            || stage.is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())))
}

/// A name that can stand in a path as it is (RFC 1123, and the dots and colons that some objects have).
pub(super) fn plain(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c))
}

impl Resource {
    /// A Service itself, for conditions and paths.
    pub(super) fn service() -> Self {
        Resource {
            kind: Kind::Other,
            group: String::new(),
            version: "v1".to_owned(),
            plural: "services".to_owned(),
            cluster: false,
        }
    }

    fn collection(&self, namespace: &str) -> String {
        let Resource { group, version, plural, cluster, .. } = self;
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        if *cluster { format!("{root}/{plural}") } else { format!("{root}/namespaces/{namespace}/{plural}") }
    }

    /// The object; of a Service the slices, by the label that names it.
    pub(super) fn get(&self, namespace: &str, name: &str) -> String {
        let place = self.collection(namespace);
        match self.kind {
            Kind::Endpoints => format!("{place}?{}", slices_of(name)),
            _ => format!("{place}/{name}"),
        }
    }

    /// Changes of exactly this object from `since` on; without it, what is there comes first.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
    pub(super) fn watch(&self, namespace: &str, name: &str, since: Option<&str>) -> String {
        let selector = match self.kind {
            Kind::Endpoints => slices_of(name),
            _ => format!("fieldSelector=metadata.name%3D{name}"),
        };
        let since = since.map_or(String::new(), |since| format!("&resourceVersion={since}"));
        format!(
            "{}?watch=1&{selector}&allowWatchBookmarks=true&timeoutSeconds=300{since}",
            self.collection(namespace)
        )
    }

    /// YAML in one line. A list cannot be allowed by name.
    pub(super) fn role(&self, namespace: &str, name: &str) -> String {
        let Resource { group, plural, cluster, kind, .. } = self;
        let group = if group.is_empty() { "\"\"" } else { group };
        let rule = match kind {
            Kind::Endpoints => {
                format!("{{apiGroups: [{group}], resources: [{plural}], verbs: [list, watch]}}")
            }
            _ => format!(
                "{{apiGroups: [{group}], resources: [{plural}], resourceNames: [{name}], verbs: [get, watch]}}"
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

fn slices_of(service: &str) -> String {
    format!("labelSelector=kubernetes.io%2Fservice-name%3D{service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(kind: &str) -> Resource {
        match named(kind, false).unwrap() {
            Named::Known(resource) => resource,
            other @ Named::InGroup { .. } => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths() {
        assert_eq!(known("job").get("shop", "migrate"), "/apis/batch/v1/namespaces/shop/jobs/migrate");
        assert_eq!(known("jobs.v1.batch"), known("job"));
        assert_eq!(known("po").get("shop", "db-0"), "/api/v1/namespaces/shop/pods/db-0");
        assert_eq!(known("node").get("shop", "n1"), "/api/v1/nodes/n1");
        assert_eq!(
            known("svc").get("shop", "db"),
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Ddb"
        );
        assert_eq!(
            known("job").watch("shop", "migrate", Some("42")),
            "/apis/batch/v1/namespaces/shop/jobs?watch=1&fieldSelector=metadata.name%3Dmigrate&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=42"
        );
        assert_eq!(
            known("certificates.v1.cert-manager.io").get("shop", "web"),
            "/apis/cert-manager.io/v1/namespaces/shop/certificates/web"
        );
        let group = named("certificates.cert-manager.io", false).unwrap();
        assert_eq!(group, Named::InGroup { name: "certificates".into(), group: "cert-manager.io".into() });
        for bad in ["jop", "x/y", "a.b/c", ".", "..", "a..%2e"] {
            assert!(named(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions() {
        assert!(is_version("v1") && is_version("v2beta1") && is_version("v1alpha12"));
        assert!(!is_version("v") && !is_version("vpn") && !is_version("v1beta") && !is_version("1"));
    }

    #[test]
    fn a_role_for_403() {
        let role = known("job").role("shop", "migrate");
        assert!(role.contains(
            "rules: [{apiGroups: [batch], resources: [jobs], resourceNames: [migrate], verbs: [get, watch]}]"
        ));
        assert!(
            known("node").role("shop", "n").contains("kind: ClusterRole, metadata: {name: init-waitfor}")
        );
    }
}
