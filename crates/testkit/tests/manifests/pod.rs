//! Pods as the rules see them, wherever a manifest hides them (Deployment, Job, CronJob, …).

use serde_json::Value;

use crate::yaml::{list, text};

pub(crate) struct Pod<'a> {
    pub(crate) name: String,
    pub(crate) spec: &'a Value,
    pub(crate) containers: Vec<Container<'a>>,
}

pub(crate) struct Container<'a> {
    pub(crate) name: &'a str,
    pub(crate) spec: &'a Value,
    pub(crate) init: bool,
}

impl<'a> Container<'a> {
    /// The name of the image without registry and tag.
    pub(crate) fn image(&self) -> &'a str {
        let image = text(&self.spec["image"]);
        let last = image.rsplit('/').next().unwrap_or(image);
        last.split([':', '@']).next().unwrap_or(last)
    }
}

/// All pods in a file, in its order.
pub(crate) fn all(documents: &[Value]) -> Vec<Pod<'_>> {
    documents.iter().filter_map(of).collect()
}

fn of<'a>(document: &'a Value) -> Option<Pod<'a>> {
    let spec = match text(&document["kind"]) {
        "Pod" => &document["spec"],
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
            &document["spec"]["template"]["spec"]
        }
        "CronJob" => &document["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        _ => return None,
    };
    let container = |init: bool| move |spec: &'a Value| Container { name: text(&spec["name"]), spec, init };
    let mut containers: Vec<Container<'_>> =
        list(&spec["initContainers"]).iter().map(container(true)).collect();
    containers.extend(list(&spec["containers"]).iter().map(container(false)));
    Some(Pod { name: text(&document["metadata"]["name"]).to_owned(), spec, containers })
}
