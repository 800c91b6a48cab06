//! A started process: look at what it prints, signal it, wait for its end.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use super::output::Output;
use super::{Ready, Stream};
use crate::wait::{poll, timeout};

/// How long after the end of the process its streams may stay open (a grandchild can hold them).
const STREAMS_END: Duration = Duration::from_secs(2);

/// How many lines of each stream a failure shows.
const SHOWN: usize = 200;

/// A running process. Its whole process group is killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Mutex<Child>,
    pid: Pid,
    command: String,
    stdout: Output,
    stderr: Output,
}

impl Running {
    pub(super) fn watch(mut child: Child, command: String, keep: usize) -> Self {
        let stdout = Output::read(child.stdout.take(), keep);
        let stderr = Output::read(child.stderr.take(), keep);
        let pid = Pid::from_child(&child);
        Self { child: Mutex::new(child), pid, command, stdout, stderr }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for the ready line on stderr (needs [`super::Proc::json_logs`], or a stderr that is JSON anyway).
    ///
    /// # Panics
    ///
    /// When it ends before, or [`timeout`] passes; with both streams.
    #[track_caller]
    pub fn wait_ready(&self) -> Ready {
        self.wait_map(Stream::Stderr, "the ready line", Ready::parse)
    }

    /// Waits for a line on `stream`, also among those already there, and returns it.
    ///
    /// # Panics
    ///
    /// When the stream ends without it, or [`timeout`] passes; with both streams.
    #[track_caller]
    pub fn wait_line(&self, stream: Stream, what: &str, mut is_it: impl FnMut(&str) -> bool) -> String {
        self.wait_map(stream, what, |line| is_it(line).then(|| line.to_owned()))
    }

    /// Waits for a JSON line on stderr that `is_it` accepts.
    ///
    /// # Panics
    ///
    /// As [`Running::wait_line`].
    #[track_caller]
    pub fn wait_log(&self, what: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        self.wait_map(Stream::Stderr, what, |line| serde_json::from_str(line).ok().filter(|json| is_it(json)))
    }

    #[track_caller]
    fn wait_map<T>(&self, stream: Stream, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + timeout();
        let mut seen = 0_usize;
        let mut gone = None;
        let found = self.output(stream).wait(deadline, |lines| {
            let new = lines.text_from(seen);
            seen = lines.dropped + lines.len();
            if let Some(found) = new.iter().find_map(|line| pick(line)) {
                return Some(Some(found));
            }
            // A grandchild may hold the stream open for long after the end of the process.
            if gone.is_none() && self.try_status().is_some() {
                gone = Some(Instant::now());
            }
            gone.is_some_and(|gone| gone.elapsed() > STREAMS_END).then_some(None)
        });
        if let Some(found) = found.flatten() {
            return found;
        }
        // The stream may end a moment before the process can be waited for.
        let status = poll(Duration::from_millis(200), || self.try_status());
        self.fail(&match status {
            Some(status) => format!("ended ({status}) without {what}"),
            None => format!("not within {:?}: {what} on {stream:?}", timeout()),
        })
    }

    /// All lines of a stream so far, invalid UTF-8 replaced.
    ///
    /// # Panics
    ///
    /// When lines were dropped because the stream was longer than what is kept.
    #[must_use]
    #[track_caller]
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        let lines = self.output(stream).lock();
        assert!(lines.dropped == 0, "{} lines of {stream:?} were not kept; see stdout_to", lines.dropped);
        lines.text().collect()
    }

    /// Writes to its stdin.
    ///
    /// # Panics
    ///
    /// When [`super::Proc::with_stdin`] was not asked for, or the process no longer reads.
    #[track_caller]
    pub fn write_stdin(&self, data: impl AsRef<[u8]>) {
        // Taken out while writing: a full pipe must not keep the lock that signals need.
        let mut stdin = self.child().stdin.take().unwrap_or_else(|| self.fail("stdin is not open"));
        if let Err(error) = stdin.write_all(data.as_ref()).and_then(|()| stdin.flush()) {
            self.fail(&format!("write to stdin: {error}"));
        }
        self.child().stdin = Some(stdin);
    }

    /// Ends its stdin.
    pub fn close_stdin(&self) {
        drop(self.child().stdin.take());
    }

    #[track_caller]
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    #[track_caller]
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    #[track_caller]
    pub fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    #[track_caller]
    pub fn sigstop(&self) {
        self.signal(Signal::STOP);
    }

    #[track_caller]
    pub fn sigcont(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`; also waits until the process is gone, so that its files and ports can be taken over.
    #[track_caller]
    pub fn sigkill(&self) -> Exited {
        self.signal(Signal::KILL);
        self.wait_exit()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        // Under the lock: as long as nobody has waited for the child, its pid cannot belong to another process.
        let mut child = self.child();
        if let Ok(None) = child.try_wait()
            && let Err(error) = kill_process(self.pid, signal)
        {
            drop(child);
            self.fail(&format!("signal {signal:?}: {error}"));
        }
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.try_status().is_none()
    }

    /// Waits for its end, for at most [`timeout`].
    ///
    /// # Panics
    ///
    /// When it is still running then; with both streams.
    #[track_caller]
    pub fn wait_exit(&self) -> Exited {
        self.wait_exit_within(timeout())
    }

    /// [`Running::wait_exit`] with its own bound.
    ///
    /// # Panics
    ///
    /// When it is still running then; with both streams.
    #[track_caller]
    pub fn wait_exit_within(&self, limit: Duration) -> Exited {
        let Some(status) = poll(limit, || self.try_status()) else {
            self.fail(&format!("still running after {limit:?}"))
        };
        let deadline = Instant::now() + STREAMS_END;
        for output in [&self.stdout, &self.stderr] {
            output.wait(deadline, |lines| lines.ended.then_some(()));
        }
        let collect = |output: &Output| output.lock().raw().map(<[u8]>::to_vec).collect();
        Exited {
            status,
            command: self.command.clone(),
            stdout: collect(&self.stdout),
            stderr: collect(&self.stderr),
            dropped: self.stdout.lock().dropped + self.stderr.lock().dropped,
        }
    }

    /// Panics with `message`, the command and both streams.
    #[track_caller]
    pub fn fail(&self, message: &str) -> ! {
        let texts = |output: &Output| output.lock().text().collect::<Vec<_>>();
        panic!("{}", report(message, &self.command, &texts(&self.stdout), &texts(&self.stderr)))
    }

    fn output(&self, stream: Stream) -> &Output {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child();
        let running = matches!(child.try_wait(), Ok(None));
        // What the process left behind in its group goes too; a group id stays taken while it has members.
        let _ = kill_process_group(self.pid, Signal::KILL);
        if running {
            let _ = child.wait();
        }
    }
}

/// How a process ended, and everything it printed (lines without their `\n`).
#[derive(Clone, Debug)]
pub struct Exited {
    pub status: ExitStatus,
    command: String,
    stdout: Vec<Vec<u8>>,
    stderr: Vec<Vec<u8>>,
    dropped: usize,
}

impl Exited {
    /// The exit code, `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Checks the exit code and returns itself for more.
    ///
    /// # Panics
    ///
    /// When it is another one; with both streams.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        if self.code() != Some(code) {
            self.fail(&format!("expected exit code {code}, got {}", self.status));
        }
        self
    }

    /// Checks that `text` is somewhere on stderr and returns itself for more.
    ///
    /// # Panics
    ///
    /// When it is not; with both streams.
    #[track_caller]
    pub fn expect_stderr(&self, text: &str) -> &Self {
        if !self.stderr().contains(text) {
            self.fail(&format!("expected on stderr: {text}"));
        }
        self
    }

    /// Checks that `text` is somewhere on stdout and returns itself for more.
    ///
    /// # Panics
    ///
    /// When it is not; with both streams.
    #[track_caller]
    pub fn expect_stdout(&self, text: &str) -> &Self {
        if !self.stdout().contains(text) {
            self.fail(&format!("expected on stdout: {text}"));
        }
        self
    }

    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout_lines().join("\n")
    }

    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr_lines().join("\n")
    }

    #[must_use]
    #[track_caller]
    pub fn stdout_lines(&self) -> Vec<String> {
        self.all_kept();
        texts(&self.stdout)
    }

    #[must_use]
    #[track_caller]
    pub fn stderr_lines(&self) -> Vec<String> {
        self.all_kept();
        texts(&self.stderr)
    }

    /// The lines of stdout as they came, for output that is not UTF-8.
    #[must_use]
    #[track_caller]
    pub fn stdout_raw(&self) -> &[Vec<u8>] {
        self.all_kept();
        &self.stdout
    }

    /// The JSON lines of stderr: its own logs.
    #[must_use]
    pub fn logs(&self) -> Vec<Value> {
        self.stderr.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Panics with `message`, the command and both streams.
    #[track_caller]
    pub fn fail(&self, message: &str) -> ! {
        panic!("{}", report(message, &self.command, &texts(&self.stdout), &texts(&self.stderr)))
    }

    #[track_caller]
    fn all_kept(&self) {
        assert!(self.dropped == 0, "{} lines were not kept; see keep_output and stdout_to", self.dropped);
    }
}

fn texts(lines: &[Vec<u8>]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

fn report(message: &str, command: &str, stdout: &[String], stderr: &[String]) -> String {
    let part = |name: &str, lines: &[String]| {
        let hidden = lines.len().saturating_sub(SHOWN);
        let more = if hidden > 0 { format!(", the last {SHOWN}") } else { String::new() };
        let shown: Vec<String> =
            lines[hidden..].iter().map(|line| line.chars().take(2000).collect()).collect();
        format!("--- {name} ({} lines{more})\n{}", lines.len(), shown.join("\n"))
    };
    format!("{message}\n$ {command}\n{}\n{}\n---", part("stdout", stdout), part("stderr", stderr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Proc;

    fn sh(script: &str) -> Proc {
        Proc::new("/bin/sh").arg("-c").arg(script)
    }

    #[test]
    fn ready_line_then_sigterm() {
        let process = sh(r#"trap 'echo bye; exit 3' TERM
            echo noise >&2; echo '{"message":"ready","admin":"127.0.0.1:1"}' >&2; while :; do sleep 0.01; done"#)
        .spawn();
        assert_eq!(process.wait_ready().addr("admin").port(), 1);
        assert!(process.is_running());
        process.sigstop();
        process.sigcont();
        process.sigterm();
        process.wait_exit().expect_code(3).expect_stdout("bye").expect_stderr("noise");
    }

    #[test]
    fn the_environment_is_clean_and_the_command_starts_again() {
        let command = sh("echo ${LOGSHIPPER_READ-unset} ${WAITFOR_X-unset}").env("WAITFOR_X", "given");
        for _ in 0..2 {
            assert_eq!(command.run().expect_code(0).stdout(), "unset given");
        }
    }

    #[test]
    fn stdin_and_raw_output() {
        let process = Proc::new("/bin/cat").with_stdin().spawn();
        process.write_stdin(b"\xff one\n");
        process.write_stdin("two");
        process.wait_line(Stream::Stdout, "the first line", |line| line.ends_with(" one"));
        process.close_stdin();
        let exited = process.wait_exit();
        assert_eq!(exited.expect_code(0).stdout_raw(), [b"\xff one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn kill_says_so_and_drop_takes_the_group() {
        let process = sh("sleep 1000 & echo $!; wait").spawn();
        let child: i32 = process.wait_line(Stream::Stdout, "a pid", |_| true).parse().expect("a pid");
        assert_eq!(process.sigkill().signal(), Some(9));
        drop(process);
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        };
        crate::eventually("the grandchild is gone", gone);
    }

    #[test]
    #[should_panic(expected = "without the ready line")]
    fn an_early_end_is_told_with_the_streams() {
        sh("echo problem >&2; exit 78").spawn().wait_ready();
    }

    #[test]
    #[should_panic(expected = "without a line")]
    fn an_early_end_is_told_though_a_grandchild_holds_the_stream() {
        sh("sleep 1000 & exit 1").spawn().wait_line(Stream::Stdout, "a line", |_| true);
    }

    #[test]
    fn a_terminal_is_one_for_both_streams() {
        let exited = sh("test -t 1 && test -t 2 && stty size <&1 && echo \"it's $TERM\" >&2; exit 5")
            .on_terminal()
            .run();
        exited.expect_code(5).expect_stdout("30 100\r").expect_stdout("it's xterm-256color\r");
    }

    #[test]
    fn big_output_goes_to_a_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("out");
        sh("echo one; echo two").stdout_to(&path).run().expect_code(0);
        assert_eq!(std::fs::read_to_string(path).expect("read"), "one\ntwo\n");
    }
}
