//! One process under supervision: started, watched, ended, started again.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::http;
use super::pod::Spec;

/// How long a process stays down before it is started again. A kubelet waits nothing the first time, and from
/// the second time on 10 s, doubled up to 5 min; a demo has no time for that.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// A line a process printed.
pub(crate) struct Printed {
    pub(crate) name: &'static str,
    pub(crate) line: String,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum State {
    NotStarted,
    Starting,
    Ready,
    /// Ended without being asked; comes back at that time.
    Down(Instant),
    /// Ended as it should.
    Ended,
}

/// What a look at a process found.
pub(crate) enum Change {
    BecameReady(Duration),
    Ended(ExitStatus),
    Restarted,
}

pub(crate) struct Process {
    pub(crate) spec: Spec,
    pub(crate) state: State,
    pub(crate) restarts: u32,
    /// When it was away although it should have been there: from its death until it was ready again.
    pub(crate) away: Vec<(SystemTime, Option<SystemTime>)>,
    child: Option<Child>,
    started: Instant,
    stopping: bool,
    output: SyncSender<Printed>,
}

impl Process {
    pub(crate) fn new(spec: Spec, output: SyncSender<Printed>) -> Self {
        Process {
            spec,
            state: State::NotStarted,
            restarts: 0,
            away: Vec::new(),
            child: None,
            started: Instant::now(),
            stopping: false,
            output,
        }
    }

    /// An init container that is done counts as ready.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready) || (self.is_init() && self.state == State::Ended)
    }

    pub(crate) fn is_init(&self) -> bool {
        self.spec.ready.is_none()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn start(&mut self, keep_in: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(&self.spec.program);
        command.args(&self.spec.args).envs(self.spec.env.iter().cloned()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own group: Ctrl-C at the terminal is for the demo alone, which then ends everybody in order.
        command.process_group(0);
        die_with_us(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", self.spec.program.display()))?;
        let file = |stream: &str| {
            let path = keep_in.join(format!("{}.{stream}", self.spec.name));
            File::options().append(true).create(true).open(&path).ok()
        };
        if let Some(stdout) = child.stdout.take() {
            // Data (an access log) is kept, not shown; the app's report is read from the file at the end.
            forward(stdout, file("stdout"), None, self.spec.name);
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, file("stderr"), Some(self.output.clone()), self.spec.name);
        }
        self.child = Some(child);
        self.started = Instant::now();
        self.state = State::Starting;
        Ok(())
    }

    /// Reaps, restarts, and asks a starting process whether it is ready.
    pub(crate) fn look(&mut self, keep_in: &Path) -> anyhow::Result<Option<Change>> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().context("cannot wait for a child")?
        {
            self.child = None;
            let done = self.stopping || (self.is_init() && status.success());
            self.state = if done { State::Ended } else { State::Down(Instant::now() + RESTART_AFTER) };
            if !done && !matches!(self.away.last(), Some((_, None))) {
                self.away.push((SystemTime::now(), None));
            }
            return Ok(Some(Change::Ended(status)));
        }
        match self.state {
            State::Down(until) if Instant::now() >= until => {
                self.start(keep_in)?;
                self.restarts += 1;
                Ok(Some(Change::Restarted))
            }
            State::Starting => {
                let Some((addr, path)) = self.spec.ready else { return Ok(None) };
                if !http::is_ok(addr, path) {
                    return Ok(None);
                }
                self.state = State::Ready;
                if let Some((_, end @ None)) = self.away.last_mut() {
                    *end = Some(SystemTime::now());
                }
                Ok(Some(Change::BecameReady(self.started.elapsed())))
            }
            _ => Ok(None),
        }
    }

    /// How long it has been starting.
    pub(crate) fn starting_for(&self) -> Duration {
        if self.state == State::Starting { self.started.elapsed() } else { Duration::ZERO }
    }

    /// From now on its end is its end.
    pub(crate) fn terminate(&mut self) {
        self.stopping = true;
        self.signal(Signal::TERM);
        if self.child.is_none() {
            self.state = State::Ended;
        }
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The child is ours and not reaped yet, so the number cannot belong to somebody else.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}

/// How a process ended, for people.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(9)) => "was killed (SIGKILL)".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

/// A demo that is killed takes its processes along, also when it could not end them itself.
fn die_with_us(command: &mut Command) {
    // Between fork and exec only async-signal-safe calls are allowed; this is one prctl.
    #[allow(unsafe_code, reason = "the only way to set the parent-death signal of a child; see above")]
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)
        });
    }
}

/// Copies a stream line by line into a file and, when `shown` is given, to whoever shows it.
fn forward(
    from: impl Read + Send + 'static,
    mut file: Option<File>,
    shown: Option<SyncSender<Printed>>,
    name: &'static str,
) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
            if let Some(file) = &mut file {
                let _ = file.write_all(&line);
            }
            if let Some(shown) = &shown {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                // A view that cannot keep up misses lines; the process is never held up, and the file has them.
                let _ = shown.try_send(Printed { name, line: text });
            }
            line.clear();
        }
    });
}
