//! The pod of the demo as plain processes: which, in which order, with which settings.
//!
//! The arguments are those of `examples/pods/full.yaml`; what differs on one machine (ports, folders) comes in
//! by the variables that the configuration files in `examples/config` leave open.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::Options;
use crate::sh;

/// Where things are on this machine.
pub(crate) struct Places {
    pub(crate) dir: PathBuf,
    pub(crate) shop: SocketAddr,
    pub(crate) orders: SocketAddr,
    pub(crate) logs: SocketAddr,
    pub(crate) backend_orders: SocketAddr,
    pub(crate) backend_logs: SocketAddr,
    pub(crate) proxy_admin: SocketAddr,
    pub(crate) adapter_admin: SocketAddr,
    pub(crate) shipper_admin: SocketAddr,
    /// Held while this demo has the documented ports.
    _first: Option<File>,
}

/// A process of the demo.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// What says that it is ready; an init container is ready when it has ended with 0.
    pub(crate) ready: Option<(SocketAddr, &'static str)>,
    /// How long it may take to end after SIGTERM.
    pub(crate) grace: Duration,
}

impl Places {
    /// The documented ports where they are free, others where not.
    pub(crate) fn find(dir: &Path) -> anyhow::Result<Self> {
        let first = only_demo("processes");
        let mut taken = BTreeSet::new();
        // A port that a process of another demo will take in a moment looks free now.
        let mut port = |wanted: u16| free_port(if first.is_some() { wanted } else { 0 }, &mut taken);
        Ok(Places {
            dir: dir.to_owned(),
            shop: port(8000)?,
            orders: port(8080)?,
            logs: port(9200)?,
            backend_orders: port(8090)?,
            backend_logs: port(9290)?,
            proxy_admin: port(9102)?,
            adapter_admin: port(9103)?,
            shipper_admin: port(9104)?,
            _first: first,
        })
    }

    pub(crate) fn app_logs(&self) -> PathBuf {
        self.dir.join("app")
    }

    pub(crate) fn normalized(&self) -> PathBuf {
        self.dir.join("normalized")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("backend-store")
    }

    /// The folders that a pod has as emptyDirs.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        let below = ["state/adapter", "state/shipper", "output"].map(|name| self.dir.join(name));
        for dir in [self.app_logs(), self.normalized()].iter().chain(&below) {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(())
    }
}

/// A lock that only one demo of a kind has at a time, for as long as the file is open.
pub(crate) fn only_demo(kind: &str) -> Option<File> {
    let path = std::env::temp_dir().join(format!("podmates-demo-{kind}.lock"));
    let file = File::options().create(true).append(true).open(path).ok()?;
    file.try_lock().ok().map(|()| file)
}

fn free_port(wanted: u16, taken: &mut BTreeSet<u16>) -> anyhow::Result<SocketAddr> {
    for port in [wanted, 0, 0, 0, 0] {
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        let addr = listener.local_addr()?;
        if taken.insert(addr.port()) {
            return Ok(addr);
        }
    }
    anyhow::bail!("no free port on 127.0.0.1")
}

/// The backend, outside the pod.
pub(crate) fn backend(places: &Places, options: &Options) -> Spec {
    Spec {
        name: "demo-backend",
        program: binary("demo-backend", options),
        args: Vec::new(),
        env: vec![
            var("BACKEND_ORDERS", places.backend_orders),
            var("BACKEND_ELASTICSEARCH", places.backend_logs),
            var("BACKEND_STORE", places.store().display()),
        ],
        ready: Some((places.backend_orders, "/healthz")),
        grace: Duration::from_secs(5),
    }
}

/// The pod's containers, in the order of its manifest. Graces are the drains' defaults and two seconds.
pub(crate) fn containers(places: &Places, options: &Options) -> Vec<Spec> {
    let tool = |name: &'static str, prefix: &str, admin: Option<SocketAddr>, grace: u64| {
        let mut env = vec![
            var("ORDERS_LISTEN", places.orders),
            var("ORDERS_URL", format_args!("http://{}", places.backend_orders)),
            var("LOGS_LISTEN", places.logs),
            var("LOGS_URL", format_args!("http://{}", places.backend_logs)),
            var("APP_LOGS", places.app_logs().display()),
            var("NORMALIZED_LOGS", places.normalized().display()),
            var("ADAPTER_STATE", places.dir.join("state/adapter").display()),
            var("SHIPPER_STATE", places.dir.join("state/shipper").display()),
            var(&format!("{prefix}TERMINATION_LOG"), places.dir.join("output").join(name).display()),
        ];
        env.extend(admin.map(|admin| var(&format!("{prefix}ADMIN"), admin)));
        let config = sh::root().join("examples/config").join(format!("{name}.yaml"));
        Spec {
            name,
            program: binary(name, options),
            args: vec!["--config".to_owned(), config.display().to_string()],
            env,
            ready: admin.map(|admin| (admin, "/readyz")),
            grace: Duration::from_secs(grace),
        }
    };
    let app = Spec {
        name: "demo-app",
        program: binary("demo-app", options),
        args: Vec::new(),
        env: vec![
            var("SHOP_LISTEN", places.shop),
            var("SHOP_LOGS", places.app_logs().display()),
            var("SHOP_ORDERS", places.orders),
            var("SHOP_RATE", options.rate),
            // Nothing is deleted, so that what was written can be compared line by line.
            var("SHOP_KEEP", 1_000_000),
        ],
        ready: Some((places.shop, "/healthz")),
        grace: Duration::from_secs(14),
    };
    vec![
        tool("ambassador-proxy", "PROXY_", Some(places.proxy_admin), 7),
        tool("sidecar-logshipper", "LOGSHIPPER_", Some(places.shipper_admin), 10),
        tool("adapter-logformat", "LOGFORMAT_", Some(places.adapter_admin), 5),
        tool("init-waitfor", "WAITFOR_", None, 2),
        app,
    ]
}

fn binary(name: &str, options: &Options) -> PathBuf {
    sh::target_dir().join(if options.release { "release" } else { "debug" }).join(name)
}

fn var(name: &str, value: impl std::fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}
