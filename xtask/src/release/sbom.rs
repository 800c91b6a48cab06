//! A bill of materials in CycloneDX 1.5: what a binary is made of, from `cargo metadata`.
//!
//! Only what is linked for this target with the default features counts: no build scripts, no tests. Source of the
//! format: <https://cyclonedx.org/docs/1.5/json/>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde_json::{Value, json};

use crate::{dist, sh};

pub(crate) fn of(tool: &str) -> anyhow::Result<String> {
    let bill = bill(&metadata()?, tool).with_context(|| format!("{tool} is not in cargo's metadata"))?;
    Ok(format!("{bill:#}\n"))
}

/// What cargo knows of all packages for this machine's target.
pub(super) fn metadata() -> anyhow::Result<Value> {
    let (_, target) = dist::arch()?;
    let metadata = sh::cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    serde_json::from_str(&sh::output(metadata)?).context("cargo metadata")
}

/// The packages by their ids.
pub(super) fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    by_id(&metadata["packages"])
}

fn by_id(values: &Value) -> BTreeMap<&str, &Value> {
    values.as_array().into_iter().flatten().filter_map(|value| Some((value["id"].as_str()?, value))).collect()
}

/// What is linked into a binary, with what each part needs: from the binary outwards along normal dependencies. The binary's own
/// id comes first.
pub(super) fn linked(metadata: &Value, tool: &str) -> Option<(String, BTreeMap<String, BTreeSet<String>>)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = packages(metadata);
    let nodes = by_id(&metadata["resolve"]["nodes"]);
    let top = packages.iter().find(|(_, package)| package["name"] == tool).map(|(id, _)| *id)?;
    let (mut linked, mut left) = (BTreeMap::new(), vec![top.to_owned()]);
    while let Some(id) = left.pop() {
        if linked.contains_key(&id) {
            continue;
        }
        let normal =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let dependencies = nodes.get(id.as_str()).map(|node| list(&node["deps"])).unwrap_or_default();
        let needs: BTreeSet<String> = dependencies
            .iter()
            .filter(|dependency| normal(dependency))
            .filter_map(|dependency| dependency["pkg"].as_str().map(str::to_owned))
            .collect();
        left.extend(needs.iter().cloned());
        linked.insert(id, needs);
    }
    Some((top.to_owned(), linked))
}

fn bill(metadata: &Value, tool: &str) -> Option<Value> {
    let packages = packages(metadata);
    let (top, linked) = linked(metadata, tool)?;
    let top = top.as_str();
    let purl = |id: &str| {
        let package = packages.get(id)?;
        Some(format!("pkg:cargo/{}@{}", package["name"].as_str()?, package["version"].as_str()?))
    };
    let component = |id: &str, kind: &str| {
        let package = packages.get(id)?;
        let mut component = json!({
            "type": kind, "bom-ref": purl(id)?, "name": package["name"], "version": package["version"], "purl": purl(id)?,
        });
        if let Some(license) = package["license"].as_str() {
            // Older crates write "A/B" for what SPDX calls "A OR B".
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        Some(component)
    };
    let components: Vec<Value> =
        linked.keys().filter(|id| id.as_str() != top).filter_map(|id| component(id, "library")).collect();
    let depends: Vec<Value> = linked
        .iter()
        .filter_map(|(id, needs)| {
            let on: Vec<String> = needs.iter().filter_map(|id| purl(id)).collect();
            Some(json!({"ref": purl(id)?, "dependsOn": on}))
        })
        .collect();
    // No serial number and no time: the same commit gives the same bytes.
    Some(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": component(top, "application")?, "tools": [{"name": "cargo xtask dist"}]},
        "components": components, "dependencies": depends,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_and_nothing_else() {
        let package =
            |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let needs =
            |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind, "target": null}]});
        let metadata = json!({
            "packages": [package("tool"), package("used"), package("deep"), package("tests-only")],
            "resolve": {"nodes": [
                {"id": "tool", "deps": [needs("used", Value::Null), needs("tests-only", json!("dev"))]},
                {"id": "used", "deps": [needs("deep", Value::Null)]},
                {"id": "deep", "deps": []},
            ]},
        });
        let bill = bill(&metadata, "tool").unwrap();
        let names: Vec<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names, ["deep", "used"]);
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["dependencies"][1]["dependsOn"], json!(["pkg:cargo/used@1.0.0"]));
        assert_eq!(bill["metadata"]["component"]["name"], "tool");
    }
}
