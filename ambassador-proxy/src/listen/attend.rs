//! When a client's connection has been unused for too long: looked at by its worker, for all of them at once, so that no connection
//! has timers of its own.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::Client;

/// An unused connection of the app is closed after this: above the 90 s after which Go and the 75 s after which others close theirs, so that
/// it is they who close.
const IDLE: Duration = Duration::from_secs(300);
/// While draining, a connection unused for this long is closed.
const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// A head has to be there this long after its first byte.
const HEAD: Duration = Duration::from_secs(10);

/// What its worker has decided on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    /// It goes on.
    #[default]
    Open,
    /// It takes no more requests.
    Close,
    /// It ends at once.
    Cut,
}

/// What a connection and the worker that looks at it tell each other.
#[derive(Debug, Default)]
pub(crate) struct Attended {
    /// HTTP/2 is spoken.
    pub(crate) h2: Cell<bool>,
    verdict: Cell<Verdict>,
    waker: RefCell<Option<Waker>>,
    /// Since when there is a part of a head.
    partial: Cell<Option<Instant>>,
}

impl Attended {
    /// What has been decided.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.get()
    }

    /// Who is woken when something is.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn decide(&self, verdict: Verdict) {
        if self.verdict.replace(verdict) != verdict
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

impl Client {
    /// Looks at the connection.
    fn attend(&self, now: Instant, draining: bool) {
        let attended = &self.attended;
        let Some(idle) = self.idle(now) else { return attended.partial.set(None) };
        let limit = if draining { DRAIN_IDLE } else { IDLE };
        if idle >= limit || (draining && attended.h2.get()) {
            return attended.decide(Verdict::Close);
        }
        // Something has come, and it is no whole head yet.
        if !self.watch.partial.load(Relaxed) {
            return attended.partial.set(None);
        }
        match attended.partial.get() {
            None => attended.partial.set(Some(now)),
            Some(since) if now.saturating_duration_since(since) >= HEAD => attended.decide(Verdict::Cut),
            Some(_) => {}
        }
    }
}

/// The connections of a worker.
#[derive(Default)]
pub(crate) struct Clients(RefCell<Vec<Weak<Client>>>);

impl Clients {
    /// One more.
    pub(crate) fn add(&self, client: &Rc<Client>) {
        self.0.borrow_mut().push(Rc::downgrade(client));
    }

    /// Looks at all of them. Called every second, and more often while draining.
    pub(crate) fn attend(&self, now: Instant, draining: bool) {
        self.0.borrow_mut().retain(|client| match client.upgrade() {
            Some(client) => {
                client.attend(now, draining);
                true
            }
            None => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::Door;
    use super::*;
    use crate::config::plan::{Bind, ListenerKind, ListenerPlan};

    fn client() -> (Rc<Client>, impl Fn(u64) -> Instant) {
        let plan = ListenerPlan {
            name: "a".into(),
            key: "a".into(),
            bind: Bind::Tcp("127.0.0.1:0".into()),
            proxy_protocol: false,
            half_close: false,
            connect: BTreeMap::new(),
            kind: ListenerKind::Tcp("up".into()),
        };
        let client = Client::new(&Door::new(Arc::new(plan), &Arc::default()), None);
        let begun = Instant::now();
        (client, move |seconds| begun + Duration::from_secs(seconds))
    }

    #[test]
    fn a_head_has_ten_seconds_from_its_first_byte() {
        let (client, at) = client();
        client.attend(at(50), false);
        client.watch.partial.store(true, Relaxed);
        // However long nothing came before.
        for second in 60..70 {
            client.attend(at(second), false);
            assert_eq!(client.attended.verdict(), Verdict::Open, "{second}");
        }
        // It came, and the next one has as long.
        client.watch.partial.store(false, Relaxed);
        client.attend(at(70), false);
        client.watch.partial.store(true, Relaxed);
        client.attend(at(80), false);
        client.attend(at(89), false);
        assert_eq!(client.attended.verdict(), Verdict::Open);
        client.attend(at(90), false);
        assert_eq!(client.attended.verdict(), Verdict::Cut);
    }

    #[test]
    fn an_unused_connection_is_closed_and_a_used_one_is_not() {
        let (client, at) = client();
        client.attend(at(299), false);
        assert_eq!(client.attended.verdict(), Verdict::Open);
        client.begin();
        client.watch.partial.store(true, Relaxed);
        client.attend(at(1000), false);
        client.attend(at(2000), true);
        assert_eq!(client.attended.verdict(), Verdict::Open, "a request is under way");
        client.watch.partial.store(false, Relaxed);
        client.end();
        client.attend(at(301), false);
        assert_eq!(client.attended.verdict(), Verdict::Close);
    }

    #[test]
    fn a_drain_closes_sooner() {
        let (http_1, at) = client();
        http_1.attend(at(0), true);
        assert_eq!(http_1.attended.verdict(), Verdict::Open, "the app may have one more request");
        http_1.attend(at(2), true);
        assert_eq!(http_1.attended.verdict(), Verdict::Close);
        let (http_2, at) = client();
        http_2.attended.h2.set(true);
        http_2.attend(at(0), true);
        assert_eq!(http_2.attended.verdict(), Verdict::Close, "GOAWAY loses nothing");
    }

    #[test]
    fn connections_that_ended_are_forgotten() {
        let (clients, (one, at)) = (Clients::default(), client());
        clients.add(&one);
        clients.add(&client().0);
        clients.attend(at(1), false);
        assert_eq!(clients.0.borrow().len(), 1);
    }
}
