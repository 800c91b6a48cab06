//! The lifecycle test: each manifest of `examples/pods` lives and ends, run by a small kubelet of our own.
//!
//! `manifest → volumes → containers in the order of KEP-753 → a story → the end in reverse → what arrived`
//!
//! The four are the real binaries, on a read-only root, as 65532, without capabilities, at the paths and ports of
//! the manifest; so are nginx, PostgreSQL, curl and the shells, from Debian. `lifecycle/container.rs` says what a container is here.
//! What nobody has here (Elasticsearch, Loki, a collector, Vault) is played by testkit's fakes, behind a cluster DNS and
//! Services with addresses of their own. Each test has its own network, mount and process namespaces, which needs root.

#[path = "lifecycle/container.rs"]
mod container;
#[path = "lifecycle/isolate.rs"]
mod isolate;
#[path = "lifecycle/kubelet.rs"]
mod kubelet;
#[path = "manifests/pod.rs"]
mod pod;
#[path = "lifecycle/postgres.rs"]
mod postgres;
#[path = "lifecycle/stories/mod.rs"]
mod stories;
#[path = "lifecycle/volumes.rs"]
mod volumes;
#[path = "lifecycle/world.rs"]
mod world;
#[path = "manifests/yaml.rs"]
mod yaml;

use stories::{adapter, ambassador, beside, gate, ship};

/// A test per manifest: its name is the file's, with `_` for `-` and `.`.
macro_rules! lives {
    ($($name:ident: $story:path;)*) => {
        $(
            #[test]
            fn $name() {
                isolate::isolated(stringify!($name), $story);
            }
        )*
        const LIVES: &[&str] = &[$(stringify!($name)),*];
    };
}

lives! {
    wait_for_services: gate::services;
    migrate_postgres: gate::migrate;
    wait_for_schema: gate::schema;
    fetch_content: gate::fetch;
    log_tailer: ship::tailer;
    logs_to_elasticsearch: ship::elasticsearch;
    logs_to_loki: ship::loki;
    logs_to_otlp: ship::otlp;
    job_with_sidecar: ship::job;
    pre_1_29: ship::ordinary;
    adapter_nginx: adapter::nginx;
    adapter_legacy: adapter::legacy;
    adapter_metrics: adapter::metrics;
    ambassador_http: ambassador::routes;
    ambassador_postgres_tls: ambassador::postgres_tls;
    ambassador_token: ambassador::token;
    ambassador_shards: ambassador::shards;
    inbound_proxy: ambassador::inbound;
    co_located: beside::co_located;
    helper_tasks: beside::helper_tasks;
    full: beside::full;
}

#[test]
fn the_block_of_the_readme() {
    isolate::isolated("the_block_of_the_readme", ship::readme);
}

#[test]
fn every_manifest_is_run() {
    let stem =
        |file: &std::path::PathBuf| file.file_stem().unwrap().to_string_lossy().replace(['-', '.'], "_");
    let manifests: Vec<String> = yaml::files("examples/pods").iter().map(stem).collect();
    let forgotten: Vec<&String> = manifests.iter().filter(|name| !LIVES.contains(&name.as_str())).collect();
    assert!(forgotten.is_empty(), "no lifecycle test for {forgotten:?}");
    assert_eq!(LIVES.len(), manifests.len(), "a lifecycle test without a manifest");
}
