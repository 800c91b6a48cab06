//! The sinks. Each makes one attempt with one batch and says what became of it; what to do then is [`crate::deliver`]'s.

mod elasticsearch;
mod http;
mod request;
mod stream;

use std::time::Duration;

use crate::batch::Batch;
use crate::config::{SinkPlan, Target};

pub use elasticsearch::Elasticsearch;
pub use http::Http;
pub use request::{Requester, SetupError};
pub use stream::Stream;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it is there for good.
    Accepted,
    /// One verdict per item, in order.
    Items(Vec<Verdict>),
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
}

impl Sink {
    /// Opens what can be opened without asking anyone.
    ///
    /// # Errors
    /// A file that cannot be written, certificates that cannot be used.
    pub fn open(plan: &SinkPlan) -> Result<Self, SetupError> {
        Ok(match &plan.target {
            Target::Stdout => Self::Stream(Stream::stdout()?),
            Target::File(path) => Self::Stream(Stream::file(path)?),
            Target::Http(url) => Self::Http(Http::new(Requester::new(plan)?, url.clone())),
            Target::Elasticsearch { base, index } => {
                Self::Elasticsearch(Elasticsearch::new(Requester::new(plan)?, base, index))
            }
        })
    }

    /// One attempt.
    pub async fn attempt(&self, batch: &Batch) -> Answer {
        match self {
            Self::Stream(sink) => sink.attempt(batch).await,
            Self::Http(sink) => sink.attempt(batch).await,
            Self::Elasticsearch(sink) => sink.attempt(batch).await,
        }
    }
}
