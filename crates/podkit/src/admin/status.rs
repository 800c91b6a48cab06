//! What `/statusz` says, and what may be asked of the process by POST.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use serde_json::{Map, Value};

use crate::cli::App;

type Provider = Arc<dyn Fn() -> Value + Send + Sync>;
type Action = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// Answer to a POST action: status code and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status code.
    pub code: u16,
    /// Plain text or JSON, as the action says in its documentation.
    pub body: String,
}

impl Reply {
    /// 200 with a text.
    pub fn ok(body: impl Into<String>) -> Self {
        Self { code: 200, body: body.into() }
    }

    /// 202: it has been started and goes on.
    pub fn accepted(body: impl Into<String>) -> Self {
        Self { code: 202, body: body.into() }
    }
}

/// The tool's status provider and its actions; clones share them.
#[derive(Clone)]
pub struct Status {
    app: App,
    started: Instant,
    provider: Arc<RwLock<Option<Provider>>>,
    actions: Arc<RwLock<BTreeMap<&'static str, Action>>>,
}

impl Status {
    /// A status that knows the tool and its start.
    pub fn new(app: &App) -> Self {
        Self { app: *app, started: Instant::now(), provider: Arc::default(), actions: Arc::default() }
    }

    /// Sets what `/statusz` asks at each request. The object's keys are shown by the page: `totals` (monotonic numbers; the first two are plotted
    /// as rates), `gauges` (numbers), and any array of flat objects as a table.
    pub fn provide(&self, provider: impl Fn() -> Value + Send + Sync + 'static) {
        *self.provider.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(provider));
    }

    /// Adds an action at `path`, called with the query string for a POST from loopback.
    pub fn action(&self, path: &'static str, action: impl Fn(&str) -> Reply + Send + Sync + 'static) {
        self.actions.write().unwrap_or_else(PoisonError::into_inner).insert(path, Arc::new(action));
    }

    pub(super) fn call(&self, path: &str, query: &str) -> Option<Reply> {
        let action = self.actions.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()?;
        Some(action(query))
    }

    pub(super) fn json(&self, ready: bool, draining: bool) -> Value {
        let mut out = Map::new();
        out.insert("name".into(), self.app.name.into());
        out.insert("version".into(), crate::cli::VERSION.into());
        out.insert("state".into(), if draining { "draining" } else { "running" }.into());
        out.insert("ready".into(), ready.into());
        out.insert("uptime_seconds".into(), self.started.elapsed().as_secs().into());
        let provider = self.provider.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Value::Object(own)) = provider.map(|provider| provider()) {
            out.extend(own);
        }
        Value::Object(out)
    }
}
