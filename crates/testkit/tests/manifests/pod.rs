//! Pods as the rules see them, wherever a manifest hides them (Deployment, Job, CronJob, …).

use serde_json::Value;

use crate::{TOOLS, list, text};

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

    /// Its place among the four, if it is one of them.
    pub(crate) fn tool(&self) -> Option<usize> {
        TOOLS.iter().position(|(name, _)| *name == self.image())
    }

    pub(crate) fn args(&self) -> Vec<&'a str> {
        list(&self.spec["args"]).iter().map(text).collect()
    }

    /// The value of `--flag VALUE` or `--flag=VALUE`.
    pub(crate) fn flag(&self, flag: &str) -> Option<&'a str> {
        let args = self.args();
        let at = args.iter().position(|arg| *arg == flag || arg.starts_with(&format!("{flag}=")))?;
        args[at].split_once('=').map(|(_, value)| value).or_else(|| args.get(at + 1).copied())
    }

    /// One of ours that stays: everything but init-waitfor without `--refresh`.
    pub(crate) fn stays(&self) -> bool {
        match self.tool() {
            Some(3) => self.args().contains(&"--refresh"),
            Some(_) => true,
            None => false,
        }
    }

    pub(crate) fn mounts(&self) -> &'a [Value] {
        list(&self.spec["volumeMounts"])
    }

    pub(crate) fn probes(&self) -> Vec<(&'static str, &'a Value)> {
        let names = ["startupProbe", "livenessProbe", "readinessProbe"];
        names.into_iter().map(|name| (name, &self.spec[name])).filter(|(_, probe)| !probe.is_null()).collect()
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
