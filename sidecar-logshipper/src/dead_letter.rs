//! What a sink refuses for good, with the reason, one JSON line each.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::batch::Batch;
use crate::item::Item;
use crate::sink::end_line;

/// All sinks write into one file, one after the other; who waits takes no thread, also where a disk hangs.
static WRITING: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

/// A file that is appended to, or the own log where there is none.
#[derive(Debug)]
pub struct DeadLetters {
    path: Option<PathBuf>,
    sink: String,
}

impl DeadLetters {
    pub fn new(path: Option<PathBuf>, sink: &str) -> Self {
        Self { path, sink: sink.to_owned() }
    }

    /// Writes down these items and why, on another thread.
    ///
    /// # Errors
    /// The file cannot be written. Nothing of this call may be counted as done then.
    pub async fn bury(&self, batch: &Batch, items: &[(Item, String)]) -> io::Result<()> {
        let Some(path) = self.path.clone() else {
            for (item, why) in items {
                let line = String::from_utf8_lossy(batch.document(item));
                tracing::error!(sink = self.sink, path = %item.path.display(), offset = item.offset, why, %line,
                    "refused for good, and no --state or --dead-letter to keep it");
            }
            return Ok(());
        };
        let mut text = Vec::new();
        for (item, why) in items {
            self.write(batch, item, why, &mut text);
        }
        let alone = Arc::clone(&WRITING).lock_owned().await;
        let written = tokio::task::spawn_blocking(move || {
            // Also when nobody waits for the end of this any more.
            let _alone = alone;
            append(&path, &text)
        });
        written.await.map_err(io::Error::other)?
    }

    fn write(&self, batch: &Batch, item: &Item, why: &str, out: &mut Vec<u8>) {
        let mut letter = json!({
            "@timestamp": jiff::Timestamp::now().to_string(),
            "sink": self.sink,
            "reason": why,
            "path": item.path.to_string_lossy(),
            "offset": item.offset,
        });
        let bytes = batch.document(item);
        let (key, value) = match (serde_json::from_slice::<Value>(bytes), std::str::from_utf8(bytes)) {
            (Ok(document), _) => ("document", document),
            (_, Ok(line)) => ("line", line.into()),
            _ => ("line_base64", STANDARD.encode(bytes).into()),
        };
        letter[key] = value;
        out.extend_from_slice(letter.to_string().as_bytes());
        out.push(b'\n');
    }
}

fn append(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let there = file.metadata()?;
    // A letter that a kill cut short swallows no other.
    end_line(&mut file)?;
    write_whole(&mut file, text, there.is_file()).inspect_err(|_| {
        // Half a letter would be written again as a whole.
        let _ = file.set_len(there.len());
    })
}

/// Pipes and terminals, such as `/dev/stderr`, cannot be synced: what they took is not here any more.
fn write_whole(file: &mut File, text: &[u8], is_file: bool) -> io::Result<()> {
    file.write_all(text)?;
    // After this the position moves past these lines: then they must be safe.
    if is_file { file.sync_data() } else { Ok(()) }
}
