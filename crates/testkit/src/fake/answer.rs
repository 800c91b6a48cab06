//! What came in, and what a fake does about it.

use std::time::Duration;

use serde_json::Value;

use crate::wire::{decode, find};

/// A request that a fake has read to its end.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The body as sent, chunks joined; see [`Received::decoded`].
    pub body: Vec<u8>,
    /// Counts the connections of the fake from 0: requests with the same number shared one.
    pub connection: u64,
    /// Whether the fake did what was asked (stored, counted), whatever became of its answer.
    pub executed: bool,
}

impl Received {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body without its gzip.
    ///
    /// # Panics
    ///
    /// When it says gzip and is not.
    #[must_use]
    pub fn decoded(&self) -> Vec<u8> {
        decode(&self.headers, &self.body).unwrap_or_else(|error| panic!("a broken gzip body: {error}"))
    }

    /// The decoded body as text, invalid UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.decoded()).into_owned()
    }

    /// The decoded body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.decoded()).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// An ordinary response.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    #[must_use]
    pub fn new(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self { status, headers: Vec::new(), body: body.as_ref().to_owned() }
    }

    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string()).header("content-type", "application/json")
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// What a fake does with a request that it has read.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Does its work and answers as the real service would.
    Ok,
    /// Answers with a status and a short body, doing nothing.
    Status(u16),
    /// A status with `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// This very response, doing nothing else (a request answered with 2xx counts as executed).
    Reply(Reply),
    /// Waits first.
    After(Duration, Box<Answer>),
    /// Resets the connection, having done nothing.
    Reset,
    /// Does its work, then resets the connection instead of answering: the client cannot know.
    AnswerLost,
    /// Closes without an answer, having done nothing.
    Close,
    /// Never answers.
    Hang,
    /// Does its work, sends the head and half of the body, then resets.
    HalfBody,
    /// Does its work, sends the head byte by byte, with a pause after each.
    SlowHead(Duration),
    /// Does its work, sends the body byte by byte, with a pause after each.
    SlowBody(Duration),
    /// Does its work and answers as if the connection stayed open, then closes it after the pause without reading any
    /// more: the race of a client that reuses the connection at that moment.
    ThenClose(Duration),
    /// A chunked 200 of these pieces, with a pause before each.
    Stream(Vec<Vec<u8>>, Duration),
    /// 101 to the protocol that was asked for, then echoes bytes.
    Upgrade,
    /// Does its work, sends these bytes as they are, and closes.
    Raw(Vec<u8>),
}

impl Answer {
    /// `Answer::after(d, Answer::Ok)`
    #[must_use]
    pub fn after(pause: Duration, then: impl Into<Self>) -> Self {
        Self::After(pause, Box::new(then.into()))
    }

    /// Whether the service does its work.
    pub(super) fn executes(&self) -> bool {
        match self {
            Self::Status(_) | Self::RetryAfter(..) | Self::Reset | Self::Close | Self::Hang => false,
            Self::Reply(reply) => reply.ok(),
            Self::After(_, then) => then.executes(),
            _ => true,
        }
    }
}

/// What a fake does with a connection, before reading anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConnect {
    /// Reads requests.
    Serve,
    /// Closes after the pause, without reading.
    CloseAfter(Duration),
    /// Resets after the pause, without reading.
    ResetAfter(Duration),
    /// Accepts and never reads.
    Stall,
}
