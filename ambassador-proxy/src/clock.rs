//! One reading of the clock for everything that happens in one turn of a task, and alarms that are used again.
//!
//! A task that carries requests calls [`turn`] whenever it is polled. What it then does takes microseconds; latencies, idle times and
//! time-outs are not told apart more finely than that.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// Alarms that are kept for the next request.
const SPARE: usize = 64;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    static ALARMS: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// Reads the clock: a turn begins.
pub fn turn() -> Instant {
    let now = Instant::now();
    NOW.set(Some(now));
    now
}

/// When this turn began.
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(turn)
}

/// Something that wakes its task at a time that may change. Setting a timer costs more than a small request has to spare, so alarms
/// go from request to request: one that rings too early is looked at, and set again.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at that time or later.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(at);
        let spare = || ALARMS.with_borrow_mut(Vec::pop);
        let sleep = self
            .0
            .get_or_insert_with(|| spare().unwrap_or_else(|| Box::pin(tokio::time::sleep_until(deadline))));
        loop {
            if sleep.deadline() > deadline || sleep.is_elapsed() {
                sleep.as_mut().reset(deadline);
            }
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(sleep) = self.0.take() {
            // Not there any more when the thread ends: then nobody needs it.
            let _ = ALARMS.try_with(|alarms| {
                let mut alarms = alarms.borrow_mut();
                if alarms.len() < SPARE {
                    alarms.push(sleep);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_when_it_should_although_it_was_set_for_another_time() {
        let began = Instant::now();
        for millis in [20, 5, 30] {
            let at = Instant::now() + Duration::from_millis(millis);
            let mut alarm = Alarm::default();
            poll_fn(|cx| alarm.poll(cx, at)).await;
            assert!(Instant::now() >= at);
            assert!(alarm.0.as_ref().is_some_and(|sleep| sleep.is_elapsed()));
        }
        assert!(began.elapsed() >= Duration::from_millis(55));
        assert_eq!(ALARMS.with_borrow(Vec::len), 1);
    }

    #[test]
    fn a_turn_has_one_time() {
        let began = turn();
        assert_eq!((now(), now()), (began, began));
        assert!(turn() >= began);
    }
}
