//! What is counted, per sink; and the totals that the page shows.

use podkit::metrics::Metrics as Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// A sink by its configured name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabel {
    sink: String,
}

type Counters = Family<SinkLabel, Counter>;
type Gauges = Family<SinkLabel, Gauge>;

macro_rules! metrics {
    (counters { $($counter:ident: $counter_name:literal, $counter_help:literal;)* } gauges { $($gauge:ident: $gauge_name:literal, $gauge_help:literal;)* }) => {
        /// All metrics, registered once.
        #[derive(Clone, Debug, Default)]
        pub struct Metrics { $($counter: Counters,)* $($gauge: Gauges,)* }

        /// Those of one sink.
        #[derive(Clone, Debug)]
        pub struct SinkMetrics {
            pub name: String,
            $(#[doc = $counter_help] pub $counter: Counter,)*
            $(#[doc = $gauge_help] pub $gauge: Gauge,)*
        }

        impl Metrics {
            /// Registers them.
            pub fn register(registry: &Registry) -> Self {
                let metrics = Self::default();
                registry.with(|registry| {
                    $(registry.register($counter_name, $counter_help, metrics.$counter.clone());)*
                    $(registry.register($gauge_name, $gauge_help, metrics.$gauge.clone());)*
                });
                metrics
            }

            /// Those of one sink, at zero until something happens.
            pub fn sink(&self, name: &str) -> SinkMetrics {
                let label = SinkLabel { sink: name.to_owned() };
                SinkMetrics {
                    name: name.to_owned(),
                    $($counter: self.$counter.get_or_create_owned(&label),)*
                    $($gauge: self.$gauge.get_or_create_owned(&label),)*
                }
            }
        }
    };
}

metrics! {
    counters {
        lines_read: "lines_read", "Lines and parts of lines read";
        bytes_read: "bytes_read", "Bytes read";
        delivered: "lines_delivered", "Lines that the sink has acknowledged";
        bytes_sent: "bytes_sent", "Bytes of request bodies before compression, repeated ones too";
        requests: "requests", "Requests or writes, repeated ones too";
        retries: "retries", "Requests that had to be repeated, in whole or for some lines";
        splits: "batch_splits", "Batches sent in halves, because they were too large or held a line that is refused";
        known: "lines_known", "Lines that the sink had already (the answer to an earlier request was lost)";
        answers_lost: "answers_lost", "Requests that may have been taken although no answer came: sinks without ids may hold these lines twice";
        dead_letters: "dead_letters", "Lines that the sink refused for good, written to the dead-letter file";
        not_utf8: "lines_not_utf8", "Lines with bytes that are not UTF-8, sent with the original in base64, or that mean nothing in the character set of --encoding";
        joined: "lines_joined", "Lines that were joined to the one before, and are delivered with it";
        parts: "line_parts", "Parts of lines that were too long or unfinished";
        lost_bytes: "lost_bytes", "Bytes that were deleted or overwritten before they could be read";
        lost_files: "lost_files", "Files these bytes belonged to";
        renames: "renames", "Files that were renamed while followed";
        truncations: "truncations", "Files that were truncated or overwritten in place";
        saves: "checkpoint_saves", "Positions saved";
        save_failures: "checkpoint_failures", "Positions that could not be saved; tried again";
        damaged: "checkpoint_damaged", "Saved positions that were damaged and set aside; reading began from the beginning";
    }
    gauges {
        lag_bytes: "lag_bytes", "Bytes written and not acknowledged yet";
        lag_seconds: "lag_seconds", "Time since the oldest line that is not acknowledged was read";
        in_flight: "in_flight_bytes", "Bytes in memory between reading and acknowledgement";
        files: "files", "Files followed";
    }
}
