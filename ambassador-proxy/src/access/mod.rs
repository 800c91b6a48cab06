//! The access log: one line per request and TCP connection on stdout, written by a thread of its own.
//!
//! A reader that does not keep up costs lines (counted), never requests.

pub mod format;
pub mod line;

use std::cell::{Cell, Ref, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::config::AccessLog;
use crate::stats::Board;

pub use format::Format;
pub use line::Record;

/// Batches that may wait for a slow reader.
const BATCHES: usize = 64;
/// A batch is sent when it is this long, or old.
const BATCH: usize = 32 << 10;
const AGE: Duration = Duration::from_millis(50);

enum Message {
    Lines(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the thread that writes.
#[derive(Clone)]
pub struct Writer(SyncSender<Message>);

impl Writer {
    /// Starts the thread. It ends when every `Writer` is gone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(BATCHES);
        std::thread::Builder::new().name("access-log".into()).spawn(move || write(&receiver))?;
        Ok(Self(sender))
    }

    /// Waits until all that was sent has been written, at most for `limit`.
    pub fn flush(&self, limit: Duration) {
        let (sender, receiver) = sync_channel(1);
        if self.0.try_send(Message::Flush(sender)).is_ok() {
            let _ = receiver.recv_timeout(limit);
        }
    }
}

fn write(receiver: &Receiver<Message>) {
    let mut out = std::io::stdout().lock();
    while let Ok(message) = receiver.recv() {
        match message {
            // A closed stdout is no reason to stop carrying traffic.
            Message::Lines(lines) => drop(out.write_all(&lines).and_then(|()| out.flush())),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

/// What is written, ready to use.
#[derive(Debug, Clone, Default)]
pub enum Form {
    /// Nothing.
    #[default]
    Off,
    /// JSON.
    Json,
    /// For people.
    Text,
    /// As the operator says.
    Format(Arc<Format>),
}

impl From<&AccessLog> for Form {
    fn from(written: &AccessLog) -> Self {
        match written {
            AccessLog::Off => Self::Off,
            AccessLog::Json => Self::Json,
            AccessLog::Text => Self::Text,
            // It was parsed when the configuration was read.
            AccessLog::Format(text) => Self::Format(Arc::new(Format::parse(text).unwrap_or_default())),
        }
    }
}

/// One worker's end: collects lines and sends them in batches.
pub struct Log {
    form: RefCell<Form>,
    writer: Writer,
    board: Arc<Board>,
    batch: RefCell<Vec<u8>>,
    pending: Cell<bool>,
}

impl Log {
    /// Nothing collected yet.
    pub fn new(writer: Writer, board: Arc<Board>) -> Rc<Self> {
        Rc::new(Self {
            form: RefCell::default(),
            writer,
            board,
            batch: RefCell::default(),
            pending: Cell::new(false),
        })
    }

    /// Changes the form (reload).
    pub fn set_form(&self, form: Form) {
        *self.form.borrow_mut() = form;
    }

    /// The format string in force, if it is one.
    pub fn format(&self) -> Option<Ref<'_, Format>> {
        Ref::filter_map(self.form.borrow(), |form| match form {
            Form::Format(format) => Some(&**format),
            _ => None,
        })
        .ok()
    }

    /// Whether anything is written at all.
    pub fn on(&self) -> bool {
        !matches!(*self.form.borrow(), Form::Off)
    }

    /// Adds a line.
    pub fn add(self: &Rc<Self>, record: &Record) {
        let full = {
            let mut batch = self.batch.borrow_mut();
            match &*self.form.borrow() {
                Form::Off => return,
                Form::Json => line::json(record, &mut batch),
                Form::Text => line::text(record, &mut batch),
                Form::Format(format) => format.write(record, &mut batch),
            }
            batch.len() >= BATCH
        };
        if full {
            self.send();
        } else if !self.pending.replace(true) {
            let log = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(AGE).await;
                log.pending.set(false);
                log.send();
            });
        }
    }

    /// Sends what was collected.
    pub fn send(&self) {
        let batch = std::mem::take(&mut *self.batch.borrow_mut());
        if batch.is_empty() {
            return;
        }
        if let Err(
            TrySendError::Full(Message::Lines(lost)) | TrySendError::Disconnected(Message::Lines(lost)),
        ) = self.writer.0.try_send(Message::Lines(batch))
        {
            let lines = memchr::memchr_iter(b'\n', &lost).count() as u64;
            self.board.log_lost.fetch_add(lines, Relaxed);
        }
    }
}
