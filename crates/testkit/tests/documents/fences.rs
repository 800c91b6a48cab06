//! The fenced blocks of a Markdown text, and what stands before them.

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) mark: Mark,
    /// Of its opening fence.
    pub(crate) line: usize,
}

/// `<!-- checked: REASON -->` or `<!-- not run: REASON -->`, on the line before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    Checked(String),
    NotRun(String),
}

pub(crate) fn all(markdown: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    let mut before = "";
    for (index, line) in markdown.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                let language = language.trim().to_owned();
                open = Some(Block { language, text: String::new(), mark: mark(before), line: index + 1 });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
        if !line.trim().is_empty() {
            before = line.trim();
        }
    }
    blocks
}

/// The `code` within sentences and tables, outside of fences.
pub(crate) fn inline(markdown: &str) -> Vec<String> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // A table escapes its bars.
            found.extend(line.split('`').skip(1).step_by(2).map(|code| code.replace("\\|", "|")));
        }
    }
    found
}

fn mark(line: &str) -> Mark {
    let Some(inside) = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) else {
        return Mark::None;
    };
    match inside.trim().split_once(':') {
        Some(("not run", reason)) => Mark::NotRun(reason.trim().to_owned()),
        Some(("checked", reason)) => Mark::Checked(reason.trim().to_owned()),
        _ => Mark::None,
    }
}

#[test]
fn blocks_and_their_marks() {
    let text = "a\n<!-- not run: because of it -->\n```sh\nx\n```\n\n<!-- checked: so: far -->\n\n```\ny\nz\n```\n```yaml\n```\n";
    let blocks = all(text);
    let seen: Vec<(&str, &str, usize)> =
        blocks.iter().map(|b| (b.language.as_str(), b.text.as_str(), b.line)).collect();
    assert_eq!(seen, [("sh", "x\n", 3), ("", "y\nz\n", 9), ("yaml", "", 13)]);
    assert_eq!(blocks[0].mark, Mark::NotRun("because of it".to_owned()));
    assert_eq!(inline("a `b` c\n```\n`x`\n```\n| `d\\|e` | `f` |\n"), ["b", "d|e", "f"]);
    assert_eq!((&blocks[1].mark, &blocks[2].mark), (&Mark::Checked("so: far".to_owned()), &Mark::None));
}
