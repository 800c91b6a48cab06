//! Who wrote a line: the Downward API's variables and the configured fields, rendered once.

use std::collections::BTreeMap;

use jsontext::escape;
use podkit::otlp::DOWNWARD;

/// What OpenTelemetry calls a field.
pub fn otel_name(name: &str) -> &str {
    DOWNWARD.iter().find(|(_, ecs, _)| *ecs == name).map_or(name, |(_, _, otel)| otel)
}

/// Fields that are the same for every line of this process.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Name and value of each, in the words of the Elastic Common Schema.
    pub pairs: BTreeMap<String, String>,
    /// `,"host.name":"…"`: JSON members, each with a comma before it.
    pub(crate) members: String,
    /// `"host.name":"…","k8s.pod.name":"…"`: the same in OpenTelemetry's words.
    pub(crate) resource: String,
    /// Tells this pod's files from those of any other, for document ids.
    pub(crate) seed: u32,
}

/// A name that the shipper writes itself.
pub fn is_reserved(name: &str) -> bool {
    ["@timestamp", "message", "message_base64"].contains(&name) || name == "log" || name.starts_with("log.")
}

impl Origin {
    /// From the environment and the configured fields. `var` answers for the environment, `hostname` for the kernel.
    pub fn new(
        var: impl Fn(&str) -> Option<String>,
        hostname: &str,
        fields: &BTreeMap<String, String>,
    ) -> Self {
        let mut members: BTreeMap<String, String> = BTreeMap::new();
        members.insert("host.name".into(), var("NODE_NAME").unwrap_or_else(|| hostname.into()));
        for (name, field, _) in DOWNWARD {
            if let Some(value) = var(name).filter(|value| !value.is_empty()) {
                members.insert(field.into(), value);
            }
        }
        members.extend(fields.clone());
        let (mut text, mut resource) = (Vec::new(), Vec::new());
        for (name, value) in &members {
            for (name, out) in [(name.as_str(), &mut text), (otel_name(name), &mut resource)] {
                out.extend_from_slice(b",\"");
                escape(name.as_bytes(), out);
                out.extend_from_slice(b"\":\"");
                escape(value.as_bytes(), out);
                out.push(b'"');
            }
        }
        let identity = var("POD_UID").or_else(|| var("POD_NAME")).unwrap_or_else(|| hostname.into());
        Self {
            pairs: members,
            members: String::from_utf8(text).unwrap_or_default(),
            resource: String::from_utf8(resource.split_off(resource.len().min(1))).unwrap_or_default(),
            seed: crc32fast::hash(identity.as_bytes()),
        }
    }

    /// Of this process.
    pub fn of_process(fields: &BTreeMap<String, String>) -> Self {
        let uname = rustix::system::uname();
        Self::new(|name| std::env::var(name).ok(), &uname.nodename().to_string_lossy(), fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pod_knows_becomes_members() {
        let var = |name: &str| (name == "POD_NAME").then(|| "shop-\"1\"".to_owned());
        let origin = Origin::new(var, "node-a", &BTreeMap::from([("team".into(), "shop".into())]));
        assert_eq!(
            origin.members,
            r#","host.name":"node-a","kubernetes.pod.name":"shop-\"1\"","team":"shop""#
        );
        assert_eq!(origin.resource, r#""host.name":"node-a","k8s.pod.name":"shop-\"1\"","team":"shop""#);
        let other = Origin::new(|_| None, "node-a", &BTreeMap::new());
        assert_ne!(origin.seed, other.seed);
    }
}
