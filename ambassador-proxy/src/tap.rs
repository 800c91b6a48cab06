//! `tap`: the heads of the next requests and of their answers, with secrets masked, for a person who looks on.
//!
//! Armed by POST from loopback for a number of requests and 10 minutes at most; without that it costs one relaxed load per request.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use podkit::Exit;
use podkit::admin::Reply;

use crate::access::Record;
use crate::fields::{Ask, Headers};

/// Requests shown at most by one command.
const MOST: usize = 1000;
/// Bytes kept of one head.
const HEAD: usize = 8 << 10;
/// A tap that nobody reads ends after this.
const LIFE: Duration = Duration::from_secs(600);

/// Where workers put what they see.
#[derive(Debug, Default)]
pub struct Tap {
    left: AtomicUsize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    shown: VecDeque<String>,
    until: Option<Instant>,
}

/// The head of a request that is being watched.
#[derive(Debug)]
pub struct Head(String);

impl Tap {
    /// Whether anybody looks on, and the request's head if so.
    pub fn head(&self, ask: &Ask) -> Option<Head> {
        if self.left.load(Relaxed) == 0 {
            return None;
        }
        let counted = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        counted.ok()?;
        let mut text = format!("> {} {} {:?}\n", ask.method, masked_uri(&ask.uri), ask.version);
        headers('>', &ask.headers, &mut text);
        Some(Head(text))
    }

    /// The request is over.
    pub fn done(&self, head: Head, record: &Record) {
        let mut text = head.0;
        let endpoint = record.endpoint.as_deref().unwrap_or("-");
        let upstream = record.upstream.as_deref().unwrap_or("-");
        let _ = write!(text, "= {} in {:?}, upstream {upstream} ({endpoint})", record.status, record.took);
        let _ =
            write!(text, ", attempts {}, bytes {} > {} <", record.attempts, record.bytes.0, record.bytes.1);
        if !record.flags.is_empty() {
            let _ = write!(text, ", {}", record.flags.join(","));
        }
        if let Some(error) = &record.error {
            let _ = write!(text, ", {error}");
        }
        text.push_str("\n\n");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.until.is_some_and(|until| Instant::now() < until) && seen.shown.len() < MOST {
            seen.shown.push_back(text);
        }
    }

    /// `POST /tap`: `n=10` arms it, without a query what has been seen since the last call is given back.
    pub fn action(&self, query: &str) -> Reply {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let Some(n) = query.split('&').find_map(|pair| pair.strip_prefix("n=")) else {
            if seen.until.is_none_or(|until| now >= until) {
                self.left.store(0, Relaxed);
            }
            return Reply::ok(seen.shown.drain(..).collect::<String>());
        };
        match n.parse() {
            Ok(n @ 0..=MOST) => {
                *seen = Seen { shown: VecDeque::new(), until: Some(now + LIFE) };
                self.left.store(n, Relaxed);
                Reply::accepted("armed\n")
            }
            _ => Reply { code: 400, body: format!("n has to be a number up to {MOST}\n") },
        }
    }
}

impl Head {
    /// Adds the head of the answer.
    pub fn answer(&mut self, status: http::StatusCode, list: &Headers) {
        let _ = writeln!(self.0, "< {status}");
        headers('<', list, &mut self.0);
    }
}

fn headers(side: char, list: &Headers, out: &mut String) {
    let start = out.len();
    let mut more = false;
    list.all(|name, value| {
        more |= out.len() - start > HEAD;
        if more {
            return;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if is_secret_name(&name) {
            let _ = writeln!(out, "{side} {name}: ***");
        } else {
            let _ = writeln!(out, "{side} {name}: {}", String::from_utf8_lossy(value).escape_debug());
        }
    });
    if more {
        let _ = writeln!(out, "{side} … and more");
    }
}

/// Headers and parameters whose value is nobody's business, by name.
fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 11] = [
        "auth",
        "cookie",
        "token",
        "secret",
        "password",
        "passwd",
        "credential",
        "key",
        "session",
        "signature",
        "jwt",
    ];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part)) || name == "sig" || name == "code"
}

/// The target with the values of telling query parameters masked.
fn masked_uri(uri: &Uri) -> String {
    let Some(query) = uri.query() else { return uri.path().to_owned() };
    let pairs: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret_name(name) => format!("{name}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{}?{}", uri.path(), pairs.join("&"))
}

/// The subcommand: arms the tap and prints what comes until `n` were shown or `limit` is over.
///
/// # Errors
/// When the running proxy cannot be reached or nothing came in time.
pub fn run(admin: Option<&str>, n: usize, limit: Option<Duration>) -> Result<(), Exit> {
    let addr = podkit::probe::address(admin, crate::ADMIN_PORT)?;
    let post = |path: &str| match podkit::probe::request(addr, "POST", path) {
        Ok((200..300, body)) => Ok(body),
        Ok((status, body)) => Err(Exit::failed(format!("http://{addr}{path}: {status} {}", body.trim()))),
        Err(error) => Err(Exit::failed(format!("http://{addr}{path}: {error}"))),
    };
    post(&format!("/tap?n={n}"))?;
    let started = Instant::now();
    let mut shown = 0;
    while shown < n {
        let text = post("/tap")?;
        shown += text.matches("\n\n").count();
        podkit::cli::print(&text)?;
        if shown < n && limit.is_some_and(|limit| started.elapsed() >= limit) {
            post("/tap?n=0")?;
            return Err(Exit::failed(format!(
                "{shown} of {n} requests came within {:?}",
                limit.unwrap_or_default()
            )));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str) -> Ask {
        let request = http::Request::get(uri).header("Authorization", "Bearer abc").header("x-api-key", "k");
        request.header("accept", "*/*").body(()).unwrap().into_parts().0.into()
    }

    #[test]
    fn secrets_are_masked() {
        let tap = Tap::default();
        assert!(tap.head(&parts("/")).is_none(), "nobody looks on");
        assert_eq!(tap.action("n=1").code, 202);
        let head = tap.head(&parts("/x?token=t&q=1&sig=s")).unwrap();
        assert!(head.0.contains("/x?token=***&q=1&sig=***") && head.0.contains("accept: */*"), "{}", head.0);
        assert!(!head.0.contains("abc") && !head.0.contains("x-api-key: k"), "{}", head.0);
        assert!(tap.head(&parts("/")).is_none(), "one was asked for");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Tap::default().action("n=many").code, 400);
        assert_eq!(Tap::default().action("n=1001").code, 400);
        assert_eq!(Tap::default().action("").body, "");
    }
}
