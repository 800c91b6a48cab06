//! The rules, each with its reason; every one names what it found and what it wants.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::VERSION;
use crate::pod::{Container, Pod};
use crate::yaml::{TOOLS, list, text};

/// Kubernetes' own default for a pod.
const DEFAULT_GRACE: u64 = 30;
/// What the app must be left with.
const APP_GRACE: u64 = 5;
/// Volumes with more than one writer, and why.
const SHARED: [(&str, &str); 1] = [("dumps", "the app makes a dump, the collector takes it away")];
/// Volumes that the "restricted" profile allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(crate) fn check(pod: &Pod<'_>) -> Vec<String> {
    let rules = [order, names_and_ports, probes, volumes, mounts, security, images, resources, grace];
    rules.iter().flat_map(|rule| rule(pod)).collect()
}

/// Proxy, shipper, adapter, gate: they end in reverse, so the last line still has a way out.
fn order(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let init: Vec<&Container<'_>> = pod.containers.iter().filter(|c| c.init).collect();
    let ours: Vec<usize> =
        init.iter().filter(|c| c.stays() || c.tool() == Some(3)).filter_map(|c| c.tool()).collect();
    if !ours.is_sorted() {
        let names: Vec<&str> = ours.iter().map(|at| TOOLS[*at].0).collect();
        problems.push(format!(
            "the order is {}; the order of the pod is proxy, shipper, adapter, gate",
            names.join(", ")
        ));
    }
    for container in init {
        let policy = &container.spec["restartPolicy"];
        // The API accepts any other value and then ignores it, so a misspelt one blocks the pod's start for ever.
        if !policy.is_null() && *policy != "Always" {
            problems.push(format!(
                "{}: restartPolicy is {policy}; a native sidecar has exactly Always",
                container.name
            ));
        }
        if container.stays() && *policy != "Always" {
            problems
                .push(format!("{}: without restartPolicy: Always the pod waits for its end", container.name));
        }
        if container.tool().is_some() && !container.stays() && !policy.is_null() {
            problems.push(format!("{}: a gate ends; it has no restartPolicy", container.name));
        }
    }
    problems
}

/// All containers share one network: a port can be had once.
fn names_and_ports(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for container in &pod.containers {
        if !seen.insert(container.name.to_owned()) {
            problems.push(format!("there are two containers named {}", container.name));
        }
        for port in list(&container.spec["ports"]) {
            for key in ["containerPort", "name"] {
                if !port[key].is_null() && !seen.insert(format!("{key} {}", port[key])) {
                    problems.push(format!("{}: {key} {} is taken", container.name, port[key]));
                }
            }
        }
        // An admin port that is not declared is taken all the same.
        if let Some(admin) = admin_port(container)
            && !list(&container.spec["ports"]).iter().any(|port| port["containerPort"] == admin)
        {
            problems.push(format!("{}: its admin port {admin} is not declared", container.name));
        }
    }
    problems
}

fn admin_port(container: &Container<'_>) -> Option<u64> {
    let defaults = [9102, 9104, 9103, 9101];
    let default = defaults[container.tool().filter(|_| container.stays())?];
    let given = container.flag("--admin").and_then(|admin| admin.rsplit(':').next()?.parse().ok());
    Some(given.unwrap_or(default))
}

fn probes(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    for container in &pod.containers {
        let probes = container.probes();
        let name = container.name;
        let plain_init = container.init && container.spec["restartPolicy"].is_null();
        if plain_init && !probes.is_empty() {
            problems.push(format!("{name}: an init container that ends has no probes"));
        }
        // A Job's app ends by itself; everybody else is looked after for as long as it runs.
        let ends = plain_init || !container.init && pod.spec["restartPolicy"].is_string();
        if !ends {
            for wanted in ["startupProbe", "livenessProbe", "readinessProbe"] {
                if !probes.iter().any(|(kind, _)| *kind == wanted) {
                    problems.push(format!("{name}: it has no {wanted}"));
                }
            }
        }
        for (kind, probe) in probes {
            // Baseline forbids it from 1.34 on: a probe that leaves the pod.
            if !probe["httpGet"]["host"].is_null() || !probe["tcpSocket"]["host"].is_null() {
                problems.push(format!("{name}: {kind} names a host"));
            }
            let ports = list(&container.spec["ports"]);
            let port = &probe["httpGet"]["port"];
            if let Some(wanted) = port.as_str()
                && !ports.iter().any(|port| port["name"] == wanted)
            {
                problems.push(format!("{name}: {kind} asks the port {wanted}, which it does not declare"));
            }
            let path = text(&probe["httpGet"]["path"]);
            let wanted = if kind == "livenessProbe" { "/livez" } else { "/readyz" };
            if container.stays() && probe["exec"].is_null() && path != wanted {
                problems.push(format!("{name}: {kind} asks {path:?}; it is {wanted}"));
            }
        }
    }
    problems
}

fn volumes(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mounted: BTreeSet<&str> =
        pod.containers.iter().flat_map(Container::mounts).map(|mount| text(&mount["name"])).collect();
    let mut declared = BTreeSet::new();
    for volume in list(&pod.spec["volumes"]) {
        let name = text(&volume["name"]);
        declared.insert(name);
        if !mounted.contains(name) {
            problems.push(format!("the volume {name} is mounted nowhere"));
        }
        let kinds = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        for kind in kinds.filter(|key| *key != "name") {
            if !VOLUMES.contains(&kind) {
                problems.push(format!("the volume {name} is a {kind}, which \"restricted\" does not allow"));
            }
        }
        if !volume["emptyDir"].is_null() && volume["emptyDir"]["sizeLimit"].is_null() {
            problems.push(format!("the emptyDir {name} has no sizeLimit, so it can fill the node"));
        }
    }
    for name in mounted.difference(&declared) {
        problems.push(format!("the volume {name} is mounted and not declared"));
    }
    problems
}

/// One writer per emptyDir: everybody else mounts it read-only.
fn mounts(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut writers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in &pod.containers {
        for mount in container.mounts() {
            if mount["readOnly"] != true {
                writers.entry(text(&mount["name"])).or_default().push(container.name);
            }
            // A subPath mount never sees a ConfigMap's update.
            if !mount["subPath"].is_null() {
                problems.push(format!("{}: subPath hides updates of the volume", container.name));
            }
        }
    }
    for volume in list(&pod.spec["volumes"]) {
        let name = text(&volume["name"]);
        let writers = writers.get(name).map_or(&[][..], Vec::as_slice);
        if !volume["emptyDir"].is_null()
            && writers.len() > 1
            && !SHARED.iter().any(|(shared, _)| *shared == name)
        {
            problems.push(format!(
                "{} all write to {name}; one writes, the others mount readOnly",
                writers.join(", ")
            ));
        }
        if (!volume["configMap"].is_null() || !volume["secret"].is_null()) && !writers.is_empty() {
            problems.push(format!("{}: {name} is mounted without readOnly", writers.join(", ")));
        }
    }
    problems
}

/// Pod Security "restricted" for every container, and a little more by our own rule.
fn security(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let of_pod = &pod.spec["securityContext"];
    let mut want = |who: &str, what: &str, found: &Value, wanted: Value| {
        if *found != wanted {
            problems.push(format!("{who}: {what} is {found}, not {wanted}"));
        }
    };
    want("pod", "automountServiceAccountToken", &pod.spec["automountServiceAccountToken"], json!(false));
    want("pod", "enableServiceLinks", &pod.spec["enableServiceLinks"], json!(false));
    for container in &pod.containers {
        let own = &container.spec["securityContext"];
        let either = |key: &str| if own[key].is_null() { &of_pod[key] } else { &own[key] };
        let name = container.name;
        want(name, "runAsNonRoot", either("runAsNonRoot"), json!(true));
        want(name, "seccompProfile.type", &either("seccompProfile")["type"], json!("RuntimeDefault"));
        want(name, "allowPrivilegeEscalation", &own["allowPrivilegeEscalation"], json!(false));
        want(name, "capabilities", &own["capabilities"], json!({"drop": ["ALL"]}));
        want(name, "readOnlyRootFilesystem", &own["readOnlyRootFilesystem"], json!(true));
        want(name, "privileged", &own["privileged"], Value::Null);
        if container.tool().is_some() {
            want(name, "runAsUser", either("runAsUser"), json!(65532));
            want(name, "runAsGroup", either("runAsGroup"), json!(65532));
        }
    }
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        want("pod", key, &pod.spec[key], Value::Null);
    }
    problems
}

fn images(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    for container in &pod.containers {
        let image = text(&container.spec["image"]);
        let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
        let ours = container.tool().is_some() || container.image().starts_with("demo-");
        if tag.is_empty() || tag == "latest" {
            problems.push(format!("{}: the image {image} is not pinned to a tag", container.name));
        } else if ours && tag != VERSION {
            problems.push(format!("{}: the image {image} is not of version {VERSION}", container.name));
        }
        // Tags do not move, and ours may have been loaded into a test cluster: there is nothing to pull.
        if container.spec["imagePullPolicy"] != "IfNotPresent" {
            problems.push(format!("{}: imagePullPolicy is not IfNotPresent", container.name));
        }
        if container.tool().is_some() && container.spec["terminationMessagePolicy"] != "FallbackToLogsOnError"
        {
            problems
                .push(format!("{}: terminationMessagePolicy is not FallbackToLogsOnError", container.name));
        }
    }
    problems
}

fn resources(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    for container in &pod.containers {
        let resources = &container.spec["resources"];
        for path in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            if resources.pointer(path).is_none() {
                problems.push(format!("{}: resources{path} is not set", container.name));
            }
        }
    }
    problems
}

/// The pod's grace is shared: what the drains take, the app does not have.
fn grace(pod: &Pod<'_>) -> Vec<String> {
    let grace = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(DEFAULT_GRACE);
    let sidecars: Vec<&Container<'_>> = pod.containers.iter().filter(|c| c.init && c.stays()).collect();
    let drains: u64 = sidecars.iter().map(|container| drain(container)).sum();
    if !sidecars.is_empty() && grace < drains + APP_GRACE {
        return vec![format!(
            "grace {grace} s is less than the drains' {drains} s and {APP_GRACE} s for the app"
        )];
    }
    Vec::new()
}

fn drain(container: &Container<'_>) -> u64 {
    let given = container.flag("--shutdown-grace").and_then(|value| value.strip_suffix('s')?.parse().ok());
    given.or_else(|| Some(TOOLS.get(container.tool()?)?.1)).unwrap_or(0)
}
