//! One question as bytes, one answer as records: RFC 1035 messages by hickory-proto, and the checks that make an
//! answer ours. No I/O here.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::error::Failure;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    A,
    Aaaa,
    Cname,
    Srv,
    Mx,
    Ns,
    Txt,
}

impl Kind {
    pub const ALL: [Kind; 7] = [Kind::A, Kind::Aaaa, Kind::Cname, Kind::Srv, Kind::Mx, Kind::Ns, Kind::Txt];

    pub fn name(self) -> &'static str {
        match self {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Cname => "CNAME",
            Kind::Srv => "SRV",
            Kind::Mx => "MX",
            Kind::Ns => "NS",
            Kind::Txt => "TXT",
        }
    }

    fn record_type(self) -> RecordType {
        match self {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Cname => RecordType::CNAME,
            Kind::Srv => RecordType::SRV,
            Kind::Mx => RecordType::MX,
            Kind::Ns => RecordType::NS,
            Kind::Txt => RecordType::TXT,
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("no record type {text:?}; one of A, AAAA, CNAME, SRV, MX, NS, TXT"))
    }
}

/// The data of one record. Names are without the root dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Ip(IpAddr),
    Name(String),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Mx { preference: u16, exchange: String },
    Txt(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Ip(ip) => write!(f, "{ip}"),
            Value::Name(name) => f.write_str(name),
            Value::Srv { priority, weight, port, target } => write!(f, "{priority} {weight} {port} {target}"),
            Value::Mx { preference, exchange } => write!(f, "{preference} {exchange}"),
            Value::Txt(text) => f.write_str(text),
        }
    }
}

/// A positive answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub values: Vec<Value>,
    /// The smallest time to live along the chain of aliases and of the records themselves.
    pub ttl: Duration,
    /// The name that has the records, after aliases.
    pub canonical: String,
}

/// How an answer reads.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Not the answer to our question: keep listening.
    NotOurs,
    /// Cut short: ask again by TCP. What there was may still serve when TCP does not work.
    Truncated(Option<Reply>),
    Answer(Reply),
    /// An alias whose records did not come along: ask for this name.
    Alias(String, Duration),
    Failed(Failure),
}

/// A question ready to be sent, and what its answer must match.
#[derive(Debug)]
pub(super) struct Question {
    id: u16,
    name: Name,
    kind: Kind,
    pub bytes: Vec<u8>,
}

impl Question {
    /// # Errors
    /// `BadName` when the name cannot be a DNS name.
    pub(super) fn new(name: &str, kind: Kind) -> Result<Self, Failure> {
        let bad = |why: String| Failure::BadName(why);
        let ascii = match name {
            "" | "." => ".".to_owned(),
            _ if name.is_ascii() => name.to_owned(),
            // Punycode by the URL standard's IDNA.
            _ => url::Host::parse(name).map_err(|error| bad(error.to_string()))?.to_string(),
        };
        let mut name = Name::from_ascii(&ascii).map_err(|error| bad(error.to_string()))?;
        name.set_fqdn(true);
        let mut message = Message::query(); // a random id
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), kind.record_type()));
        let id = message.metadata.id;
        let bytes = message.to_vec().map_err(|error| bad(error.to_string()))?;
        Ok(Question { id, name, kind, bytes })
    }

    /// What an answer's bytes mean for this question.
    pub(super) fn read(&self, bytes: &[u8]) -> Verdict {
        // Someone else's id or question is noise (or a forgery) and says nothing about ours; so is what does not parse,
        // unless it carries our id, which means that the server itself speaks badly.
        let ours = bytes.len() >= 12 && bytes[..2] == self.id.to_be_bytes();
        let message = match Message::from_vec(bytes) {
            Ok(message) => message,
            Err(error) if ours => return Verdict::Failed(Failure::Malformed(error.to_string())),
            Err(_) => return Verdict::NotOurs,
        };
        let meta = message.metadata;
        if meta.id != self.id || meta.message_type != MessageType::Response || meta.op_code != OpCode::Query {
            return Verdict::NotOurs;
        }
        match message.queries.as_slice() {
            [query]
                if query.name == self.name
                    && query.query_type == self.kind.record_type()
                    && query.query_class == DNSClass::IN => {}
            // Some servers leave the question out of an error; a positive answer must repeat it.
            [] if meta.response_code != ResponseCode::NoError => {}
            _ => return Verdict::NotOurs,
        }
        match meta.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Verdict::Failed(Failure::NxDomain),
            ResponseCode::ServFail => return Verdict::Failed(Failure::ServFail),
            ResponseCode::Refused => return Verdict::Failed(Failure::Refused),
            ResponseCode::FormErr => return Verdict::Failed(Failure::Rcode("FORMERR".to_owned())),
            ResponseCode::NotImp => return Verdict::Failed(Failure::Rcode("NOTIMP".to_owned())),
            other => return Verdict::Failed(Failure::Rcode(format!("RCODE {}", u16::from(other)))),
        }
        let (reply, canonical, ttl) = self.follow(&message.answers);
        if meta.truncation {
            return Verdict::Truncated(reply);
        }
        if let Some(reply) = reply {
            return Verdict::Answer(reply);
        }
        if canonical != self.name {
            return Verdict::Alias(plain(&canonical), ttl);
        }
        // A referral ("ask those") from a server that neither knows nor recurses is no statement about the name.
        let referral = !meta.authoritative
            && !meta.recursion_available
            && message.authorities.iter().any(|record| record.record_type() == RecordType::NS);
        Verdict::Failed(if referral { Failure::Rcode("referral".to_owned()) } else { Failure::NoData })
    }

    /// Along the aliases to the records of the wanted type.
    fn follow(&self, answers: &[Record]) -> (Option<Reply>, Name, Duration) {
        let mut at = self.name.clone();
        let mut ttl = u32::MAX;
        // Each alias is followed at most once, so a loop ends.
        for _ in 0..=answers.len() {
            let here: Vec<&Record> = answers
                .iter()
                .filter(|record| record.name == at && record.record_type() == self.kind.record_type())
                .collect();
            if !here.is_empty() {
                let ttl = here.iter().map(|record| record.ttl).fold(ttl, u32::min);
                let reply = Reply {
                    values: here.iter().filter_map(|record| value(&record.data)).collect(),
                    ttl: Duration::from_secs(u64::from(ttl)),
                    canonical: plain(&at),
                };
                return (Some(reply), at, Duration::from_secs(u64::from(ttl)));
            }
            let alias = answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == at => Some((target.0.clone(), record.ttl)),
                _ => None,
            });
            let Some((target, alias_ttl)) = alias else { break };
            ttl = ttl.min(alias_ttl);
            at = target;
        }
        (None, at, Duration::from_secs(u64::from(ttl)))
    }
}

fn value(data: &RData) -> Option<Value> {
    Some(match data {
        RData::A(a) => Value::Ip(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Value::Ip(IpAddr::V6(aaaa.0)),
        RData::CNAME(name) => Value::Name(plain(&name.0)),
        RData::NS(name) => Value::Name(plain(&name.0)),
        RData::SRV(srv) => Value::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        },
        RData::MX(mx) => Value::Mx { preference: mx.preference, exchange: plain(&mx.exchange) },
        RData::TXT(txt) => Value::Txt(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => return None,
    })
}

fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some(short) if !short.is_empty() => short.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn answer(question: &Question, edit: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::response(question.id, OpCode::Query);
        message.add_query(Query::query(question.name.clone(), question.kind.record_type()));
        edit(&mut message);
        message.to_vec().unwrap()
    }

    fn a(owner: &str, ttl: u32, last: u8) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A::new(10, 0, 0, last)))
    }

    #[test]
    fn the_smallest_ttl_of_the_chain() {
        let question = Question::new("web.example", Kind::A).unwrap();
        let bytes = answer(&question, |message| {
            message.add_answer(a("target.example.", 300, 1));
            message.add_answer(a("target.example.", 200, 2));
            message.add_answer(Record::from_rdata(
                name("web.example."),
                20,
                RData::CNAME(CNAME(name("target.example."))),
            ));
        });
        let Verdict::Answer(reply) = question.read(&bytes) else { panic!("an answer") };
        assert_eq!(reply.ttl.as_secs(), 20);
        assert_eq!(reply.canonical, "target.example");
        assert_eq!(reply.values.len(), 2);
    }

    #[test]
    fn foreign_answers_are_not_ours() {
        let question = Question::new("web.example", Kind::A).unwrap();
        let good = answer(&question, |message| {
            message.add_answer(a("web.example.", 1, 1));
        });
        let mut wrong_id = good.clone();
        wrong_id[0] ^= 1;
        assert!(matches!(question.read(&wrong_id), Verdict::NotOurs));
        let other = Question { id: question.id, ..Question::new("evil.example", Kind::A).unwrap() };
        assert!(matches!(other.read(&good), Verdict::NotOurs));
        let other = Question { id: question.id, ..Question::new("web.example", Kind::Aaaa).unwrap() };
        assert!(matches!(other.read(&good), Verdict::NotOurs));
        // Our own question, echoed back.
        assert!(matches!(question.read(&question.bytes), Verdict::NotOurs));
        // A record of another name in the answer does not count.
        let stray = answer(&question, |message| {
            message.add_answer(a("evil.example.", 1, 1));
        });
        assert!(matches!(question.read(&stray), Verdict::Failed(Failure::NoData)));
    }

    #[test]
    fn alias_loops_and_open_ends() {
        let question = Question::new("a.example", Kind::A).unwrap();
        let cname = |from: &str, to: &str| Record::from_rdata(name(from), 5, RData::CNAME(CNAME(name(to))));
        let open = answer(&question, |message| {
            message.add_answer(cname("a.example.", "b.example."));
        });
        assert!(matches!(question.read(&open), Verdict::Alias(to, _) if to == "b.example"));
        let looped = answer(&question, |message| {
            message.add_answer(cname("a.example.", "b.example."));
            message.add_answer(cname("b.example.", "a.example."));
        });
        assert!(!matches!(question.read(&looped), Verdict::Answer(_)));
    }

    #[test]
    fn names_that_cannot_be_asked() {
        assert!(Question::new(&"x".repeat(64), Kind::A).is_err());
        assert!(Question::new(&"abc.".repeat(70), Kind::A).is_err());
        assert!(Question::new("a..b", Kind::A).is_err());
        assert!(Question::new("_http._tcp.web.default", Kind::Srv).is_ok());
        let idn = Question::new("bücher.example", Kind::A).unwrap();
        assert_eq!(plain(&idn.name), "xn--bcher-kva.example");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let question = Question::new("web.example", Kind::A).unwrap();
            let _ = question.read(&bytes);
            let mut ours = bytes;
            if ours.len() >= 2 {
                ours[..2].copy_from_slice(&question.id.to_be_bytes());
                let _ = question.read(&ours);
            }
        }
    }
}
