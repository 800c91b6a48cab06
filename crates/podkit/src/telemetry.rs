//! The process's own log: stderr, text on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::LogFormat;
use crate::exit::Exit;

/// Switches the log on. A second call changes nothing (tests run several tools in one process).
///
/// # Errors
/// Code 2 when `level` is none.
pub fn init(format: LogFormat, level: &str) -> Result<(), Exit> {
    // Targets knows levels per module and no patterns over fields, which would bring a regex engine along.
    let wrong = |what: &str| {
        Exit::usage(format!(
            "--log-level {level}: {what}; write error, warn, info, debug or trace, or module=level"
        ))
    };
    // A lone word that is no level would be taken for a module, and be as good as unsaid.
    if let Some(word) =
        level.split(',').find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err())
    {
        return Err(wrong(&format!("{word:?} is no level")));
    }
    let filter: Targets = level.parse().map_err(|error| wrong(&format!("{error}")))?;
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let registry = tracing_subscriber::registry().with(filter);
    let done = if format == LogFormat::Json || (format == LogFormat::Auto && !terminal) {
        registry
            .with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false))
            .try_init()
    } else {
        registry.with(layer.with_target(false).compact()).try_init()
    };
    drop(done);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_wrong_usage() {
        for level in ["loud", "info,hyper=loud"] {
            let exit = init(LogFormat::Json, level).unwrap_err();
            assert_eq!(exit.code, 2);
            assert!(exit.message.unwrap().contains(&format!("--log-level {level}: ")));
        }
        assert_eq!(init(LogFormat::Json, "info,hyper=warn"), Ok(()));
    }
}
