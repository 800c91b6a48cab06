//! An API server in memory, written from the documentation of the Kubernetes API ("API Concepts": resource versions, watches, bookmarks,
//! 410; "Authorization": RBAC with resourceNames; "Discovery"), because the real one is not to be had here. HTTP/1.1, one request per connection.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// What became of the open watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Closed in the middle of a line.
    Cut,
    /// Ended as when their `timeoutSeconds` are over.
    Ended,
    /// An ERROR event with 410, then the end.
    Expired,
    /// An ERROR event with 500, then the end.
    Failed,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) verb: &'static str,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) authorization: String,
    pub(crate) status: u16,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By collection and name.
    objects: BTreeMap<(String, String), Value>,
    /// All events: version, type, collection, object.
    log: Vec<(u64, &'static str, String, Value)>,
    /// Versions before this one can not be gone on from.
    forgotten: u64,
    fate: (u64, Option<Fate>),
    bookmarks: Vec<u64>,
    asked: Vec<Asked>,
    watching: usize,
    authorization: Option<String>,
    /// RBAC rules; `None` allows everything.
    rules: Option<Vec<Value>>,
    resources: BTreeMap<String, Value>,
    slow_head: Option<Duration>,
    broken: Option<u16>,
}

#[derive(Clone)]
pub(crate) struct Api {
    shared: Arc<(Mutex<State>, Condvar)>,
    addr: SocketAddr,
}

impl Api {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let api = Api { shared: Arc::default(), addr };
        api.state().version = 100;
        let serving = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(&stream));
            }
        });
        api
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.shared.1.notify_all();
        done
    }

    /// Creates or changes an object of a collection such as `/apis/batch/v1/namespaces/shop/jobs`.
    pub(crate) fn put(&self, collection: &str, name: &str, mut object: Value) {
        self.change(|state| {
            state.version += 1;
            object["metadata"]["name"] = json!(name);
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let key = (collection.to_owned(), name.to_owned());
            let kind = if state.objects.insert(key, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            state.log.push((state.version, kind, collection.to_owned(), object));
        });
    }

    pub(crate) fn delete(&self, collection: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            let key = (collection.to_owned(), name.to_owned());
            let mut object = state.objects.remove(&key).expect("is there");
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            state.log.push((state.version, "DELETED", collection.to_owned(), object));
        });
    }

    /// Other objects change; a bookmark says how far the watches have seen.
    pub(crate) fn bookmark(&self) -> u64 {
        self.change(|state| {
            state.version += 50;
            state.bookmarks.push(state.version);
            state.version
        })
    }

    /// What was before now cannot be gone on from.
    pub(crate) fn forget(&self) {
        self.change(|state| {
            state.version += 10;
            state.forgotten = state.version;
        });
    }

    pub(crate) fn fate(&self, fate: Fate) {
        self.change(|state| state.fate = (state.fate.0 + 1, Some(fate)));
    }

    /// `Authorization` must be this from now on.
    pub(crate) fn authorize(&self, header: Option<&str>) {
        self.change(|state| state.authorization = header.map(str::to_owned));
    }

    /// Only what these rules allow, and discovery.
    pub(crate) fn rules(&self, rules: Option<Vec<Value>>) {
        self.change(|state| state.rules = rules);
    }

    /// An `APIGroup` or `APIResourceList` at its path.
    pub(crate) fn discovery(&self, path: &str, answer: Value) {
        self.change(|state| state.resources.insert(path.to_owned(), answer));
    }

    pub(crate) fn slow_head(&self, pause: Option<Duration>) {
        self.change(|state| state.slow_head = pause);
    }

    /// Answers everything with this status.
    pub(crate) fn broken(&self, status: Option<u16>) {
        self.change(|state| state.broken = status);
    }

    pub(crate) fn asked(&self, verb: &str) -> Vec<Asked> {
        self.state().asked.iter().filter(|asked| asked.verb == verb).cloned().collect()
    }

    pub(crate) fn watching(&self) -> usize {
        self.state().watching
    }

    fn serve(&self, stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut authorization = String::new();
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = value.to_owned();
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let is_watch = query.contains_key("watch");
        let verb = match query.get("labelSelector") {
            _ if is_watch => "watch",
            Some(_) => "list",
            None => "get",
        };
        let pause = self.state().slow_head;
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
        let mut asked = Asked { verb, path: path.to_owned(), query, authorization, status: 200 };
        let refused = self.refused(&asked);
        if let Some(status) = &refused {
            asked.status = u16::try_from(status["code"].as_u64().unwrap_or(0)).unwrap_or(0);
        }
        let answer = match refused {
            Some(status) => Some(status),
            None if is_watch => None,
            None => Some(self.answer(&mut asked)),
        };
        self.change(|state| state.asked.push(asked.clone()));
        match answer {
            Some(answer) => respond(stream, asked.status, &answer),
            None => self.watch(stream, &asked),
        }
    }

    fn refused(&self, asked: &Asked) -> Option<Value> {
        let state = self.state();
        if let Some(code) = state.broken {
            return Some(status(code, "InternalError", "an error on the server"));
        }
        if state.authorization.as_ref().is_some_and(|wanted| *wanted != asked.authorization) {
            return Some(status(401, "Unauthorized", "Unauthorized"));
        }
        let discovery = asked.path.split('/').count() <= 4;
        if let Some(rules) = &state.rules
            && !discovery
            && !rules.iter().any(|rule| allows(rule, asked))
        {
            let message =
                format!("User \"system:serviceaccount:shop:default\" cannot {} {}", asked.verb, asked.path);
            return Some(status(403, "Forbidden", &message));
        }
        let since: Option<u64> = asked.query.get("resourceVersion").and_then(|text| text.parse().ok());
        if asked.verb == "watch" && since.is_some_and(|since| since < state.forgotten) {
            return Some(status(410, "Expired", "too old resource version"));
        }
        None
    }

    fn answer(&self, asked: &mut Asked) -> Value {
        let state = self.state();
        if let Some(answer) = state.resources.get(&asked.path) {
            return answer.clone();
        }
        if asked.verb == "list" {
            let items: Vec<&Value> = state
                .objects
                .iter()
                .filter(|((collection, _), object)| *collection == asked.path && selected(object, asked))
                .map(|(_, object)| object)
                .collect();
            return json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": state.version.to_string()}, "items": items});
        }
        let (collection, name) = asked.path.rsplit_once('/').unwrap_or_default();
        match state.objects.get(&(collection.to_owned(), name.to_owned())) {
            Some(object) => object.clone(),
            None => {
                asked.status = 404;
                let kind = collection.rsplit('/').next().unwrap_or_default();
                status(404, "NotFound", &format!("{kind} \"{name}\" not found"))
            }
        }
    }

    fn watch(&self, mut stream: &TcpStream, asked: &Asked) {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        if stream.write_all(head).is_err() {
            return;
        }
        let mut state = self.state();
        // Under one lock with the fate of now, and at the end with what is written last: whoever sees a watch may decide what becomes of
        // it, and who has read its end sees none.
        state.watching += 1;
        let mut watch = Watch { stream, asked, fate: state.fate.0, seen: None };
        while matches!(watch.tell(&state), Ok(Told::More)) {
            // Wakes up now and then to notice that nobody reads any more.
            state = self
                .shared
                .1
                .wait_timeout(state, Duration::from_millis(200))
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
            if watch.is_gone() {
                break;
            }
        }
        state.watching -= 1;
    }
}

/// An open watch.
struct Watch<'a> {
    stream: &'a TcpStream,
    asked: &'a Asked,
    /// How many had been decided when it was opened.
    fate: u64,
    /// Version of the last event that was written; `None` before the first.
    seen: Option<u64>,
}

enum Told {
    More,
    Ended,
}

impl Watch<'_> {
    /// Writes what is new.
    fn tell(&mut self, state: &State) -> std::io::Result<Told> {
        let mine =
            |collection: &str, object: &Value| collection == self.asked.path && selected(object, self.asked);
        let mut seen = match (self.seen, self.asked.query.get("resourceVersion").map(|text| text.parse())) {
            (Some(seen), _) | (None, Some(Ok(seen))) => seen,
            _ => {
                for ((collection, _), object) in &state.objects {
                    if mine(collection, object) {
                        self.chunk(&event("ADDED", object))?;
                    }
                }
                state.version
            }
        };
        let mut lines: Vec<(u64, String)> = state
            .log
            .iter()
            .filter(|(version, _, collection, object)| *version > seen && mine(collection, object))
            .map(|(version, kind, _, object)| (*version, event(kind, object)))
            .collect();
        if self.asked.query.get("allowWatchBookmarks").is_some_and(|value| value == "true") {
            let later = state.bookmarks.iter().filter(|version| **version > seen);
            lines.extend(later.map(|version| {
                let object = json!({"kind": "Job", "metadata": {"resourceVersion": version.to_string()}});
                (*version, event("BOOKMARK", &object))
            }));
            lines.sort();
        }
        for (version, line) in lines {
            self.chunk(&line)?;
            seen = seen.max(version);
        }
        self.seen = Some(seen);
        if state.fate.0 == self.fate {
            return Ok(Told::More);
        }
        let error = |code, reason, message| event("ERROR", &status(code, reason, message));
        match state.fate.1 {
            Some(Fate::Cut) => self.chunk("{\"type\":\"MODIFIED\",\"object\":{\"status\":{\"con")?,
            Some(Fate::Expired) => self.chunk(&error(410, "Expired", "too old resource version"))?,
            Some(Fate::Failed) => self.chunk(&error(500, "InternalError", "etcd is away"))?,
            Some(Fate::Ended) | None => {}
        }
        if state.fate.1 != Some(Fate::Cut) {
            self.chunk("")?;
        }
        Ok(Told::Ended)
    }

    fn chunk(&self, text: &str) -> std::io::Result<()> {
        let mut out = self.stream;
        out.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    fn is_gone(&self) -> bool {
        let mut byte = [0];
        let blocking = |on: bool| self.stream.set_nonblocking(!on);
        blocking(false).is_err() || matches!(self.stream.peek(&mut byte), Ok(0)) || blocking(true).is_err()
    }
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn selected(object: &Value, asked: &Asked) -> bool {
    let field = asked.query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
    let label = asked.query.get("labelSelector").and_then(|text| text.split_once('='));
    field.is_none_or(|name| object["metadata"]["name"] == name)
        && label.is_none_or(|(key, value)| object["metadata"]["labels"][key] == value)
}

/// RBAC: a rule with names allows a watch only when its field selector names one of them.
fn allows(rule: &Value, asked: &Asked) -> bool {
    let holds = |key: &str, wanted: &str| {
        rule[key].as_array().is_some_and(|list| list.iter().any(|item| item == wanted || item == "*"))
    };
    let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return false,
    };
    let rest = if let ["namespaces", _, rest @ ..] = rest { rest } else { rest };
    let field = asked.query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
    let name = rest.get(1).copied().or(field);
    let named = match rule["resourceNames"].as_array() {
        None => true,
        Some(names) => name.is_some_and(|name| names.iter().any(|item| item == name)),
    };
    holds("apiGroups", group)
        && rest.first().is_some_and(|resource| holds("resources", resource))
        && holds("verbs", asked.verb)
        && named
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})
}

fn respond(mut stream: &TcpStream, status: u16, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}
