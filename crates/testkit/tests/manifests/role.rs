//! What a container of ours is for, as its image and arguments say.

use serde_json::Value;

use crate::pod::Container;
use crate::yaml::{TOOLS, list, text};

impl<'a> Container<'a> {
    /// Its place among the four, if it is one of them.
    pub(crate) fn tool(&self) -> Option<usize> {
        TOOLS.iter().position(|(name, _)| *name == self.image())
    }

    pub(crate) fn args(&self) -> Vec<&'a str> {
        list(&self.spec["args"]).iter().map(text).collect()
    }

    /// The value of `--flag VALUE` or `--flag=VALUE`.
    pub(crate) fn flag(&self, flag: &str) -> Option<&'a str> {
        let args = self.args();
        let at = args.iter().position(|arg| *arg == flag || arg.starts_with(&format!("{flag}=")))?;
        args[at].split_once('=').map(|(_, value)| value).or_else(|| args.get(at + 1).copied())
    }

    /// One of ours that stays: everything but init-waitfor without `--refresh`.
    pub(crate) fn stays(&self) -> bool {
        match self.tool() {
            Some(3) => self.args().iter().any(|arg| arg.starts_with("--refresh")),
            Some(_) => true,
            None => false,
        }
    }

    pub(crate) fn mounts(&self) -> &'a [Value] {
        list(&self.spec["volumeMounts"])
    }

    pub(crate) fn probes(&self) -> Vec<(&'static str, &'a Value)> {
        let names = ["startupProbe", "livenessProbe", "readinessProbe"];
        names.into_iter().map(|name| (name, &self.spec[name])).filter(|(_, probe)| !probe.is_null()).collect()
    }
}
