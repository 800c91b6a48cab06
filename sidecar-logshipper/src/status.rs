//! What `/statusz` says: filled by the lanes, asked by the admin port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::metrics::SinkMetrics;

/// Files named in the table at most; the counts are of all.
const SHOWN: usize = 100;

/// One lane, as it was a moment ago.
#[derive(Clone, Debug)]
pub struct LaneStatus {
    pub sink: SinkMetrics,
    pub state: &'static str,
    pub in_flight: usize,
    pub lag: u64,
    pub files: Vec<logtail::FileStatus>,
    pub problems: Vec<(std::path::PathBuf, String)>,
    /// Positions on disk are those in memory.
    pub saved: bool,
}

/// All lanes.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, LaneStatus>>>);

impl Board {
    pub fn publish(&self, status: LaneStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(status.sink.name.clone(), status);
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
        let mut problems: Vec<Value> = Vec::new();
        for (path, why) in lanes.values().flat_map(|lane| &lane.problems) {
            let problem = json!({"path": path.to_string_lossy(), "problem": why});
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
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
    json!({
        "name": lane.sink.name,
        "state": lane.state,
        "lag_bytes": lane.lag,
        "in_flight_bytes": lane.in_flight,
        "delivered": lane.sink.delivered.get(),
        "retries": lane.sink.retries.get(),
        "dead_letters": lane.sink.dead_letters.get(),
        "lost_bytes": lane.sink.lost_bytes.get(),
    })
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
        })
    })
}
