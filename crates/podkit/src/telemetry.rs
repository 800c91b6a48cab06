//! The process's own log: stderr, text on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::cli::LogFormat;
use crate::exit::Exit;

/// Switches the log on. A second call changes nothing (tests run several tools in one process).
///
/// # Errors
/// Code 2 when `level` is none.
pub fn init(format: LogFormat, level: &str) -> Result<(), Exit> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Exit::usage(format!("--log-level {level}: {error}; write error, warn, info, debug or trace"))
    })?;
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    let done = if format == LogFormat::Json || (format == LogFormat::Auto && !terminal) {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_target(false).compact().try_init()
    };
    drop(done);
    Ok(())
}
