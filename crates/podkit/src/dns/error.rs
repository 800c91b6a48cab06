//! Why a name did not resolve, told apart: "no such name" is an answer, "the server is silent" is not.

use std::net::SocketAddr;

/// What one question to one server (or, summed up, one candidate name) came to, when it was not an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The name does not exist (NXDOMAIN).
    NxDomain,
    /// The name exists, but not with this type (NOERROR without records).
    NoData,
    /// The server could not find out (SERVFAIL).
    ServFail,
    /// The server does not want to say (REFUSED).
    Refused,
    /// Any other response code, by its name.
    Rcode(String),
    /// No answer in time.
    Timeout,
    /// The question did not get there: no route, port closed.
    Unreachable(String),
    /// An answer came, but it was not a usable DNS message.
    Malformed(String),
    /// The name can never be asked for: too long, empty label.
    BadName(String),
}

impl Failure {
    /// Whether the DNS has said "no". Everything else may be different a moment later.
    pub fn is_definite(&self) -> bool {
        matches!(self, Failure::NxDomain | Failure::NoData | Failure::BadName(_))
    }

    /// Which of several failures says most: an error code beats silence, silence beats a definite no (because it
    /// leaves open whether the name exists), and "exists, other type" beats "does not exist".
    fn weight(&self) -> u8 {
        match self {
            Failure::NxDomain => 0,
            Failure::BadName(_) => 1,
            Failure::NoData => 2,
            Failure::Timeout => 3,
            Failure::Unreachable(_) => 4,
            Failure::Malformed(_) => 5,
            Failure::Rcode(_) => 6,
            Failure::Refused => 7,
            Failure::ServFail => 8,
        }
    }

    /// The most telling one.
    pub fn worst(failures: impl IntoIterator<Item = Failure>) -> Option<Failure> {
        failures.into_iter().max_by_key(Failure::weight)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NxDomain => f.write_str("NXDOMAIN"),
            Failure::NoData => f.write_str("NODATA"),
            Failure::ServFail => f.write_str("SERVFAIL"),
            Failure::Refused => f.write_str("REFUSED"),
            Failure::Rcode(name) => f.write_str(name),
            Failure::Timeout => f.write_str("timeout"),
            Failure::Unreachable(why) => write!(f, "unreachable ({why})"),
            Failure::Malformed(why) => write!(f, "malformed answer ({why})"),
            Failure::BadName(why) => write!(f, "not a DNS name ({why})"),
        }
    }
}

/// A name that did not resolve: the summed-up reason and what each candidate name came to.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct DnsError {
    /// As the caller wrote it.
    pub name: String,
    /// What was asked for: `A/AAAA`, `SRV`.
    pub asked: String,
    /// The summed-up reason.
    pub kind: Failure,
    /// Each candidate name (without the root dot) and what it came to, in search order.
    pub candidates: Vec<(String, Failure)>,
    /// The servers that resolv.conf (or the caller) named.
    pub servers: Vec<SocketAddr>,
}

impl DnsError {
    /// Whether the DNS has said that there is no such record, as opposed to not having said anything.
    pub fn is_definite(&self) -> bool {
        self.kind.is_definite()
    }

    fn sentence(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("{} {}: {}", self.name, self.asked, self.kind);
        match self.candidates.as_slice() {
            [(candidate, _)] if candidate.trim_end_matches('.') == self.name.trim_end_matches('.') => {}
            candidates => {
                for (index, (candidate, failure)) in candidates.iter().enumerate() {
                    let _ = write!(text, "{}{candidate} {failure}", if index == 0 { " [" } else { ", " });
                }
                if !candidates.is_empty() {
                    text.push(']');
                }
            }
        }
        if !self.servers.is_empty() {
            let list: Vec<String> = self.servers.iter().map(SocketAddr::to_string).collect();
            let _ = write!(text, ", asked {}", list.join(" "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_suffix_leaves_the_question_open() {
        let list = [Failure::NxDomain, Failure::Timeout, Failure::NxDomain];
        assert_eq!(Failure::worst(list), Some(Failure::Timeout));
        assert_eq!(Failure::worst([Failure::NxDomain, Failure::NoData]), Some(Failure::NoData));
        assert_eq!(Failure::worst([Failure::Timeout, Failure::ServFail]), Some(Failure::ServFail));
    }

    #[test]
    fn the_sentence_names_every_candidate() {
        let error = DnsError {
            name: "db".into(),
            asked: "A/AAAA".into(),
            kind: Failure::ServFail,
            candidates: vec![("db.a".into(), Failure::ServFail), ("db".into(), Failure::NxDomain)],
            servers: vec!["10.96.0.10:53".parse().unwrap()],
        };
        assert_eq!(
            error.to_string(),
            "db A/AAAA: SERVFAIL [db.a SERVFAIL, db NXDOMAIN], asked 10.96.0.10:53"
        );
        assert!(!error.is_definite());
    }
}
