//! What a kubelet does for the pod, as far as the demo needs it: start in order, restart, end in reverse.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::pod::Spec;
use super::process::{Change, Printed, Process, State, ending};
use super::view::{Tone, View, log_line};
use crate::sh;

/// How long a container may take to become ready at the start.
const STARTUP: Duration = Duration::from_secs(60);
/// Info lines shown of one process in one second; the rest is in its file.
const INFO_PER_SECOND: u32 = 4;

pub(crate) struct Kubelet {
    pub(crate) processes: Vec<Process>,
    output: Receiver<Printed>,
    output_dir: PathBuf,
    said: HashMap<&'static str, (Instant, u32)>,
}

/// How one process ended at the end.
pub(crate) struct Drained {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) forced: bool,
}

impl Kubelet {
    pub(crate) fn new(specs: Vec<Spec>, output_dir: PathBuf) -> Self {
        let (sender, output) = sync_channel(4096);
        let processes = specs.into_iter().map(|spec| Process::new(spec, sender.clone())).collect();
        Kubelet { processes, output, output_dir, said: HashMap::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.spec.name == name)
    }

    pub(crate) fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let dir = self.output_dir.clone();
        match self.find(name) {
            Some(process) => process.start(&dir),
            None => bail!("there is no {name}"),
        }
    }

    pub(crate) fn kill(&self, name: &str) {
        if let Some(process) = self.get(name) {
            process.kill();
        }
    }

    /// One round: reaps, restarts, asks for readiness, shows what was printed.
    pub(crate) fn look(&mut self, view: &mut View) -> anyhow::Result<()> {
        for process in &mut self.processes {
            let name = process.spec.name;
            match process.look(&self.output_dir)? {
                Some(Change::BecameReady(took)) => {
                    view.event(name, Tone::Good, &format!("ready after {:.2} s", took.as_secs_f64()));
                }
                Some(Change::Restarted) => view.event(name, Tone::Plain, "started again"),
                Some(Change::Ended(status)) if process.state == State::Ended => {
                    let tone = if status.success() { Tone::Good } else { Tone::Bad };
                    view.event(name, tone, &ending(status));
                }
                Some(Change::Ended(status)) => {
                    view.event(name, Tone::Bad, &format!("{}; it comes back in 1 s", ending(status)));
                }
                None => {}
            }
        }
        while let Ok(printed) = self.output.try_recv() {
            let (tone, text) = log_line(&printed.line);
            if tone != Tone::Faint || self.may_say(printed.name) {
                view.event(printed.name, tone, &text);
            }
        }
        Ok(())
    }

    /// Fails when a process cannot get ready, with the last it said.
    pub(crate) fn check_startup(&self, name: &str) -> anyhow::Result<()> {
        let Some(process) = self.get(name) else { return Ok(()) };
        if process.restarts >= 3 || process.starting_for() > STARTUP {
            let path = self.output_dir.join(format!("{name}.stderr"));
            let said = std::fs::read_to_string(path).unwrap_or_default();
            bail!("{name} does not get ready; the last it said:\n{}", sh::tail(&said, 20));
        }
        Ok(())
    }

    /// SIGTERM, then up to its grace, then SIGKILL. A process that is just being restarted is awaited first: it has
    /// something to drain.
    pub(crate) fn drain(&mut self, name: &'static str, view: &mut View) -> anyhow::Result<Drained> {
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience
            && self
                .get(name)
                .is_some_and(|p| matches!(p.state, State::Down(_) | State::Starting) && !p.is_init())
        {
            self.look(view)?;
            std::thread::sleep(Duration::from_millis(20));
        }
        let begun = Instant::now();
        let mut forced = false;
        let Some(process) = self.find(name) else { bail!("there is no {name}") };
        let grace = process.spec.grace;
        if process.pid().is_some() {
            view.event(name, Tone::Plain, &format!("SIGTERM, with {} s to end", grace.as_secs()));
        }
        process.terminate();
        while self.get(name).is_some_and(|process| process.pid().is_some()) {
            if begun.elapsed() > grace && !forced {
                forced = true;
                view.event(name, Tone::Bad, "did not end in time: SIGKILL");
                self.kill(name);
            }
            self.look(view)?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Drained { name, took: begun.elapsed(), forced })
    }

    fn find(&mut self, name: &str) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.spec.name == name)
    }

    fn may_say(&mut self, name: &'static str) -> bool {
        let (since, said) = self.said.entry(name).or_insert((Instant::now(), 0));
        if since.elapsed() > Duration::from_secs(1) {
            (*since, *said) = (Instant::now(), 0);
        }
        *said += 1;
        *said <= INFO_PER_SECOND
    }
}
