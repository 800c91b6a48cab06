//! A manual page from what a binary says of itself: `--help → sections → roff`.
//!
//! Help, completions and page come from one definition this way, and the page has the defaults and environment twins that
//! the help shows. Source of the macros: groff_man(7).

use std::fmt::Write as _;
use std::path::Path;

use super::commit_date;
use crate::sh;

pub(crate) fn page(binary: &Path, name: &str) -> anyhow::Result<String> {
    let program = binary.to_string_lossy();
    let help = sh::output(sh::command(&program, &["--help"]))?;
    let mut page = top(name, &help, &commit_date());
    for subcommand in subcommands(&help) {
        let help = sh::output(sh::command(&program, &[&subcommand, "--help"]))?;
        section(&mut page, &format!("{name} {subcommand}"));
        sections(&mut page, &help, ".SS");
    }
    Ok(page)
}

fn top(name: &str, help: &str, date: &str) -> String {
    let about = help.lines().next().unwrap_or("");
    let mut page = format!(".TH {} 1 {date} \"podmates {}\"\n", name.to_uppercase(), sh::VERSION);
    let _ = write!(page, ".SH NAME\n{} \\- {}\n", escaped(name), escaped(about.trim_end_matches('.')));
    sections(&mut page, help, ".SH");
    page
}

/// The words in the list of commands.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let rows = list.take_while(|line| line.starts_with("  ") || line.is_empty());
    let heads = rows.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    heads
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .map(str::to_owned)
        .collect()
}

/// Headings end with a colon at the margin; heads of lists are indented by up to eight, what belongs to them by more.
fn sections(page: &mut String, help: &str, heading: &str) {
    let mut lines = help.lines().peekable();
    // The first line is in NAME already, or is what the subcommand's section begins with.
    if heading == ".SH" {
        lines.next();
    }
    let mut described = false;
    for line in lines {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        if let Some(usage) = line.strip_prefix("Usage:") {
            let _ = write!(page, "{heading} SYNOPSIS\n.B {}\n", escaped(usage.trim()));
        } else if indent == 0 && text.ends_with(':') {
            let title = text.trim_end_matches(':').to_uppercase();
            let _ = writeln!(page, "{heading} {}", escaped(&title));
        } else if text.is_empty() {
            page.push_str(if page.ends_with(".sp\n") { "" } else { ".sp\n" });
        } else if indent > 0 && indent <= 8 {
            let (head, rest) = text.split_once("  ").unwrap_or((text, ""));
            let _ = writeln!(page, ".TP\n.B {}", escaped(head));
            if !rest.trim().is_empty() {
                let _ = writeln!(page, "{}", escaped(rest.trim()));
            }
        } else {
            if indent == 0 && !described && heading == ".SH" {
                let _ = writeln!(page, "{heading} DESCRIPTION");
                described = true;
            }
            let _ = writeln!(page, "{}", escaped(text));
        }
    }
}

fn section(page: &mut String, title: &str) {
    let _ = writeln!(page, ".SH {}", escaped(&title.to_uppercase()));
}

/// A backslash begins an escape, a dot or quote at the start of a line a request, a plain minus may become a hyphen.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Does it.\n\nUsage: x [OPTIONS]\n\nCommands:\n  one   The first\n  help  Print this\n\nOptions:\n      --read <GLOB>\n          What to read, such as C:\\x\n          .hidden ones too\n";

    #[test]
    fn help_becomes_a_page() {
        let page = top("x", HELP, "2026-11-21");
        for line in [
            ".TH X 1 2026-11-21",
            "x \\- Does it\n",
            ".SH SYNOPSIS\n.B x [OPTIONS]",
            ".SH OPTIONS",
            ".TP\n.B \\-\\-read <GLOB>\n",
            "C:\\ex",
            "\n\\&.hidden",
        ] {
            assert!(page.contains(line), "{line:?} in {page}");
        }
        assert_eq!(subcommands(HELP), ["one"]);
    }
}
