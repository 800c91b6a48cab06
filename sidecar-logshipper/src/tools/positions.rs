//! `positions`: what is saved, for people; and forgetting it.

use std::fmt::Write as _;
use std::path::Path;

use logtail::{Position, Store};
use podkit::Exit;
use serde_json::json;

use crate::cli::PositionsArgs;
use crate::state::{State, saved};

/// Lists positions, or resets them.
///
/// # Errors
/// There is no `--state`, it cannot be read, or (to reset) a shipper runs there.
pub fn run(args: &PositionsArgs, state: Option<&Path>) -> Result<(), Exit> {
    let dir =
        state.ok_or_else(|| Exit::usage("positions needs to know where they are; write --state DIR"))?;
    let failed = |e: std::io::Error| {
        Exit::failed(format!("--state {}: {e}; is it the right directory?", dir.display()))
    };
    let sinks: Vec<_> = saved(dir)
        .map_err(failed)?
        .into_iter()
        .filter(|(name, _)| args.sink.as_ref().is_none_or(|sink| sink == name))
        .collect();
    let chosen = |position: &Position| {
        args.file.as_ref().is_none_or(|text| position.path.to_string_lossy().contains(text.as_str()))
    };
    // Held until the end: nobody may start in between.
    let _lock =
        if args.reset { Some(State::open(dir).map_err(|e| Exit::failed(e.to_string()))?) } else { None };
    let mut rows = Vec::new();
    for (sink, path) in sinks {
        let mut positions = read(&path)?;
        rows.extend(
            positions.files.iter().filter(|p| chosen(p) && !p.ignored).cloned().map(|p| (sink.clone(), p)),
        );
        if args.reset {
            positions.files.retain(|position| !chosen(position));
            // A plain store would set aside what is damaged; it was read above, so it is not.
            let (store, _) = Store::open(&path).map_err(|e| Exit::failed(e.to_string()))?;
            store.save(&positions).map_err(|e| Exit::failed(e.to_string()))?;
        }
    }
    podkit::cli::print(&if args.json { as_json(&rows) } else { as_table(&rows, args.reset) })
}

/// Read without setting a damaged one aside: that is for the one who runs.
fn read(path: &Path) -> Result<logtail::Positions, Exit> {
    Store::peek(path).map_err(|e| Exit::failed(format!("{}: {e}", path.display())))
}

fn as_json(rows: &[(String, Position)]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|(sink, p)| json!({"sink": sink, "path": p.path.to_string_lossy(), "offset": p.offset, "size": p.size, "id": format!("{:016x}", p.id)}))
        .collect();
    serde_json::to_string_pretty(&rows).unwrap_or_default() + "\n"
}

fn as_table(rows: &[(String, Position)], reset: bool) -> String {
    let mut text = format!("{:<32} {:>14} {:>14}  PATH\n", "SINK", "OFFSET", "SIZE");
    for (sink, p) in rows {
        // Writing into a String does not fail.
        let _ = writeln!(text, "{sink:<32} {:>14} {:>14}  {}", p.offset, p.size, p.path.display());
    }
    if rows.is_empty() {
        text.push_str("(nothing is saved there, or nothing of that sink and file)\n");
    }
    if reset {
        let _ = writeln!(text, "forgotten: {}", rows.len());
    }
    text
}
