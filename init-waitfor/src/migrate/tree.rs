//! What the command has started: a shell that dies of SIGTERM leaves its migration running. Where the lock is lost, that must not be.
//!
//! We are the "subreaper" of our descendants while the command runs, so whatever it leaves behind stays below us and can be found in
//! `/proc`. Nobody's process group changes.

use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

/// Orphans come to us rather than to process 1. Without it (an old kernel) the tree is what is below the command.
pub(super) fn adopt(yes: bool) {
    let _ = set_child_subreaper(yes.then(getpid));
}

/// Sends a signal to everything below us; says how many there were.
pub(super) fn signal(signal: Signal) -> usize {
    let living = below_us();
    for pid in &living {
        let _ = kill_process(*pid, signal);
    }
    living.len()
}

/// How many there are.
pub(super) fn living() -> usize {
    below_us().len()
}

/// Our descendants that live.
fn below_us() -> Vec<Pid> {
    let mut parents: Vec<(i32, i32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state parent …; a name may hold anything, brackets and blanks too.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|text| text.parse().ok()));
        if let (Some(state), Some(parent)) = (state, parent)
            && !matches!(state, "Z" | "X")
        {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![getpid().as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}
