//! `adapter-logformat test`: line by line what was read, what was not, and where reading stopped.

use std::io::Read;

use podkit::exit::Exit;

use crate::{
    cli::TestArgs,
    config::Config,
    decode::FORMATS,
    join::Event,
    lane::{Counts, Verdict},
    pipeline::streams::Streams,
    rules::Series,
    time::Time,
};

/// Longer samples are cut: this is for looking, not for converting.
const LIMIT: u64 = 64 << 20;
/// Characters of a line that are shown.
const SHOWN: usize = 400;

/// Reads the samples and prints a verdict per event and a sum. A file that a stream of the configuration names is read as that stream.
///
/// # Errors
/// Code 1 when a file cannot be read, or when a line could not be.
pub fn test(args: &TestArgs, config: &Config) -> Result<(), Exit> {
    let streams = Streams::compile(config, &Series::default()).map_err(Exit::config)?;
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
        let path = file.and_then(|path| std::path::absolute(path).ok()).unwrap_or_default();
        let mut lane = streams.lane_like(&path.to_string_lossy());
        lane.set_now(Time::now());
        let (mut number, mut out, mut printed) = (1, Vec::new(), Ok(()));
        lane.lines_seen(&bytes, true, &mut total, &mut out, |event, verdict, out| {
            let at = match event.lines {
                1 => format!("{name}:{number}"),
                lines => format!("{name}:{number}-{}", number + lines - 1),
            };
            number += event.lines;
            if !args.failed || verdict.unparsed.is_some() || verdict.partial.is_some() {
                let text = describe(&at, event, &verdict, out, &streams.filters);
                if printed.is_ok() {
                    printed = podkit::cli::print(&text);
                }
            }
            out.clear();
        });
        printed?;
    }
    sum(&total)
}

fn describe(at: &str, event: &Event<'_>, verdict: &Verdict, out: &[u8], filters: &[String]) -> String {
    let line = String::from_utf8_lossy(event.raw);
    let line = line.lines().next().unwrap_or_default();
    let shown: String = line.chars().take(SHOWN).collect();
    let mut text = match (verdict.unparsed, verdict.partial) {
        (Some(refusal), _) => {
            let mut text = format!("{at}: not read as {}: {}\n  {shown}\n", verdict.format, refusal.reason);
            let column = line.bytes().take(refusal.at).filter(|b| b & 0xc0 != 0x80).count();
            if column < SHOWN {
                text.push_str(&format!("  {}^ here\n", " ".repeat(column)));
            }
            text
        }
        (None, Some(part)) => {
            format!("{at}: {}, but its {part} could not be read\n  {shown}\n", verdict.format)
        }
        (None, None) => format!("{at}: {}\n", verdict.format),
    };
    match verdict.left_out.and_then(|filter| filters.get(filter)) {
        Some(filter) => text.push_str(&format!("  left out by the filter {filter}\n")),
        None => text.push_str(&format!("  → {}", String::from_utf8_lossy(out))),
    }
    text
}

fn sum(total: &Counts) -> Result<(), Exit> {
    let by_format: Vec<_> = FORMATS
        .iter()
        .zip(total.formats)
        .filter(|(_, count)| *count > 0)
        .map(|(entry, count)| format!("{count} {}", entry.name))
        .collect();
    podkit::cli::print(&format!(
        "{} lines: {} records read ({}), {} with a part that could not be read, {} not read; {} lines joined, {} left out\n",
        total.lines,
        total.records - total.unparsed,
        by_format.join(", "),
        total.partial,
        total.unparsed,
        total.joined,
        total.filtered,
    ))?;
    if total.unparsed > 0 { Err(Exit::code(1)) } else { Ok(()) }
}

fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
