//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than any of the four needs; the kernel's tables grow with what is open, not with the limit.
const MOST: u64 = 65_536;

/// Takes what the pod is given. The soft limit is 1,024 on many nodes, for the sake of programs that call select(2); none of ours does.
/// (systemd, "File Descriptor Limits".)
pub(crate) fn take_all() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(MOST).min(MOST);
    if current.is_some_and(|current| current < most) {
        // Refused: then fewer have to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
    }
}
