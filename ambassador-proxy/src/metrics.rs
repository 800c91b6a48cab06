//! Ten metric families. Labels are upstreams and listeners of the configuration and short fixed lists.

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
use crate::status::{Upstreams, sum};

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

    fn connections(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut rows: Vec<(String, &str, i64)> = Vec::new();
        self.board.each_listener(|name, list| {
            rows.push((name.to_owned(), "client", list.iter().map(|stats| stats.open.get()).sum()));
        });
        self.board.each_endpoint(|name, _, list| {
            let open = list.iter().map(|stats| stats.open.get()).sum();
            match rows.iter_mut().find(|row| row.0 == name && row.1 == "upstream") {
                Some(row) => row.2 += open,
                None => rows.push((name.to_owned(), "upstream", open)),
            }
        });
        rows.iter()
            .try_for_each(|(name, side, open)| gauge(&mut encoder, &[("name", name), ("side", side)], *open))
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
        let help = "Requests and TCP connections that failed, by reason";
        let family = encoder.encode_descriptor("failures", help, None, count)?;
        self.counters(family, "reason", REASONS.map(|(_, label)| label), |stats, i| &stats.failures[i])?;
        let help = "Tries after the first, by cause; over_budget counts those refused";
        let family = encoder.encode_descriptor("retries", help, None, count)?;
        self.counters(family, "cause", AGAINS.map(|(_, label)| label), |stats, i| &stats.again[i])?;
        let help = "Body and TCP bytes, to and from upstreams";
        let family = encoder.encode_descriptor("traffic", help, Some(&Unit::Bytes), count)?;
        self.counters(family, "direction", ["out", "in"], |stats, i| &stats.bytes[i])?;
        let help = "Connections made to upstreams, and requests that found one open";
        let family = encoder.encode_descriptor("upstream_connections", help, None, count)?;
        self.counters(
            family,
            "kind",
            ["new", "reused"],
            |s, i| if i == 0 { &s.connects } else { &s.reused },
        )?;
        let mut family = encoder.encode_descriptor(
            "in_flight",
            "Requests and TCP connections being carried",
            None,
            level,
        )?;
        self.upstreams(|name, list| {
            gauge(&mut family, &[("upstream", name)], list.iter().map(|stats| stats.in_flight.get()).sum())
        })?;
        let family = encoder.encode_descriptor(
            "connections",
            "Open connections, by listener and upstream",
            None,
            level,
        )?;
        self.connections(family)?;
        let help = "Endpoints: ok, out (taken out by the breaker), ill (by the health check)";
        let family = encoder.encode_descriptor("endpoints", help, None, level)?;
        self.endpoints(family)?;
        let mut family = encoder.encode_descriptor(
            "dns_failures",
            "Lookups that failed; the last good addresses stay",
            None,
            count,
        )?;
        for (name, shared) in self.upstreams.sorted() {
            counter(&mut family, &[("upstream", &name)], shared.dns_failures.load(Relaxed))?;
        }
        let lost = ConstCounter::new(self.board.log_lost.load(Relaxed));
        let help = "Access log lines given up because stdout was not read fast enough";
        lost.encode(encoder.encode_descriptor("access_log_lost", help, None, count)?)?;
        let mut tunnels = 0;
        self.board.each_upstream(|_, list| tunnels += sum(list, |stats| &stats.tunnels));
        let tunnels = ConstCounter::new(tunnels);
        tunnels.encode(encoder.encode_descriptor(
            "tcp_connections",
            "TCP connections carried to their end",
            None,
            count,
        )?)
    }
}
