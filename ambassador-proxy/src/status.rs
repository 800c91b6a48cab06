//! `/statusz`: what is going on, as JSON and as tables on the page.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use podkit::admin::Status;
use serde_json::{Value, json};

use crate::stats::{Again, Board, Counter, EndpointStats, UpstreamStats, sum_latency};
use crate::upstream::Shared;

/// The upstreams in force.
#[derive(Clone, Default)]
pub struct Upstreams(Arc<ArcSwap<HashMap<String, Arc<Shared>>>>);

impl Upstreams {
    /// Those in force.
    pub fn get(&self) -> Arc<HashMap<String, Arc<Shared>>> {
        self.0.load_full()
    }

    /// Replaces them.
    pub fn set(&self, upstreams: Arc<HashMap<String, Arc<Shared>>>) {
        self.0.store(upstreams);
    }

    /// By name, in order.
    pub fn sorted(&self) -> BTreeMap<String, Arc<Shared>> {
        self.get().iter().map(|(name, shared)| (name.clone(), shared.clone())).collect()
    }
}

/// Adds up one counter over workers.
pub fn sum<T>(list: &[Arc<T>], pick: impl Fn(&T) -> &Counter) -> u64 {
    list.iter().map(|stats| pick(stats).get()).sum()
}

/// Tells the admin port what to show.
pub fn provide(status: &Status, board: &Arc<Board>, upstreams: &Upstreams, workers: usize) {
    let (board, upstreams) = (board.clone(), upstreams.clone());
    status.provide(move || report(&board, &upstreams, workers));
}

fn report(board: &Board, upstreams: &Upstreams, workers: usize) -> Value {
    let known = upstreams.sorted();
    let (mut requests, mut failed, mut tunnels, mut retried, mut out, mut back) = (0, 0, 0, 0, 0, 0);
    let mut rows = Vec::new();
    board.each_upstream(|name, list| {
        let answered: u64 =
            (0..6).map(|class| sum(list, |stats: &UpstreamStats| &stats.classes[class])).sum();
        let errors: u64 = list.iter().flat_map(|stats| &stats.failures).map(Counter::get).sum();
        let again: u64 = list.iter().flat_map(|stats| &stats.again[..5]).map(Counter::get).sum();
        requests += answered;
        failed += errors;
        retried += again;
        tunnels += sum(list, |stats| &stats.tunnels);
        out += sum(list, |stats| &stats.bytes[0]);
        back += sum(list, |stats| &stats.bytes[1]);
        if let Some(shared) = known.get(name) {
            rows.push(upstream(shared, list, answered, errors, again));
        }
    });
    let mut endpoints = Vec::new();
    board.each_endpoint(|upstream, address, list| {
        if known.contains_key(upstream) {
            endpoints.push(endpoint(upstream, address, list, known.get(upstream)));
        }
    });
    let mut listeners = Vec::new();
    let mut accepted = 0;
    board.each_listener(|name, list| {
        let came = sum(list, |stats| &stats.accepted);
        accepted += came;
        let open: i64 = list.iter().map(|stats| stats.open.get()).sum();
        listeners.push(json!({ "listener": name, "connections": came, "open": open }));
    });
    json!({
        "totals": {
            "requests": requests,
            "failures": failed,
            "retries": retried,
            "tcp_connections": tunnels,
            "bytes_to_upstreams": out,
            "bytes_from_upstreams": back,
            "client_connections": accepted,
            "access_log_lines_lost": board.log_lost.load(Relaxed),
            "spans_sent": board.spans.sent.load(Relaxed),
            "spans_lost": board.spans.lost.load(Relaxed),
        },
        "gauges": { "open_client_connections": board.open.load(Relaxed), "workers": workers },
        "listeners": listeners,
        "upstreams": rows,
        "endpoints": endpoints,
    })
}

fn upstream(shared: &Shared, list: &[Arc<UpstreamStats>], answered: u64, errors: u64, again: u64) -> Value {
    let discovery = shared.discovery.lock().map(|discovery| discovery.clone()).unwrap_or_default();
    let in_flight: i64 = list.iter().map(|stats| stats.in_flight.get()).sum();
    let (count, seconds, _) = sum_latency(list);
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    let mean = if count == 0 { 0.0 } else { seconds * 1000.0 / count as f64 };
    json!({
        "upstream": shared.plan.name,
        "endpoints": shared.endpoints().len(),
        "requests": answered,
        "in_flight": in_flight,
        "limit": shared.in_flight.limit(),
        "waiting": shared.in_flight.waiting(),
        "failures": errors,
        "retries": again,
        "retries_left": list.iter().map(|stats| stats.budget.get()).sum::<i64>(),
        "retries_refused": sum(list, |stats| &stats.again[Again::Refused as usize]),
        "connects": sum(list, |stats| &stats.connects),
        "reused": sum(list, |stats| &stats.reused),
        "mean_ms": (mean * 1000.0).round() / 1000.0,
        "dns_failures": shared.dns_failures.load(Relaxed),
        "resolved_seconds_ago": discovery.resolved.map(|at| at.elapsed().as_secs()),
        "problem": discovery.error.or(discovery.files),
    })
}

fn endpoint(
    upstream: &str,
    address: &str,
    list: &[Arc<EndpointStats>],
    shared: Option<&Arc<Shared>>,
) -> Value {
    let total = |pick: fn(&EndpointStats) -> i64| list.iter().map(|stats| pick(stats)).sum::<i64>();
    let out = total(|stats| stats.ejected.get());
    let ill = shared.is_some_and(|shared| {
        let set = shared.endpoints();
        set.iter().any(|e| e.peer.to_string() == address && !e.well.load(Relaxed))
    });
    let state = match (ill, out) {
        (true, _) => "ill",
        (false, 0) => "ok",
        (false, _) => "out",
    };
    let workers = i64::try_from(list.len().max(1)).unwrap_or(1);
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    let ewma = total(|stats| stats.ewma_us.get()) as f64 / workers as f64 / 1000.0;
    json!({
        "upstream": upstream,
        "endpoint": address,
        "state": state,
        "requests": sum(list, |stats| &stats.requests),
        "failures": sum(list, |stats| &stats.failures),
        "in_flight": total(|stats| stats.in_flight.get()),
        "open": total(|stats| stats.open.get()),
        "idle": total(|stats| stats.idle.get()),
        "ewma_ms": (ewma * 1000.0).round() / 1000.0,
    })
}
