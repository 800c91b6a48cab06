//! compose.yaml is the same pod in other words: same containers, order, arguments, volumes and limits.

use serde_json::{Value, json};

use crate::pod::{Container, Pod};
use crate::yaml::{list, text};

pub(crate) fn check(compose: &Value, pod: &Pod<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    for key in ["version", "name"] {
        if !compose[key].is_null() {
            problems.push(format!("top-level `{key}`: docker-compose 1.29 and v2 do not agree on it"));
        }
    }
    let services = &compose["services"];
    let mut before = "pod";
    for container in &pod.containers {
        let service = &services[container.name];
        if service.is_null() {
            problems.push(format!("there is no service {}", container.name));
            continue;
        }
        problems.extend(one(container, service, before));
        before = container.name;
    }
    for (name, service) in services.as_object().into_iter().flatten() {
        problems.extend(hardened(name, service));
    }
    problems
}

fn one(container: &Container<'_>, service: &Value, before: &str) -> Vec<String> {
    let name = container.name;
    let mut problems = Vec::new();
    let mut want = |what: &str, found: &Value, wanted: Value| {
        if *found != wanted {
            problems.push(format!("{name}: {what} is {found}, not {wanted}"));
        }
    };
    want("image", &service["image"], container.spec["image"].clone());
    want("network_mode", &service["network_mode"], json!("service:pod"));
    if container.tool().is_some() {
        want("command", &service["command"], container.spec["args"].clone());
    }
    if container.stays() {
        let probe = json!(["CMD", format!("/{}", container.image()), "probe", "--ready"]);
        want("healthcheck.test", &service["healthcheck"]["test"], probe);
    }
    // Each waits for the one before it; the gate is awaited to its end.
    let condition = match before {
        "pod" => "service_started",
        "init-waitfor" => "service_completed_successfully",
        _ => "service_healthy",
    };
    want("depends_on", &service["depends_on"], json!({before: {"condition": condition}}));

    let mounted = list(&service["volumes"]).iter().map(text);
    let named: Vec<String> = mounted.filter(|volume| !volume.starts_with("..")).map(str::to_owned).collect();
    let wanted: Vec<String> =
        container.mounts().iter().filter(|mount| mount["name"] != "config").map(volume).collect();
    want("volumes", &json!(named), json!(wanted));
    problems
}

/// The second pod is the first with `-b` behind every name, and other ports on this machine.
pub(crate) fn twice(compose: &Value, twice: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, service) in twice["services"].as_object().into_iter().flatten() {
        let Some(first) = name.strip_suffix("-b") else {
            problems.push(format!("{name}: its name does not end with -b"));
            continue;
        };
        let (mut here, mut there) = (second(service), second(&compose["services"][first]));
        let ports = |service: &mut Value| -> Vec<String> {
            let ports = list(&service["ports"]).iter().map(|port| inside_port(text(port))).collect();
            service["ports"] = Value::Null;
            ports
        };
        if ports(&mut here) != ports(&mut there) || here != there {
            problems.push(format!("{name} is not {first} once more: {here} and {there}"));
        }
        problems.extend(hardened(name, service));
    }
    let pod = compose["services"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let missing = pod.filter(|name| *name != "backend" && twice["services"][format!("{name}-b")].is_null());
    problems.extend(missing.map(|name| format!("there is no {name}-b")));
    problems
}

/// Without the `-b` of other services and of volumes.
fn second(service: &Value) -> Value {
    let mut service = service.clone();
    let plain = |name: &str| name.replacen("-b:", ":", 1);
    if let Some(volumes) = service["volumes"].as_array_mut() {
        volumes.iter_mut().for_each(|volume| *volume = plain(text(volume)).into());
    }
    if service["network_mode"] == "service:pod-b" {
        service["network_mode"] = "service:pod".into();
    }
    let after = service["depends_on"].as_object().into_iter().flatten();
    let after = after.map(|(name, how)| (name.trim_end_matches("-b").to_owned(), how.clone())).collect();
    service["depends_on"] = Value::Object(after);
    service
}

fn inside_port(published: &str) -> String {
    published.rsplit(':').next().unwrap_or("").to_owned()
}

fn volume(mount: &Value) -> String {
    let read_only = if mount["readOnly"] == true { ":ro" } else { "" };
    format!("{}:{}{read_only}", text(&mount["name"]), text(&mount["mountPath"]))
}

fn hardened(name: &str, service: &Value) -> Vec<String> {
    let wanted = [
        ("read_only", json!(true)),
        ("user", json!("65532:65532")),
        ("cap_drop", json!(["ALL"])),
        ("security_opt", json!(["no-new-privileges:true"])),
    ];
    let differs = wanted.into_iter().filter(|(key, value)| service[*key] != *value);
    let mut problems: Vec<String> =
        differs.map(|(key, _)| format!("{name}: {key} is {}", service[key])).collect();
    if service["stop_grace_period"].is_null() {
        problems.push(format!("{name}: it has no stop_grace_period"));
    }
    // Published ports are for this machine only.
    let public = list(&service["ports"]).iter().map(text).filter(|port| !port.starts_with("127.0.0.1:"));
    problems.extend(public.map(|port| format!("{name}: the port {port} is published to everybody")));
    problems
}
