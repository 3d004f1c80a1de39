//! A cache entry: one token of one credential for one request, its fetches, and the callers that wait for them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::sync::oneshot;
use tracing::debug;

use super::{
    log::LogEvent,
    refresh_state::{
        Arrival, Decision, FailureKind, FetchFailure, FetchId, FetchOutcome, Invalidation, Now, RefreshMode,
        RefreshSettings, RefreshState, Settled, TokenTimes,
    },
    token::{Shards, Token},
};
use crate::{
    credential::{
        Credential, FetchContext, FetchedToken, TokenRequest,
        progress::{FetchProgress, no_token},
    },
    error::{Error, ErrorKind, Result},
    postgres::role_name::{Claims, Principal},
    runtime::{PerProcess, generation, is_shutting_down, lock, lost_work, now, random_seed, spawn},
    transport::skew_seen,
};

/// How often a caller requests the token while each of its fetches is abandoned, before it gets an error.
const MOST_ROUNDS: usize = 4;

/// How often the [`stamp`](Credential::stamp) of a credential is compared.
const STAMP_EVERY_MS: i64 = 1000;

/// How long the result of a fetch is still accepted after its time limit.
const LATE_SUCCESS: Duration = Duration::from_secs(600);

/// One token of one credential for one request, shared by all callers with the same request.
pub(crate) struct CacheEntry {
    credential: Arc<dyn Credential>,
    request: TokenRequest,
    /// The data that the warm path reads. A forked child reads its parent's value, which was copied with the memory.
    warm: ArcSwapOption<Warm>,
    state: PerProcess<Mutex<State>>,
    /// Counts the changes of `warm`, so that values derived from it can be recognised as outdated.
    epoch: AtomicU64,
    last_used: AtomicI64,
    stamp: AtomicU64,
    stamp_looked_at: AtomicI64,
    counters: Arc<Counters>,
    /// The number of live providers that refresh the token without waiting for a caller.
    ahead: AtomicUsize,
    /// Whether the entry belongs to one of many users. Such an entry is kept small, because threads seldom use it at
    /// the same time.
    is_users: bool,
}

pub(crate) struct Warm {
    token: Shards<Token>,
    times: TokenTimes,
    generation: u64,
}

impl Warm {
    pub(crate) fn token(&self) -> &Arc<Token> {
        self.token.here()
    }

    /// Returns the refresh point of the token, in seconds since the epoch.
    pub(crate) fn refresh_on(&self) -> i64 {
        self.times.refresh.wall_ms / 1000
    }
}

struct State {
    refresh: RefreshState<Arc<Token>, Error>,
    waiters: Vec<oneshot::Sender<WaitResult>>,
    /// Those that wait for another token, whatever the reason of its arrival.
    watchers: Vec<oneshot::Sender<()>>,
    /// The progress of the fetch that started last.
    progress: Option<Arc<FetchProgress>>,
    /// Whether the timer of `RefreshMode::Ahead` is running.
    has_timer: bool,
}

#[derive(Clone)]
enum WaitResult {
    Done(Result<Arc<Token>>),
    Retry,
}

/// Event counters since the start of the process. A forked child continues from the figures of its parent.
#[derive(Default)]
struct Counters {
    fetches: AtomicU64,
    failures: AtomicU64,
    refreshes: AtomicU64,
    invalidations: AtomicU64,
}

/// The result of [`CacheEntry::decide`].
enum RequestOutcome {
    Now(Result<Arc<Token>>),
    Later(oneshot::Receiver<WaitResult>),
}

impl CacheEntry {
    pub(crate) fn new(credential: Arc<dyn Credential>, request: TokenRequest) -> Arc<Self> {
        Self::make(credential, request, false, Arc::default())
    }

    /// Creates an entry for one of many users.
    pub(crate) fn of_user(credential: Arc<dyn Credential>, request: TokenRequest) -> Arc<Self> {
        Self::make(credential, request, true, Arc::default())
    }

    /// Returns an empty entry that no other caller shares. It uses the same counters as this one.
    pub(crate) fn unshared(&self) -> Arc<Self> {
        Self::make(Arc::clone(&self.credential), self.request.clone(), false, Arc::clone(&self.counters))
    }

    fn make(
        credential: Arc<dyn Credential>,
        request: TokenRequest,
        is_users: bool,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(CacheEntry {
            is_users,
            credential,
            request,
            warm: ArcSwapOption::empty(),
            state: PerProcess::new(),
            epoch: AtomicU64::new(1),
            last_used: AtomicI64::new(now().mono_ms),
            stamp: AtomicU64::new(0),
            stamp_looked_at: AtomicI64::new(i64::MIN),
            counters,
            ahead: AtomicUsize::new(0),
        })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn credential(&self) -> &Arc<dyn Credential> {
        &self.credential
    }

    pub(crate) fn request(&self) -> &TokenRequest {
        &self.request
    }

    fn settings(&self) -> RefreshSettings {
        // The fetch ends at its time limit. A fetch that is still there one second later was frozen.
        let bound = i64::try_from(self.credential.bound().as_millis()).unwrap_or(i64::MAX).saturating_add(1000);
        RefreshSettings { fetch_bound_ms: bound, ..RefreshSettings::default() }
    }

    /// Returns the state of this process. After a fork it starts with the parent's token, if that is still good, and
    /// draws its own refresh point.
    fn state(&self) -> &Mutex<State> {
        self.state.get(|| {
            let seed = random_seed();
            let mut refresh = RefreshState::new(self.settings(), seed);
            if let Some(warm) = &*self.warm.load() {
                refresh.adopt(now(), Arc::clone(warm.token()), warm.times.spread_anew(seed));
            }
            Mutex::new(State { refresh, waiters: Vec::new(), watchers: Vec::new(), progress: None, has_timer: false })
        })
    }

    /// Returns a fresh token without a lock or an allocation. This is the warm path.
    #[inline]
    pub(crate) fn fresh(&self) -> Option<Arc<Token>> {
        self.with_fresh(|warm| Arc::clone(warm.token()))
    }

    /// Calls `read` with the fresh token and its times, if there is one. This does not take a handle.
    #[inline]
    pub(crate) fn with_fresh<R>(&self, read: impl FnOnce(&Warm) -> R) -> Option<R> {
        let warm = self.warm.load();
        let warm = warm.as_deref()?;
        self.is_fresh(warm).then(|| read(warm))
    }

    /// Returns whether `warm`, which must be from this entry, can be handed out without another check.
    #[inline]
    pub(crate) fn is_fresh(&self, warm: &Warm) -> bool {
        let now = now();
        warm.times.is_fresh(now)
            && warm.generation == generation()
            // The stamp and the time of last use are updated once a second.
            && (now.mono_ms.wrapping_sub(self.last_used.load(Ordering::Relaxed)) < STAMP_EVERY_MS
                || self.still_valid(now.mono_ms))
    }

    #[cold]
    fn still_valid(&self, mono_ms: i64) -> bool {
        self.last_used.store(mono_ms, Ordering::Relaxed);
        !self.forget_if_stamped(mono_ms)
    }

    /// Drops the token of a developer tool whose profile changed, and returns whether it did.
    fn forget_if_stamped(&self, mono_ms: i64) -> bool {
        let looked_at = self.stamp_looked_at.load(Ordering::Relaxed);
        if looked_at != i64::MIN && mono_ms.wrapping_sub(looked_at) < STAMP_EVERY_MS {
            return false;
        }
        self.stamp_looked_at.store(mono_ms, Ordering::Relaxed);
        let Some(stamp) = self.credential.stamp() else { return false };
        if self.stamp.swap(stamp, Ordering::Relaxed) == stamp || looked_at == i64::MIN {
            return false;
        }
        debug!(target: "pgentra::cache", credential = self.credential.name(), "the signed-in account of the developer tool has changed, \
                                                                               cached token dropped");
        let mut state = lock(self.state());
        state.refresh.forget();
        self.publish(&mut state);
        answer(&mut state.waiters, &WaitResult::Retry);
        true
    }

    /// Publishes the entry's current token for the warm path.
    fn publish(&self, state: &mut State) {
        let next = state.refresh.current().map(|(token, times)| {
            let token = if self.is_users { Shards::of_one(token) } else { Shards::<Token>::new(token) };
            Arc::new(Warm { token, times: *times, generation: generation() })
        });
        self.warm.store(next);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for watcher in state.watchers.drain(..) {
            // The caller can have dropped its wait.
            let _ = watcher.send(());
        }
    }

    /// Returns a token, or the fetch to wait for.
    fn request_once(self: &Arc<Self>, mode: RefreshMode) -> RequestOutcome {
        if let Some(token) = self.fresh() {
            return RequestOutcome::Now(Ok(token));
        }
        self.last_used.store(now().mono_ms, Ordering::Relaxed);
        self.decide(mode)
    }

    /// Does the same as [`request_once`](Self::request_once), but does not count as a use of the token.
    fn decide(self: &Arc<Self>, mode: RefreshMode) -> RequestOutcome {
        let moment = now();
        self.forget_if_stamped(moment.mono_ms);
        let mut state = lock(self.state());
        let (asked, fetch_id) = match state.refresh.decide(moment, mode) {
            Decision::Use(token) => {
                if self.warm.load().as_ref().is_none_or(|warm| warm.generation != generation()) {
                    self.publish(&mut state);
                }
                (RequestOutcome::Now(Ok(token)), None)
            }
            Decision::UseAndRefresh(token, fetch_id) => {
                self.counters.refreshes.fetch_add(1, Ordering::Relaxed);
                (RequestOutcome::Now(Ok(token)), Some(fetch_id))
            }
            Decision::Fetch(fetch_id) => (RequestOutcome::Later(state.wait()), Some(fetch_id)),
            Decision::Wait(_) => (RequestOutcome::Later(state.wait()), None),
            Decision::Fail(error) => (RequestOutcome::Now(Err(error)), None),
        };
        let context = state.fetch_context(moment);
        drop(state);
        if let Some(fetch_id) = fetch_id {
            self.start(fetch_id, context);
        }
        asked
    }

    /// Returns a token, and waits for it if necessary. The caller sets the time limit.
    pub(crate) async fn get(self: &Arc<Self>, mode: RefreshMode) -> Result<Arc<Token>> {
        for _ in 0..MOST_ROUNDS {
            match self.request_once(mode) {
                RequestOutcome::Now(outcome) => return outcome,
                RequestOutcome::Later(settled) => match settled.await {
                    Ok(WaitResult::Done(outcome)) => return outcome,
                    Ok(WaitResult::Retry) => {}
                    Err(_) => return Err(lost_work()),
                },
            }
        }
        Err(Error::new(ErrorKind::Cancelled, "the event loop or worker of the credential ended during every attempt")
            .for_credential(self.credential.name()))
    }

    /// Returns what is available without waiting. This can be a token past its refresh point, whose refresh is then
    /// started.
    pub(crate) fn try_get(self: &Arc<Self>, mode: RefreshMode) -> Option<Result<Arc<Token>>> {
        if let Some(token) = self.fresh() {
            return Some(Ok(token));
        }
        // In lazy mode the caller itself fetches a token past the refresh point, so nothing is available without
        // waiting.
        let moment = now();
        let usable = |warm: &Warm| warm.times.is_good(moment) && mode != RefreshMode::Lazy;
        match self.warm.load().as_deref() {
            Some(warm) if usable(warm) => match self.request_once(mode) {
                RequestOutcome::Now(outcome) => Some(outcome),
                RequestOutcome::Later(_) => None,
            },
            _ => None,
        }
    }

    /// Returns the data that the warm path reads.
    pub(crate) fn warm(&self) -> Option<Arc<Warm>> {
        self.warm.load_full()
    }

    /// Waits until the entry holds a token other than `before`, and returns it.
    pub(crate) async fn changed(&self, before: Option<&Token>) -> Result<Arc<Token>> {
        loop {
            let published = {
                let mut state = lock(self.state());
                if let Some((token, _)) = state.refresh.current()
                    && before.is_none_or(|before| !before.is(token))
                {
                    return Ok(Arc::clone(token));
                }
                let (sender, receiver) = oneshot::channel();
                state.watchers.retain(|watcher| !watcher.is_closed());
                state.watchers.push(sender);
                receiver
            };
            published.await.map_err(|_| lost_work())?;
        }
    }

    /// Returns a token that is not dead, for a caller whose time limit passed before the fetch ended.
    pub(crate) fn fallback(&self) -> Option<Arc<Token>> {
        lock(self.state()).refresh.fallback(now()).cloned()
    }

    /// Returns the error of a caller whose time limit passed before the fetch ended.
    pub(crate) fn late(&self, limit: Duration) -> Error {
        let progress = lock(self.state()).progress.clone();
        progress.map_or_else(|| Error::new(ErrorKind::Timeout, no_token(limit)), |progress| progress.late(limit))
    }

    /// Reports that a server refused a login with `refused`, or with the current token. Returns the newer token to
    /// retry with, if there is one.
    pub(crate) async fn invalidate(self: &Arc<Self>, refused: Option<&str>) -> Option<Arc<Token>> {
        let current;
        let refused = {
            let moment = now();
            let state = lock(self.state());
            let (token, times) = state.refresh.current()?;
            if refused.is_some_and(|refused| token.secret() != refused) && !times.is_dead(moment) {
                return Some(Arc::clone(token));
            }
            current = Arc::clone(token);
            refused.unwrap_or(current.secret())
        };
        let settled = {
            let moment = now();
            let mut state = lock(self.state());
            let (settled, fetch_id) = match state.refresh.invalidate(moment, |token| token.secret() == refused) {
                Invalidation::Ignored => return None,
                Invalidation::Fetch(fetch_id) => (state.wait(), Some(fetch_id)),
                Invalidation::Wait(_) => (state.wait(), None),
            };
            drop(state);
            self.counters.invalidations.fetch_add(1, Ordering::Relaxed);
            if let Some(fetch_id) = fetch_id {
                self.start(fetch_id, FetchContext { has_fallback: true, after_failure: false });
            }
            settled
        };
        match settled.await {
            Ok(WaitResult::Done(Ok(token))) if token.secret() != refused => Some(token),
            _ => None,
        }
    }

    /// Runs the fetch of `fetch_id` on the engine.
    fn start(self: &Arc<Self>, fetch_id: FetchId, context: FetchContext) {
        self.counters.fetches.fetch_add(1, Ordering::Relaxed);
        let task = FetchTask { entry: Arc::clone(self), fetch_id, settled: false };
        let started = spawn(async move { task.run(context).await });
        if let Err(error) = started {
            // The task was dropped with the future, which abandoned the fetch. The waiting callers need the reason.
            debug!(target: "pgentra::cache", credential = self.credential.name(), "fetch not started: {error}");
        }
    }

    fn settle(self: &Arc<Self>, fetch_id: FetchId, outcome: Result<FetchedToken>) {
        let moment = now();
        let name = self.credential.name();
        let outcome = match outcome.and_then(|fetched| arrival(fetched, moment.wall_ms)) {
            Ok(arrival) => FetchOutcome::Token(arrival),
            Err(error) => FetchOutcome::Failed(failure(error.for_credential(name))),
        };
        let mut state = lock(self.state());
        let before = state.refresh.stats(moment).consecutive_failures;
        let settled = state.refresh.settle(fetch_id, moment, outcome, |dead| {
            let how = match (dead.stated_ms, dead.seen_before) {
                (_, true) => "it is the expired token of the previous response".to_owned(),
                (ms, _) => format!("it expired {} s ago by this machine's clock", (ms.saturating_neg() / 1000).max(0)),
            };
            let explanation = format!("the token in the response cannot be used: {how}");
            let error = match skew_seen() {
                None => Error::new(ErrorKind::DeadOnArrival, explanation),
                Some(skew) => Error::new(ErrorKind::DeadOnArrival, format!("{explanation}, and {skew}"))
                    .with_advice("Correct this machine's clock."),
            };
            error.for_credential(name)
        });
        self.publish(&mut state);
        let is_stale = matches!(settled, Settled::Stale);
        let event = LogEvent::of(&state.refresh.stats(moment), before);
        if matches!(event, LogEvent::Failed { .. }) {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            self.release_causes(&mut state, moment);
        }
        self.keep_timer(&mut state);
        match settled {
            Settled::Token(token) | Settled::TokenTaken(token) => {
                answer(&mut state.waiters, &WaitResult::Done(Ok(token)));
            }
            Settled::Failed(error) => answer(&mut state.waiters, &WaitResult::Done(Err(error))),
            Settled::Stale if state.refresh.stats(moment).in_flight => {}
            Settled::Stale => answer(&mut state.waiters, &WaitResult::Retry),
        }
        drop(state);
        // The application's log subscriber can be slow, or can use this entry.
        if !is_stale {
            event.log(name, &self.request.scope);
        }
    }

    /// Drops the causes of remembered errors as soon as the errors have been returned.
    ///
    /// The error of a custom credential holds the application's error object, which often refers to the credential,
    /// which in turn holds this entry.
    fn release_causes(self: &Arc<Self>, state: &mut State, moment: Now) {
        if !state.refresh.stats(moment).last_error.is_some_and(Error::has_custom_cause) {
            return;
        }
        let words = |error: Error| Error::new(error.kind(), error.headline());
        state.refresh.release_errors(moment, words);
        let told_for = u64::try_from(state.refresh.stats(moment).next_try_in_ms.unwrap_or(0)).unwrap_or(0);
        let weak = Arc::downgrade(self);
        let later = async move {
            tokio::time::sleep(Duration::from_millis(told_for + 50)).await;
            if let Some(entry) = weak.upgrade() {
                lock(entry.state()).refresh.release_errors(now(), words);
            }
        };
        // If it cannot start, the process is ending.
        let _ = spawn(later);
    }

    /// Keeps the token refreshed without further callers until the returned value is dropped. This starts after the
    /// first request for the token.
    pub(crate) fn keep_ahead(self: &Arc<Self>) -> KeptAhead {
        self.ahead.fetch_add(1, Ordering::Relaxed);
        if self.warm.load().is_some() {
            self.keep_timer(&mut lock(self.state()));
        }
        KeptAhead(Arc::clone(self))
    }

    /// Starts the timer of `RefreshMode::Ahead` if a provider needs it and it is not running. The timer ends with the
    /// last such provider.
    fn keep_timer(self: &Arc<Self>, state: &mut State) {
        if state.has_timer || self.ahead.load(Ordering::Relaxed) == 0 {
            return;
        }
        let weak = Arc::downgrade(self);
        let timer = async move {
            loop {
                let Some(entry) = weak.upgrade() else { return };
                let wakeup = {
                    let mut state = lock(entry.state());
                    state.has_timer = entry.ahead.load(Ordering::Relaxed) > 0;
                    if !state.has_timer {
                        return;
                    }
                    state.refresh.next_wakeup()
                };
                if wakeup.is_some_and(|wakeup| now().reached(wakeup)) {
                    // The decision is meant for callers. The timer only needs the fetch that it started.
                    let _ = entry.decide(RefreshMode::Background);
                }
                drop(entry);
                // The pauses are short, because a timer of the runtime does not notice that the machine was suspended
                // or that the last provider is gone.
                let left = wakeup.map_or(1000, |wakeup| now().ms_until(wakeup)).clamp(10, 1000);
                tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(1000))).await;
            }
        };
        // If it cannot start, the process is ending.
        state.has_timer = spawn(timer).is_ok();
    }

    /// Returns the statistics of this entry.
    pub(crate) fn stats(&self) -> EntryStats {
        let moment = now();
        let state = lock(self.state());
        let stats = state.refresh.stats(moment);
        let seconds = |ms: Option<i64>| ms.map(|ms| ms as f64 / 1000.0);
        EntryStats {
            credential: self.credential.name().to_owned(),
            scope: self.request.scope.clone(),
            principal: state
                .refresh
                .current()
                .and_then(|(token, _)| token.claims().ok().map(|claims| claims.principal())),
            expires_in: seconds(stats.expires_in_ms),
            refresh_due_in: seconds(stats.refresh_due_in_ms),
            last_success: seconds(stats.last_success_ms),
            consecutive_failures: stats.consecutive_failures,
            last_error: stats.last_error.map(Error::headline),
            in_flight: stats.in_flight,
            fetches: self.counters.fetches.load(Ordering::Relaxed),
            failures: self.counters.failures.load(Ordering::Relaxed),
            refreshes: self.counters.refreshes.load(Ordering::Relaxed),
            invalidations: self.counters.invalidations.load(Ordering::Relaxed),
        }
    }

    /// Returns the time of last use, by the monotonic clock.
    pub(crate) fn last_used(&self) -> i64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Returns whether only the cache holds the entry and it was unused for the lifetime of its token.
    pub(crate) fn is_idle(&self, mono_ms: i64) -> bool {
        let lifetime = self.warm.load().as_ref().map_or(0, |warm| warm.times.lifetime_ms).max(60_000);
        mono_ms.saturating_sub(self.last_used.load(Ordering::Relaxed)) > lifetime
    }
}

impl State {
    fn fetch_context(&self, moment: Now) -> FetchContext {
        FetchContext {
            has_fallback: self.refresh.fallback(moment).is_some(),
            after_failure: self.refresh.stats(moment).consecutive_failures > 0,
        }
    }

    fn wait(&mut self) -> oneshot::Receiver<WaitResult> {
        self.waiters.retain(|waiter| !waiter.is_closed());
        let (sender, receiver) = oneshot::channel();
        self.waiters.push(sender);
        receiver
    }
}

fn answer(waiters: &mut Vec<oneshot::Sender<WaitResult>>, settlement: &WaitResult) {
    for waiter in waiters.drain(..) {
        // A send fails if the caller stopped waiting.
        let _ = waiter.send(settlement.clone());
    }
}

/// Keeps the token of an entry refreshed without callers, until it is dropped.
pub(crate) struct KeptAhead(Arc<CacheEntry>);

impl Drop for KeptAhead {
    fn drop(&mut self) {
        self.0.ahead.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A fetch in flight. If it is dropped before its end (after a panic, or with the engine), it abandons the fetch.
struct FetchTask {
    entry: Arc<CacheEntry>,
    fetch_id: FetchId,
    settled: bool,
}

impl FetchTask {
    async fn run(mut self, context: FetchContext) {
        let entry = Arc::clone(&self.entry);
        let bound = entry.credential.bound();
        let started = std::time::Instant::now();
        let progress = Arc::new(FetchProgress::default());
        lock(entry.state()).progress = Some(Arc::clone(&progress));
        let mut fetch = std::pin::pin!(progress.observe(entry.credential.fetch(&entry.request, context)));
        let outcome = match tokio::time::timeout(bound, &mut fetch).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let late =
                    Error::new(ErrorKind::Timeout, format!("no token was received within {} s", bound.as_secs()));
                entry.settle(self.fetch_id, Err(late));
                match tokio::time::timeout(LATE_SUCCESS, &mut fetch).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        self.settled = true;
                        return;
                    }
                }
            }
        };
        debug!(
            target: "pgentra::cache",
            credential = entry.credential.name(),
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome = outcome.as_ref().map_or_else(Error::code, |_| "token"),
            "fetch ended",
        );
        match outcome {
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                let mut state = lock(entry.state());
                state.refresh.abandon(self.fetch_id);
                answer(&mut state.waiters, &WaitResult::Retry);
            }
            outcome => entry.settle(self.fetch_id, outcome),
        }
        lock(entry.state()).progress = None;
        self.settled = true;
    }
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if is_shutting_down() {
            let mut state = lock(self.entry.state());
            state.refresh.abandon(self.fetch_id);
            answer(&mut state.waiters, &WaitResult::Done(Err(lost_work())));
        } else {
            self.entry.settle(self.fetch_id, Err(lost_work()));
        }
    }
}

fn arrival(fetched: FetchedToken, wall_ms: i64) -> Result<Arrival<Arc<Token>>> {
    let ms = |seconds: i64| seconds.saturating_mul(1000);
    let from_now = || Some((wall_ms / 1000).saturating_add(fetched.expires_in?));
    let claimed = || Claims::decode(fetched.token.expose()).ok()?.expires_on();
    let Some(expires_on) = fetched.expires_on.or_else(from_now).or_else(claimed) else {
        let explanation = "the credential returned a token without an expiry, and the token has no exp claim";
        return Err(Error::new(ErrorKind::CredentialValue, explanation));
    };
    Ok(Arrival {
        token: Arc::new(Token::new(fetched.token, expires_on)),
        expires_on_ms: Some(ms(expires_on)),
        expires_in_ms: fetched.expires_in.map(ms),
        refresh_in_ms: fetched.refresh_in.map(ms),
        times: None,
    })
}

fn failure(error: Error) -> FetchFailure<Error> {
    let kind = match error.service().retry_after {
        Some(delay) => FailureKind::RetryAfter(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        None if error.is_definite() => FailureKind::DefiniteRefusal,
        None => FailureKind::Ordinary,
    };
    FetchFailure { error, kind }
}

/// The statistics of one cache entry. Times are in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct EntryStats {
    /// The credential's class name.
    pub credential: String,
    /// The scope of its token.
    pub scope: String,
    /// The principal of the token.
    pub principal: Option<Principal>,
    /// The time until the token expires; negative after that.
    pub expires_in: Option<f64>,
    /// The time until the refresh point.
    pub refresh_due_in: Option<f64>,
    /// When a fetch last returned a token, since the epoch.
    pub last_success: Option<f64>,
    /// The number of failed fetches since `last_success`.
    pub consecutive_failures: u32,
    /// The first line of the last failure.
    pub last_error: Option<String>,
    /// Whether a fetch is in flight.
    pub in_flight: bool,
    /// The number of fetches that started.
    pub fetches: u64,
    /// The number of fetches that failed.
    pub failures: u64,
    /// The number of fetches that started in the background, past the refresh point.
    pub refreshes: u64,
    /// The number of refreshes forced by a refused login.
    pub invalidations: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CredentialConfig,
        cache::{application_cache, key::Key},
        credential::BoxFuture,
        runtime::Pending,
        secret::Secret,
    };

    /// Calls the function with the number of the fetch, counted from 0.
    struct Counting<F>(AtomicUsize, F);

    impl<F: Fn(usize) -> Result<FetchedToken> + Send + Sync + 'static> Credential for Counting<F> {
        fn name(&self) -> &str {
            "Counting"
        }

        fn fetch<'a>(&'a self, _: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
            Box::pin(std::future::ready((self.1)(self.0.fetch_add(1, Ordering::Relaxed))))
        }
    }

    fn shared(
        name: &str,
        answer: impl Fn(usize) -> Result<FetchedToken> + Send + Sync + 'static,
    ) -> (Arc<CacheEntry>, Arc<dyn Credential>) {
        let credential: Arc<dyn Credential> = Arc::new(Counting(AtomicUsize::new(0), answer));
        let key = Key::of_document(&CredentialConfig::default(), &name);
        (application_cache::entry(key, &TokenRequest::new("s"), &credential), credential)
    }

    fn get(entry: &Arc<CacheEntry>) -> Result<Arc<Token>> {
        let entry = Arc::clone(entry);
        Pending::start(async move { entry.get(RefreshMode::Ahead).await }).join()
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let patience = std::time::Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(std::time::Instant::now() < patience, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn cache_entry_timer_runs_only_while_a_provider_keeps_ahead() {
        let (entry, _) = shared("timer", |n| {
            let token = Secret::new(n.to_string());
            Ok(FetchedToken { token, expires_on: None, expires_in: Some(1), refresh_in: None })
        });
        let has_timer = || lock(entry.state()).has_timer;
        get(&entry).expect("a token");
        assert!(!has_timer(), "no provider keeps ahead");

        let (one, other) = (entry.keep_ahead(), entry.keep_ahead());
        assert!(has_timer(), "also where the token was there before");
        let used = entry.last_used.load(Ordering::Relaxed);
        let fetches = || entry.counters.fetches.load(Ordering::Relaxed);
        until("refreshed without calls", || fetches() > 3);
        assert_eq!(entry.last_used.load(Ordering::Relaxed), used);

        drop(one);
        let before = fetches();
        until("still refreshed", || fetches() > before + 1);
        drop(other);
        until("the timer ends", || !has_timer());
    }

    #[test]
    fn cache_entry_drops_a_custom_error_after_it_was_returned() {
        let cause = Arc::new("the host's own");
        let theirs = Arc::clone(&cause);
        let (entry, credential) = shared("cause", move |_| {
            let raised = Error::from_custom("X", "no", false, Some(Arc::clone(&theirs) as _));
            Err(Error::new(ErrorKind::CustomCredential, "the chain failed").with_attempts(vec![raised]))
        });
        let error = get(&entry).expect_err("it fails");
        assert!(error.has_custom_cause());
        drop(error);
        until("nothing but the credential holds it", || Arc::strong_count(&cause) == 2);
        assert_eq!(entry.stats().last_error.as_deref(), Some("Counting: the chain failed"));
        drop(credential);
    }

    #[test]
    fn cache_entry_with_a_token_that_expired_long_ago_fails() {
        let (entry, _) = shared("dead", |_| FetchedToken::from_custom("t", Some(i64::MIN), None));
        assert_eq!(get(&entry).expect_err("it is dead").kind(), ErrorKind::DeadOnArrival);
        assert_eq!(entry.stats().failures, 1);
    }
}
