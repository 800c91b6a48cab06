//! Try, and while there is no result yet, try the next one too: the scheme of RFC 8305 ("happy eyeballs"), used for
//! connections to every address of a name and for questions to every nameserver.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

/// What the tries came to when none of them succeeded.
#[derive(Debug)]
pub struct Failed<E> {
    /// In the order in which they failed.
    pub errors: Vec<E>,
    /// Tries that had not come to an end when time was up.
    pub unfinished: usize,
}

/// The first success. A try starts when the one before has failed, or `delay` after it started, without stopping
/// it: a late answer still counts. Gives up `delay` after the last start, or at `until` if that is earlier.
///
/// # Errors
/// What every try said, when all failed or time was up. Without tries: no errors, none unfinished.
pub async fn first<F, T, E>(
    tries: impl IntoIterator<Item = F>,
    delay: Duration,
    until: Instant,
) -> Result<T, Failed<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut tries = tries.into_iter().peekable();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        running.extend(tries.next());
        if running.is_empty() {
            return Err(Failed { errors, unfinished: 0 });
        }
        let exhausted = tries.peek().is_none();
        let next_start = (Instant::now() + delay).min(until);
        loop {
            tokio::select! {
                biased;
                Some(result) = running.next() => match result {
                    Ok(value) => return Ok(value),
                    Err(error) => {
                        errors.push(error);
                        if !exhausted || running.is_empty() {
                            break;
                        }
                    }
                },
                () = sleep_until(next_start) => {
                    if exhausted || next_start >= until {
                        return Err(Failed { errors, unfinished: running.len() });
                    }
                    break;
                }
            }
        }
    }
}

/// As [`first`], for tries that end by themselves: never gives up on one that runs.
///
/// # Errors
/// What every try said, in the order in which they failed.
pub async fn first_patient<F, T, E>(tries: impl IntoIterator<Item = F>, delay: Duration) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut tries = tries.into_iter();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    running.extend(tries.next());
    while !running.is_empty() {
        let mut next = None;
        match tokio::time::timeout(delay, running.next()).await {
            Ok(Some(Ok(value))) => return Ok(value),
            Ok(Some(Err(error))) => {
                errors.push(error);
                next = tries.next();
            }
            Ok(None) => {}
            Err(_) => next = tries.next(),
        }
        running.extend(next);
    }
    Err(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(ms: u64, result: Result<u64, u64>) -> Result<u64, u64> {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        result
    }

    fn until(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_first_try_costs_one_delay() {
        let start = Instant::now();
        let got =
            first([after(60_000, Ok(1)), after(10, Ok(2))], Duration::from_millis(250), until(5_000)).await;
        assert_eq!(got.unwrap(), 2);
        assert_eq!(start.elapsed().as_millis(), 260);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once() {
        let start = Instant::now();
        let got = first([after(5, Err(1)), after(5, Ok(2))], Duration::from_millis(250), until(5_000)).await;
        assert_eq!(got.unwrap(), 2);
        assert_eq!(start.elapsed().as_millis(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_counts_and_silence_ends() {
        let delay = Duration::from_millis(250);
        assert_eq!(first([after(300, Ok(1)), after(9_000, Ok(2))], delay, until(5_000)).await.unwrap(), 1);
        let failed = first([after(9_000, Ok(1)), after(20, Err(7))], delay, until(5_000)).await.unwrap_err();
        assert_eq!((failed.errors, failed.unfinished), (vec![7], 1));
        let failed = first([after(9_000, Ok(1)), after(9_000, Ok(1))], delay, until(100)).await.unwrap_err();
        assert_eq!((failed.errors, failed.unfinished), (vec![], 1));
        let none: [std::future::Ready<Result<(), ()>>; 0] = [];
        assert!(first(none, delay, until(100)).await.is_err());
    }
}
