//! What is applied against what is wanted. No I/O.

use std::cmp::Ordering;

use super::applied::Applied;
use super::files::Listed;
use super::tool::{Order, Tool};
use super::{graph, liquibase};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    At(String),
    AtLeast(String),
    All(Listed),
    AtLeastIn(String, Listed),
}

/// The result, with words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Current(String),
    Behind(String),
    Ahead(String),
}

pub(super) fn compare(tool: Tool, applied: &Applied, wanted: &Wanted) -> Standing {
    let order = tool.spec().order;
    match (order, wanted) {
        (Order::Graph, Wanted::At(version) | Wanted::AtLeast(version)) => heads(applied, version),
        (Order::Graph, Wanted::All(listed)) => graph::all(&applied.versions, listed),
        (Order::Graph, Wanted::AtLeastIn(version, listed)) => {
            graph::at_least(&applied.versions, version, listed)
        }
        (Order::PerApp, Wanted::AtLeastIn(version, listed)) => {
            graph::at_least_of_app(&applied.versions, version, listed)
        }
        (Order::Executed, Wanted::At(version)) => executed(applied, version, true),
        (Order::Executed, Wanted::AtLeast(version) | Wanted::AtLeastIn(version, _)) => {
            executed(applied, version, false)
        }
        (_, Wanted::At(version)) => at(order, applied, version),
        (_, Wanted::AtLeast(version) | Wanted::AtLeastIn(version, _)) => at_least(order, applied, version),
        (_, Wanted::All(listed)) => all(order, applied, listed),
    }
}

/// Alembic keeps its heads only; a part of a revision's id is enough for it, so it is here.
fn heads(applied: &Applied, version: &str) -> Standing {
    match applied.versions.as_slice() {
        [] => Standing::Behind("has applied nothing yet".to_owned()),
        [head] if head.starts_with(version) => Standing::Current(format!("is at {head}")),
        heads => Standing::Behind(format!(
            "is at {}, wanted {version} (name the revisions by --dir to see which is later)",
            heads.join(", ")
        )),
    }
}

/// Liquibase: what was executed last is where it is; what was executed at all is what it has.
fn executed(applied: &Applied, wanted: &str, last: bool) -> Standing {
    let Some(current) = applied.versions.last() else {
        return Standing::Behind(format!("has applied nothing yet, wanted {wanted}"));
    };
    let has = applied.versions.iter().any(|version| liquibase::is(version, wanted));
    match (has, last && !liquibase::is(current, wanted)) {
        (true, false) => Standing::Current(format!("is at {current}, has {wanted}")),
        (true, true) => Standing::Ahead(format!("is at {current}, wanted {wanted}")),
        (false, _) => Standing::Behind(format!(
            "is at {current}, wanted {}{wanted}",
            if last { "" } else { "at least " }
        )),
    }
}

fn at(order: Order, applied: &Applied, wanted: &str) -> Standing {
    let Some(current) = latest(order, &applied.versions, wanted) else {
        return Standing::Behind(format!("has applied nothing yet, wanted {wanted}"));
    };
    match cmp(order, &current, wanted) {
        Ordering::Equal => Standing::Current(format!("is at {current}")),
        Ordering::Less => Standing::Behind(format!("is at {current}, wanted {wanted}")),
        Ordering::Greater => Standing::Ahead(format!("is at {current}, wanted {wanted}")),
    }
}

fn at_least(order: Order, applied: &Applied, wanted: &str) -> Standing {
    if matches!(order, Order::Text | Order::PerApp)
        && applied.versions.iter().any(|version| cmp(order, version, wanted).is_eq())
    {
        return Standing::Current(format!("has {wanted}"));
    }
    match latest(order, &applied.versions, wanted) {
        Some(current) if cmp(order, &current, wanted).is_ge() => {
            Standing::Current(format!("is at {current}"))
        }
        Some(current) => Standing::Behind(format!("is at {current}, wanted at least {wanted}")),
        None => Standing::Behind(format!("has applied nothing yet, wanted at least {wanted}")),
    }
}

fn all(order: Order, applied: &Applied, listed: &Listed) -> Standing {
    let below = |version: &str| {
        applied.baseline.as_ref().is_some_and(|baseline| cmp(order, baseline, version).is_ge())
    };
    let has = |version: &str| match (applied.heads_only, applied.versions.first()) {
        (true, Some(current)) => cmp(order, current, version).is_ge(),
        _ => below(version) || applied.versions.iter().any(|known| same(order, known, version)),
    };
    let done = |version: &str| {
        has(version)
            || listed
                .replaces
                .get(version)
                .is_some_and(|old| !old.is_empty() && old.iter().all(|version| has(version)))
    };
    let required = |version: &&String| !listed.optional.contains(*version);
    let missing: Vec<&String> =
        listed.versions.iter().filter(required).filter(|version| !done(version)).collect();
    if let Some(first) = missing.first() {
        let done = listed.versions.len() - missing.len();
        return Standing::Behind(format!("has {done} of {}, next is {first}", listed.versions.len()));
    }
    // Old files may have been removed or squashed; only what comes after the newest file is news.
    let squashed = |version: &String| listed.replaces.values().any(|old| old.contains(version));
    let known = |version: &String| listed.versions.iter().any(|listed| same(order, version, listed));
    let ahead = match order {
        // What was executed after the last one that is known.
        Order::Executed => {
            let after = applied.versions.iter().rposition(known).map_or(0, |at| at + 1);
            applied.versions.get(after)
        }
        _ => applied.versions.iter().filter(|version| !squashed(version)).find(|version| {
            match latest(order, &listed.versions, version) {
                // Two branches of an app have the same number: `0003_a` is unknown beside our `0003_b`.
                Some(newest) if order == Order::PerApp => {
                    // What a squash has replaced stays in the table when the old files are gone.
                    let least = counter(&newest).map(|n| n + u64::from(newest.contains("_squashed_")));
                    !known(version) && counter(version) >= least
                }
                Some(newest) => cmp(order, version, &newest).is_gt(),
                // Another app's (Django's own are not in the project), or an empty directory.
                None => order != Order::PerApp,
            }
        }),
    };
    match ahead {
        Some(version) => Standing::Ahead(format!(
            "has applied {version}, which is not among the {} known",
            listed.versions.len()
        )),
        None => Standing::Current(format!("has all {}", listed.versions.len())),
    }
}

/// Whether a row and a file are the same migration.
fn same(order: Order, known: &str, version: &str) -> bool {
    match order {
        Order::Executed => liquibase::is(known, version),
        order => cmp(order, known, version).is_eq(),
    }
}

/// The number that Django's names begin with: `shop.0003_more`; for `0001_squashed_0003_more` the last one of what it replaces.
fn counter(version: &str) -> Option<u64> {
    let (_, name) = version.split_once('.')?;
    let name = name.rsplit_once("_squashed_").map_or(name, |(_, last)| last);
    let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    name[..digits].parse().ok()
}

/// The latest of those that can be compared with `like`.
fn latest(order: Order, versions: &[String], like: &str) -> Option<String> {
    versions
        .iter()
        .filter(|version| order != Order::PerApp || app(version) == app(like))
        .max_by(|a, b| cmp(order, a, b))
        .cloned()
}

fn app(version: &str) -> &str {
    version.split_once('.').map_or(version, |(app, _)| app)
}

pub(super) fn cmp(order: Order, a: &str, b: &str) -> Ordering {
    match order {
        Order::Number => number(a).cmp(&number(b)).then_with(|| {
            // Both no numbers: as text.
            if number(a).is_none() { a.cmp(b) } else { Ordering::Equal }
        }),
        Order::Dotted => dotted(a).cmp(&dotted(b)),
        Order::Text | Order::PerApp | Order::Graph | Order::Executed => a.cmp(b),
    }
}

fn number(text: &str) -> Option<u128> {
    text.trim().parse().ok()
}

/// `1.0` is `1`, `1.10` comes after `1.9`, `_` is a dot.
fn dotted(text: &str) -> Vec<u128> {
    let mut parts: Vec<u128> = text.split(['.', '_']).map(|part| part.parse().unwrap_or(0)).collect();
    while parts.last() == Some(&0) {
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(versions: &[&str]) -> Applied {
        Applied { versions: versions.iter().map(|v| (*v).to_owned()).collect(), ..Applied::default() }
    }

    fn kind(standing: &Standing) -> &'static str {
        match standing {
            Standing::Current(_) => "current",
            Standing::Behind(_) => "behind",
            Standing::Ahead(_) => "ahead",
        }
    }

    fn listed(versions: &[&str]) -> Listed {
        Listed { versions: versions.iter().map(|v| (*v).to_owned()).collect(), ..Listed::default() }
    }

    #[test]
    fn dotted_numbers_are_not_text() {
        let at = |wanted: &str| {
            kind(&compare(Tool::Flyway, &applied(&["1", "1.9", "1.10"]), &Wanted::At(wanted.into())))
        };
        assert_eq!(
            (at("1.10"), at("1.9"), at("1.10.0"), at("2"), at("1_11")),
            ("current", "ahead", "current", "behind", "behind")
        );
    }

    #[test]
    fn numbers_of_different_width() {
        let least = |wanted: &str| {
            kind(&compare(Tool::Goose, &applied(&["9", "10"]), &Wanted::AtLeast(wanted.into())))
        };
        assert_eq!((least("9"), least("00010"), least("11")), ("current", "current", "behind"));
        assert_eq!(kind(&compare(Tool::Goose, &applied(&[]), &Wanted::AtLeast("1".into()))), "behind");
    }

    #[test]
    fn directories() {
        let all = |tool, have: &[&str], want: &[&str]| {
            kind(&compare(tool, &applied(have), &Wanted::All(listed(want))))
        };
        assert_eq!(all(Tool::Rails, &["1", "2"], &["1", "2"]), "current");
        assert_eq!(all(Tool::Rails, &["1"], &["1", "2"]), "behind");
        // An old file was removed; a newer migration is unknown.
        assert_eq!(all(Tool::Rails, &["1", "2"], &["2"]), "current");
        assert_eq!(all(Tool::Rails, &["1", "2", "3"], &["1", "2"]), "ahead");
        // A hole in the middle (a branch was merged late) is behind, though the newest is there.
        assert_eq!(all(Tool::Rails, &["1", "3"], &["1", "2", "3"]), "behind");
        let current = Applied { heads_only: true, ..applied(&["2"]) };
        assert_eq!(
            kind(&compare(Tool::GolangMigrate, &current, &Wanted::All(listed(&["1", "2"])))),
            "current"
        );
        assert_eq!(
            kind(&compare(Tool::GolangMigrate, &current, &Wanted::All(listed(&["1", "2", "3"])))),
            "behind"
        );
        assert_eq!(kind(&compare(Tool::GolangMigrate, &current, &Wanted::All(listed(&["1"])))), "ahead");
    }

    #[test]
    fn django_apps_are_apart_and_squashes_count() {
        let have = applied(&["auth.0001_initial", "shop.0001_initial", "shop.0002_more"]);
        let mut want = listed(&["shop.0001_squashed_0002_more"]);
        want.replaces.insert(
            "shop.0001_squashed_0002_more".into(),
            vec!["shop.0001_initial".into(), "shop.0002_more".into()],
        );
        assert_eq!(kind(&compare(Tool::Django, &have, &Wanted::All(want.clone()))), "current");
        want.replaces.insert("shop.0001_squashed_0002_more".into(), vec!["shop.0003_x".into()]);
        assert_eq!(kind(&compare(Tool::Django, &have, &Wanted::All(want.clone()))), "behind");
        // The old files and the list of what it replaces are gone, the rows are not.
        want.replaces.clear();
        let have = applied(&["shop.0001_initial", "shop.0002_more", "shop.0001_squashed_0002_more"]);
        assert_eq!(kind(&compare(Tool::Django, &have, &Wanted::All(want))), "current");
        let have = applied(&["auth.0001_initial", "shop.0001_initial", "shop.0002_more"]);
        assert_eq!(
            kind(&compare(Tool::Django, &have, &Wanted::All(listed(&["shop.0001_initial"])))),
            "ahead"
        );
        assert_eq!(
            kind(&compare(Tool::Django, &have, &Wanted::AtLeast("shop.0001_initial".into()))),
            "current"
        );
        assert_eq!(kind(&compare(Tool::Django, &have, &Wanted::At("shop.0002_more".into()))), "current");
    }
}
