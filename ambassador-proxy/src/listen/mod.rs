//! Local addresses: accepted connections become HTTP requests or TCP tunnels.

mod attend;
pub mod bind;
pub mod framing;
mod framing_head;
pub mod rewind;
pub mod serve;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::attend::Attended;
pub(crate) use self::attend::Clients;
use self::rewind::Watch;
use podkit::limit::Every;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

use crate::clock;
use crate::config::plan::{ListenerKind, ListenerPlan};
use crate::h1::server::Taken;
use crate::stats::{Board, ListenerStats};
use crate::tunnel;
use crate::upstream::connect;
use crate::upstream::io::Plain;
use crate::worker::Worker;

/// A listener on one worker.
pub struct Door {
    /// As the configuration writes its address.
    pub name: Rc<str>,
    plan: RefCell<Arc<ListenerPlan>>,
    stats: Arc<ListenerStats>,
    board: Arc<Board>,
}

impl Door {
    /// With its first plan.
    pub fn new(plan: Arc<ListenerPlan>, board: &Arc<Board>) -> Rc<Self> {
        let stats = board.listener(&plan.name);
        Rc::new(Self {
            name: plan.name.as_str().into(),
            plan: RefCell::new(plan),
            stats,
            board: board.clone(),
        })
    }

    /// What is in force now.
    pub fn plan(&self) -> Arc<ListenerPlan> {
        self.plan.borrow().clone()
    }

    /// Looks at what is in force now.
    pub fn look<T>(&self, look: impl FnOnce(&ListenerPlan) -> T) -> T {
        look(&self.plan.borrow())
    }

    /// Takes over a new plan (reload); connections stay.
    pub fn set_plan(&self, plan: Arc<ListenerPlan>) {
        *self.plan.borrow_mut() = plan;
    }
}

/// An accepted connection. Counts as open while it lives.
pub struct Client {
    /// Address and port, empty for a socket file.
    pub address: Rc<str>,
    /// The address alone.
    pub ip: Option<IpAddr>,
    /// Where it came in.
    pub door: Rc<Door>,
    /// What its bytes say.
    pub watch: Arc<Watch>,
    /// Who takes the connection over after a switch of protocols.
    pub(crate) taker: Cell<Option<oneshot::Sender<Taken>>>,
    /// No request is taken any more.
    pub(crate) closing: Cell<bool>,
    pub(crate) attended: Attended,
    busy: Cell<u32>,
    since: Cell<Instant>,
}

impl Client {
    fn new(door: &Rc<Door>, address: Option<std::net::SocketAddr>) -> Rc<Self> {
        door.stats.accepted.add(1);
        door.stats.open.add(1);
        door.board.opened();
        let text = address.map_or_else(String::new, |address| address.to_string());
        Rc::new(Self {
            address: text.into(),
            ip: address.map(|address| address.ip()),
            door: door.clone(),
            watch: Arc::default(),
            taker: Cell::default(),
            closing: Cell::new(false),
            attended: Attended::default(),
            busy: Cell::new(0),
            since: Cell::new(Instant::now()),
        })
    }

    /// The listener's name.
    pub fn listener(&self) -> Rc<str> {
        self.door.name.clone()
    }

    /// Asks for the connection after a switch of protocols, when the answer has gone out.
    pub(crate) fn take_over(&self) -> oneshot::Receiver<Taken> {
        let (sender, receiver) = oneshot::channel();
        self.taker.set(Some(sender));
        receiver
    }

    /// A request begins.
    pub fn begin(&self) {
        self.busy.set(self.busy.get() + 1);
    }

    /// It is over, its answer read to the end.
    pub fn end(&self) {
        self.busy.set(self.busy.get().saturating_sub(1));
        self.since.set(clock::now());
    }

    /// How long nothing has been going on.
    pub fn idle(&self, now: Instant) -> Option<Duration> {
        (self.busy.get() == 0).then(|| now.saturating_duration_since(self.since.get()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.door.stats.open.add(-1);
        self.door.board.closed();
    }
}

/// A socket that accepts.
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener),
}

impl Socket {
    async fn accept(&self) -> std::io::Result<(Plain, Option<std::net::SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                connect::keep_alive(&stream);
                Ok((Plain::Tcp(stream), Some(address)))
            }
            Self::Unix(listener) => Ok((Plain::Unix(listener.accept().await?.0), None)),
        }
    }
}

static TROUBLE: Every = Every::new(Duration::from_secs(10));

/// Accepts for ever.
pub async fn accept(worker: Rc<Worker>, door: Rc<Door>, socket: Socket) {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => {
                let (worker, client) = (worker.clone(), Client::new(&door, address));
                tokio::task::spawn_local(welcome(worker, client, stream));
            }
            Err(error) => {
                if let Some(suppressed) = TROUBLE.allow() {
                    tracing::warn!(listener = %door.name, %error, suppressed, "a connection could not be accepted");
                }
                // Out of descriptors, mostly: give others time to close some.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn welcome(worker: Rc<Worker>, client: Rc<Client>, stream: Plain) {
    let plan = client.door.plan();
    match &plan.kind {
        ListenerKind::Http(_) => serve::http(worker, client, stream, plan.proxy_protocol).await,
        ListenerKind::Tcp(upstream) => {
            tunnel::serve(worker, client, stream, upstream, plan.proxy_protocol).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<A, F: Future>(_: fn(A, Rc<Client>, Plain) -> F) -> usize {
        size_of::<F>()
    }

    fn request<A, B, F: Future>(_: fn(Rc<Worker>, A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// What every open connection and every request under way keeps, whatever it is doing: state that is rarely needed belongs in
    /// a box of its own.
    #[test]
    fn a_connection_takes_little_room() {
        let (connection, request) = (one(welcome), request(crate::forward::handle));
        println!("connection {connection} bytes, request {request} bytes");
        assert!(
            connection <= 2 << 10 && request <= 6 << 10,
            "connection {connection}, request {request} bytes"
        );
    }
}
