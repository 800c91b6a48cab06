//! The command: our process group, our files, its own exit code; it dies when we do, and ends when the lock is lost.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use podkit::Exit;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::warn;

use super::{LOCK_LOST, tree};
use crate::hand_over::not_started;
use crate::sql::Session;

/// How often the lock's session is asked whether it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long it may take to answer. A database under a heavy migration is slow; a dead one never answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// After SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether a process tree has ended.
const POLL: Duration = Duration::from_millis(50);

/// Runs the command to its end while `session` lives.
///
/// # Errors
/// The command's own code when it is not 0, 126 and 127 when it cannot be started, 86 when the lock was lost.
pub(super) async fn run(command: &[OsString], session: &mut Session) -> Result<(), Exit> {
    let mut forward = Forward::new()?;
    tree::adopt(true);
    let mut child = start(command)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let asking = Cell::new(false);
    let mut lost = pin!(lost(session, &asking));
    let status = loop {
        tokio::select! {
            biased;
            status = child.wait() => break status,
            signal = forward.next() => {
                if let Some(pid) = pid {
                    let _ = kill_process(pid, signal);
                }
            }
            why = &mut lost => {
                warn!(reason = why, "the lock is lost; ending the command");
                end(&mut child).await;
                return Err(Exit::with(LOCK_LOST, format!("init-waitfor: the session that held the lock died ({why}); the command was ended")));
            }
        }
    };
    // An answer on its way would be taken for that to the next question.
    while asking.get() {
        let _ = tokio::time::timeout(Duration::from_millis(10), &mut lost).await;
    }
    match status {
        Ok(status) => code_of(status),
        Err(error) => Err(Exit::failed(format!("init-waitfor: the command's end cannot be seen: {error}"))),
    }
}

#[expect(unsafe_code, reason = "a child's death signal can only be set between fork and exec")]
fn start(command: &[OsString]) -> Result<Child, Exit> {
    let Some((program, args)) = command.split_first() else {
        return Err(Exit::usage("init-waitfor: no command"));
    };
    let ours = rustix::process::getpid();
    let mut command = Command::new(program);
    command.args(args).kill_on_drop(true);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these two are plain system calls that allocate
    // nothing and take no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // We may have died between the fork and that call.
            if rustix::process::getppid() != Some(ours) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            Ok(())
        });
    }
    command.spawn().map_err(|error| not_started(program, &error))
}

/// Asks the session again and again; returns when it does not answer. `asking` while an answer is due.
async fn lost(session: &mut Session, asking: &Cell<bool>) -> String {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        asking.set(true);
        let answer = super::lock::holds(session, Instant::now() + PATIENCE).await;
        asking.set(false);
        if let Err(trouble) = answer {
            return trouble.reason;
        }
    }
}

/// The command and everything below it: SIGTERM, and after a while SIGKILL.
async fn end(child: &mut Child) {
    let until = Instant::now() + GRACE;
    tree::signal(Signal::TERM);
    let _ = tokio::time::timeout_at(until, child.wait()).await;
    while tree::living() > 0 && Instant::now() < until {
        tokio::time::sleep(POLL).await;
    }
    // Who does not even die of this hangs in the kernel, or is another user's.
    let until = Instant::now() + GRACE;
    while tree::signal(Signal::KILL) > 0 && Instant::now() < until {
        let _ = tokio::time::timeout(POLL, child.wait()).await;
        tokio::time::sleep(POLL).await;
    }
}

fn code_of(status: ExitStatus) -> Result<(), Exit> {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Exit::with(
            u8::try_from(code).unwrap_or(1),
            format!("init-waitfor: the command ended with {code}"),
        )),
        (None, signal) => {
            let signal = signal.unwrap_or(0);
            Err(Exit::with(
                u8::try_from(128 + signal).unwrap_or(1),
                format!("init-waitfor: the command was ended by signal {signal}"),
            ))
        }
    }
}

/// Signals that go on to the command.
struct Forward {
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    /// A terminal sends Ctrl-C to the whole group: the command has it already.
    terminal: bool,
}

impl Forward {
    fn new() -> Result<Self, Exit> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Exit::failed(format!("init-waitfor: signals cannot be handled: {error}")))
        };
        Ok(Forward {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
            terminal: std::io::stdin().is_terminal(),
        })
    }

    async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                Some(()) = self.term.recv() => return Signal::TERM,
                Some(()) = self.interrupt.recv() => if !self.terminal { return Signal::INT },
                Some(()) = self.hangup.recv() => return Signal::HUP,
                Some(()) = self.quit.recv() => if !self.terminal { return Signal::QUIT },
                Some(()) = self.user1.recv() => return Signal::USR1,
                Some(()) = self.user2.recv() => return Signal::USR2,
            }
        }
    }
}
