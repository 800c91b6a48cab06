//! The demo as a moving picture: `terminal → lines with their times and colours → SVG`.
//!
//! An SVG of text: it can be searched, scales, and needs no player. Each line appears when it appeared, and the older ones move up; where
//! animations are off, the last screen is seen.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::sh;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the demo runs
    #[arg(long = "for", default_value = "20s", value_name = "DURATION")]
    length: String,
    /// Where the picture goes
    #[arg(long, default_value = "docs/demo.svg", value_name = "FILE")]
    out: String,
}

const COLUMNS: usize = 132;
const ROWS: usize = 32;
const LINE: f64 = 17.0;
const LETTER: f64 = 7.83;
/// How long the last screen stays before it begins anew, in seconds.
const REST: f64 = 8.0;

/// A line of the terminal when it was complete.
struct Shown {
    at: f64,
    text: String,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let me = std::env::current_exe().context("the path of xtask")?;
    // Debian's `script` gives it a terminal, so that it shows itself as to a person.
    let line = format!("stty cols {COLUMNS} rows 40; exec '{}' demo --for {}", me.display(), options.length);
    let mut script = sh::command("script", &["-qefc", &line, "/dev/null"]);
    script.env("TERM", "xterm-256color").env_remove("NO_COLOR").stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = script.spawn().context("cannot run script (Debian: bsdutils)")?;
    let mut shown: Vec<Shown> = Vec::new();
    let reader = BufReader::new(child.stdout.take().context("a pipe")?);
    for line in reader.split(b'\n') {
        let text = String::from_utf8_lossy(&line?).into_owned();
        // Cargo's turn comes before the play.
        if shown.is_empty() && (text.trim().is_empty() || text.starts_with("xtask:")) {
            continue;
        }
        shown.push(Shown { at: begun.elapsed().as_secs_f64(), text: last_version(&text).to_owned() });
    }
    let start = shown.first().map_or(0.0, |line| line.at);
    shown.iter_mut().for_each(|line| line.at -= start);
    ensure!(child.wait()?.success(), "the demo failed; run it by hand to see why");
    let out = sh::root().join(&options.out);
    std::fs::write(&out, svg(&shown)).with_context(|| format!("cannot write {}", out.display()))?;
    eprintln!("{} lines in {}", shown.len(), out.display());
    Ok(())
}

/// What stays of a line that was written over (a status line).
fn last_version(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    line.rsplit("\x1b[2K").next().unwrap_or(line)
}

fn svg(shown: &[Shown]) -> String {
    let length = shown.last().map_or(0.0, |line| line.at) + REST;
    let (width, height) = (COLUMNS as f64 * LETTER + 24.0, ROWS as f64 * LINE + 24.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" xml:space=\"preserve\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
         <title>cargo xtask demo</title>\n<style>\n\
         text {{ font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #d8dee9; white-space: pre }}\n\
         .b {{ font-weight: bold }} .f {{ fill: #7b8394 }} .r {{ fill: #e06c75 }} .g {{ fill: #98c379 }} .y {{ fill: #e5c07b }} .c {{ fill: #56b6c2 }} .m {{ fill: #c678dd }} .l {{ fill: #61afef }}\n\
         .s {{ animation: roll {length:.2}s step-end infinite }}\n"
    );
    svg.push_str("@keyframes roll {\n");
    for (count, line) in shown.iter().enumerate() {
        // Everything below the window is not there yet: the window moves down line by line.
        let up = (count + 1) as f64 - ROWS as f64;
        let _ = writeln!(
            svg,
            "{:.3}% {{ transform: translateY({:.0}px) }}",
            line.at / length * 100.0,
            -up * LINE
        );
    }
    let last = (shown.len() as f64 - ROWS as f64) * LINE;
    let _ = writeln!(svg, "100% {{ transform: translateY({:.0}px) }}\n}}\n</style>", -last);
    let _ = writeln!(svg, "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e222a\"/>");
    let _ = writeln!(
        svg,
        "<clipPath id=\"w\"><rect x=\"12\" y=\"12\" width=\"{:.0}\" height=\"{:.0}\"/></clipPath>",
        width - 24.0,
        height - 24.0
    );
    let _ = writeln!(
        svg,
        "<g clip-path=\"url(#w)\"><g class=\"s\" style=\"transform: translateY({:.0}px)\">",
        -last
    );
    for (index, line) in shown.iter().enumerate() {
        let y = 12.0 + (index as f64 + 0.8) * LINE;
        let _ = writeln!(svg, "<text x=\"12\" y=\"{y:.0}\">{}</text>", spans(&line.text));
    }
    svg.push_str("</g></g>\n</svg>\n");
    svg
}

/// The colours of a terminal as classes; every other sequence is left out.
fn spans(line: &str) -> String {
    let (mut out, mut open, mut rest) = (String::new(), false, line);
    while let Some(at) = rest.find('\x1b') {
        out.push_str(&escaped(&rest[..at]));
        let sequence = &rest[at + 1..];
        let end = sequence.find(|c: char| c.is_ascii_alphabetic()).map_or(sequence.len(), |end| end + 1);
        if let Some(codes) = sequence[..end].strip_prefix('[').and_then(|codes| codes.strip_suffix('m')) {
            if open {
                out.push_str("</tspan>");
            }
            let classes: Vec<&str> = codes.split(';').filter_map(class).collect();
            open = !classes.is_empty();
            if open {
                let _ = write!(out, "<tspan class=\"{}\">", classes.join(" "));
            }
        }
        rest = &sequence[end..];
    }
    out.push_str(&escaped(rest));
    if open {
        out.push_str("</tspan>");
    }
    out
}

fn class(code: &str) -> Option<&'static str> {
    Some(match code {
        "1" => "b",
        "2" | "90" => "f",
        "31" | "91" => "r",
        "32" | "92" => "g",
        "33" | "93" => "y",
        "34" | "94" => "l",
        "35" | "95" => "m",
        "36" | "96" => "c",
        _ => return None,
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_text_stays_text() {
        assert_eq!(
            spans("a \x1b[1;32m<b>\x1b[0m\x1b[K & c"),
            "a <tspan class=\"b g\">&lt;b&gt;</tspan> &amp; c"
        );
        assert_eq!(spans("\x1b[31mend"), "<tspan class=\"r\">end</tspan>");
        assert_eq!(last_version("old\r\x1b[2Knew\r"), "new");
        let picture =
            svg(&[Shown { at: 1.0, text: "x".to_owned() }, Shown { at: 2.0, text: "y".to_owned() }]);
        assert!(picture.contains(">y</text>") && picture.contains("animation: roll 10.00s"), "{picture}");
    }
}
