//! The sinks. Each makes one attempt with one batch and says what became of it; what to do then is [`crate::deliver`]'s.

mod elasticsearch;
mod fluent;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod loki;
mod otlp;
mod pack;
mod patience;
mod request;
#[cfg(feature = "s3")]
mod s3;
mod socket;
mod splunk;
mod stream;
mod syslog;

use std::time::Duration;

use podkit::shutdown::Shutdown;

use crate::batch::Batch;
use crate::config::{SinkPlan, Target};
use crate::enrich::Origin;

pub use elasticsearch::Elasticsearch;
pub use fluent::Fluent;
pub use http::Http;
pub use loki::{Loki, MOST_LABELS, is_default_label as is_loki_label};
pub use otlp::Otlp;
pub use patience::Patience;
pub use request::{Requester, SetupError};
pub use splunk::Splunk;
pub use stream::Stream;
pub(crate) use stream::end_line;
pub use syslog::Syslog;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it is there for good.
    Accepted,
    /// One verdict per item, in order.
    Items(Vec<Verdict>),
    /// Some items were refused for good, and the sink does not say which. It must not be asked again.
    Partial { refused: u64, why: String },
    /// Nothing was taken, as far as is known; it may be another time.
    Later {
        why: String,
        /// The sink's own word on when.
        after: Option<Duration>,
        /// It may have been taken, only the answer is missing: sent again, it may be there twice.
        answer_lost: bool,
    },
    /// The request is too large: less at once.
    TooLarge { why: String },
    /// Refused for what is in it: some item is not acceptable, now or ever.
    Refused { why: String },
    /// The reader has gone, as with `| head`: nothing can be delivered any more.
    Closed,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    /// It was there already.
    Known,
    Later(String),
    Refused(String),
}

/// A sink, ready to be asked.
#[derive(Debug)]
pub enum Sink {
    Stream(Stream),
    Http(Http),
    Elasticsearch(Elasticsearch),
    Otlp(Otlp),
    Loki(Loki),
    Splunk(Splunk),
    Syslog(Syslog),
    Fluent(Fluent),
    #[cfg(feature = "kafka")]
    Kafka(Box<kafka::Kafka>),
    #[cfg(feature = "s3")]
    S3(Box<s3::S3>),
}

impl Sink {
    /// Opens what can be opened without asking anyone.
    ///
    /// # Errors
    /// A file that cannot be written, certificates that cannot be used.
    pub fn open(plan: &SinkPlan, origin: &Origin, shutdown: &Shutdown) -> Result<Self, SetupError> {
        let patience = Patience::new(plan, shutdown);
        Ok(match &plan.target {
            Target::Stdout => Self::Stream(Stream::stdout()?),
            Target::File(path) => Self::Stream(Stream::file(path)?),
            Target::Http(url) => {
                Self::Http(Http::new(Requester::new(plan, patience)?, url.clone(), plan.body))
            }
            Target::Elasticsearch { base, index } => {
                Self::Elasticsearch(Elasticsearch::new(Requester::new(plan, patience)?, base, index))
            }
            Target::Otlp(url) => {
                Self::Otlp(Otlp::new(Requester::new(plan, patience)?, url.clone(), plan.body, origin))
            }
            Target::Loki(url) => {
                Self::Loki(Loki::new(Requester::new(plan, patience)?, url.clone(), &plan.labels, origin))
            }
            Target::Splunk(url) => {
                Self::Splunk(Splunk::new(Requester::new(plan, patience)?, url.clone(), plan.timeout))
            }
            Target::Syslog { transport, host, port } => {
                Self::Syslog(Syslog::new(*transport, host, *port, &plan.tls, patience)?)
            }
            Target::Fluent { host, port, tag } => Self::Fluent(Fluent::new(host, *port, tag, patience)),
            #[cfg(feature = "kafka")]
            Target::Kafka(topic) => Self::Kafka(Box::new(kafka::Kafka::new(plan, patience, topic)?)),
            #[cfg(not(feature = "kafka"))]
            Target::Kafka(_) => return Err(SetupError::NotBuilt("kafka")),
            #[cfg(feature = "s3")]
            Target::S3(place) => Self::S3(Box::new(s3::S3::new(plan, patience, place, origin)?)),
            #[cfg(not(feature = "s3"))]
            Target::S3(_) => return Err(SetupError::NotBuilt("s3")),
        })
    }

    /// Ends a connection that is no request's own; without it, what was written last may be lost on its way.
    pub async fn close(&self, within: Duration) {
        if let Self::Syslog(sink) = self {
            sink.close(within).await;
        }
    }

    /// One attempt.
    pub async fn attempt(&self, batch: &Batch) -> Answer {
        match self {
            Self::Stream(sink) => sink.attempt(batch).await,
            Self::Http(sink) => sink.attempt(batch).await,
            Self::Elasticsearch(sink) => sink.attempt(batch).await,
            Self::Otlp(sink) => sink.attempt(batch).await,
            Self::Loki(sink) => sink.attempt(batch).await,
            Self::Splunk(sink) => sink.attempt(batch).await,
            Self::Syslog(sink) => sink.attempt(batch).await,
            Self::Fluent(sink) => sink.attempt(batch).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(sink) => sink.attempt(batch).await,
            #[cfg(feature = "s3")]
            Self::S3(sink) => sink.attempt(batch).await,
        }
    }
}
