//! An HTTP service: a receiver of NDJSON, an upstream of the proxy, a target to wait for.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::{Answer, OnConnect, Received, Reply, server};
use crate::listener::{Listener, hang, reset};

/// What is kept of the past; a test that sends more looks at [`FakeHttp::count`].
const KEPT: usize = 100_000;

type Work = dyn Fn(&Received) -> Reply + Send + Sync;
type Decide = dyn Fn(&Received) -> Option<Answer> + Send + Sync;

/// A scripted HTTP/1.1 service. An answer is taken from the first of: [`FakeHttp::decide`], the queue of
/// [`FakeHttp::next`], [`FakeHttp::always`] (at first [`Answer::Ok`]).
#[derive(Debug)]
pub struct FakeHttp {
    listener: Listener,
    core: Arc<Core>,
}

struct Core {
    work: Box<Work>,
    script: Mutex<Script>,
    log: Mutex<Log>,
    connections: AtomicU64,
}

struct Script {
    decide: Option<Arc<Decide>>,
    next: VecDeque<Answer>,
    always: Answer,
    next_connections: VecDeque<OnConnect>,
    connections: OnConnect,
}

#[derive(Default)]
struct Log {
    requests: VecDeque<Received>,
    count: usize,
}

impl FakeHttp {
    /// Answers 200 with `{}`: what a receiver of NDJSON does.
    #[must_use]
    pub fn start() -> Self {
        Self::with(|_| Reply::json(200, &json!({})))
    }

    /// Answers with what it got: `{"method", "target", "headers": {…}, "body"}`, and the same `x-request-id`.
    #[must_use]
    pub fn echo() -> Self {
        Self::with(|request| {
            let headers: serde_json::Map<_, _> = request
                .headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), json!(value)))
                .collect();
            let body = String::from_utf8_lossy(&request.body);
            let echo =
                json!({"method": request.method, "target": request.target, "headers": headers, "body": body});
            let reply = Reply::json(200, &echo);
            match request.header("x-request-id") {
                Some(id) => reply.header("x-request-id", id),
                None => reply,
            }
        })
    }

    /// Does `work` for each request that an answer executes; its reply is what [`Answer::Ok`] sends.
    #[must_use]
    pub fn with(work: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let core = Arc::new(Core {
            work: Box::new(work),
            script: Mutex::new(Script {
                decide: None,
                next: VecDeque::new(),
                always: Answer::Ok,
                next_connections: VecDeque::new(),
                connections: OnConnect::Serve,
            }),
            log: Mutex::default(),
            connections: AtomicU64::new(0),
        });
        let serving = Arc::clone(&core);
        Self { listener: Listener::start(move |stream| serving.serve(&stream)), core }
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// `http://127.0.0.1:PORT` and `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// Answers the next requests like this, one each.
    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.core.script().next.extend(answers);
    }

    /// Answers all further requests like this.
    pub fn always(&self, answer: impl Into<Answer>) {
        self.core.script().always = answer.into();
    }

    /// Lets a function choose; where it returns `None` the rest of the script applies.
    pub fn decide(&self, decide: impl Fn(&Received) -> Option<Answer> + Send + Sync + 'static) {
        self.core.script().decide = Some(Arc::new(decide));
    }

    /// Treats the next connections like this, one each.
    pub fn next_connections(&self, kinds: impl IntoIterator<Item = OnConnect>) {
        self.core.script().next_connections.extend(kinds);
    }

    /// Treats all further connections like this.
    pub fn connections(&self, kind: OnConnect) {
        self.core.script().connections = kind;
    }

    /// Stops listening and resets all connections: connecting is refused.
    pub fn down(&self) {
        self.listener.down();
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        self.listener.up();
    }

    /// Resets all open connections, and goes on listening.
    pub fn reset_all(&self) {
        self.listener.reset_all();
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.listener.open()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.core.connections.load(Ordering::Relaxed)
    }

    /// Every request read to its end, oldest first.
    ///
    /// # Panics
    ///
    /// When there were too many to keep them all.
    #[must_use]
    #[track_caller]
    pub fn requests(&self) -> Vec<Received> {
        let log = self.core.log();
        assert!(log.count == log.requests.len(), "{} requests are too many to keep", log.count);
        log.requests.iter().cloned().collect()
    }

    /// How many requests were read to their end.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.log().count
    }

    /// How often a request with this header was executed, for example `("x-request-id", "7")`.
    #[must_use]
    #[track_caller]
    pub fn executions(&self, header: &str, value: &str) -> usize {
        let same = |request: &&Received| request.executed && request.header(header) == Some(value);
        self.requests().iter().filter(same).count()
    }

    /// The lines (NDJSON) of all executed requests, oldest first, gzip undone; a resent batch counts again.
    #[must_use]
    #[track_caller]
    pub fn lines(&self) -> Vec<String> {
        let requests = self.requests();
        let bodies = requests.iter().filter(|request| request.executed).map(Received::text);
        bodies.flat_map(|body| body.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

impl Core {
    fn serve(&self, stream: &std::net::TcpStream) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let kind = {
            let mut script = self.script();
            script.next_connections.pop_front().unwrap_or(script.connections)
        };
        match kind {
            OnConnect::Serve => server::serve(stream, connection, |received| self.answer(received)),
            OnConnect::CloseAfter(pause) => std::thread::sleep(pause),
            OnConnect::ResetAfter(pause) => {
                std::thread::sleep(pause);
                reset(stream);
            }
            // Reads nothing: waits until this side resets it, or the peer has closed.
            OnConnect::Stall => {
                let mut byte = [0];
                while matches!(stream.peek(&mut byte), Ok(1)) {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                hang(stream);
            }
        }
    }

    fn answer(&self, received: &mut Received) -> (Answer, Reply) {
        let decide = self.script().decide.clone();
        let decided = decide.and_then(|decide| decide(received));
        let answer = decided.unwrap_or_else(|| {
            let mut script = self.script();
            script.next.pop_front().unwrap_or_else(|| script.always.clone())
        });
        let mut reply = self.reply(received, &answer);
        received.executed = answer.executes();
        if matches!(answer, Answer::HalfBody) && reply.body.len() < 2 {
            reply.body = b"half of this".to_vec();
        }
        let mut log = self.log();
        log.count += 1;
        if log.requests.len() == KEPT {
            log.requests.pop_front();
        }
        log.requests.push_back(received.clone());
        (answer, reply)
    }

    fn reply(&self, received: &Received, answer: &Answer) -> Reply {
        let short = |status: u16| Reply::json(status, &json!({"status": status, "error": "scripted"}));
        match answer {
            Answer::After(_, then) => self.reply(received, then),
            Answer::Reply(reply) => reply.clone(),
            Answer::Status(status) => short(*status),
            Answer::RetryAfter(status, seconds) => short(*status).header("retry-after", &seconds.to_string()),
            _ if answer.executes() => (self.work)(received),
            _ => Reply::default(),
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("requests", &self.log().count).finish_non_exhaustive()
    }
}
