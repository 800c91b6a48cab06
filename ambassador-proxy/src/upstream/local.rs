//! An upstream on one worker: picks an endpoint and gets a connection to it, a kept one or a new one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect::{self, ConnectError, Connected, Timings, Want};
use super::endpoint::{Carried, LocalEndpoint};
use super::pool::{self, Wire};
use super::table::Table;
use super::{Shared, balance};
use crate::clock;
use crate::policy::retry::Budget;
use crate::stats::{Board, Reason, UpstreamStats};

/// RFC 8305's connection attempt delay.
const STAGGER: Duration = Duration::from_millis(250);
/// Endpoints tried for one connection.
const CANDIDATES: usize = 3;

/// What one worker keeps about an upstream.
pub struct LocalUpstream {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The name, for records and labels.
    pub name: Rc<str>,
    /// Counters.
    pub stats: Arc<UpstreamStats>,
    /// The retry budget.
    pub budget: Budget,
    board: Arc<Board>,
    seen: Cell<u64>,
    turn: Cell<usize>,
    set: RefCell<Rc<[Rc<LocalEndpoint>]>>,
    table: RefCell<Option<Table>>,
}

/// A connection for one request.
pub struct Leased {
    /// Where it leads; counts the request there while it lives.
    pub carried: Carried,
    /// The connection.
    pub wire: Wire,
    /// Whether it had carried a request before.
    pub reused: bool,
    /// How long the connect took, if there was one.
    pub timings: Timings,
    /// How long discovery was waited for.
    pub dns: Duration,
}

/// How to choose.
pub struct Choice<'a> {
    /// What may be spoken.
    pub want: Want,
    /// Only a new connection will do.
    pub fresh: bool,
    /// May not be repeated: kept connections only where they are trusted.
    pub once: bool,
    /// For `balance: hash`.
    pub key: Option<u64>,
    /// Endpoints that failed this request already.
    pub avoid: &'a [Rc<LocalEndpoint>],
    /// Time for the connection.
    pub limit: Duration,
}

impl LocalUpstream {
    /// Nothing known yet.
    pub fn new(shared: Arc<Shared>, board: &Arc<Board>) -> Rc<Self> {
        Rc::new(Self {
            name: shared.plan.name.as_str().into(),
            stats: board.upstream(&shared.plan.name),
            budget: Budget::new(Instant::now()),
            board: board.clone(),
            seen: Cell::new(0),
            turn: Cell::new(fastrand::usize(..1 << 16)),
            set: RefCell::new(Rc::new([])),
            table: RefCell::default(),
            shared,
        })
    }

    /// The endpoints, brought up to date: those that stay keep what is known about them.
    pub fn endpoints(&self) -> Rc<[Rc<LocalEndpoint>]> {
        let generation = self.shared.generation();
        if self.seen.get() != generation {
            self.seen.set(generation);
            let old = self.set.borrow().clone();
            let fresh = self.shared.endpoints();
            let set: Rc<[_]> = fresh
                .iter()
                .map(|endpoint| {
                    let kept = old.iter().find(|known| {
                        known.peer == endpoint.peer
                            && known.weight == endpoint.weight.max(1)
                            && known.priority == endpoint.priority
                            && Arc::ptr_eq(&known.well, &endpoint.well)
                    });
                    kept.cloned().unwrap_or_else(|| {
                        let local = LocalEndpoint::new(endpoint, self.name.clone(), &self.board);
                        // The first ones of all have nobody to leave the load to.
                        if !old.is_empty() {
                            local.slow_start(self.shared.plan.slow_start);
                        }
                        Rc::new(local)
                    })
                })
                .collect();
            *self.table.borrow_mut() = Table::new(self.shared.plan.balance, &set);
            for gone in old.iter().filter(|known| !set.iter().any(|kept| Rc::ptr_eq(kept, known))) {
                gone.retire();
            }
            *self.set.borrow_mut() = set;
        }
        self.set.borrow().clone()
    }

    /// Whether one more may be taken out: never more than half, never the last.
    pub fn may_eject(&self) -> bool {
        let set = self.set.borrow();
        let out = set.iter().filter(|endpoint| endpoint.breaker.is_out()).count();
        (out + 1) * 2 <= set.len()
    }

    /// Records a failure of an endpoint.
    pub fn failed(&self, endpoint: &LocalEndpoint) {
        endpoint.failed(&self.shared.plan.breaker, Instant::now(), self.may_eject());
    }

    fn pick(&self, key: Option<u64>, avoid: &[Rc<LocalEndpoint>], now: Instant) -> Option<Rc<LocalEndpoint>> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let set = self.endpoints();
        if let (Some(table), Some(key)) = (&*self.table.borrow(), key)
            && let Some(found) = table.pick(&set, key, avoid, now)
        {
            return Some(found);
        }
        balance::pick(&set, self.shared.plan.balance, turn, key, avoid, now)
    }

    async fn known(&self, limit: Duration) -> Result<Duration, ConnectError> {
        if self.shared.generation() > 0 {
            return Ok(Duration::ZERO);
        }
        let started = Instant::now();
        if tokio::time::timeout(limit, self.shared.first_set()).await.is_err() {
            let discovery = self.shared.discovery.lock().map(|d| d.clone()).unwrap_or_default();
            let why = discovery.error.unwrap_or_else(|| "no answer yet".to_owned());
            let detail = format!("{} has no address: {why}", self.name);
            return Err(ConnectError { reason: Reason::Dns, proxy_status: "dns_error", detail });
        }
        Ok(started.elapsed())
    }

    /// A kept connection for one HTTP request; without one, the endpoint whose turn it is.
    ///
    /// # Errors
    /// There is none; with that, go to [`Self::lease`].
    pub fn kept(&self, choice: &Choice<'_>) -> Result<Leased, Option<Rc<LocalEndpoint>>> {
        if self.shared.generation() == 0 {
            return Err(None);
        }
        let now = clock::now();
        let Some(first) = self.pick(choice.key, choice.avoid, now) else { return Err(None) };
        if choice.fresh {
            return Err(Some(first));
        }
        let Some(wire) = self.kept_at(&first, choice, now) else { return Err(Some(first)) };
        self.stats.reused.add(1);
        let carried = Carried::new(first, now);
        Ok(Leased { carried, wire, reused: true, timings: Timings::default(), dns: Duration::ZERO })
    }

    /// A new connection for one HTTP request, or one that becomes free meanwhile; to `first`, if that is known.
    ///
    /// # Errors
    /// Why there is none. Nothing has been sent by then.
    pub async fn lease(
        &self,
        choice: &Choice<'_>,
        first: Option<Rc<LocalEndpoint>>,
    ) -> Result<Leased, ConnectError> {
        let dns = self.known(choice.limit).await?;
        let now = Instant::now();
        let first = first.or_else(|| self.pick(choice.key, choice.avoid, now));
        let Some(first) = first else { return Err(self.empty()) };
        let plan = &self.shared.plan.pool;
        let multiplexed = match choice.want {
            Want::Http2 => true,
            Want::Either => first.speaks_h2.get() == Some(true),
            Want::Http1 => false,
        };
        if multiplexed && !choice.fresh && first.h2_pending.get() > 0 {
            // One is being made: it will have room for this request too.
            let until = now + choice.limit;
            while first.h2_pending.get() > 0 && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if let Some(lease) = pool::share(&first, plan, Instant::now()) {
                    let carried = Carried::new(first, now);
                    return Ok(Leased {
                        carried,
                        wire: Wire::H2(lease),
                        reused: true,
                        timings: Timings::default(),
                        dns,
                    });
                }
            }
        }
        let race = self.race(first, choice, async |endpoint| {
            let _pending = multiplexed.then(|| Pending::new(&endpoint));
            connect::http(&self.shared, &endpoint, choice.want, choice.limit).await
        });
        let (carried, (wire, timings)) = race.await?;
        Ok(Leased { carried, wire, reused: false, timings, dns })
    }

    fn kept_at(&self, endpoint: &Rc<LocalEndpoint>, choice: &Choice<'_>, now: Instant) -> Option<Wire> {
        let plan = &self.shared.plan.pool;
        if choice.want != Want::Http1
            && let Some(lease) = pool::share(endpoint, plan, now)
        {
            return Some(Wire::H2(lease));
        }
        if choice.want == Want::Http2 || (choice.once && endpoint.distrusted(now)) {
            return None;
        }
        pool::take(endpoint, plan, now).map(Wire::H1)
    }

    /// A byte stream for one TCP connection.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn stream(
        &self,
        key: Option<u64>,
        limit: Duration,
        hello: Option<&[u8]>,
    ) -> Result<(Carried, Connected), ConnectError> {
        self.known(limit).await?;
        let Some(first) = self.pick(key, &[], Instant::now()) else { return Err(self.empty()) };
        let choice = Choice { want: Want::Http1, fresh: true, once: true, key, avoid: &[], limit };
        self.race(first, &choice, async |endpoint| {
            Box::pin(connect::stream(&self.shared, &endpoint.peer, Want::Http1, limit, hello)).await
        })
        .await
    }

    /// Connects to `first`, and while that takes long or when it fails, to others too. The first one wins.
    async fn race<T>(
        &self,
        first: Rc<LocalEndpoint>,
        choice: &Choice<'_>,
        connect: impl AsyncFn(Rc<LocalEndpoint>) -> Result<T, ConnectError>,
    ) -> Result<(Carried, T), ConnectError> {
        let count = self.endpoints().len().min(CANDIDATES);
        let tried = RefCell::new(choice.avoid.to_vec());
        let connect = &connect;
        let mut next = Some(first);
        let tries = (0..count.max(1)).map_while(|_| {
            let endpoint = next.take().or_else(|| self.pick(choice.key, &tried.borrow(), Instant::now()))?;
            tried.borrow_mut().push(endpoint.clone());
            Some(async move {
                let carried = Carried::new(endpoint.clone(), Instant::now());
                let result = connect(endpoint.clone()).await;
                match result {
                    Ok(made) => {
                        self.stats.connects.add(1);
                        Ok((carried, made))
                    }
                    Err(error) => {
                        self.failed(&endpoint);
                        Err(error)
                    }
                }
            })
        });
        let result = podkit::stagger::first_patient(tries, STAGGER).await;
        result.map_err(|errors| {
            let all = errors.len();
            // The last failure is the slowest one and says most; refusals come first.
            let mut error = errors.into_iter().next_back().unwrap_or_else(|| self.empty());
            if all > 1 {
                error.detail = format!("{all} endpoints failed; the last: {}", error.detail);
            }
            error
        })
    }

    fn empty(&self) -> ConnectError {
        let detail = format!("{} has no endpoint", self.name);
        ConnectError { reason: Reason::Dns, proxy_status: "destination_unavailable", detail }
    }

    /// Closes connections that are unused for too long. Called every second.
    pub fn sweep(&self, now: Instant) {
        for endpoint in self.endpoints().iter() {
            pool::sweep(endpoint, &self.shared.plan.pool, now);
        }
        let left = self.budget.left(now, self.shared.plan.retry.budget_percent);
        self.stats.budget.set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    /// Closes every unused connection: the configuration of this upstream has changed or gone.
    pub fn retire(&self) {
        self.set.borrow().iter().for_each(|endpoint| endpoint.retire());
    }
}

/// An HTTP/2 connection being made.
struct Pending(Rc<LocalEndpoint>);

impl Pending {
    fn new(endpoint: &Rc<LocalEndpoint>) -> Self {
        endpoint.h2_pending.set(endpoint.h2_pending.get() + 1);
        Self(endpoint.clone())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.h2_pending.set(self.0.h2_pending.get().saturating_sub(1));
    }
}
