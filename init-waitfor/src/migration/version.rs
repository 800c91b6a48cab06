//! A version as people write it, in the spelling of the tool's table. No I/O.

use super::tool::{Order, Tool};

/// As many digits as can be compared.
const MOST_DIGITS: usize = 38;

/// Names of files and directories are versions, too: `V1_2__add.sql`, `20260101_x.up.sql`, `2026-01-01-000000_x`.
///
/// # Errors
/// What no row can be compared with: "at least" that would be met by anything.
pub(super) fn spelled(tool: Tool, text: &str) -> Result<String, String> {
    let text = text.trim();
    let (found, example) = match tool.spec().order {
        Order::Number => (number(tool, text), "whose versions are numbers, such as 20260101120000 or 3"),
        Order::Dotted => (dotted(text), "whose versions are numbers with dots, such as 1.10"),
        Order::PerApp => (of_app(text), "whose versions are APP.NAME, such as shop.0002_more"),
        Order::Text | Order::Graph | Order::Executed => (Some(text.to_owned()), ""),
    };
    found.ok_or_else(|| format!("{text:?} is no version of {}, {example}", tool.name()))
}

fn number(tool: Tool, text: &str) -> Option<String> {
    let text = match tool {
        Tool::Refinery => text.strip_prefix(['V', 'U']).unwrap_or(text),
        _ => text,
    };
    let digits = if tool == Tool::Diesel {
        text.split('_').next()?.replace('-', "")
    } else {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        if !(text[end..].is_empty() || text[end..].starts_with(['_', '-', '.'])) {
            return None;
        }
        text[..end].to_owned()
    };
    let right = (1..=MOST_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    right.then_some(digits)
}

fn dotted(text: &str) -> Option<String> {
    let text = text.strip_prefix('V').unwrap_or(text).split("__").next()?;
    let right = |part: &str| {
        (1..=MOST_DIGITS).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.split(['.', '_']).all(right).then(|| text.replace('_', "."))
}

fn of_app(text: &str) -> Option<String> {
    let (app, name) = text.split_once('.')?;
    (!app.is_empty() && !name.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_versions_too() {
        for (tool, text, want) in [
            (Tool::Goose, " 00010 ", Some("00010")),
            (Tool::GolangMigrate, "000003_x.up.sql", Some("000003")),
            (Tool::Rails, "20260101120000_create.rb", Some("20260101120000")),
            (Tool::Rails, "20260101120000", Some("20260101120000")),
            (Tool::Diesel, "2026-01-01-000000_x", Some("20260101000000")),
            (Tool::Diesel, "20260101000000", Some("20260101000000")),
            (Tool::Refinery, "V2__x", Some("2")),
            (Tool::TypeOrm, "1700000000000-Init", Some("1700000000000")),
            (Tool::Flyway, "V1_10__add.sql", Some("1.10")),
            (Tool::Flyway, "1.10", Some("1.10")),
            (Tool::Django, "shop.0002_more", Some("shop.0002_more")),
            (Tool::Alembic, "ab12cd", Some("ab12cd")),
            (Tool::Goose, "add_users", None),
            (Tool::Goose, "3rd", None),
            (Tool::Goose, "9999999999999999999999999999999999999999", None),
            (Tool::Diesel, "first_x", None),
            (Tool::Flyway, "latest", None),
            (Tool::Flyway, "1.10.x", None),
            (Tool::Django, "0002_more", None),
        ] {
            assert_eq!(spelled(tool, text).ok().as_deref(), want, "{tool:?} {text}");
        }
    }
}
