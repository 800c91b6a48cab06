//! A real binary as a process: started clean, watched, and gone when the test is over.

mod output;
mod ready;
mod running;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use output::Stream;
pub use ready::Ready;
pub use running::{Exited, Running};

/// Environment twins of flags, and what would make a test depend on the machine it runs on.
const CLEARED: [&str; 6] = ["LOGSHIPPER_", "PROXY_", "LOGFORMAT_", "WAITFOR_", "PODKIT_", "KUBERNETES_"];
const CLEARED_NAMES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NO_COLOR"];

/// What each stream keeps. A test that prints more sends stdout to a file ([`Proc::stdout_to`]).
const KEEP: usize = 64 << 20;

/// How to start a binary; `spawn` takes `&self`, so that the same command can be started again after a kill.
///
/// The process gets its own process group, a piped stdout and stderr, no stdin, and none of the environment twins
/// of the test's own environment.
#[derive(Clone, Debug)]
pub struct Proc {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    json_logs: bool,
    stdin: bool,
    terminal: bool,
    stdout_to: Option<PathBuf>,
    keep: usize,
}

impl Proc {
    /// `Proc::new(env!("CARGO_BIN_EXE_init-waitfor"))`; where `PODMATES_SHIPPED` names a folder with a binary of that name, it is that one.
    #[must_use]
    pub fn new(program: impl AsRef<Path>) -> Self {
        let program = program.as_ref();
        let shipped = std::env::var_os("PODMATES_SHIPPED").map(PathBuf::from);
        let shipped = shipped.zip(program.file_name()).map(|(folder, name)| folder.join(name));
        Self {
            program: shipped.filter(|path| path.is_file()).unwrap_or_else(|| program.to_owned()),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            json_logs: false,
            stdin: false,
            terminal: false,
            stdout_to: None,
            keep: KEEP,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Puts `--log-format json` before the other arguments, so that it also works with subcommands and `-- COMMAND`.
    #[must_use]
    pub fn json_logs(mut self) -> Self {
        self.json_logs = true;
        self
    }

    /// Opens a pipe to stdin: [`Running::write_stdin`], [`Running::close_stdin`].
    #[must_use]
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Runs it on a terminal of 100 columns, as a person would see it: stdout and stderr both arrive on
    /// [`Stream::Stdout`], lines end with `\r`. Debian's `script` is in between and gets the signals.
    #[must_use]
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Appends stdout to a file instead of keeping it.
    #[must_use]
    pub fn stdout_to(mut self, path: impl AsRef<Path>) -> Self {
        self.stdout_to = Some(path.as_ref().to_owned());
        self
    }

    /// How many bytes of each stream are kept (default 64 MiB); beyond, the oldest lines go.
    #[must_use]
    pub fn keep_output(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When the binary cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self) -> Running {
        let mut command = self.command();
        let child =
            command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.program.display()));
        Running::watch(child, self.to_string(), self.keep)
    }

    /// Starts it and waits for its end: for `--check`, `--help` and other one-shots.
    #[must_use]
    #[track_caller]
    pub fn run(&self) -> Exited {
        let running = self.spawn();
        running.close_stdin();
        running.wait_exit()
    }

    fn command(&self) -> Command {
        let mut args = self.args.clone();
        if self.json_logs {
            args.splice(0..0, ["--log-format".into(), "json".into()]);
        }
        let mut command = if self.terminal {
            let words = std::iter::once(self.program.as_os_str()).chain(args.iter().map(OsString::as_os_str));
            let line: Vec<String> = words.map(quoted).collect();
            let mut script = Command::new("script");
            script.args(["-qefc", &format!("stty cols 100 rows 30; exec {}", line.join(" ")), "/dev/null"]);
            script.env("TERM", "xterm-256color");
            script
        } else {
            let mut command = Command::new(&self.program);
            command.args(&args);
            command
        };
        for (name, _) in std::env::vars_os() {
            let upper = name.to_string_lossy().to_uppercase();
            if CLEARED.iter().any(|prefix| upper.starts_with(prefix))
                || CLEARED_NAMES.contains(&upper.as_str())
            {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(if self.stdin { Stdio::piped() } else { Stdio::null() });
        command.stderr(Stdio::piped());
        command.stdout(match &self.stdout_to {
            None => Stdio::piped(),
            Some(path) => {
                let file = File::options().append(true).create(true).open(path);
                file.unwrap_or_else(|error| panic!("open {}: {error}", path.display())).into()
            }
        });
        command
    }
}

/// A word for the shell. Arguments of tests on a terminal are text.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

/// The command line, for messages.
impl std::fmt::Display for Proc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        f.write_str(&name.to_string_lossy())?;
        if self.json_logs {
            f.write_str(" --log-format json")?;
        }
        self.args.iter().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
    }
}
