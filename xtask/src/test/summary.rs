//! The table at the end, and the closing lines of the test runner below it.

use std::time::Duration;

use super::{Done, source};

pub(crate) struct Summary {
    skipped_is_failure: bool,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    took: Duration,
    result: Result<Done, String>,
}

impl Summary {
    pub(crate) fn new(skipped_is_failure: bool) -> Self {
        Summary { skipped_is_failure, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &'static str, took: Duration, outcome: anyhow::Result<Done>) {
        let result = outcome.map_err(|error| format!("{error:#}"));
        match &result {
            Ok(Done::Passed(_)) => {}
            Ok(Done::Skipped(why)) => eprintln!("SKIPPED: {why}"),
            Err(error) => eprintln!("FAILED: {error}"),
        }
        self.rows.push(Row { name, took, result });
    }

    /// Prints everything; true when nothing failed.
    pub(crate) fn show(&self, total: Duration) -> bool {
        eprintln!("\n━━━ summary ({:.0} s)", total.as_secs_f64());
        let (mut failed, mut skipped) = (0, 0);
        for row in &self.rows {
            let (mark, about) = match &row.result {
                Ok(Done::Passed(about)) => ("passed", about.as_str()),
                Ok(Done::Skipped(why)) => {
                    skipped += 1;
                    ("skipped", why.as_str())
                }
                Err(error) => {
                    failed += 1;
                    ("FAILED", error.lines().next().unwrap_or_default())
                }
            };
            eprintln!("  {:<11} {:>6.1} s  {mark:<8} {about}", row.name, row.took.as_secs_f64());
        }
        let passed = self.rows.len() - failed - skipped;
        eprintln!("\nsteps: {passed} passed, {failed} failed, {skipped} skipped");
        if skipped > 0 && self.skipped_is_failure {
            eprintln!("CI=true: a skipped step is a failure");
        }
        // Last, whatever else was said: what the test runner itself said at its end.
        if let Some(closing) = source::closing_lines() {
            eprintln!("{closing}");
        }
        failed == 0 && !(skipped > 0 && self.skipped_is_failure)
    }
}
