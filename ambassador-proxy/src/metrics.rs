//! Nine metric families; with build, memory and refused configurations it is twelve. Labels are upstreams and listeners of the configuration and short fixed lists.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use podkit::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::stats::{AGAINS, BUCKETS, Board, Counter, REASONS, UpstreamStats, sum_latency};
use crate::status::Upstreams;

/// Adds the proxy's metrics.
pub fn register(metrics: &Metrics, board: &Arc<Board>, upstreams: &Upstreams) {
    let collector = Families { board: board.clone(), upstreams: upstreams.clone() };
    metrics.with(|registry| registry.register_collector(Box::new(collector)));
}

struct Families {
    board: Arc<Board>,
    upstreams: Upstreams,
}

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Families")
    }
}

const CLASSES: [&str; 6] = ["client_gone", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn counter(encoder: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_family(&labels)?)
}

fn gauge(encoder: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_family(&labels)?)
}

impl Families {
    /// Calls `f` for every upstream and gives back its first error.
    fn upstreams(&self, mut f: impl FnMut(&str, &[Arc<UpstreamStats>]) -> fmt::Result) -> fmt::Result {
        let mut result = Ok(());
        self.board.each_upstream(|name, list| {
            if result.is_ok() {
                result = f(name, list);
            }
        });
        result
    }

    fn counters<const N: usize>(
        &self,
        mut encoder: MetricEncoder<'_>,
        label: &str,
        values: [&str; N],
        pick: impl Fn(&UpstreamStats, usize) -> &Counter,
    ) -> fmt::Result {
        self.upstreams(|name, list| {
            for (i, value) in values.iter().enumerate() {
                let count = list.iter().map(|stats| pick(stats, i).get()).sum();
                if count > 0 || label == "direction" {
                    counter(&mut encoder, &[("upstream", name), (label, value)], count)?;
                }
            }
            Ok(())
        })
    }

    fn latency(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.upstreams(|name, list| {
            let (count, seconds, counts) = sum_latency(list);
            let bounds = BUCKETS.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let labels = [("upstream", name)];
            encoder
                .encode_family(&labels)?
                .encode_histogram::<[(&str, &str); 0]>(seconds, count, &buckets, None)
        })
    }

    /// What is open now: by listener, by endpoint, by request.
    fn open(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut rows: BTreeMap<(String, &str), i64> = BTreeMap::new();
        self.board.each_listener(|name, list| {
            let open: i64 = list.iter().map(|stats| stats.open.get()).sum();
            *rows.entry((name.to_owned(), "client_connections")).or_default() += open;
        });
        self.board.each_endpoint(|name, _, list| {
            let open: i64 = list.iter().map(|stats| stats.open.get()).sum();
            *rows.entry((name.to_owned(), "upstream_connections")).or_default() += open;
        });
        self.board.each_upstream(|name, list| {
            let carried: i64 = list.iter().map(|stats| stats.in_flight.get()).sum();
            *rows.entry((name.to_owned(), "requests")).or_default() += carried;
        });
        rows.iter().try_for_each(|((name, kind), open)| {
            gauge(&mut encoder, &[("name", name), ("kind", kind)], *open)
        })
    }

    /// What went wrong with requests and TCP connections, and with lookups, of which a request may notice nothing.
    fn failures(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.upstreams(|name, list| {
            for (i, (_, reason)) in REASONS.iter().enumerate() {
                let count = list.iter().map(|stats| stats.failures[i].get()).sum();
                if count > 0 {
                    counter(&mut encoder, &[("upstream", name), ("reason", reason)], count)?;
                }
            }
            Ok(())
        })?;
        for (name, shared) in self.upstreams.sorted() {
            let count = shared.dns_failures.load(Relaxed);
            counter(&mut encoder, &[("upstream", &name), ("reason", "lookup")], count)?;
        }
        Ok(())
    }

    fn endpoints(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (name, shared) in self.upstreams.sorted() {
            let mut out = 0;
            self.board.each_endpoint(|upstream, _, list| {
                out += i64::from(upstream == name && list.iter().any(|stats| stats.ejected.get() > 0));
            });
            let all = shared.endpoints();
            let ill = i64::try_from(all.iter().filter(|e| !e.well.load(Relaxed)).count()).unwrap_or(0);
            let well = i64::try_from(all.len()).unwrap_or(0) - ill - out;
            for (state, count) in [("ok", well.max(0)), ("out", out), ("ill", ill)] {
                gauge(&mut encoder, &[("upstream", &name), ("state", state)], count)?;
            }
        }
        Ok(())
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (count, level) = (MetricType::Counter, MetricType::Gauge);
        let family = encoder.encode_descriptor(
            "requests",
            "HTTP requests answered, by class of the status sent",
            None,
            count,
        )?;
        self.counters(family, "class", CLASSES, |stats, i| &stats.classes[i])?;
        let help = "Time from a request's head to its answer's head";
        let family = encoder.encode_descriptor(
            "request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        self.latency(family)?;
        let help = "Requests and TCP connections that failed, by reason; lookup counts lookups, whose last good addresses stay";
        let family = encoder.encode_descriptor("failures", help, None, count)?;
        self.failures(family)?;
        let help = "Tries after the first, by cause; over_budget counts those refused";
        let family = encoder.encode_descriptor("retries", help, None, count)?;
        self.counters(family, "cause", AGAINS.map(|(_, label)| label), |stats, i| &stats.again[i])?;
        let help = "Body and TCP bytes, to and from upstreams";
        let family = encoder.encode_descriptor("traffic", help, Some(&Unit::Bytes), count)?;
        self.counters(family, "direction", ["out", "in"], |stats, i| &stats.bytes[i])?;
        let help = "Connections to upstreams: new, reused by a request, and carried as TCP to their end";
        let family = encoder.encode_descriptor("upstream_connections", help, None, count)?;
        self.counters(family, "kind", ["new", "reused", "tcp"], |stats, i| {
            [&stats.connects, &stats.reused, &stats.tunnels][i]
        })?;
        let help =
            "Open now: client_connections of listeners, upstream_connections, and requests being carried";
        let family = encoder.encode_descriptor("open", help, None, level)?;
        self.open(family)?;
        let help = "Endpoints: ok, out (taken out by the breaker), ill (by the health check)";
        let family = encoder.encode_descriptor("endpoints", help, None, level)?;
        self.endpoints(family)?;
        let help = "Given up because nobody took it fast enough: lines of the access log, spans";
        let mut family = encoder.encode_descriptor("lost", help, None, count)?;
        let spans = self.board.spans.lost.load(Relaxed);
        for (kind, lost) in [("access_log", self.board.log_lost.load(Relaxed)), ("spans", spans)] {
            counter(&mut family, &[("kind", kind)], lost)?;
        }
        Ok(())
    }
}
