//! A test in a network, mount and process namespace of its own: every port is free, every path may be mounted
//! over, and nothing that was started outlives it.

use std::time::Duration;

use testkit::{Proc, skip_or_fail};

/// Set inside.
const INSIDE: &str = "PODMATES_LIFECYCLE_INSIDE";
/// Longer than any story waits; the bound of last resort.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the test `name` (this one) again in its own namespaces, where `body` is what it does.
pub(crate) fn isolated(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        // The loopback interface of a new network namespace is down.
        Proc::new("ip").args(["link", "set", "lo", "up"]).run().expect_code(0);
        return body();
    }
    if !rustix::process::geteuid().is_root() {
        return skip_or_fail(&format!("{name}: mount and network namespaces need root"));
    }
    let me = std::env::current_exe().expect("the path of this test");
    let namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let again = Proc::new("unshare").args(namespaces).arg("--").arg(me);
    let again = again.args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(INSIDE, "1");
    let exited = again.spawn().wait_exit_within(LIMIT);
    if exited.code() != Some(0) || !exited.stdout().contains("1 passed") {
        exited.fail(&format!("{name} failed in its namespaces"));
    }
}
