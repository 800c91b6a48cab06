//! What is wrong with a configuration: all of it at once, each with its place and what to write instead.

use std::fmt;

/// A position in a file, 1-based; zero when unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `sinks[0].to`; empty for the whole.
    pub path: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(path: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), place: Place::default(), what: what.into(), remedy: remedy.into() }
    }

    #[must_use]
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Collects what [`super::Config::check`] finds.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) problems: Vec<Problem>,
}

impl Report {
    /// `path` is the key as in the file (`sinks[0].to`), `what` is wrong with it, `remedy` is what to write ("write …").
    pub fn problem(&mut self, path: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(path, what, remedy));
    }

    /// Keeps an error as a problem of `path`.
    pub fn take<T, E: fmt::Display>(&mut self, path: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(path, error.to_string(), "")).ok()
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Everything that is wrong, for people: one line each, `file:line:col: key: what; remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, or "command line".
    pub source: String,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}{problem}", self.source, if problem.place.line > 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
