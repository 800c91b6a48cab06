//! `targets → check → decide → report → hand over`
//!
//! Waits until what a pod needs is there, then becomes the app's process (or ends with 0). Targets are read completely before
//! anything is asked ([`target`]); a check says Ready, NotYet or Terminal ([`check`]); [`decide`] says when enough is ready,
//! or can no longer be; [`wait`] drives both against the clock; [`report`] tells people and programs; [`hand_over`]
//! is the `execve` at the end. The other subcommands are in [`tools`].

pub mod check;
pub mod cli;
pub mod config;
pub mod decide;
pub mod hand_over;
pub mod migrate;
pub mod migration;
pub mod report;
pub mod run;
pub mod sql;
pub mod target;
pub mod tools;
pub mod wait;
pub mod wire;

pub use run::main;

/// What the binary is called and which prefix its environment twins have.
pub const APP: podkit::App = podkit::App { name: "init-waitfor", env_prefix: "WAITFOR_" };

/// Port of the admin address of `fetch --refresh` when none is given.
pub const ADMIN_PORT: u16 = 9101;

/// Exit codes that the other companions do not have; the README's table says when.
pub mod code {
    /// Time is up.
    pub const TIMEOUT: u8 = 124;
    /// COMMAND was found, but cannot be run.
    pub const CANNOT_RUN: u8 = 126;
    /// COMMAND was not found.
    pub const NOT_FOUND: u8 = 127;
    /// Ended by SIGINT while waiting.
    pub const INTERRUPTED: u8 = 130;
    /// Ended by SIGTERM while waiting.
    pub const TERMINATED: u8 = 143;
    /// Authentication refused.
    pub const AUTH: u8 = 84;
}
