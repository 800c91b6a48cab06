//! From an object's JSON to a verdict. No I/O.

use serde_json::Value;
use serde_json_path::JsonPath;

use super::{JOB_FAILED, Kind};
use crate::check::Verdict;
use crate::target::Wrong;

/// What an object must be, in the words of `kubectl wait --for`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum For {
    /// What a person means by "ready" for this kind. For a Service: this many ready addresses.
    Default(usize),
    Condition {
        name: String,
        status: String,
    },
    JsonPath {
        text: String,
        path: JsonPath,
        value: Option<String>,
    },
    Create,
    Delete,
}

impl For {
    pub(super) fn parse(kind: Kind, text: Option<&str>, min: Option<usize>) -> Result<Self, Wrong> {
        let remedy =
            "write for=condition=Ready, for=jsonpath={.status.phase}=Running, for=create or for=delete";
        let Some(text) = text else {
            // Of a kind that we do not know, being there is all that can be meant.
            return Ok(if kind == Kind::Other { For::Create } else { For::Default(min.unwrap_or(1)) });
        };
        match text.split_once('=') {
            None if text == "create" => Ok(For::Create),
            None if text == "delete" => Ok(For::Delete),
            None if matches!(text, "ready" | "complete" | "available") => Ok(For::Default(min.unwrap_or(1))),
            Some(("condition", condition)) if !condition.is_empty() => {
                let (name, status) = condition.split_once('=').unwrap_or((condition, "True"));
                Ok(For::Condition { name: name.to_owned(), status: status.to_owned() })
            }
            Some(("jsonpath", rest)) => {
                // Quotes that a shell would have taken: '{.a}'=b
                let unquoted = rest.strip_prefix('\'').map(|rest| rest.replacen("}'", "}", 1));
                let rest = unquoted.as_deref().unwrap_or(rest);
                let (path, value) = match rest.rsplit_once("}=") {
                    Some((path, value)) => (format!("{path}}}"), Some(value.to_owned())),
                    None => (rest.to_owned(), None),
                };
                let inside = path.trim().trim_start_matches('{').trim_end_matches('}');
                if inside.is_empty() {
                    return Err(Wrong::new("an empty JSONPath", remedy));
                }
                let query = JsonPath::parse(&format!("${inside}"))
                    .map_err(|error| Wrong::new(format!("{path:?} is no JSONPath: {error}"), remedy))?;
                Ok(For::JsonPath { text: path, path: query, value })
            }
            _ => Err(Wrong::new(format!("for={text}"), remedy)),
        }
    }
}

pub(super) fn judge(kind: Kind, wanted: &For, object: &Value) -> Verdict {
    match wanted {
        For::Create => Verdict::ready("exists"),
        For::Delete => Verdict::no("exists", "is still there"),
        // Of a Job that has failed, nothing more will come.
        For::Condition { name, .. }
            if kind == Kind::Job
                && name.eq_ignore_ascii_case("complete")
                && matches!(job(object), Verdict::Terminal { .. }) =>
        {
            job(object)
        }
        For::Condition { name, status } => condition(object, name, status),
        For::JsonPath { text, path, value } => {
            let nodes = path.query(object).all();
            let texts: Vec<String> = nodes
                .iter()
                .map(|node| node.as_str().map_or_else(|| node.to_string(), str::to_owned))
                .collect();
            match value {
                None if texts.is_empty() => Verdict::no("jsonpath", format!("{text} selects nothing")),
                Some(value) if !texts.contains(value) => {
                    Verdict::no("jsonpath", format!("{text} is {}, wanted {value}", texts.join(", ")))
                }
                _ => Verdict::ready(format!("{text} is {}", texts.join(", "))),
            }
        }
        For::Default(min) => match kind {
            Kind::Job => job(object),
            Kind::Pod => pod(object),
            Kind::Deployment => deployment(object),
            Kind::StatefulSet => stateful_set(object),
            Kind::DaemonSet => daemon_set(object),
            Kind::Endpoints => endpoints(object, *min),
            Kind::Other => Verdict::ready("exists"),
        },
    }
}

fn find<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let mut list = object["status"]["conditions"].as_array()?.iter();
    list.find(|condition| condition["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(name)))
}

fn is_true(object: &Value, name: &str) -> bool {
    find(object, name).is_some_and(|condition| condition["status"] == "True")
}

/// `reason: message`
fn why(condition: &Value) -> String {
    let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    [text("reason"), text("message")]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ")
}

/// A condition that speaks of an older version of the object does not count, as for `kubectl wait`.
fn condition(object: &Value, name: &str, status: &str) -> Verdict {
    let Some(condition) = find(object, name) else {
        return Verdict::no("condition", format!("has no condition {name} yet"));
    };
    let is = condition["status"].as_str().unwrap_or("?");
    if !is.eq_ignore_ascii_case(status) {
        return Verdict::no("condition", format!("{name} is {is}, wanted {status} ({})", why(condition)));
    }
    let observed =
        condition["observedGeneration"].as_u64().or(object["status"]["observedGeneration"].as_u64());
    match (observed, object["metadata"]["generation"].as_u64()) {
        (Some(observed), Some(generation)) if observed < generation => {
            Verdict::no("condition", format!("{name} is {is}, but of an older version of the object"))
        }
        _ => Verdict::ready(format!("{name} is {status}")),
    }
}

/// Complete and Failed, and what precedes them since 1.31 (`SuccessCriteriaMet`, `FailureTarget`: the outcome is decided, pods
/// are still ending).
fn job(object: &Value) -> Verdict {
    for name in ["Failed", "FailureTarget"] {
        if let Some(condition) = find(object, name).filter(|condition| condition["status"] == "True") {
            return Verdict::Terminal {
                code: JOB_FAILED,
                reason: format!("the Job has failed ({})", why(condition)),
            };
        }
    }
    if is_true(object, "Complete") || is_true(object, "SuccessCriteriaMet") {
        return Verdict::ready("complete");
    }
    let count = |key: &str| object["status"][key].as_u64().unwrap_or(0);
    let suspended = if object["spec"]["suspend"] == true { ", suspended" } else { "" };
    // A pod that failed is tried again up to backoffLimit; the Job is not lost by it.
    let text = format!(
        "{} active, {} succeeded, {} failed{suspended}",
        count("active"),
        count("succeeded"),
        count("failed")
    );
    Verdict::no("running", text)
}

fn pod(object: &Value) -> Verdict {
    let phase = object["status"]["phase"].as_str().unwrap_or("unknown");
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Verdict::no("phase", format!("{phase}, but is being deleted"));
    }
    if is_true(object, "Ready") {
        return Verdict::ready(format!("ready, {phase}"));
    }
    if phase == "Succeeded" || phase == "Failed" {
        return Verdict::no("phase", format!("has ended: {phase}"));
    }
    let waiting =
        object["status"]["containerStatuses"].as_array().into_iter().flatten().find_map(|container| {
            let reason = container["state"]["waiting"]["reason"].as_str()?;
            Some(format!(", {} {reason}", container["name"].as_str().unwrap_or_default()))
        });
    Verdict::no("phase", format!("{phase}{}", waiting.unwrap_or_default()))
}

fn observed(object: &Value) -> bool {
    object["status"]["observedGeneration"].as_u64() >= object["metadata"]["generation"].as_u64()
}

const UNSEEN: &str = "the controller has not seen the latest change yet";

fn count(object: &Value, key: &str) -> u64 {
    object["status"][key].as_u64().unwrap_or(0)
}

/// As `kubectl rollout status` has it: all new ones available, no old one left.
fn deployment(object: &Value) -> Verdict {
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let (updated, available) = (count(object, "updatedReplicas"), count(object, "availableReplicas"));
    let old = count(object, "replicas").saturating_sub(updated);
    if !observed(object) {
        return Verdict::no("rollout", UNSEEN);
    }
    let mut text = format!("{available} of {wanted} ready, {updated} updated");
    if old > 0 {
        text.push_str(&format!(", {old} old ones still there"));
    }
    if updated >= wanted && available >= wanted && old == 0 {
        return Verdict::ready(text);
    }
    // ProgressDeadlineExceeded. Not the end: another image, more room in the cluster, and it goes on.
    if let Some(stuck) = find(object, "Progressing").filter(|condition| condition["status"] == "False") {
        text.push_str(&format!(" ({})", why(stuck)));
    }
    Verdict::no("rollout", text)
}

/// With `OnDelete`, old pods stay until someone deletes them; with a partition, those below it stay on purpose.
fn stateful_set(object: &Value) -> Verdict {
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let (updated, ready) = (count(object, "updatedReplicas"), count(object, "readyReplicas"));
    if !observed(object) {
        return Verdict::no("rollout", UNSEEN);
    }
    let strategy = &object["spec"]["updateStrategy"];
    let partition = strategy["rollingUpdate"]["partition"].as_u64().unwrap_or(0);
    let to_update = if strategy["type"] == "OnDelete" { 0 } else { wanted.saturating_sub(partition) };
    let text = format!("{ready} of {wanted} ready, {updated} updated");
    if ready >= wanted && updated >= to_update { Verdict::ready(text) } else { Verdict::no("rollout", text) }
}

fn daemon_set(object: &Value) -> Verdict {
    let wanted = count(object, "desiredNumberScheduled");
    let (available, updated) = (count(object, "numberAvailable"), count(object, "updatedNumberScheduled"));
    if !observed(object) {
        return Verdict::no("rollout", UNSEEN);
    }
    let to_update = if object["spec"]["updateStrategy"]["type"] == "OnDelete" { 0 } else { wanted };
    let text = format!("{available} of {wanted} ready, {updated} updated");
    if available >= wanted && updated >= to_update {
        Verdict::ready(text)
    } else {
        Verdict::no("rollout", text)
    }
}

/// Ready addresses in all slices; one address may be in several. `ready` absent means ready (EndpointSlice API).
fn endpoints(list: &Value, min: usize) -> Verdict {
    let mut ready = std::collections::BTreeSet::new();
    let mut others = 0;
    for slice in list["items"].as_array().into_iter().flatten() {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if endpoint["conditions"]["ready"] == false {
                others += addresses.count();
            } else {
                ready.extend(addresses);
            }
        }
    }
    let text = format!("{} ready endpoints, {others} not ready", ready.len());
    if ready.len() >= min {
        Verdict::ready(text)
    } else {
        Verdict::no("endpoints", format!("{text}, wanted {min}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(kind: Kind, wanted: Option<&str>, object: &Value) -> Verdict {
        judge(kind, &For::parse(kind, wanted, None).unwrap(), object)
    }

    fn ready(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Ready(_))
    }

    #[test]
    fn jobs() {
        let job = |conditions: Value| json!({"status": {"conditions": conditions, "failed": 1, "active": 1}});
        // One failed pod is not a failed Job.
        assert!(
            matches!(ask(Kind::Job, None, &job(json!([]))), Verdict::NotYet(no) if no.reason == "1 active, 0 succeeded, 1 failed")
        );
        assert!(ready(&ask(Kind::Job, None, &job(json!([{"type": "Complete", "status": "True"}])))));
        assert!(ready(&ask(
            Kind::Job,
            None,
            &job(json!([{"type": "SuccessCriteriaMet", "status": "True"}]))
        )));
        let failed = job(json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]));
        assert!(
            matches!(ask(Kind::Job, None, &failed), Verdict::Terminal { code: 85, reason } if reason.contains("BackoffLimit"))
        );
        let no = job(json!([{"type": "Failed", "status": "False"}]));
        assert!(matches!(ask(Kind::Job, None, &no), Verdict::NotYet(_)));
    }

    #[test]
    fn rollouts() {
        let deployment = |generation: u64, updated: u64, available: u64| {
            json!({"metadata": {"generation": generation}, "spec": {"replicas": 2},
                   "status": {"observedGeneration": 3, "updatedReplicas": updated, "availableReplicas": available}})
        };
        assert!(ready(&ask(Kind::Deployment, None, &deployment(3, 2, 2))));
        for object in [deployment(4, 2, 2), deployment(3, 1, 2), deployment(3, 2, 1)] {
            assert!(!ready(&ask(Kind::Deployment, None, &object)));
        }
        let mut old = deployment(3, 2, 2);
        old["status"]["replicas"] = json!(3);
        assert!(
            matches!(ask(Kind::Deployment, None, &old), Verdict::NotYet(no) if no.reason.contains("1 old"))
        );
        let mut stuck = deployment(3, 1, 1);
        stuck["status"]["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"}]);
        assert!(
            matches!(ask(Kind::Deployment, None, &stuck), Verdict::NotYet(no) if no.reason.ends_with("(ProgressDeadlineExceeded: m)"))
        );

        let set = |updated: u64, ready: u64, strategy: Value| {
            json!({"metadata": {"generation": 1}, "spec": {"replicas": 3, "updateStrategy": strategy},
                   "status": {"observedGeneration": 1, "updatedReplicas": updated, "readyReplicas": ready,
                              "desiredNumberScheduled": 3, "numberAvailable": ready, "updatedNumberScheduled": updated}})
        };
        let rolling =
            |partition: u64| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
        let on_delete = || json!({"type": "OnDelete"});
        for (object, good) in [
            (set(3, 3, rolling(0)), true),
            (set(2, 3, rolling(0)), false),
            (set(2, 3, rolling(1)), true),
            (set(0, 3, on_delete()), true),
            (set(3, 2, rolling(0)), false),
        ] {
            assert_eq!(ready(&ask(Kind::StatefulSet, None, &object)), good, "{object}");
        }
        for (object, good) in
            [(set(3, 3, json!({})), true), (set(2, 3, json!({})), false), (set(0, 3, on_delete()), true)]
        {
            assert_eq!(ready(&ask(Kind::DaemonSet, None, &object)), good, "{object}");
        }
    }

    #[test]
    fn stale_conditions_and_pods_that_go() {
        let object = |observed: u64| json!({"metadata": {"generation": 2}, "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": observed}]}});
        assert!(ready(&ask(Kind::Other, Some("condition=Ready"), &object(2))));
        assert!(!ready(&ask(Kind::Other, Some("condition=Ready"), &object(1))));
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(!ready(&ask(Kind::Pod, None, &going)));
        let failed = json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}});
        assert!(matches!(
            ask(Kind::Job, Some("condition=Complete"), &failed),
            Verdict::Terminal { code: 85, .. }
        ));
        assert!(ready(&ask(Kind::Job, Some("condition=Failed"), &failed)));
    }

    #[test]
    fn endpoints_of_several_slices() {
        let list = json!({"items": [
            {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]},
            {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {}}, {"addresses": ["10.0.0.3"]}]},
            {"endpoints": null}
        ]});
        assert!(ready(&judge(Kind::Endpoints, &For::Default(2), &list)));
        assert!(!ready(&judge(Kind::Endpoints, &For::Default(3), &list)));
        assert!(!ready(&judge(Kind::Endpoints, &For::Default(1), &json!({"items": []}))));
    }

    #[test]
    fn kubectl_wait_syntax() {
        let pod =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        for (wanted, good) in [
            ("condition=Ready", true),
            ("condition=ready=true", true),
            ("condition=Ready=False", false),
            ("condition=Other", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Pending", false),
            ("jsonpath={.status.podIP}", false),
            ("create", true),
            ("delete", false),
        ] {
            assert_eq!(ready(&ask(Kind::Pod, Some(wanted), &pod)), good, "{wanted}");
        }
        assert!(For::parse(Kind::Pod, Some("jsonpath={"), None).is_err());
        assert!(For::parse(Kind::Pod, Some("phase=Running"), None).is_err());
    }
}
