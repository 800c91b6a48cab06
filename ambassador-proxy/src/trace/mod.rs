//! Traces: `traceparent in → context → span, with one child per try → traceparent out → batch → OTLP`
//!
//! [`context`] reads and writes W3C Trace Context, [`span`] is what is known of one request, [`export`] sends spans.

pub mod context;
#[cfg(feature = "otlp")]
pub mod export;
pub mod span;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use self::context::Context;
use self::span::Span;
use crate::fields::Headers;

static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Requests whose spans may wait for the collector; with at most 17 spans of a few hundred bytes each.
pub const QUEUE: usize = 2048;

/// The spans of one request, encoded.
#[derive(Debug)]
pub struct Message {
    /// `Span` messages, each as field 2 of `ScopeSpans`.
    pub bytes: Vec<u8>,
    /// How many.
    pub spans: u64,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// Taken by the collector.
    pub sent: AtomicU64,
    /// Given up: the queue was full, or the collector did not take them.
    pub lost: AtomicU64,
}

/// The way to the exporter: bounded, and never waited for.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: mpsc::Sender<Message>,
    counts: Arc<Counts>,
}

impl Sink {
    /// A queue, and its other end.
    pub fn new(counts: Arc<Counts>) -> (Self, mpsc::Receiver<Message>) {
        let (queue, messages) = mpsc::channel(QUEUE);
        (Self { queue, counts }, messages)
    }

    /// Queues the spans of a request, or counts them as lost.
    pub fn add(&self, message: Message) {
        if let Err(error) = self.queue.try_send(message) {
            self.counts.lost.fetch_add(error.into_inner().spans, Relaxed);
        }
    }
}

/// What happens to a request's trace.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    /// Whether requests without `traceparent` get one.
    pub begin: bool,
    /// Where spans go, and the share of requests without `traceparent` that get them.
    pub spans: Option<(Sink, f64)>,
}

impl Tracer {
    /// Whether a request's `traceparent` is looked at.
    pub fn on(&self) -> bool {
        self.begin || self.spans.is_some()
    }

    /// The trace of a request, as it is logged, and its span if it is sampled: by the flag it brought, or else by the ratio.
    pub fn begin(&self, headers: &mut Headers) -> (Option<HeaderValue>, Option<Box<Span>>) {
        let brought = headers.get(&context::TRACEPARENT).and_then(Context::read);
        let known = brought.is_some();
        let context = match brought {
            Some(context) => context,
            None if self.on() => {
                // What is not well-formed is taken away with its `tracestate`, as the specification has it.
                headers.remove(&TRACESTATE);
                let sampled = self.spans.as_ref().is_some_and(|(_, ratio)| fastrand::f64() < *ratio);
                Context::begin(sampled)
            }
            None => return (None, None),
        };
        match self.spans.as_ref().filter(|_| context.sampled()) {
            Some((sink, _)) => {
                let span = Span::new(&context, known, headers.value(&TRACESTATE), sink.clone());
                (span.context().header(), Some(Box::new(span)))
            }
            // Not a byte of a trace that somebody else has begun changes.
            None if known => (headers.value(&context::TRACEPARENT), None),
            None => {
                let value = context.header();
                if let Some(value) = &value {
                    headers.set(&context::TRACEPARENT, value.clone());
                }
                (value, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> Headers {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect::<HeaderMap>().into()
    }

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_kept_or_begun() {
        let (off, on) = (Tracer::default(), Tracer { begin: true, spans: None });
        let mut map = headers(&[("traceparent", GOOD), ("tracestate", "a=b")]);
        assert_eq!((on.begin(&mut map).0.unwrap(), map.map().len()), (GOOD.parse().unwrap(), 2));
        let mut map = headers(&[("traceparent", "x"), ("tracestate", "a=b")]);
        assert!(off.begin(&mut map).0.is_none());
        assert_eq!(map.map().len(), 2);
        let begun = on.begin(&mut map).0.unwrap();
        assert!(Context::read(begun.as_bytes()).is_some_and(|context| !context.sampled()), "{begun:?}");
        assert_eq!((map.map().len(), map.get(&context::TRACEPARENT)), (1, Some(begun.as_bytes())));
    }

    #[test]
    fn the_flag_decides_and_else_the_ratio() {
        let (sink, mut queue) = Sink::new(Arc::default());
        let with = |ratio| Tracer { begin: false, spans: Some((sink.clone(), ratio)) };
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert!(with(0.0).begin(&mut headers(&[("traceparent", GOOD)])).1.is_some());
        assert!(with(1.0).begin(&mut headers(&[("traceparent", unsampled)])).1.is_none());
        assert!(with(1.0).begin(&mut headers(&[])).1.is_some());
        let mut map = headers(&[]);
        let (trace, span) = with(0.0).begin(&mut map);
        assert!(span.is_none() && map.text(&context::TRACEPARENT).unwrap().ends_with("-00"));
        assert_eq!(map.value(&context::TRACEPARENT), trace);
        assert!(queue.try_recv().is_err());
    }

    #[test]
    fn a_full_queue_costs_spans_and_counts_them() {
        let counts = Arc::<Counts>::default();
        let (sink, queue) = Sink::new(counts.clone());
        (0..QUEUE + 3).for_each(|_| sink.add(Message { bytes: Vec::new(), spans: 2 }));
        assert_eq!(counts.lost.load(Relaxed), 6);
        drop(queue);
        sink.add(Message { bytes: Vec::new(), spans: 1 });
        assert_eq!(counts.lost.load(Relaxed), 7);
    }
}
