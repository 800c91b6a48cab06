//! What `/statusz` says: filled by the lanes, asked by the admin port.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use logtail::FileId;
use serde_json::{Value, json};

use crate::metrics::SinkMetrics;

/// Files named in the table at most, and problems; the counts are of all.
const SHOWN: usize = 100;

/// One lane, as it was a moment ago.
#[derive(Clone, Debug)]
pub struct LaneStatus {
    pub sink: SinkMetrics,
    pub state: &'static str,
    /// Why the sink did not take what it was given last.
    pub trouble: Option<String>,
    pub in_flight: usize,
    pub lag: u64,
    pub files: Vec<logtail::FileStatus>,
    pub problems: Vec<(std::path::PathBuf, String)>,
    /// Positions on disk are those in memory.
    pub saved: bool,
    /// Since when each file holds bytes that are not delivered, and how long it was then; kept by the board.
    pub behind: HashMap<FileId, (Instant, u64)>,
}

/// All lanes.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, LaneStatus>>>);

impl Board {
    pub fn publish(&self, mut status: LaneStatus) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lanes.remove(&status.sink.name).map(|lane| lane.behind).unwrap_or_default();
        status.behind = status
            .files
            .iter()
            .filter(|file| file.lag > 0)
            .map(|file| {
                // What was there then is still not delivered; otherwise the oldest of the rest came just now.
                let since = before.get(&file.id).filter(|(_, size)| file.offset < *size);
                (file.id, since.copied().unwrap_or_else(|| (Instant::now(), file.size)))
            })
            .collect();
        lanes.insert(status.sink.name.clone(), status);
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The object for `/statusz`.
    pub fn json(&self) -> Value {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: &dyn Fn(&LaneStatus) -> u64| lanes.values().map(of).sum::<u64>();
        let sinks: Vec<Value> = lanes.values().map(sink).collect();
        let files: Vec<Value> = lanes.values().flat_map(files).collect();
        // Lanes look at the same files; what is wrong with them is said once.
        let problems: BTreeSet<_> = lanes.values().flat_map(|lane| &lane.problems).collect();
        let problems: Vec<Value> = problems
            .into_iter()
            .take(SHOWN)
            .map(|(path, why)| json!({"path": path.to_string_lossy(), "problem": why}))
            .collect();
        let mut out = json!({
            "totals": {
                "lines_read": sum(&|lane| lane.sink.lines_read.get()),
                "lines_delivered": sum(&|lane| lane.sink.delivered.get()),
                "bytes_read": sum(&|lane| lane.sink.bytes_read.get()),
                "retries": sum(&|lane| lane.sink.retries.get()),
                "dead_letters": sum(&|lane| lane.sink.dead_letters.get()),
                "lost_bytes": sum(&|lane| lane.sink.lost_bytes.get()),
            },
            "gauges": {
                "lag_bytes": sum(&|lane| lane.lag),
                "in_flight_bytes": sum(&|lane| lane.in_flight as u64),
                "unsaved": sum(&|lane| u64::from(!lane.saved)),
            },
            "sinks": sinks,
            "files": files,
        });
        if !problems.is_empty() {
            out["problems"] = problems.into();
        }
        out
    }
}

fn sink(lane: &LaneStatus) -> Value {
    let mut shown = json!({
        "name": lane.sink.name,
        "state": lane.state,
        "lag_bytes": lane.lag,
        "in_flight_bytes": lane.in_flight,
        "delivered": lane.sink.delivered.get(),
        "retries": lane.sink.retries.get(),
        "dead_letters": lane.sink.dead_letters.get(),
        "lost_bytes": lane.sink.lost_bytes.get(),
    });
    if let Some(trouble) = &lane.trouble {
        shown["problem"] = trouble.as_str().into();
    }
    shown
}

fn files(lane: &LaneStatus) -> impl Iterator<Item = Value> + '_ {
    lane.files.iter().take(SHOWN).map(|file| {
        json!({
            "path": file.path.to_string_lossy(),
            "sink": lane.sink.name,
            "state": file.state,
            "offset": file.offset,
            "size": file.size,
            "lag_bytes": file.lag,
            "lag_seconds": lane.behind.get(&file.id).map_or(0, |(since, _)| since.elapsed().as_secs()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_behind_since_its_oldest_byte_that_waits() {
        let board = Board::default();
        let sink = crate::metrics::Metrics::default().sink("s");
        let since = |offset: u64, size: u64| {
            let file = logtail::FileStatus {
                path: std::path::Path::new("/a").into(),
                id: FileId(1),
                offset,
                read: size,
                size,
                lag: size - offset,
                state: "following",
            };
            board.publish(LaneStatus {
                sink: sink.clone(),
                state: "following",
                trouble: None,
                in_flight: 0,
                lag: 0,
                files: vec![file],
                problems: Vec::new(),
                saved: true,
                behind: HashMap::new(),
            });
            board.0.lock().expect("locks")["s"].behind.get(&FileId(1)).map(|(since, _)| *since)
        };
        assert_eq!(since(5, 5), None);
        let first = since(5, 9).expect("behind");
        assert_eq!(since(7, 20), Some(first), "bytes of then still wait");
        assert!(since(9, 30).is_some_and(|later| later > first), "only later ones do");
        assert_eq!(since(30, 30), None);
        assert_eq!(board.json()["files"][0]["lag_seconds"], 0);
    }
}
