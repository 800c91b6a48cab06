//! From text to targets: everything is read, and every problem found, before anything is asked.

mod login;
mod order;
mod query;
mod text;
mod userinfo;
mod words;

use std::time::Duration;

use crate::check::Check;
use crate::config::{Config, TargetConfig};
use crate::report::Redactor;

pub use login::Login;
pub use query::Query;
pub use text::{HostPort, Parts, host_port, parse_argument, split};
pub(crate) use userinfo::{check as check_userinfo, secrets};
pub use words::words;

/// What is wrong with a piece of text and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub remedy: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Wrong { what: what.into(), remedy: remedy.into() }
    }
}

/// A [`Wrong`] with the key that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub what: String,
    pub remedy: String,
}

/// One target, ready to be checked.
#[derive(Debug)]
pub struct Target {
    /// What people see: the given name, or the text without passwords.
    pub name: String,
    pub check: Check,
    /// `not:`
    pub negated: bool,
    /// Indices of the targets that must be ready first.
    pub after: Vec<usize>,
    pub attempt_timeout: Option<Duration>,
}

/// All targets of a run, and the secrets that they brought along.
#[derive(Debug, Default)]
pub struct Targets {
    pub list: Vec<Target>,
    pub redactor: Redactor,
}

impl Targets {
    /// # Errors
    /// Every problem of every target.
    pub fn compile(config: &Config) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut targets = Targets::default();
        for (index, entry) in config.targets.iter().enumerate() {
            match target(entry, &targets.redactor) {
                Ok(target) => targets.list.push(target),
                Err((key, wrong)) => problems.push(Problem {
                    key: format!("targets[{index}].{key}"),
                    what: targets.redactor.clean(&wrong.what),
                    remedy: targets.redactor.clean(&wrong.remedy),
                }),
            }
        }
        problems.extend(order::link(&config.targets, &mut targets.list));
        if problems.is_empty() { Ok(targets) } else { Err(problems) }
    }
}

fn target(entry: &TargetConfig, redactor: &Redactor) -> Result<Target, (&'static str, Wrong)> {
    let at = |key| move |wrong| (key, wrong);
    let text = entry.target.0.trim();
    redactor.learn_url(text);
    let parts = split(text).map_err(at("target"))?;
    if !matches!(parts.scheme, "exec" | "file" | "unix" | "k8s" | "dns") {
        userinfo::check(parts.whole).map_err(at("target"))?;
    }
    let check = Check::new(&parts, entry, redactor)?;
    let name = match &entry.name {
        Some(name) if name.trim().is_empty() => {
            return Err(("name", Wrong::new("is empty", "leave it out or write a name")));
        }
        Some(name) => name.clone(),
        None => redactor.clean(text),
    };
    Ok(Target {
        name,
        check,
        negated: parts.negated,
        after: Vec::new(),
        attempt_timeout: entry.attempt_timeout.map(podkit::units::Dur::get).filter(|time| !time.is_zero()),
    })
}
