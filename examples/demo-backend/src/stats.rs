//! Everything both listeners share: the store, the outage switch, the counters, the last records seen.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::listen::{self, Answer};
use crate::store::{Kind, Store};

/// The longest outage that can be ordered, so that a typo does not break a demo for good.
const LONGEST_OUTAGE: Duration = Duration::from_secs(600);
/// How many records `GET /recent` shows.
const RECENT: usize = 20;

pub(crate) struct World {
    pub(crate) store: Rc<Store>,
    outage_until: Cell<Option<Instant>>,
    recent: RefCell<VecDeque<String>>,
    pub(crate) bulk_requests: Cell<u64>,
    pub(crate) bulk_refused: Cell<u64>,
    pub(crate) bulk_bytes: Cell<u64>,
    pub(crate) records: Cell<u64>,
    /// Records in which no line id was found, with the newest one kept to look at.
    pub(crate) without_id: Cell<u64>,
    /// Records refused with 409 because a document with their `_id` exists: a redelivery without a duplicate.
    pub(crate) conflicts: Cell<u64>,
    pub(crate) orders_requests: Cell<u64>,
    pub(crate) orders_failed_on_request: Cell<u64>,
}

pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl World {
    pub(crate) fn new(store: Rc<Store>) -> Self {
        World {
            store,
            outage_until: Cell::default(),
            recent: RefCell::default(),
            bulk_requests: Cell::default(),
            bulk_refused: Cell::default(),
            bulk_bytes: Cell::default(),
            records: Cell::default(),
            without_id: Cell::default(),
            conflicts: Cell::default(),
            orders_requests: Cell::default(),
            orders_failed_on_request: Cell::default(),
        }
    }

    pub(crate) fn is_out(&self) -> bool {
        self.outage_until.get().is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn keep(&self, record: &str) {
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(record.chars().take(2000).collect());
    }

    /// The routes both listeners serve; `None` if it is not one of them.
    pub(crate) fn common(&self, method: &hyper::Method, path: &str, seconds: Option<&str>) -> Option<Answer> {
        match (method.as_str(), path) {
            ("GET", "/healthz") => Some(listen::json(StatusCode::OK, &json!({"ok": true}))),
            ("GET", "/stats") => Some(listen::json(StatusCode::OK, &self.stats())),
            ("GET", "/recent") => {
                let lines: Vec<String> = self.recent.borrow().iter().cloned().collect();
                Some(listen::with_type(StatusCode::OK, "application/x-ndjson", lines.join("\n") + "\n"))
            }
            ("POST", "/outage") => Some(self.order_outage(seconds.unwrap_or("3"))),
            _ => None,
        }
    }

    fn order_outage(&self, seconds: &str) -> Answer {
        match seconds.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()) {
            Some(length) if length <= LONGEST_OUTAGE => {
                self.outage_until.set(Some(Instant::now() + length));
                listen::json(StatusCode::OK, &json!({"outage_seconds": length.as_secs_f64()}))
            }
            _ => listen::json(
                StatusCode::BAD_REQUEST,
                &json!({"error": "seconds must be a number from 0 to 600, for example /outage?seconds=3"}),
            ),
        }
    }

    fn stats(&self) -> Value {
        let store = &self.store;
        json!({
            "lines_distinct": store.distinct(Kind::Line),
            "lines_duplicate": store.repeated(Kind::Line),
            "records": self.records.get(),
            "records_without_id": self.without_id.get(),
            "redeliveries_absorbed": self.conflicts.get(),
            "bulk_requests": self.bulk_requests.get(),
            "bulk_refused": self.bulk_refused.get(),
            "bulk_bytes": self.bulk_bytes.get(),
            "orders_requests": self.orders_requests.get(),
            "orders_distinct": store.distinct(Kind::Order),
            "orders_repeated": store.repeated(Kind::Order),
            "orders_failed_on_request": self.orders_failed_on_request.get(),
            "outage": self.is_out(),
        })
    }
}
