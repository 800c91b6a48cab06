//! Elasticsearch and OpenSearch, as far as `POST /_bulk` goes.
//!
//! Source: "Bulk API" of the Elasticsearch reference. A request that the service takes is answered with 200, whatever
//! became of its documents; each has its own status in `items`.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::{FakeHttp, Received, Reply};

/// A stored document.
#[derive(Clone, Debug, PartialEq)]
pub struct Doc {
    pub index: String,
    pub id: String,
    pub source: Value,
}

/// A fake `_bulk`: a [`FakeHttp`] (with all its scripted answers) that stores documents, and tells each item's fate.
#[derive(Debug)]
pub struct FakeBulk {
    http: FakeHttp,
    store: Arc<Mutex<Store>>,
}

type Matches = Box<dyn Fn(&Doc) -> bool + Send>;

#[derive(Default)]
struct Store {
    docs: Vec<Doc>,
    ids: HashMap<(String, String), usize>,
    duplicates: usize,
    refuse: Vec<(u16, String, Matches)>,
    throttle_once: Vec<Matches>,
    throttled: HashSet<String>,
    data_streams: bool,
    made_ids: usize,
}

impl FakeBulk {
    #[must_use]
    pub fn start() -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let working = Arc::clone(&store);
        Self { http: FakeHttp::with(move |request| answer(&mut lock(&working), request)), store }
    }

    /// Every distinct document (by index and `_id`), in the order of arrival.
    #[must_use]
    pub fn docs(&self) -> Vec<Doc> {
        self.store().docs.clone()
    }

    /// How many distinct documents there are.
    #[must_use]
    pub fn doc_count(&self) -> usize {
        self.store().docs.len()
    }

    /// How many documents came again with an `_id` that was there already.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.store().duplicates
    }

    /// Refuses documents for good, with the status and error type of the real service, for example
    /// `(400, "document_parsing_exception", …)`.
    pub fn refuse(&self, status: u16, kind: &str, matches: impl Fn(&Doc) -> bool + Send + 'static) {
        self.store().refuse.push((status, kind.to_owned(), Box::new(matches)));
    }

    /// Answers 429 (`es_rejected_execution_exception`) for a matching document the first time it comes.
    pub fn throttle_once(&self, matches: impl Fn(&Doc) -> bool + Send + 'static) {
        self.store().throttle_once.push(Box::new(matches));
    }

    /// Takes only `create` from now on, as a data stream does.
    pub fn only_create(&self) {
        self.store().data_streams = true;
    }

    /// Forgets all rules of [`FakeBulk::refuse`] and [`FakeBulk::throttle_once`].
    pub fn accept_all(&self) {
        let mut store = self.store();
        store.refuse.clear();
        store.throttle_once.clear();
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

impl Deref for FakeBulk {
    type Target = FakeHttp;

    fn deref(&self) -> &FakeHttp {
        &self.http
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("docs", &self.docs.len()).finish_non_exhaustive()
    }
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(store: &mut Store, request: &Received) -> Reply {
    let reply = match (request.method.as_str(), request.path()) {
        ("GET" | "HEAD", "/") => Reply::json(
            200,
            &json!({"name": "fake", "cluster_name": "fake", "version": {"number": "9.0.0"}, "tagline": "You Know, for Search"}),
        ),
        ("POST" | "PUT", path) if path == "/_bulk" || path.ends_with("/_bulk") => bulk(store, request),
        (method, path) => error(405, "illegal_argument_exception", &format!("{method} {path} is not faked")),
    };
    reply.header("x-elastic-product", "Elasticsearch")
}

fn bulk(store: &mut Store, request: &Received) -> Reply {
    let kind = request.header("content-type").unwrap_or_default();
    if !["application/x-ndjson", "application/json"].iter().any(|known| kind.starts_with(known)) {
        let reason = format!("Content-Type header [{kind}] is not supported");
        return error(406, "media_type_header_exception", &reason);
    }
    let Ok(body) = crate::wire::decode(&request.headers, &request.body) else {
        return error(400, "parse_exception", "the body is not gzip");
    };
    if body.last() != Some(&b'\n') {
        let reason = "The bulk request must be terminated by a newline [\\n]";
        return error(400, "illegal_argument_exception", reason);
    }
    let default_index = request.path().trim_start_matches('/').strip_suffix("/_bulk").unwrap_or_default();
    match items(store, default_index, &body) {
        Ok(items) => {
            let failed = |item: &Value| {
                item.as_object().is_some_and(|item| item.values().any(|v| v["error"].is_object()))
            };
            let errors = items.iter().any(failed);
            Reply::json(200, &json!({"took": 1, "errors": errors, "items": items}))
        }
        Err(reason) => error(400, "illegal_argument_exception", &reason),
    }
}

fn items(store: &mut Store, default_index: &str, body: &[u8]) -> Result<Vec<Value>, String> {
    // Parsed to the end before anything is stored, so that a malformed request changes nothing.
    let mut wanted = Vec::new();
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        let number = wanted.len() + 1;
        let action: Value = serde_json::from_slice(line)
            .map_err(|error| format!("Malformed action/metadata line [{number}]: {error}"))?;
        let (name, meta) = action
            .as_object()
            .filter(|action| action.len() == 1)
            .and_then(|action| action.iter().next())
            .ok_or_else(|| format!("Malformed action/metadata line [{number}], expected one action"))?;
        if !matches!(name.as_str(), "create" | "index") {
            return Err(format!("action [{name}] on line [{number}] is not faked"));
        }
        let index = meta["_index"].as_str().unwrap_or(default_index).to_owned();
        if index.is_empty() {
            return Err("Validation Failed: 1: index is missing;".to_owned());
        }
        let source = lines.next().ok_or("an action without its document")?;
        wanted.push((name.clone(), index, meta["_id"].as_str().map(str::to_owned), source.to_vec()));
    }
    Ok(wanted.into_iter().map(|(name, index, id, source)| store.item(&name, index, id, &source)).collect())
}

impl Store {
    /// Stores one document, or says why not: an entry of `items`.
    fn item(&mut self, action: &str, index: String, id: Option<String>, source: &[u8]) -> Value {
        let has_id = id.is_some();
        let id = id.unwrap_or_else(|| {
            self.made_ids += 1;
            format!("made-{}", self.made_ids)
        });
        let entry = |status: u16, rest: Value| {
            let mut entry = json!({"_index": index, "_id": id, "status": status});
            if let (Some(entry), Value::Object(rest)) = (entry.as_object_mut(), rest) {
                entry.extend(rest);
            }
            json!({ action: entry })
        };
        let failed = |status: u16, kind: &str, reason: &str| {
            entry(status, json!({"error": {"type": kind, "reason": reason, "index": index}}))
        };
        if self.data_streams && action != "create" {
            let reason = "only write ops with an op_type of create are allowed in data streams";
            return failed(400, "illegal_argument_exception", reason);
        }
        let Ok(parsed @ Value::Object(_)) = serde_json::from_slice(source) else {
            return failed(400, "document_parsing_exception", "the document is not a JSON object");
        };
        let doc = Doc { index: index.clone(), id: id.clone(), source: parsed };
        if let Some((status, kind, _)) = self.refuse.iter().find(|(_, _, matches)| matches(&doc)) {
            return failed(*status, kind, "refused by the script");
        }
        let key = if has_id { id.clone() } else { doc.source.to_string() };
        if self.throttle_once.iter().any(|matches| matches(&doc)) && self.throttled.insert(key) {
            return failed(
                429,
                "es_rejected_execution_exception",
                "rejected execution of coordinating operation",
            );
        }
        let shards = json!({"total": 1, "successful": 1, "failed": 0});
        match self.ids.get(&(index.clone(), id.clone())) {
            Some(_) if action == "create" => {
                self.duplicates += 1;
                failed(409, "version_conflict_engine_exception", "document already exists")
            }
            Some(at) => {
                self.duplicates += 1;
                self.docs[*at] = doc;
                entry(200, json!({"result": "updated", "_version": 2, "_shards": shards}))
            }
            None => {
                self.ids.insert((index.clone(), id.clone()), self.docs.len());
                self.docs.push(doc);
                entry(201, json!({"result": "created", "_version": 1, "_shards": shards}))
            }
        }
    }
}

fn error(status: u16, kind: &str, reason: &str) -> Reply {
    let cause = json!({"type": kind, "reason": reason});
    Reply::json(
        status,
        &json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status}),
    )
}
