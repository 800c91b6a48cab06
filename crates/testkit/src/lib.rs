//! Test harness of the workspace: `pod dir → process → fakes → eventually → golden`.
//!
//! Everything is blocking and runs on plain threads, so that an ordinary `#[test]` can use it and a scripted
//! fault (a reset, a stall, half a body) happens exactly when it is asked for. Nothing here waits without a bound:
//! the default is 30 s, `PODMATES_TEST_TIMEOUT` (seconds) changes it for slow machines.
//!
//! ```no_run
//! use testkit::{PodDir, Proc, eventually, fake::FakeBulk, http};
//!
//! let pod = PodDir::new();
//! pod.append("app.log", "one\n");
//! let sink = FakeBulk::start();
//! let shipper = Proc::new("target/debug/sidecar-logshipper") // env!("CARGO_BIN_EXE_sidecar-logshipper")
//!     .json_logs()
//!     .args(["--admin", "127.0.0.1:0", "--read"])
//!     .arg(pod.join("*.log"))
//!     .args(["--to", &format!("elasticsearch+http://{}/logs-app-default", sink.addr())])
//!     .spawn();
//! let ready = shipper.wait_ready();
//! assert_eq!(http::get(ready.addr("admin"), "/readyz").status, 200);
//! eventually("the line arrives", || (sink.docs().len() == 1).then_some(()));
//! shipper.sigterm();
//! shipper.wait_exit().expect_code(0);
//! ```

mod golden;
mod listener;
mod pod_dir;
mod proc;
mod shim;
mod skip;
mod tls;
mod tmpfs;
mod wait;
mod wire;

pub mod docs;
pub mod fake;
pub mod http;
pub mod metrics;

pub use golden::golden;
pub use pod_dir::{ConfigMap, PodDir};
pub use proc::{Exited, Proc, Ready, Running, Stream};
pub use shim::Shim;
pub use skip::skip_or_fail;
pub use tls::{Identity, TestCa, TlsShim};
pub use tmpfs::Tmpfs;
pub use wait::{eventually, eventually_within, timeout};
