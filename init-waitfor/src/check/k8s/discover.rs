//! Which version and scope a resource of a group has: two small questions that every account may ask (`system:discovery`).
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>

use serde_json::Value;

use super::kinds::{Kind, Resource, plain};

/// Versions looked at; real groups have one to three.
const MOST_VERSIONS: usize = 8;

/// From an `APIGroup`: the preferred version first.
pub(super) fn versions(group: &Value) -> Vec<String> {
    let text = |value: &Value| value["version"].as_str().map(str::to_owned).filter(|version| plain(version));
    let mut versions: Vec<String> = text(&group["preferredVersion"]).into_iter().collect();
    for version in group["versions"].as_array().into_iter().flatten().filter_map(text) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions.truncate(MOST_VERSIONS);
    versions
}

/// From an `APIResourceList`, by plural, singular, kind or short name.
pub(super) fn find(list: &Value, wanted: &str, group: &str, version: &str) -> Option<Resource> {
    let same = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(wanted));
    let found = list["resources"].as_array()?.iter().find(|resource| {
        // Sub-resources (`x/status`) have the kind of their parent.
        !resource["name"].as_str().unwrap_or("/").contains('/')
            && (["name", "singularName", "kind"].iter().any(|key| same(&resource[*key]))
                || resource["shortNames"].as_array().is_some_and(|names| names.iter().any(same)))
    })?;
    let plural = found["name"].as_str().filter(|name| plain(name))?.to_owned();
    let kind = match (group, plural.as_str()) {
        ("batch", "jobs") => Kind::Job,
        ("apps", "deployments") => Kind::Deployment,
        ("apps", "statefulsets") => Kind::StatefulSet,
        ("apps", "daemonsets") => Kind::DaemonSet,
        _ => Kind::Other,
    };
    Some(Resource {
        kind,
        group: group.to_owned(),
        version: version.to_owned(),
        plural,
        cluster: found["namespaced"] == false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_preferred_version_first_and_names_of_every_sort() {
        let group = json!({"preferredVersion": {"version": "v1"}, "versions": [{"version": "v1beta1"}, {"version": "v1"}, {"version": "../x"}]});
        assert_eq!(versions(&group), ["v1", "v1beta1"]);
        assert!(versions(&json!({})).is_empty());
        let list = json!({"resources": [
            {"name": "certificates/status", "kind": "Certificate", "namespaced": true},
            {"name": "certificates", "singularName": "certificate", "kind": "Certificate", "shortNames": ["cert"], "namespaced": true},
            {"name": "clusterissuers", "singularName": "", "kind": "ClusterIssuer", "namespaced": false}
        ]});
        for name in ["certificates", "certificate", "Certificate", "cert"] {
            let found = find(&list, name, "cert-manager.io", "v1").unwrap();
            assert!(found.plural == "certificates" && !found.cluster, "{name}");
        }
        assert!(find(&list, "clusterissuer", "cert-manager.io", "v1").unwrap().cluster);
        assert!(find(&list, "issuers", "cert-manager.io", "v1").is_none());
    }
}
