//! The policy test: what no schema of Kubernetes or compose can say about the examples.
//!
//! `read → each pod → each rule → all problems at once`. A new manifest in `examples/pods` is under these rules
//! without being named here. The API's own schemas are checked by `cargo xtask test manifests`.

#[path = "manifests/compose.rs"]
mod compose;
#[path = "manifests/config.rs"]
mod config;
#[path = "manifests/kustomize.rs"]
mod kustomize;
#[path = "manifests/pod.rs"]
mod pod;
#[path = "manifests/role.rs"]
mod role;
#[path = "manifests/rules.rs"]
mod rules;
#[path = "manifests/wiring.rs"]
mod wiring;
#[path = "manifests/yaml.rs"]
mod yaml;

use serde_json::{Value, json};

use yaml::{files as yaml_files, read, root};

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn every_manifest_keeps_the_rules() {
    let files = yaml_files("examples/pods");
    assert!(!files.is_empty(), "there is no manifest in examples/pods");
    let mut problems = Vec::new();
    for file in &files {
        let documents = read(file);
        problems
            .extend(wiring::check(file, &documents).iter().map(|what| format!("{}: {what}", file.display())));
        let pods = pod::all(&documents);
        if pods.is_empty() {
            problems.push(format!("{}: there is no pod in it", file.display()));
        }
        for pod in &pods {
            for problem in rules::check(pod) {
                problems.push(format!("{}: {}: {problem}", file.display(), pod.name));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_config_map_holds_the_very_files_and_they_pass() {
    let mut problems = Vec::new();
    for file in yaml_files("examples/pods") {
        problems.extend(config::check(&file, &read(&file)));
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_command_line_is_accepted_by_its_binary() {
    let mut problems = Vec::new();
    for file in yaml_files("examples/pods") {
        let documents = read(&file);
        for pod in pod::all(&documents) {
            problems.extend(config::check_args(&file, &pod, &documents));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn compose_has_the_wiring_of_the_full_pod() {
    let compose = read(&root().join("examples/compose/compose.yaml"));
    let documents = read(&root().join("examples/pods/full.yaml"));
    let pods = pod::all(&documents);
    let shop = pods.iter().find(|pod| pod.name == "shop").expect("full.yaml has the pod `shop`");
    let problems = compose::check(&compose[0], shop);
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn compose_has_the_pod_twice() {
    let compose = read(&root().join("examples/compose/compose.yaml"));
    let twice = read(&root().join("examples/compose/twice.yaml"));
    let problems = compose::twice(&compose[0], &twice[0]);
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    let mut bad = twice[0].clone();
    bad["services"]["app-b"]["volumes"][0] = "app-logs:/var/log/app".into();
    bad["services"]["app-b"]["command"] = json!(["other"]);
    assert_eq!(compose::twice(&compose[0], &bad).len(), 1);
}

/// A rule that never bites is no rule: each of these changes to the good manifest has to be found.
#[test]
fn each_rule_bites() {
    let init = |at: usize, rest: &str| format!("/spec/initContainers/{at}/{rest}");
    let app = |rest: &str| format!("/spec/containers/0/{rest}");
    let cases: Vec<(String, Value, &str)> = vec![
        (init(0, "restartPolicy"), json!("always"), "exactly Always"),
        (init(3, "image"), json!("sidecar-logshipper:0.1.0"), "the order is"),
        (init(1, "name"), json!("app"), "two containers named app"),
        (init(1, "ports/0/containerPort"), json!(9102), "9102 is taken"),
        (init(0, "startupProbe/httpGet/port"), json!("http"), "does not declare"),
        (init(0, "ports/0/containerPort"), json!(9999), "port 9102 is not declared"),
        (app("livenessProbe"), json!(null), "it has no livenessProbe"),
        (app("imagePullPolicy"), json!("Always"), "imagePullPolicy is not"),
        (init(0, "livenessProbe/httpGet/path"), json!("/readyz"), "it is /livez"),
        (init(2, "volumeMounts/1/readOnly"), json!(false), "all write to app-logs"),
        (init(0, "volumeMounts/0/name"), json!("confg"), "mounted and not declared"),
        (init(0, "volumeMounts/0/readOnly"), json!(null), "mounted without readOnly"),
        (init(0, "image"), json!("ambassador-proxy:latest"), "not pinned"),
        (init(0, "image"), json!("ambassador-proxy:9.9.9"), "not of version"),
        (init(0, "resources/limits"), json!({}), "limits/memory is not set"),
        (init(1, "securityContext/capabilities"), json!({}), "capabilities is"),
        (app("securityContext/readOnlyRootFilesystem"), json!(false), "readOnlyRootFilesystem is false"),
        ("/spec/terminationGracePeriodSeconds".to_owned(), json!(20), "grace 20 s is less"),
        ("/spec/volumes/1/emptyDir/sizeLimit".to_owned(), json!(null), "has no sizeLimit"),
        ("/spec/securityContext/runAsNonRoot".to_owned(), json!(null), "runAsNonRoot is null"),
        (
            "/spec/automountServiceAccountToken".to_owned(),
            json!(true),
            "automountServiceAccountToken is true",
        ),
    ];
    let documents = read(&root().join("examples/pods/full.yaml"));
    let good = documents.iter().find(|d| d["kind"] == "Pod" && d["metadata"]["name"] == "shop");
    let good = good.expect("full.yaml has the pod `shop`");
    for (path, value, expected) in cases {
        let mut bad = good.clone();
        *bad.pointer_mut(&path).unwrap_or_else(|| panic!("{path} is not in full.yaml")) = value;
        let documents = [bad];
        let problems: Vec<String> = pod::all(&documents).iter().flat_map(rules::check).collect();
        assert!(
            problems.iter().any(|p| p.contains(expected)),
            "{path}: wanted {expected:?} among {problems:?}"
        );
    }
}

/// The same for what has to fit together in a file.
#[test]
fn each_wire_matters() {
    let file = root().join("examples/pods/full.yaml");
    let good = read(&file);
    assert_eq!(wiring::check(&file, &good), Vec::<String>::new());
    let cases = [
        ("ConfigMap", "/metadata/name", json!("other"), "nobody mounts the ConfigMap other"),
        ("Pod", "/spec/volumes/0/configMap/name", json!("other"), "the ConfigMap other is not in this file"),
        (
            "Pod",
            "/spec/initContainers/0/args/1",
            json!("/etc/other.yaml"),
            "no ConfigMap brings /etc/other.yaml",
        ),
        ("Pod", "/metadata/annotations", json!({}), "default-container"),
        ("Service", "/spec/selector", json!({"app": "other"}), "selects no pod"),
        ("Service", "/spec/ports/0/targetPort", json!("other"), "which no container has"),
    ];
    for (kind, path, value, expected) in cases {
        let mut documents = good.clone();
        let bad = documents.iter_mut().find(|document| document["kind"] == kind).expect("it is there");
        *bad.pointer_mut(path).unwrap_or_else(|| panic!("{path} is not in full.yaml")) = value;
        let problems = wiring::check(&file, &documents);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{path}: {problems:?}");
    }
    let nowhere = wiring::check(&root().join("examples/config/init-waitfor.yaml"), &[]);
    assert!(nowhere.iter().any(|problem| problem.contains("no row")), "{nowhere:?}");
}

#[test]
fn every_kustomize_component_makes_a_good_pod_of_a_deployment() {
    let example = "examples/kustomize/example";
    let by_hand = kustomize::by_hand(&root().join(example));
    let documents = kustomize::by_itself(&root().join(example)).unwrap_or_else(|| by_hand.clone());
    let names = |documents: &[Value]| -> Vec<String> {
        pod::all(documents)[0].containers.iter().map(|container| container.name.to_owned()).collect()
    };
    let wanted: Vec<&str> = yaml::TOOLS.iter().map(|(name, _)| *name).chain(["app"]).collect();
    assert_eq!(names(&documents), wanted, "all four, in the order of the pod");
    assert_eq!(names(&by_hand), wanted, "patched by hand it is the same");
    let file = root().join(example);
    let mut problems = Vec::new();
    for pod in pod::all(&documents) {
        problems.extend(rules::check(&pod));
        problems.extend(config::check_args(&file, &pod, &documents));
    }
    problems.extend(wiring::maps(&documents));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));

    // Each alone, too: nobody has to take all four.
    for (tool, _) in yaml::TOOLS {
        let place =
            kustomize::mine(tool, &format!("resources: [deployment.yaml]\ncomponents: [../{tool}]\n"));
        let documents =
            kustomize::by_itself(&place.folder).unwrap_or_else(|| kustomize::by_hand(&place.folder));
        let pods = pod::all(&documents);
        assert_eq!(names(&documents), [tool, "app"]);
        let problems: Vec<String> = rules::check(&pods[0]);
        assert!(problems.is_empty(), "{tool}: {problems:?}");
    }
}

/// The block of its README that people copy, with a Deployment of ours and the component from here.
#[test]
fn the_kustomization_of_the_readme_is_what_it_says() {
    let readme = std::fs::read_to_string(root().join("examples/kustomize/README.md")).expect("its README");
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let url =
        block.split_whitespace().find(|word| word.contains("://") && word.contains("?ref=v")).expect("a URL");
    assert!(url.ends_with(&format!("?ref=v{VERSION}")), "{url} is not of version {VERSION}");
    let component = "sidecar-logshipper";
    assert!(url.contains(&format!("//examples/kustomize/{component}?")), "{url}");
    let block = block.replace(url, &format!("../{component}")).replace("your-deployment", "deployment");
    let place = kustomize::mine(component, &block);
    let Some(documents) = kustomize::by_itself(&place.folder) else { return };
    let maps: Vec<(&str, &str, &str)> = yaml::config_maps(&documents).collect();
    assert_eq!(maps.len(), 1);
    assert!(maps[0].2.contains("loki+http://loki:3100") && !maps[0].2.contains("stdout"), "{maps:?}");
    let mut problems: Vec<String> = pod::all(&documents).iter().flat_map(rules::check).collect();
    problems.extend(wiring::maps(&documents));
    for pod in pod::all(&documents) {
        problems.extend(config::check_args(&place.folder, &pod, &documents));
    }
    assert!(problems.is_empty(), "{problems:?}");
}
