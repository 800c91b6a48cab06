//! The bill of materials inside of a binary, where `cargo audit bin`, Trivy, Syft and Grype look for it: the section `.dep-v0`, as
//! cargo-auditable writes it. Source of the format: cargo-auditable, PARSING.md and the schema of its version 0 (from `cargo metadata`).
//!
//! `cargo metadata → packages → JSON → zlib → objcopy → the same, read again`

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use super::sbom;
use crate::sh;

const SECTION: &str = ".dep-v0";

/// Copies a binary, with what it is made of written into the copy.
///
/// # Errors
/// When there is no `objcopy`, or the copy does not say what was written.
pub(crate) fn embed(tool: &str, from: &Path, to: &Path) -> anyhow::Result<()> {
    let info =
        info(&sbom::metadata()?, tool).with_context(|| format!("{tool} is not in cargo's metadata"))?;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&serde_json::to_vec(&info)?)?;
    let mut section = tempfile::NamedTempFile::new().context("cannot make a file")?;
    section.write_all(&packed.finish()?)?;
    let mut objcopy = sh::command("objcopy", &["--add-section"]);
    objcopy.arg(format!("{SECTION}={}", section.path().display())).arg(from).arg(to);
    sh::output(objcopy)?;
    ensure!(read(to)? == info, "{} does not say what it is made of", to.display());
    Ok(())
}

/// What a binary says it is made of.
fn read(binary: &Path) -> anyhow::Result<Value> {
    let file = || tempfile::NamedTempFile::new().context("cannot make a file");
    // objcopy cannot but write a copy.
    let (section, copy) = (file()?, file()?);
    let mut objcopy = sh::command("objcopy", &["--dump-section"]);
    objcopy.arg(format!("{SECTION}={}", section.path().display())).arg(binary).arg(copy.path());
    sh::output(objcopy)?;
    let (packed, mut text) = (std::fs::read(section.path())?, String::new());
    ZlibDecoder::new(packed.as_slice()).read_to_string(&mut text).context("the section is no zlib")?;
    serde_json::from_str(&text).context("the section is no JSON")
}

/// The linked packages, by name and version: an id of ours would hold the path of the checkout.
fn info(metadata: &Value, tool: &str) -> Option<Value> {
    let packages = sbom::packages(metadata);
    let (top, linked) = sbom::linked(metadata, tool)?;
    let key = |id: &str| {
        packages.get(id).map(|package| (package["name"].to_string(), package["version"].to_string()))
    };
    let mut order: Vec<&str> = linked.keys().map(String::as_str).collect();
    order.sort_by_key(|id| key(id));
    let place: BTreeMap<&str, usize> = order.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let mut list = Vec::new();
    for id in &order {
        let package = packages.get(id)?;
        let mut entry =
            json!({"name": package["name"], "version": package["version"], "source": source(package)});
        let mut needs: Vec<usize> =
            linked[*id].iter().filter_map(|id| place.get(id.as_str()).copied()).collect();
        needs.sort_unstable();
        if !needs.is_empty() {
            entry["dependencies"] = json!(needs);
        }
        if *id == top {
            entry["root"] = json!(true);
        }
        list.push(entry);
    }
    Some(json!({"packages": list}))
}

/// `local`, or the registry's name: its index is called `NAME-index`.
fn source(package: &Value) -> &str {
    let Some(source) = package["source"].as_str() else { return "local" };
    source.rsplit('/').next().and_then(|last| last.strip_suffix("-index")).unwrap_or("registry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_says_what_it_is_made_of() {
        let package = |name: &str, source: Value| json!({"id": name, "name": name, "version": "1.0.0", "source": source});
        let metadata = json!({
            "packages": [
                package("tool", Value::Null),
                package("deep", json!("registry+https://host/elsewhere")),
                package("used", json!("registry+https://host/path/some.registry-index")),
            ],
            "resolve": {"nodes": [
                {"id": "tool", "deps": [{"pkg": "used", "dep_kinds": [{"kind": null}]}]},
                {"id": "used", "deps": [{"pkg": "deep", "dep_kinds": [{"kind": null}]}]},
                {"id": "deep", "deps": []},
            ]},
        });
        let wanted = json!({"packages": [
            {"name": "deep", "version": "1.0.0", "source": "registry"},
            {"name": "tool", "version": "1.0.0", "source": "local", "dependencies": [2], "root": true},
            {"name": "used", "version": "1.0.0", "source": "some.registry", "dependencies": [0]},
        ]});
        assert_eq!(info(&metadata, "tool"), Some(wanted));
    }
}
