//! What sockets and FIFOs said → records. Each connection has a lane of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logtail::{Piece, Wakeup};
use podkit::{exit::Exit, ready::Latch, shutdown::Shutdown};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use super::{
    batch::Batch,
    frame::Frame,
    octets::{End, Octets, begins_counted},
    sink::{Patience, Sink, Stop},
    streams::Streams,
};
use crate::{
    lane::Lane,
    listen::{Chunk, Data, Framing, Peer},
    meter::Meter,
    time::Time,
};

/// Bytes of records after which a batch is written.
const BATCH: usize = 1 << 20;
/// How often the page is brought up to date.
const SHOW: Duration = Duration::from_millis(500);
/// How long an event waits for a line that may belong to it.
const PATIENCE: Duration = Duration::from_millis(400);
/// Bytes that all unfinished lines may take together; beyond, the longest go out in parts.
const HELD: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub struct Network {
    inbox: Receiver<Chunk>,
    connections: HashMap<Peer, Connection>,
    batch: Batch,
    held: usize,
    /// The batch holds what a reload ended.
    undelivered: bool,
    /// All readers have ended, and everything is taken.
    pub finished: bool,
}

#[derive(Debug)]
struct Connection {
    lane: Lane,
    framing: Frames,
    /// Since when whole lines wait for what may belong to them.
    since: Option<Instant>,
}

#[derive(Debug)]
enum Frames {
    /// Lines or counted messages: the first bytes will say; they are kept here until then.
    Open(Vec<u8>),
    Lines(Frame),
    Octets(Octets),
}

impl Network {
    pub fn new(inbox: Receiver<Chunk>) -> Self {
        Self {
            inbox,
            connections: HashMap::new(),
            batch: Batch::default(),
            held: 0,
            undelivered: false,
            finished: false,
        }
    }

    /// Takes what there is, up to a batch. True when there may be more.
    pub fn read(&mut self, streams: &Streams) -> bool {
        let now = Time::now();
        if !std::mem::take(&mut self.undelivered) {
            self.batch.clear();
        }
        self.batch.now = now;
        let mut more = true;
        while self.batch.out.len() < BATCH {
            match self.inbox.try_recv() {
                Ok(chunk) => self.take(chunk, streams, now),
                Err(error) => {
                    self.finished = error == TryRecvError::Disconnected;
                    more = false;
                    break;
                }
            }
        }
        for connection in self.connections.values_mut() {
            let due = connection.since.is_some_and(|at| self.finished || at.elapsed() >= PATIENCE);
            if let (true, Frames::Lines(frame)) = (due, &mut connection.framing) {
                connection.lane.set_now(now);
                frame.flush(&mut connection.lane, &mut self.batch);
                connection.since = None;
            }
        }
        if self.finished {
            // A reader that ended with the process left its last line without an end.
            let peers: Vec<Peer> = self.connections.keys().copied().collect();
            for peer in peers {
                self.take(Chunk { peer, data: Data::End }, streams, now);
            }
        }
        more
    }

    /// Writes what was taken.
    pub fn deliver(
        &mut self,
        sink: &mut Sink,
        patience: &mut Patience,
        meter: &Meter,
        filters: &[String],
        mut idle: impl FnMut(),
    ) -> Result<(), Stop> {
        let batch = &self.batch;
        if batch.counts.lines == 0 {
            return Ok(());
        }
        loop {
            patience.until("opening the output", || sink.place(batch.out.len()), &mut idle)?;
            let mut done = 0;
            patience.until("writing the output", || sink.write(&batch.out, &mut done), &mut idle)?;
            if patience.until("looking at the output", || sink.kept(), &mut idle)? {
                break;
            }
        }
        meter.delivered(&batch.counts, batch.bytes_read, batch.out.len() as u64);
        meter.filtered(filters, &batch.filtered);
        Ok(())
    }

    /// How long to wait for news at most.
    pub fn waits(&self) -> Option<Duration> {
        self.connections.values().any(|c| c.since.is_some()).then_some(PATIENCE / 4)
    }

    /// New formats and fields: what waits is passed on by the old ones.
    pub fn reload(&mut self, streams: &Streams) {
        if !std::mem::replace(&mut self.undelivered, true) {
            self.batch.clear();
        }
        for (peer, connection) in &mut self.connections {
            connection.end(&mut self.batch);
            *connection = Connection::new(*peer, streams);
        }
        self.held = 0;
    }

    /// One row per listener, for `/statusz`.
    pub fn rows(&self, streams: &Streams) -> Vec<serde_json::Value> {
        let row = |(index, (listener, stream)): (usize, &(Arc<crate::listen::Listener>, usize))| {
            let mine = || self.connections.iter().filter(|(peer, _)| peer.listener == index);
            let mut formats: Vec<String> = mine().map(|(_, c)| c.lane.format()).collect();
            formats.sort_unstable();
            formats.dedup();
            serde_json::json!({
                "listen": listener.text,
                "format": if formats.is_empty() { streams.stream(*stream).format.to_owned() } else { formats.join(", ") },
                "connections": mine().filter(|(peer, _)| peer.connection > 0).count(),
            })
        };
        streams.listeners.iter().enumerate().map(row).collect()
    }

    fn take(&mut self, chunk: Chunk, streams: &Streams, now: Time) {
        let Chunk { peer, data } = chunk;
        let connection = self.connections.entry(peer).or_insert_with(|| Connection::new(peer, streams));
        connection.lane.set_now(now);
        let before = connection.held();
        let ended = matches!(data, Data::End);
        match data {
            Data::Bytes(bytes) => connection.bytes(&bytes, &mut self.batch),
            Data::Messages(bytes, ends) => {
                let whole = streams.listeners.get(peer.listener).map(|(l, _)| l.framing);
                let syslog = connection.lane.is_syslog();
                let mut from = 0;
                for end in ends {
                    connection.datagram(
                        &bytes[from..end],
                        whole.unwrap_or_default(),
                        syslog,
                        &mut self.batch,
                    );
                    from = end;
                }
            }
            Data::End => connection.end(&mut self.batch),
        }
        self.held = self.held + connection.held() - before;
        if ended && peer.connection > 0 {
            self.connections.remove(&peer);
        }
        while self.held > HELD {
            let Some(longest) = self.connections.values_mut().max_by_key(|c| c.held()) else { break };
            let before = longest.held();
            longest.relieve(&mut self.batch);
            let after = longest.held();
            if after >= before {
                break;
            }
            self.held -= before - after;
        }
    }
}

impl Connection {
    fn new(peer: Peer, streams: &Streams) -> Self {
        let (listener, stream) = &streams.listeners[peer.listener];
        let lane = streams.lane_of(*stream);
        let framing = match listener.framing {
            Framing::Auto if lane.is_syslog() => Frames::Open(Vec::new()),
            Framing::Auto | Framing::Lines | Framing::Message => Frames::Lines(Frame::default()),
            Framing::Nul => Frames::Octets(Octets::new(End::Nul)),
            Framing::Octets => Frames::Octets(Octets::new(End::Count)),
        };
        Self { lane, framing, since: None }
    }

    fn held(&self) -> usize {
        match &self.framing {
            Frames::Open(bytes) => bytes.len(),
            Frames::Lines(frame) => frame.held(),
            Frames::Octets(octets) => octets.held(),
        }
    }

    fn bytes(&mut self, bytes: &[u8], batch: &mut Batch) {
        match &mut self.framing {
            Frames::Open(first) => {
                first.extend_from_slice(bytes);
                let Some(counted) = begins_counted(first) else { return };
                let first = std::mem::take(first);
                self.framing = if counted {
                    Frames::Octets(Octets::new(End::Count))
                } else {
                    Frames::Lines(Frame::default())
                };
                self.bytes(&first, batch);
            }
            Frames::Lines(frame) => {
                frame.take(bytes, &mut self.lane, batch, false);
                self.since = frame.waits().then(Instant::now);
            }
            Frames::Octets(octets) => octets.take(bytes, &mut self.lane, batch, false),
        }
    }

    /// One message, or lines: syslog's is one whatever it holds (RFC 5426, 3.1).
    fn datagram(&mut self, bytes: &[u8], framing: Framing, syslog: bool, batch: &mut Batch) {
        let one = match framing {
            Framing::Message => true,
            Framing::Auto => syslog && bytes.first() == Some(&b'<'),
            _ => false,
        };
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        if one {
            batch.convert(&mut self.lane, bytes, Piece::Unterminated { number: 1 }, true);
        } else if !bytes.is_empty() {
            // A datagram's lines are whole: nothing waits for the next one's.
            Frame::default().take(bytes, &mut self.lane, batch, true);
        }
    }

    fn end(&mut self, batch: &mut Batch) {
        self.since = None;
        match &mut self.framing {
            Frames::Open(first) => {
                let first = std::mem::take(first);
                Frame::default().take(&first, &mut self.lane, batch, true);
            }
            Frames::Lines(frame) => frame.take(b"", &mut self.lane, batch, true),
            Frames::Octets(octets) => octets.take(b"", &mut self.lane, batch, true),
        }
    }

    /// Memory is short: what is held goes out as it is.
    fn relieve(&mut self, batch: &mut Batch) {
        match &mut self.framing {
            Frames::Lines(frame) => {
                self.since = None;
                frame.relieve(&mut self.lane, batch);
            }
            Frames::Octets(octets) => octets.relieve(&mut self.lane, batch),
            Frames::Open(_) => self.end(batch),
        }
    }
}

/// What the thread works with beside the network.
pub struct Outside {
    pub sink: Sink,
    pub meter: Meter,
    pub shutdown: Shutdown,
    pub wakeup: Wakeup,
    /// New streams after a reload of the configuration.
    pub reload: std::sync::mpsc::Receiver<Arc<Streams>>,
    pub ready: Latch,
}

/// Sockets and FIFOs alone, without files: runs until the shutdown.
///
/// # Errors
/// The output took nothing until the end of the drain.
pub fn run(mut streams: Arc<Streams>, mut network: Network, outside: Outside) -> Result<(), Exit> {
    let Outside { mut sink, meter, shutdown, wakeup, reload, ready } = outside;
    let mut patience = Patience::new(shutdown, meter.clone());
    ready.release();
    let mut shown: Option<Instant> = None;
    loop {
        let more = network.read(&streams);
        match network.deliver(&mut sink, &mut patience, &meter, &streams.filters, || ()) {
            Ok(()) => {}
            Err(Stop::Closed) => return Ok(()),
            Err(Stop::Overdue) => {
                return Err(Exit::failed(
                    "the output took nothing until the end of the drain; the lines received last are lost",
                ));
            }
        }
        if network.finished || shown.is_none_or(|at| at.elapsed() >= SHOW) {
            meter.output(&mut sink);
            meter.update(|snapshot| snapshot.listeners = network.rows(&streams));
            shown = Some(Instant::now());
        }
        if network.finished {
            return Ok(());
        }
        if let Ok(next) = reload.try_recv() {
            network.reload(&next);
            streams = next;
            tracing::info!("listening with the new configuration");
        }
        if !more {
            wakeup.wait(network.waits().unwrap_or(SHOW));
        }
    }
}
