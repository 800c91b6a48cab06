//! What is asked for by name: `formats`, `test`.

mod sample;

pub use sample::test;

use podkit::exit::Exit;

use crate::decode::FORMATS;

/// The table of formats.
///
/// # Errors
/// When stdout does not take it.
pub fn formats() -> Result<(), Exit> {
    let mut text = String::from(
        "FORMAT          DETECTED  WHAT IT IS\nauto            -         finds out per file, and reads each line as what it is\n",
    );
    for entry in FORMATS {
        let detected = if entry.detect.is_some() { "yes" } else { "-" };
        text.push_str(&format!(
            "{:<15} {:<9} {}\n{:26}{}\n",
            entry.name,
            detected,
            entry.about,
            "",
            entry.example.replace('\n', "\n                          ")
        ));
    }
    podkit::cli::print(&text)
}
