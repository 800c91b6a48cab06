//! What a process cost: processor time, peak and present memory, as the kernel counted them.

use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How often a running process is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a process cost so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// User and system time in seconds, all threads; to a hundredth.
    pub(crate) cpu: f64,
    /// Wall time in seconds.
    pub(crate) wall: f64,
    /// The most resident memory there was, in MB of 1,000,000 bytes.
    pub(crate) peak: f64,
}

/// A child that dies with this value.
pub(crate) struct Measured {
    child: Child,
    begun: Instant,
    name: String,
    last: Cost,
}

impl Measured {
    /// Starts it with its streams away from ours.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let name = crate::sh::shown(&command);
        command.stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Measured { child, begun: Instant::now(), name, last: Cost::default() })
    }

    /// Takes over what was started elsewhere, because one of its streams is needed there.
    pub(crate) fn adopt(child: Child, name: &str) -> Self {
        Measured { child, begun: Instant::now(), name: name.to_owned(), last: Cost::default() }
    }

    /// What it has cost until now.
    pub(crate) fn cost(&mut self) -> Cost {
        if let Some(cost) = cost_of(self.child.id()) {
            // One that has just ended has no memory any more, but had.
            let peak = cost.peak.max(self.last.peak);
            self.last = Cost { wall: self.begun.elapsed().as_secs_f64(), peak, ..cost };
        }
        self.last
    }

    /// Resident memory now, in MB of 1,000,000 bytes.
    pub(crate) fn resident(&self) -> f64 {
        status_of(self.child.id(), "VmRSS:").unwrap_or_default()
    }

    /// Waits until it ends by itself; the processor time is exact then.
    ///
    /// # Errors
    /// When it takes longer than `limit` or fails.
    pub(crate) fn finish(mut self, limit: Duration) -> anyhow::Result<Cost> {
        let before = ended_children();
        let status = loop {
            let _ = self.cost();
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if self.begun.elapsed() > limit {
                bail!("{} did not end within {} s", self.name, limit.as_secs());
            }
            std::thread::sleep(LOOK);
        };
        self.judge(status)?;
        Ok(Cost { cpu: ended_children() - before, wall: self.begun.elapsed().as_secs_f64(), ..self.last })
    }

    /// Looks at it until `done`, then ends it. What it does not end by itself is measured up to that point.
    ///
    /// # Errors
    /// When that takes longer than `limit` or it ends before.
    pub(crate) fn until(mut self, limit: Duration, mut done: impl FnMut() -> bool) -> anyhow::Result<Cost> {
        while !done() {
            let _ = self.cost();
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended too early: {status}", self.name);
            }
            if self.begun.elapsed() > limit {
                bail!("{} was not ready within {} s", self.name, limit.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        Ok(self.cost())
    }

    fn judge(&self, status: ExitStatus) -> anyhow::Result<()> {
        if !status.success() {
            bail!("{}: {status}", self.name);
        }
        Ok(())
    }
}

impl Drop for Measured {
    /// Politely first: a peer's master process takes its workers along only then.
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let asked = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < PATIENCE {
                std::thread::sleep(LOOK);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From proc(5): fields 14 and 15 of `stat` (with the threads that have ended), and `VmHWM`. Children count: a peer's worker may
/// be one.
fn cost_of(pid: u32) -> Option<Cost> {
    let mut cost = own_cost(pid)?;
    for child in children_of(pid) {
        if let Some(more) = cost_of(child) {
            cost.cpu += more.cpu;
            cost.peak += more.peak;
        }
    }
    Some(cost)
}

fn own_cost(pid: u32) -> Option<Cost> {
    let cpu = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 11)?;
    Some(Cost { cpu, wall: 0.0, peak: status_of(pid, "VmHWM:").unwrap_or_default() })
}

fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Seconds of all children that have ended: `cutime` and `cstime` of this process.
fn ended_children() -> f64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| ticks(&stat, 13)).unwrap_or_default()
}

/// Two neighbouring tick counters of a `stat` line, in seconds; `at` counts from the field behind the name.
fn ticks(stat: &str, at: usize) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(at);
    let sum = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some(sum / per_second)
}

fn status_of(pid: u32, key: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1.024e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counters_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 150 50 30 20 0";
        assert_eq!(ticks(stat, 11), Some(2.0));
        assert_eq!(ticks(stat, 13), Some(0.5));
    }

    #[test]
    fn a_child_that_worked_has_a_cost() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
        let cost = Measured::start(command).and_then(|child| child.finish(Duration::from_secs(60)));
        let cost = cost.expect("sh runs");
        assert!(cost.cpu > 0.0 && cost.wall > 0.0);
    }
}
