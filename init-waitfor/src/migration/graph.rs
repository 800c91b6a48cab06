//! Revisions that name their parents. Alembic's table holds the heads only; Django's holds every migration, but names them so that
//! two branches cannot be put into an order.

use std::collections::BTreeSet;

use super::compare::Standing;
use super::files::Listed;

/// Every revision in the directory is an ancestor of (or is) an applied head.
pub(super) fn all(heads: &[String], listed: &Listed) -> Standing {
    if heads.is_empty() {
        return Standing::Behind("has applied nothing yet".to_owned());
    }
    if let Some(unknown) = heads.iter().find(|head| !listed.versions.contains(head)) {
        return Standing::Ahead(format!(
            "is at {unknown}, which is not among the {} known",
            listed.versions.len()
        ));
    }
    let applied = ancestors(heads, listed);
    let missing: Vec<&String> =
        listed.versions.iter().filter(|version| !applied.contains(*version)).collect();
    match missing.first() {
        Some(_) => {
            let done = listed.versions.len() - missing.len();
            Standing::Behind(format!(
                "is at {}, which is {done} of {} revisions",
                heads.join(", "),
                listed.versions.len()
            ))
        }
        None => {
            Standing::Current(format!("is at {}, all {} revisions", heads.join(", "), listed.versions.len()))
        }
    }
}

/// `wanted` is an ancestor of (or is) an applied head.
pub(super) fn at_least(heads: &[String], wanted: &str, listed: &Listed) -> Standing {
    let at = if heads.is_empty() { "nothing".to_owned() } else { heads.join(", ") };
    let unknown = heads.iter().any(|head| !listed.versions.contains(head));
    let reached = ancestors(heads, listed).iter().any(|version| version.starts_with(wanted));
    match (reached, unknown) {
        (true, _) => Standing::Current(format!("is at {at}")),
        // A head from the future was reached through revisions that we do not know.
        (false, true) => {
            Standing::Ahead(format!("is at {at}, which is not among the {} known", listed.versions.len()))
        }
        (false, false) => Standing::Behind(format!("is at {at}, wanted at least {wanted}")),
    }
}

/// Django: a migration that is applied, or what it replaces, or something that came after it.
pub(super) fn at_least_of_app(applied: &[String], wanted: &str, listed: &Listed) -> Standing {
    if !listed.parents.contains_key(wanted) && !applied.iter().any(|version| version == wanted) {
        return Standing::Behind(format!(
            "wanted at least {wanted}, which is not among the {} known either",
            listed.versions.len()
        ));
    }
    let mut reached = ancestors(applied, listed);
    // A squashed migration stands for what it replaces, and the other way round.
    for (squash, old) in &listed.replaces {
        if reached.contains(squash) {
            reached.extend(old.iter().cloned());
        } else if !old.is_empty() && old.iter().all(|version| reached.contains(version)) {
            reached.insert(squash.clone());
        }
    }
    if reached.contains(wanted) {
        Standing::Current(format!("has {wanted}"))
    } else {
        Standing::Behind(format!("has {} migrations, wanted at least {wanted}", applied.len()))
    }
}

fn ancestors(heads: &[String], listed: &Listed) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<String> = heads.to_vec();
    while let Some(next) = todo.pop() {
        if seen.insert(next.clone()) {
            todo.extend(listed.parents.get(&next).into_iter().flatten().cloned());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a → b → d, a → c → d (merged).
    fn listed() -> Listed {
        let mut listed = Listed::default();
        for (version, parents) in [("a", vec![]), ("b", vec!["a"]), ("c", vec!["a"]), ("d", vec!["b", "c"])] {
            listed.versions.push(version.to_owned());
            listed.parents.insert(version.to_owned(), parents.into_iter().map(str::to_owned).collect());
        }
        listed
    }

    #[test]
    fn branches_and_merges() {
        let heads = |list: &[&str]| list.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        assert!(matches!(all(&heads(&["d"]), &listed()), Standing::Current(_)));
        assert!(matches!(all(&heads(&["b"]), &listed()), Standing::Behind(_)));
        assert!(
            matches!(all(&heads(&["b", "c"]), &listed()), Standing::Behind(text) if text.contains("3 of 4"))
        );
        assert!(matches!(all(&heads(&["z"]), &listed()), Standing::Ahead(_)));
        assert!(matches!(all(&heads(&[]), &listed()), Standing::Behind(_)));
        assert!(matches!(at_least(&heads(&["b"]), "a", &listed()), Standing::Current(_)));
        assert!(matches!(at_least(&heads(&["b"]), "c", &listed()), Standing::Behind(_)));
        assert!(matches!(at_least(&heads(&["z"]), "a", &listed()), Standing::Ahead(_)));
    }

    /// Two branches of an app and their merge; a squash of the first two.
    #[test]
    fn apps_with_branches_and_squashes() {
        let mut listed = Listed::default();
        for (version, parents) in [
            ("shop.0001_initial", vec![]),
            ("shop.0002_a", vec!["shop.0001_initial"]),
            ("shop.0002_b", vec!["shop.0001_initial"]),
            ("shop.0003_merge", vec!["shop.0002_a", "shop.0002_b"]),
            ("shop.0001_squashed_0002_a", vec![]),
        ] {
            listed.versions.push(version.to_owned());
            listed.parents.insert(version.to_owned(), parents.into_iter().map(str::to_owned).collect());
        }
        let old = ["shop.0001_initial", "shop.0002_a"].map(str::to_owned).to_vec();
        listed.replaces.insert("shop.0001_squashed_0002_a".to_owned(), old);
        let current = |applied: &[&str], wanted: &str| {
            let applied: Vec<String> = applied.iter().map(|v| (*v).to_owned()).collect();
            matches!(at_least_of_app(&applied, wanted, &listed), Standing::Current(_))
        };
        assert!(current(&["shop.0001_initial", "shop.0002_b"], "shop.0002_b"));
        assert!(!current(&["shop.0001_initial", "shop.0002_b"], "shop.0002_a"));
        // The table may hold only the merge, after a squash of a database that was there before.
        assert!(current(&["shop.0003_merge"], "shop.0002_a"));
        assert!(current(&["shop.0001_squashed_0002_a"], "shop.0002_a"));
        assert!(current(&["shop.0001_initial", "shop.0002_a"], "shop.0001_squashed_0002_a"));
        assert!(!current(&["shop.0001_initial"], "shop.0004_x"));
    }
}
