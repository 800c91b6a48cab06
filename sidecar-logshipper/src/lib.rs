//! `tail → batch → send → checkpoint`
//!
//! One lane per sink ([`lane`]): it follows the files through [`logtail`] with positions of its own, converts, joins and
//! renders lines into batches ([`batch`], [`charset`], [`join`], [`style`], [`encode`]), sends them ([`sink`], [`deliver`]), and moves its positions once they are
//! acknowledged. The log file is the buffer, so a dead sink holds back nothing but itself.

pub mod batch;
pub mod charset;
pub mod cli;
pub mod config;
pub mod content;
pub mod dead_letter;
pub mod deliver;
pub mod digest;
pub mod encode;
pub mod enrich;
pub mod gzip;
pub mod id;
pub mod index;
pub mod item;
pub mod join;
pub mod lane;
pub mod members;
pub mod metrics;
pub mod run;
pub mod sink;
pub mod state;
pub mod status;
pub mod stencil;
pub mod style;
pub mod tools;
pub mod wire;

pub use run::main;

/// What the binary is called and which prefix its environment twins have.
pub const APP: podkit::App = podkit::App { name: "sidecar-logshipper", env_prefix: "LOGSHIPPER_" };

/// Of the admin port, as in the table of all four.
pub const ADMIN_PORT: u16 = 9104;
