//! `adapter-logformat test`: line by line what was read, what was not, and where reading stopped.

use std::io::Read;
use std::sync::Arc;

use podkit::exit::Exit;

use crate::{
    cli::TestArgs,
    config::Config,
    decode::FORMATS,
    lane::{Counts, Lane, Stream},
    time::Time,
};

/// Longer samples are cut: this is for looking, not for converting.
const LIMIT: u64 = 64 << 20;

/// Reads the samples and prints a verdict per line and a sum.
///
/// # Errors
/// Code 1 when a file cannot be read, or when a line could not be.
pub fn test(args: &TestArgs, config: &Config) -> Result<(), Exit> {
    let streams = config.inputs();
    let stream = Arc::new(Stream::compile(&streams[0], config).map_err(Exit::config)?);
    let mut total = Counts::default();
    let files: Vec<_> =
        if args.files.is_empty() { vec![None] } else { args.files.iter().map(Some).collect() };
    for file in files {
        let (name, bytes) = match file {
            Some(path) => {
                let bytes = std::fs::File::open(path).and_then(read);
                (path.display().to_string(), bytes)
            }
            None => ("stdin".to_owned(), read(std::io::stdin().lock())),
        };
        let bytes =
            bytes.map_err(|e| Exit::failed(format!("{name} cannot be read: {e}; name a log file")))?;
        let mut lane = Lane::new(stream.clone(), None);
        lane.set_now(Time::now());
        for (number, line) in bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|b| *b == b'\n').enumerate() {
            let mut out = Vec::new();
            let verdict = lane.line(line, None, &mut total, &mut out);
            let line = String::from_utf8_lossy(line);
            let shown = |text: &str| text.chars().take(400).collect::<String>();
            let mut text = String::new();
            match (verdict.unparsed, verdict.partial) {
                (Some(refusal), _) => {
                    text.push_str(&format!(
                        "{name}:{}: not read as {}: {}\n",
                        number + 1,
                        verdict.format,
                        refusal.reason
                    ));
                    text.push_str(&format!("  {}\n", shown(&line)));
                    let column = line.bytes().take(refusal.at).filter(|b| b & 0xc0 != 0x80).count();
                    if column < 400 {
                        text.push_str(&format!("  {}^ here\n", " ".repeat(column)));
                    }
                }
                (None, Some(part)) => {
                    text.push_str(&format!(
                        "{name}:{}: {}, but its {part} could not be read\n",
                        number + 1,
                        verdict.format
                    ));
                    text.push_str(&format!("  {}\n", shown(&line)));
                }
                (None, None) if args.failed => continue,
                (None, None) => text.push_str(&format!("{name}:{}: {}\n", number + 1, verdict.format)),
            }
            text.push_str(&format!("  → {}", String::from_utf8_lossy(&out)));
            podkit::cli::print(&text)?;
        }
    }
    let by_format: Vec<_> = FORMATS
        .iter()
        .zip(total.formats)
        .filter(|(_, count)| *count > 0)
        .map(|(entry, count)| format!("{count} {}", entry.name))
        .collect();
    podkit::cli::print(&format!(
        "{} lines: {} read ({}), {} with a part that could not be read, {} not read\n",
        total.lines,
        total.records - total.unparsed,
        by_format.join(", "),
        total.partial,
        total.unparsed
    ))?;
    if total.unparsed > 0 { Err(Exit::code(1)) } else { Ok(()) }
}

fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
