//! A scripted DNS server, UDP and TCP on one port.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::listener::Listener;

/// How many links of a CNAME chain are followed.
const CHAIN: usize = 8;

/// A question that was asked: the name in lower case without the last dot, the type as text (`AAAA`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub name: String,
    pub kind: String,
    pub over_tcp: bool,
}

/// What the server answers to a question.
#[derive(Clone, Debug)]
pub enum DnsAnswer {
    /// Records in zone file form: `10.0.0.1`, `0 10 5432 db.default.svc.`, `"some text"`.
    Records {
        ttl: u32,
        data: Vec<String>,
    },
    /// The name does not exist.
    NxDomain,
    /// The name exists, this type does not.
    NoData,
    ServFail,
    Refused,
    /// Over UDP nothing but the TC bit, over TCP the real answer.
    Truncated(Box<DnsAnswer>),
    /// Waits first.
    After(Duration, Box<DnsAnswer>),
    /// Never answers; over TCP the connection stays open.
    Silent,
    /// These bytes instead of a message.
    Garbage(Vec<u8>),
    /// First an answer with another id (a forgery), then the real one.
    Forged(Box<DnsAnswer>),
}

impl DnsAnswer {
    /// Records with a TTL of 30 s, what CoreDNS gives for Services.
    #[must_use]
    pub fn records<S: AsRef<str>>(data: impl IntoIterator<Item = S>) -> Self {
        Self::Records { ttl: 30, data: data.into_iter().map(|text| text.as_ref().to_owned()).collect() }
    }

    /// `DnsAnswer::truncated(DnsAnswer::records(["10.0.0.1"]))`
    #[must_use]
    pub fn truncated(then: Self) -> Self {
        Self::Truncated(Box::new(then))
    }

    #[must_use]
    pub fn after(pause: Duration, then: Self) -> Self {
        Self::After(pause, Box::new(then))
    }
}

/// A DNS server on `127.0.0.1`. Names without records do not exist, others have no data of types without records.
/// A CNAME is followed within the server, as recursive servers do.
#[derive(Debug)]
pub struct FakeDns {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    udp: UdpSocket,
    over: AtomicBool,
    zone: Mutex<Zone>,
}

#[derive(Debug, Default)]
struct Zone {
    answers: HashMap<(String, RecordType), DnsAnswer>,
    all: Option<DnsAnswer>,
    log: Vec<Question>,
}

impl FakeDns {
    #[must_use]
    pub fn start() -> Self {
        // Both protocols need the same port: TCP picks one, UDP follows, and another is tried when that is taken.
        for _ in 0..100 {
            let (give, take) = std::sync::mpsc::channel::<Arc<Shared>>();
            let take = Mutex::new((take, None));
            let listener = Listener::start(move |stream| {
                let shared = {
                    let mut take = take.lock().unwrap_or_else(PoisonError::into_inner);
                    if take.1.is_none() {
                        take.1 = take.0.recv().ok();
                    }
                    take.1.clone()
                };
                if let Some(shared) = shared {
                    let _ = shared.serve_tcp(&stream);
                }
            });
            let Ok(udp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, listener.addr().port())) else { continue };
            let shared = Arc::new(Shared { udp, over: AtomicBool::new(false), zone: Mutex::default() });
            let _ = give.send(Arc::clone(&shared));
            let serving = Arc::clone(&shared);
            std::thread::spawn(move || serving.serve_udp());
            return Self { listener, shared };
        }
        panic!("no port is free for both TCP and UDP")
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// A `resolv.conf` that names this server (with its port), and then `rest`: `search a b`, `options ndots:5`.
    #[must_use]
    pub fn resolv_conf(&self, rest: &str) -> String {
        format!("nameserver {}\n{rest}\n", self.addr())
    }

    /// Answers a question like this from now on. `kind` is a record type: `A`, `AAAA`, `CNAME`, `SRV`, `MX`, `NS`, `TXT`, …
    ///
    /// # Panics
    ///
    /// When a record is not in the form of its type.
    #[track_caller]
    pub fn set(&self, name: &str, kind: &str, answer: DnsAnswer) {
        let kind = record_type(kind);
        check(kind, &answer);
        self.shared.zone().answers.insert((key(name), kind), answer);
    }

    /// [`FakeDns::set`] with records of a TTL of 30 s.
    ///
    /// # Panics
    ///
    /// When a record is not in the form of its type.
    #[track_caller]
    pub fn records(&self, name: &str, kind: &str, data: &[&str]) {
        self.set(name, kind, DnsAnswer::records(data));
    }

    /// Forgets what was set for a question.
    #[track_caller]
    pub fn remove(&self, name: &str, kind: &str) {
        self.shared.zone().answers.remove(&(key(name), record_type(kind)));
    }

    /// Answers every question like this; `None` goes back to the records.
    pub fn all(&self, answer: Option<DnsAnswer>) {
        self.shared.zone().all = answer;
    }

    /// Every question so far.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.shared.zone().log.clone()
    }

    /// The names of all questions so far, in order: how a search list was walked.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.shared.zone().log.iter().map(|question| question.name.clone()).collect()
    }

    /// Forgets the questions.
    pub fn clear_questions(&self) {
        self.shared.zone().log.clear();
    }
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // An empty datagram wakes the thread that waits for one.
        let _ = self.shared.udp.send_to(&[], self.addr());
    }
}

impl Shared {
    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve_udp(self: &Arc<Self>) {
        let mut buffer = [0; 4096];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((count, from)) = self.udp.recv_from(&mut buffer) else { continue };
            let (shared, query) = (Arc::clone(self), buffer[..count].to_vec());
            std::thread::spawn(move || {
                for message in shared.answer(&query, false).unwrap_or_default() {
                    let _ = shared.udp.send_to(&message, from);
                }
            });
        }
    }

    fn serve_tcp(&self, mut stream: &TcpStream) -> io::Result<()> {
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query)?;
            for message in self.answer(&query, true).unwrap_or_default() {
                let length = u16::try_from(message.len()).map_err(io::Error::other)?;
                stream.write_all(&[&length.to_be_bytes()[..], &message].concat())?;
            }
        }
    }

    /// The messages to send for a query; `None` when it is not one.
    fn answer(&self, query: &[u8], over_tcp: bool) -> Option<Vec<Vec<u8>>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?;
        let (name, kind) = (key(&question.name().to_ascii()), question.query_type());
        let answer = {
            let mut zone = self.zone();
            zone.log.push(Question { name: name.clone(), kind: kind.to_string(), over_tcp });
            zone.all.clone().unwrap_or_else(|| zone.find(&name, kind))
        };
        Some(self.messages(&query, &answer, over_tcp))
    }

    fn messages(&self, query: &Message, answer: &DnsAnswer, over_tcp: bool) -> Vec<Vec<u8>> {
        match answer {
            DnsAnswer::Silent => Vec::new(),
            DnsAnswer::Garbage(bytes) => vec![bytes.clone()],
            DnsAnswer::After(pause, then) => {
                std::thread::sleep(*pause);
                self.messages(query, then, over_tcp)
            }
            DnsAnswer::Truncated(_) if !over_tcp => {
                let mut message = reply(query, ResponseCode::NoError);
                message.metadata.truncation = true;
                message.to_vec().into_iter().collect()
            }
            DnsAnswer::Truncated(then) => self.messages(query, then, over_tcp),
            DnsAnswer::Forged(then) => {
                let mut messages = self.messages(query, then, over_tcp);
                if let Some(first) = messages.first() {
                    let mut forged = first.clone();
                    forged[0] ^= 0xff;
                    messages.insert(0, forged);
                }
                messages
            }
            _ => self.message(query, answer).to_vec().into_iter().collect(),
        }
    }

    fn message(&self, query: &Message, answer: &DnsAnswer) -> Message {
        let code = match answer {
            DnsAnswer::NxDomain => ResponseCode::NXDomain,
            DnsAnswer::ServFail => ResponseCode::ServFail,
            DnsAnswer::Refused => ResponseCode::Refused,
            _ => ResponseCode::NoError,
        };
        let mut message = reply(query, code);
        match answer {
            DnsAnswer::Records { ttl, data } => {
                message.add_answers(self.zone().follow(query, *ttl, data));
            }
            DnsAnswer::NxDomain | DnsAnswer::NoData => {
                let soa = SOA::new(Name::root(), Name::root(), 1, 60, 60, 60, 5);
                message.add_authority(Record::from_rdata(Name::root(), 5, RData::SOA(soa)));
            }
            _ => {}
        }
        message
    }
}

impl Zone {
    fn find(&self, name: &str, kind: RecordType) -> DnsAnswer {
        let get = |kind| self.answers.get(&(name.to_owned(), kind)).cloned();
        get(kind).or_else(|| get(RecordType::CNAME)).unwrap_or_else(|| {
            let exists = self.answers.keys().any(|(known, _)| known == name);
            if exists { DnsAnswer::NoData } else { DnsAnswer::NxDomain }
        })
    }

    /// The records for a question, and when they are a CNAME those that it leads to.
    fn follow(&self, query: &Message, ttl: u32, data: &[String]) -> Vec<Record> {
        let Some(question) = query.queries.first() else { return Vec::new() };
        let asked = question.query_type();
        let mut name = question.name().clone();
        let set = |name: &Name, kind| self.answers.get(&(key(&name.to_ascii()), kind));
        let direct = self.all.is_some() || set(&name, asked).is_some();
        let mut kind = if direct { asked } else { RecordType::CNAME };
        let (mut ttl, mut data) = (ttl, data);
        let mut records = Vec::new();
        for _ in 0..CHAIN {
            for rdata in data.iter().filter_map(|text| RData::try_from_str(kind, text).ok()) {
                records.push(Record::from_rdata(name.clone(), ttl, rdata));
            }
            let Some(RData::CNAME(target)) = records.last().map(|record| &record.data) else { break };
            if asked == RecordType::CNAME {
                break;
            }
            name = target.0.clone();
            kind = if set(&name, asked).is_some() { asked } else { RecordType::CNAME };
            let Some(DnsAnswer::Records { ttl: next_ttl, data: next }) = set(&name, kind) else { break };
            (ttl, data) = (*next_ttl, next);
        }
        records
    }
}

fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut metadata = Metadata::response_from_request(&query.metadata);
    metadata.recursion_available = true;
    metadata.response_code = code;
    let mut message = Message::response(metadata.id, metadata.op_code);
    message.metadata = metadata;
    message.add_queries(query.queries.iter().cloned());
    message
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[track_caller]
fn record_type(kind: &str) -> RecordType {
    kind.parse().unwrap_or_else(|_| panic!("{kind:?} is not a record type"))
}

#[track_caller]
fn check(kind: RecordType, answer: &DnsAnswer) {
    match answer {
        DnsAnswer::Records { data, .. } => {
            for text in data {
                if let Err(error) = RData::try_from_str(kind, text) {
                    panic!("{text:?} is not a record of type {kind}: {error}");
                }
            }
        }
        DnsAnswer::Truncated(then) | DnsAnswer::After(_, then) | DnsAnswer::Forged(then) => check(kind, then),
        _ => {}
    }
}
