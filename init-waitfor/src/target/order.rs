//! `after`: from names to indices, without circles.

use super::{Problem, Target};
use crate::config::TargetConfig;

/// Fills in [`Target::after`]. Says which names are unknown or double and which targets wait for themselves.
pub(super) fn link(entries: &[TargetConfig], list: &mut [Target]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
    let by_name = |name: &str| entries.iter().position(|entry| entry.name.as_deref() == Some(name));
    for (index, entry) in entries.iter().enumerate() {
        if let Some(name) = entry.name.as_deref()
            && by_name(name) != Some(index)
        {
            problems.push(Problem {
                key: format!("targets[{index}].name"),
                what: format!("{name:?} is the name of two targets"),
                remedy: "give each its own".to_owned(),
            });
        }
        for (place, name) in entry.after.iter().enumerate() {
            match by_name(name) {
                Some(other) => edges[index].push(other),
                None => problems.push(Problem {
                    key: format!("targets[{index}].after[{place}]"),
                    what: format!("no target is named {name:?}"),
                    remedy: known(entries, name),
                }),
            }
        }
    }
    for index in 0..entries.len() {
        if reaches(&edges, index, index) {
            problems.push(Problem {
                key: format!("targets[{index}].after"),
                what: "the target waits for itself, through others or directly".to_owned(),
                remedy: "take one link out of the circle".to_owned(),
            });
            break;
        }
    }
    for (target, after) in list.iter_mut().zip(edges) {
        target.after = after;
    }
    problems
}

fn known(entries: &[TargetConfig], wanted: &str) -> String {
    let names: Vec<&str> = entries.iter().filter_map(|entry| entry.name.as_deref()).collect();
    match podkit::config::nearest(wanted, names.iter().copied()) {
        Some(name) => format!("did you mean {name:?}?"),
        None if names.is_empty() => "give the other target a name".to_owned(),
        None => format!("named targets are {}", names.join(", ")),
    }
}

fn reaches(edges: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; edges.len()];
    let mut todo = edges[from].clone();
    while let Some(next) = todo.pop() {
        if next == to {
            return true;
        }
        if !std::mem::replace(&mut seen[next], true) {
            todo.extend(&edges[next]);
        }
    }
    false
}
