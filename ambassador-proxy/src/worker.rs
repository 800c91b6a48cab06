//! One thread that carries traffic: its own runtime, its own pools, its own counters.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::{Form, Log, Writer};
use crate::clock;
use crate::config::plan::ListenerPlan;
use crate::listen::bind::Raw;
use crate::listen::{self, Client, Clients, Door};
use crate::shelf::Shelf;
use crate::stats::Board;
use crate::trace::Tracer;
use crate::upstream::Shared;
use crate::upstream::local::LocalUpstream;

/// How often unused connections are looked at, and how often while draining.
const SWEEP: Duration = Duration::from_secs(1);
const DRAIN_SWEEP: Duration = Duration::from_millis(100);

/// A listener, and the task that accepts there.
type Accepting = (Rc<Door>, JoinHandle<()>);

/// What a worker's tasks share.
pub struct Worker {
    /// The access log.
    pub log: Rc<Log>,
    /// Cancelled when the drain begins.
    pub drain: CancellationToken,
    /// The same, for the hot path.
    pub draining: Cell<bool>,
    /// What happens to a request's trace.
    pub tracer: RefCell<Tracer>,
    /// Counters, and what somebody looks at.
    pub board: Arc<Board>,
    /// Room for the requests under way.
    pub(crate) shelf: Shelf,
    upstreams: RefCell<BTreeMap<String, Rc<LocalUpstream>>>,
    doors: RefCell<HashMap<String, Accepting>>,
    clients: Clients,
}

/// What the control thread asks of a worker.
pub enum Command {
    /// Take this configuration over. Sockets come with listeners that are new.
    Apply {
        /// Every listener.
        listeners: Vec<(Arc<ListenerPlan>, Option<Raw>)>,
        /// Every upstream.
        upstreams: Arc<HashMap<String, Arc<Shared>>>,
        /// The form of the access log.
        access_log: Form,
        /// What happens to a request's trace.
        tracer: Tracer,
        /// Told when it is in force.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Answers say `Connection: close` from now on; new connections are still accepted.
    Drain,
    /// End; open connections are cut.
    Stop,
}

/// A running worker.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Handle {
    /// Sends a command; one to a worker that is gone is lost.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Whether its thread has ended, which it never does by itself.
    pub fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// Waits for the thread to end, after [`Command::Stop`].
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a worker.
///
/// # Errors
/// When there can be no thread or runtime.
pub fn start(number: usize, board: Arc<Board>, writer: Writer) -> std::io::Result<Handle> {
    let (commands, receiver) = mpsc::unbounded_channel();
    let (started, result) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = started.send(Ok(()));
                runtime.block_on(run(receiver, board, writer));
                runtime.shutdown_background();
            }
            Err(error) => drop(started.send(Err(error))),
        }
    })?;
    result.recv().map_err(std::io::Error::other)??;
    Ok(Handle { commands, thread: Some(thread) })
}

async fn run(mut commands: mpsc::UnboundedReceiver<Command>, board: Arc<Board>, writer: Writer) {
    let worker = Rc::new(Worker {
        log: Log::new(writer, board.clone()),
        drain: CancellationToken::new(),
        draining: Cell::new(false),
        tracer: RefCell::default(),
        board,
        shelf: Shelf::default(),
        upstreams: RefCell::default(),
        doors: RefCell::default(),
        clients: Clients::default(),
    });
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Apply { listeners, upstreams, access_log, tracer, done }) => {
                    worker.log.set_form(access_log);
                    worker.tracer.replace(tracer);
                    let _ = done.send(worker.apply(listeners, &upstreams));
                }
                Some(Command::Drain) => {
                    worker.draining.set(true);
                    worker.drain.cancel();
                    sweep = tokio::time::interval(DRAIN_SWEEP);
                }
                Some(Command::Stop) | None => break,
            },
            _ = sweep.tick() => {
                let now = clock::turn();
                worker.upstreams.borrow().values().for_each(|upstream| upstream.sweep(now));
                worker.clients.attend(now, worker.draining.get());
            }
        }
    }
    worker.log.send();
}

impl Worker {
    /// The upstream of that name.
    pub fn upstream(&self, name: &str) -> Option<Rc<LocalUpstream>> {
        self.upstreams.borrow().get(name).cloned()
    }

    /// Sees to it that a client's connection ends when it is not used any more.
    pub(crate) fn attend(&self, client: &Rc<Client>) {
        self.clients.add(client);
    }

    fn apply(
        self: &Rc<Self>,
        listeners: Vec<(Arc<ListenerPlan>, Option<Raw>)>,
        upstreams: &HashMap<String, Arc<Shared>>,
    ) -> Result<(), String> {
        {
            let mut known = self.upstreams.borrow_mut();
            for (name, shared) in upstreams {
                if known.get(name).is_some_and(|local| local.shared.id == shared.id) {
                    continue;
                }
                if let Some(old) = known.insert(name.clone(), LocalUpstream::new(shared.clone(), &self.board))
                {
                    old.retire();
                }
            }
            known.retain(|name, local| {
                upstreams.contains_key(name) || {
                    local.retire();
                    false
                }
            });
        }
        let mut doors = self.doors.borrow_mut();
        // A listener that is gone accepts no more; its connections stay until they end.
        doors.retain(|key, (_, accepting)| {
            let stays = listeners.iter().any(|(plan, _)| plan.key == *key);
            if !stays {
                accepting.abort();
            }
            stays
        });
        for (plan, socket) in listeners {
            if let Some((door, _)) = doors.get(&plan.key) {
                door.set_plan(plan);
                continue;
            }
            let Some(socket) = socket else { continue };
            let name = plan.name.clone();
            let socket = socket.adopt().map_err(|error| format!("{name} cannot be listened on: {error}"))?;
            let key = plan.key.clone();
            let door = Door::new(plan, &self.board);
            let accepting = tokio::task::spawn_local(listen::accept(self.clone(), door.clone(), socket));
            doors.insert(key, (door, accepting));
        }
        Ok(())
    }
}
