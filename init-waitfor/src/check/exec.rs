//! `exec:COMMAND`: a command that ends with 0. Its whole process group ends with the attempt.

use std::io::ErrorKind;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Attempt, Verdict};
use crate::target::{Wrong, words};

/// Output kept for the message: the last line of it.
const KEEP: usize = 4096;
/// For output that is still in the pipes when the command has ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    command: Vec<String>,
}

impl Exec {
    pub(super) fn new(text: &str, command: &[String]) -> Result<Self, Wrong> {
        match (text.trim(), command) {
            ("", []) => words("").map(|command| Exec { command }),
            ("", command) => Ok(Exec { command: command.to_vec() }),
            (text, []) => words(text).map(|command| Exec { command }),
            _ => Err(Wrong::new("exec: has words and a command", "keep one of them")),
        }
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        let Some((program, args)) = self.command.split_first() else {
            return Verdict::unknown("exec", "no command");
        };
        let spawned = tokio::process::Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Verdict::unknown("exec", format!("{program}: no such command"));
            }
            Err(error) => return Verdict::unknown("exec", format!("{program}: {error}")),
        };
        // Whatever way this function is left (also by being dropped at SIGTERM), the group goes with it.
        let group = Group::of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let watch = async {
            let mut out = Tail::default();
            let mut err = Tail::default();
            let status = {
                let mut read = pin!(async { tokio::join!(out.fill(stdout), err.fill(stderr)) });
                let mut all_read = false;
                let status = tokio::select! {
                    status = child.wait() => status,
                    _ = &mut read => {
                        all_read = true;
                        child.wait().await
                    }
                };
                // The command may have left a daemon behind that holds the pipes, so its last words get a moment, not more.
                if !all_read {
                    let _ = tokio::time::timeout(LAST_WORDS, &mut read).await;
                }
                status
            };
            (status, err.last_line().or_else(|| out.last_line()))
        };
        let verdict = match tokio::time::timeout_at(attempt.until, watch).await {
            Ok((Ok(status), said)) => judge(status, said),
            Ok((Err(error), _)) => Verdict::unknown("exec", error.to_string()),
            Err(_) => {
                group.kill();
                // Reap it: as PID 1 nobody else does.
                let _ = child.wait().await;
                Verdict::unknown("exec", "did not end in time and was killed")
            }
        };
        drop(group);
        verdict
    }
}

fn judge(status: ExitStatus, said: Option<String>) -> Verdict {
    use std::os::unix::process::ExitStatusExt as _;

    let said = said.map_or_else(String::new, |line| format!(": {line}"));
    match (status.code(), status.signal()) {
        (Some(0), _) => Verdict::ready("exit 0"),
        (Some(code), _) => Verdict::no("exit", format!("exit {code}{said}")),
        (None, signal) => Verdict::unknown("exit", format!("ended by signal {}{said}", signal.unwrap_or(0))),
    }
}

/// The end of an output.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    async fn fill(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = [0_u8; 2048];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            self.bytes.extend_from_slice(&buffer[..n]);
            let surplus = self.bytes.len().saturating_sub(KEEP);
            self.bytes.drain(..surplus);
        }
    }

    fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(|line| line.chars().take(200).collect())
    }
}

/// A process group that is killed when it goes out of scope.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        // As PID 1 the grandchildren are ours now; those already dead are reaped, the kernel keeps at most a few others.
        if let Some(group) = self.0 {
            while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_or_a_list() {
        assert_eq!(Exec::new("test -f '/a b'", &[]).unwrap().command, ["test", "-f", "/a b"]);
        assert_eq!(Exec::new("", &["x y".to_owned()]).unwrap().command, ["x y"]);
        assert!(Exec::new("", &[]).is_err());
        assert!(Exec::new("a", &["b".to_owned()]).is_err());
    }
}
