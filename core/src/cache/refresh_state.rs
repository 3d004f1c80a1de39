//! The refresh state of one token: when the token is used, refreshed or waited for, and how long a failure is
//! remembered.
//!
//! This file contains every timing rule of the project. [`RefreshState`] is pure: times and results are its input,
//! decisions are its output. It has no clock, no I/O and no runtime, and its only randomness is its own seeded
//! generator. So the tables (`tests/vectors/timing.json`), random schedules and a simulation of weeks test the code
//! that runs in production.
//!
//! ```text
//! arrived              refresh              good_until    dead   expires
//!    |------ fresh -------|------- due ---------|-- margin --|------|
//! ```
//!
//! | token is     | no fetch in flight                 | fetch in flight | back-off running |
//! | ------------ | ---------------------------------- | --------------- | ---------------- |
//! | fresh        | use                                | use             | use              |
//! | due          | use and refresh; lazy mode: fetch  | use             | use              |
//! | in margin    | fetch                              | wait            | use              |
//! | dead, absent | fetch                              | wait            | fail             |
//!
//! # What the caller of a refresh state must do
//!
//! - A caller that receives a [`FetchId`] runs one fetch and ends it with [`settle`](RefreshState::settle), or with
//!   [`abandon`](RefreshState::abandon) if the task that ran it is gone. The fetch has its own time limit, not longer
//!   than [`RefreshSettings::fetch_bound_ms`].
//! - The waiters of a fetch get what `settle` returns for it. A waiter of a fetch that was abandoned or replaced asks
//!   again.
//! - A waiter whose time limit passes before the fetch ends uses [`fallback`](RefreshState::fallback), if it returns a
//!   token.

use serde::{Deserialize, Serialize};

pub use crate::{config::RefreshMode, runtime::Now};

/// The longest lifetime: a hundred years, in milliseconds. Longer lifetimes are treated as this one.
const LONGEST_LIFETIME_MS: i64 = 100 * 365 * 24 * 3_600_000;

/// The number of earlier tokens that a refresh state recognises in addition to its current one. See
/// [`RefreshState::known`].
const RECOGNISED: usize = 3;

/// The figures of the timing rules, in milliseconds. The fractions named in the documentation of the fields are fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimingRules {
    /// Tokens with at least this lifetime are refreshed at half of it. Default: 2 h.
    pub long_lifetime_ms: i64,
    /// Tokens with a shorter lifetime are refreshed this long before their expiry, or a fifth of the lifetime before it
    /// if that is more. Default: 5 min.
    pub refresh_lead_ms: i64,
    /// A token is good until this long before its expiry, at most a tenth of its lifetime. Default: 60 s.
    pub margin_ms: i64,
    /// A token is dead from this long before its expiry, at most a twentieth of its lifetime. Default: 5 s.
    pub dead_ms: i64,
    /// How long a failure is remembered, plus or minus 20 %. The values are for the first failure, the second and so
    /// on; the last value is for all further failures. Default: 1, 2, 4, 5 s.
    pub backoff_ms: [i64; 4],
    /// How long a definite refusal is remembered. Default: 30 s.
    pub refusal_ms: i64,
    /// The longest `Retry-After` that is honoured. Default: 5 min. The shortest is the first back-off, so that a
    /// service that responds with `Retry-After: 0` is not overloaded.
    pub retry_after_max_ms: i64,
    /// Only a token older than this, or older than a tenth of its lifetime if that is less, can be invalidated.
    /// Default: 30 s.
    pub invalidate_age_ms: i64,
    /// The shortest time between two refreshes forced by `invalidate`, or a quarter of the lifetime if that is less.
    /// Default: 30 s.
    pub invalidate_gap_ms: i64,
}

impl Default for TimingRules {
    fn default() -> Self {
        Self {
            long_lifetime_ms: 7_200_000,
            refresh_lead_ms: 300_000,
            margin_ms: 60_000,
            dead_ms: 5_000,
            backoff_ms: [1_000, 2_000, 4_000, 5_000],
            refusal_ms: 30_000,
            retry_after_max_ms: 300_000,
            invalidate_age_ms: 30_000,
            invalidate_gap_ms: 30_000,
        }
    }
}

/// The settings of a [`RefreshState`].
#[derive(Clone, Debug)]
pub struct RefreshSettings {
    /// The longest duration of a fetch. A fetch that is older than this by either clock counts as lost (for example
    /// because the CPU was frozen), and the next caller starts a new fetch. Default: 30 s; managed identity uses 75 s.
    pub fetch_bound_ms: i64,
    /// The figures of the rules.
    pub rules: TimingRules,
    /// Replaces every random fraction (0 to 1) with this one, for tests. 0 gives the latest refresh point and the
    /// shortest back-off. Default: not set.
    pub jitter: Option<f64>,
}

impl Default for RefreshSettings {
    fn default() -> Self {
        Self { fetch_bound_ms: 30_000, rules: TimingRules::default(), jitter: None }
    }
}

/// Compares tokens by their bytes, regardless of the values that arrived with them.
pub trait SameToken {
    /// Returns whether `other` is the same token.
    fn same_bytes(&self, other: &Self) -> bool;
}

/// The times of a token. They are set when the token first arrives, and stay the same when the same bytes arrive again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenTimes {
    /// When the token first arrived.
    pub arrived: Now,
    /// The refresh point.
    pub refresh: Now,
    /// The token is handed out without restriction until this time. After it, the token is used only if a newer one is
    /// not available.
    pub good_until: Now,
    /// From this time on the token is never handed out.
    pub dead: Now,
    /// The expiry that the service stated.
    pub expires: Now,
    /// The time from arrival to expiry; 0 for a token that had expired when it arrived.
    pub lifetime_ms: i64,
    /// The random amount by which the refresh point is earlier.
    pub spread_ms: i64,
}

impl TokenTimes {
    /// Returns the times of a token that arrives at `arrived` and is valid for `lifetime_ms`. `refresh_in_ms` is the
    /// refresh time that the service suggests; `jitter` is a random fraction, 0 to 1.
    #[must_use]
    pub fn new(
        arrived: Now,
        lifetime_ms: i64,
        refresh_in_ms: Option<i64>,
        rules: &TimingRules,
        jitter: f64,
    ) -> TokenTimes {
        let lifetime = lifetime_ms.clamp(0, LONGEST_LIFETIME_MS);
        let wish = match refresh_in_ms {
            Some(refresh_in) => refresh_in,
            None if lifetime >= rules.long_lifetime_ms => lifetime / 2,
            None => lifetime.saturating_sub(rules.refresh_lead_ms),
        };
        // The refresh point is never in the last fifth of the lifetime. The random spread takes off up to a tenth, so a
        // suggestion of half the lifetime or later gives a refresh point after two fifths or later, with the whole
        // spread kept.
        let latest = wish.clamp(lifetime / 2, lifetime * 4 / 5);
        let spread_ms = spread(lifetime, jitter);
        TokenTimes {
            arrived,
            refresh: arrived.plus_ms(latest - spread_ms),
            good_until: arrived.plus_ms(lifetime - rules.margin_ms.clamp(0, lifetime / 10)),
            dead: arrived.plus_ms(lifetime - rules.dead_ms.clamp(0, lifetime / 20)),
            expires: arrived.plus_ms(lifetime),
            lifetime_ms: lifetime,
            spread_ms,
        }
    }

    /// Returns whether the token is before its refresh point. The hot path uses this without the state.
    #[inline]
    pub fn is_fresh(&self, now: Now) -> bool {
        now.wall_ms < self.refresh.wall_ms && now.mono_ms < self.refresh.mono_ms
    }

    /// Returns whether the token is before its safety margin. Callers do not wait while there is such a token.
    #[inline]
    pub fn is_good(&self, now: Now) -> bool {
        !now.reached(self.good_until) && !self.is_dead(now)
    }

    /// Returns whether the token must not be handed out any more.
    #[inline]
    pub fn is_dead(&self, now: Now) -> bool {
        now.reached(self.dead)
    }

    /// Returns the same times with another random refresh point. A forked process uses this for its copy, so that it
    /// does not refresh at the same time as its parent and siblings.
    #[must_use]
    pub fn spread_anew(mut self, seed: u64) -> TokenTimes {
        let spread_ms = spread(self.lifetime_ms, Dice(seed).fraction());
        self.refresh = self.refresh.plus_ms(self.spread_ms - spread_ms);
        self.spread_ms = spread_ms;
        self
    }

    fn phase(&self, now: Now) -> TokenPhase {
        if self.is_dead(now) {
            TokenPhase::Dead
        } else if self.is_fresh(now) {
            TokenPhase::Fresh
        } else if self.is_good(now) {
            TokenPhase::Due
        } else {
            TokenPhase::Margin
        }
    }

    /// Returns whether these times end later than `other`. Each end is measured from `now` by the clock on which it
    /// comes first, so that tokens from before and after a change of the system time compare correctly.
    fn ends_after(&self, other: &TokenTimes, now: Now) -> bool {
        now.ms_until(self.expires) > now.ms_until(other.expires)
    }
}

fn spread(lifetime_ms: i64, jitter: f64) -> i64 {
    (lifetime_ms as f64 / 10.0 * jitter.clamp(0.0, 1.0)) as i64
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenPhase {
    Fresh,
    Due,
    Margin,
    Dead,
}

/// A token as its source returned it. If no field states a lifetime, the lifetime is zero.
#[derive(Clone, Debug)]
pub struct Arrival<T> {
    /// The token.
    pub token: T,
    /// The expiry by the service's clock, in milliseconds since the Unix epoch. It is used if `expires_in_ms` is
    /// absent.
    pub expires_on_ms: Option<i64>,
    /// The lifetime that the service stated.
    pub expires_in_ms: Option<i64>,
    /// The refresh time that the service suggests, from now.
    pub refresh_in_ms: Option<i64>,
    /// The times that were set for the same bytes elsewhere in this process. They replace all values above.
    pub times: Option<TokenTimes>,
}

/// The failure of a fetch.
#[derive(Clone, Debug)]
pub struct FetchFailure<E> {
    /// The error. It is cloned for every caller that it is returned to.
    pub error: E,
    /// The kind, which decides how long the failure is remembered.
    pub kind: FailureKind,
}

/// The effect of a failure on the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// An ordinary failure: the back-off is 1, 2, 4, then 5 s.
    Ordinary,
    /// The request fails until the configuration changes (`invalid_client`, unknown tenant): the back-off is 30 s.
    DefiniteRefusal,
    /// The service stated when to retry, in milliseconds from now. The value is used as given, up to 5 min.
    RetryAfter(i64),
}

/// The result of a fetch.
#[derive(Clone, Debug)]
pub enum FetchOutcome<T, E> {
    /// The fetch returned a token. It can be the old one again, or dead.
    Token(Arrival<T>),
    /// The fetch failed.
    Failed(FetchFailure<E>),
}

/// Why a token that arrived counts as a failed fetch. [`RefreshState::settle`] passes it to the function that makes the
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedDead {
    /// The remaining lifetime that was stated with the token, in milliseconds; negative if the token had expired.
    pub stated_ms: i64,
    /// The same bytes arrived before, and their time is over regardless of the values that arrived with them now.
    pub seen_before: bool,
}

/// The permission and the duty to run one fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FetchId {
    id: u64,
    started: Now,
}

/// What a caller that needs a token does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T, E> {
    /// Use this token.
    Use(T),
    /// Use this token, and start the fetch of this id in the background.
    UseAndRefresh(T, FetchId),
    /// Start the fetch of this id and wait for it.
    Fetch(FetchId),
    /// Wait for the fetch of this id.
    Wait(FetchId),
    /// Fail with this remembered error.
    Fail(E),
}

/// What the waiters of a settled fetch get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<T, E> {
    /// This token: the new one, or the old one if the fetch failed or did not return a newer one.
    Token(T),
    /// This error: every token is dead or absent.
    Failed(E),
    /// The fetch counted as lost, but its token is newer and is used. The waiters of every fetch get it.
    TokenTaken(T),
    /// The fetch counted as lost and its result changed nothing. Callers that still wait for it ask again.
    Stale,
}

/// What a caller does whose token was refused by a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Nothing: the token is not the current one or is too young, or a forced refresh or a failure was too recent.
    Ignored,
    /// Start the fetch of this id and wait for it. Retry the login only with a token of other bytes.
    Fetch(FetchId),
    /// Wait for the fetch of this id. Retry the login only with a token of other bytes.
    Wait(FetchId),
}

/// The figures of a refresh state for statistics and log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshStats<'a, E> {
    /// The number of failed fetches since the last one that returned a token.
    pub consecutive_failures: u32,
    /// The error of the last fetch that failed. It stays after a later success.
    pub last_error: Option<&'a E>,
    /// When a fetch last returned a token, by the wall clock, in milliseconds since the Unix epoch.
    pub last_success_ms: Option<i64>,
    /// The time until the current token expires; zero or negative after that.
    pub expires_in_ms: Option<i64>,
    /// The time until the refresh point of the current token; zero or negative after that.
    pub refresh_due_in_ms: Option<i64>,
    /// The time until the current back-off ends.
    pub next_try_in_ms: Option<i64>,
    /// Whether a fetch is in flight.
    pub in_flight: bool,
}

struct Held<T> {
    token: T,
    times: TokenTimes,
    /// Whether a server refused a login with this token.
    refused: bool,
}

struct Flight {
    fetch_id: FetchId,
    /// Whether a caller waits for this fetch because a server refused the current token.
    forced: bool,
}

/// The pause after a fetch that did not return a newer token. The next fetch starts at `until` or later.
struct Backoff<E> {
    until: Now,
    /// Absent if the old token was returned again.
    error: Option<E>,
}

/// The refresh state of one token. See the module documentation.
pub struct RefreshState<T, E> {
    settings: RefreshSettings,
    dice: Dice,
    current: Option<Held<T>>,
    earlier: [Option<Held<T>>; RECOGNISED],
    flight: Option<Flight>,
    backoff: Option<Backoff<E>>,
    backoff_step: usize,
    /// Whether the current token was dead at the last check.
    ended: bool,
    last_forced: Option<Now>,
    next_fetch_id: u64,
    /// Smaller ids were issued before `forget`.
    first_valid_fetch_id: u64,
    failures: u32,
    last_error: Option<E>,
    last_success_ms: Option<i64>,
}

impl<T: Clone + SameToken, E: Clone> RefreshState<T, E> {
    /// Creates a state without a token. `seed` initialises its random generator: draw it from the operating system,
    /// also after a fork.
    pub fn new(settings: RefreshSettings, seed: u64) -> Self {
        Self {
            settings,
            dice: Dice(seed),
            current: None,
            earlier: [const { None }; RECOGNISED],
            flight: None,
            backoff: None,
            backoff_step: 0,
            ended: false,
            last_forced: None,
            next_fetch_id: 1,
            first_valid_fetch_id: 1,
            failures: 0,
            last_error: None,
            last_success_ms: None,
        }
    }

    /// Decides what a caller that needs a token does.
    pub fn decide(&mut self, now: Now, mode: RefreshMode) -> Decision<T, E> {
        self.notice_end(now);
        let in_flight = self.live_fetch(now);
        let holding_back = self.running_backoff(now).is_some();
        if let Some(held) = &self.current {
            let token = || held.token.clone();
            match held.times.phase(now) {
                TokenPhase::Fresh => return Decision::Use(token()),
                TokenPhase::Due if in_flight.is_some() || holding_back => return Decision::Use(token()),
                TokenPhase::Due if mode != RefreshMode::Lazy => {
                    let token = token();
                    return Decision::UseAndRefresh(token, self.start(now, false));
                }
                TokenPhase::Margin if in_flight.is_none() && holding_back => return Decision::Use(token()),
                TokenPhase::Due | TokenPhase::Margin | TokenPhase::Dead => {}
            }
        }
        if let Some(fetch_id) = in_flight {
            return Decision::Wait(fetch_id);
        }
        match self.running_backoff(now).and_then(|backoff| backoff.error.clone()) {
            Some(error) => Decision::Fail(error),
            None => Decision::Fetch(self.start(now, false)),
        }
    }

    /// Ends the fetch of `fetch_id`. If the fetch counts as lost, its token is still used, but its failure is ignored.
    /// `arrived_dead` makes the error for a token that cannot be used any more.
    pub fn settle(
        &mut self,
        fetch_id: FetchId,
        now: Now,
        outcome: FetchOutcome<T, E>,
        arrived_dead: impl FnOnce(ArrivedDead) -> E,
    ) -> Settled<T, E> {
        self.notice_end(now);
        let flight = self.flight.take_if(|flight| flight.fetch_id == fetch_id);
        if fetch_id.id < self.first_valid_fetch_id {
            return Settled::Stale;
        }
        let live = flight.is_some();
        let forced = flight.is_some_and(|flight| flight.forced);
        match outcome {
            FetchOutcome::Failed(failure) if live => self.fail(now, failure),
            FetchOutcome::Failed(_) => Settled::Stale,
            FetchOutcome::Token(arrival) => {
                let late = self.is_lost(fetch_id, now);
                // A response that a process reads after it was frozen can be as old as its request.
                let counted_from = if late { fetch_id.started } else { now };
                let (known, refused) = self.known(&arrival.token).unzip();
                let stated_ms = match (arrival.expires_in_ms, arrival.expires_on_ms) {
                    (Some(expires_in), _) => expires_in,
                    (None, Some(expires_on)) => expires_on.saturating_sub(counted_from.wall_ms),
                    (None, None) => arrival.times.map_or(0, |times| now.ms_until(times.expires)),
                };
                let times = known.or(arrival.times).unwrap_or_else(|| {
                    let jitter = self.jitter();
                    TokenTimes::new(counted_from, stated_ms, arrival.refresh_in_ms, &self.settings.rules, jitter)
                });
                let token = arrival.token;
                if !times.is_dead(now) {
                    let refused = refused.unwrap_or(false);
                    if self.offer(now, Held { token: token.clone(), times, refused }, forced) {
                        self.succeeded(now);
                        if live { Settled::Token(token) } else { Settled::TokenTaken(token) }
                    } else if live {
                        self.succeeded(now);
                        self.nothing_newer(now, token)
                    } else {
                        Settled::Stale
                    }
                } else if live && !late {
                    let error = arrived_dead(ArrivedDead { stated_ms, seen_before: known.is_some() });
                    self.fail(now, FetchFailure { error, kind: FailureKind::Ordinary })
                } else {
                    Settled::Stale
                }
            }
        }
    }

    /// Ends the fetch of `fetch_id` without a result, because the task that ran it is gone (its loop closed, its worker
    /// ended, it panicked). The next caller starts a new fetch.
    pub fn abandon(&mut self, fetch_id: FetchId) {
        self.flight.take_if(|flight| flight.fetch_id == fetch_id);
    }

    /// Reports that a server refused a login. `is_refused` recognises the token that was used. The token is not
    /// removed. Instead, one refresh is started or joined, and only this caller waits for it. The token that the
    /// refresh returns replaces the refused one even if it expires earlier, and the refused one is not used again while
    /// the new one is good.
    pub fn invalidate(&mut self, now: Now, is_refused: impl FnOnce(&T) -> bool) -> Invalidation {
        self.notice_end(now);
        let rules = &self.settings.rules;
        let Some(held) = &mut self.current else { return Invalidation::Ignored };
        let lifetime = held.times.lifetime_ms;
        if !is_refused(&held.token) || now.ms_since(held.times.arrived) <= rules.invalidate_age_ms.min(lifetime / 10) {
            return Invalidation::Ignored;
        }
        held.refused = true;
        if let Some(fetch_id) = self.live_fetch(now) {
            if let Some(flight) = self.flight.as_mut().filter(|flight| !flight.forced) {
                flight.forced = true;
                self.last_forced = Some(now);
            }
            return Invalidation::Wait(fetch_id);
        }
        let gap_ms = rules.invalidate_gap_ms.min(lifetime / 4);
        if self.last_forced.is_some_and(|last| now.ms_since(last) < gap_ms) || self.running_backoff(now).is_some() {
            return Invalidation::Ignored;
        }
        self.last_forced = Some(now);
        Invalidation::Fetch(self.start(now, true))
    }

    /// Returns when the timer of [`RefreshMode::Ahead`] must ask: at the refresh point or the end of the token, but not
    /// before the back-off ends or the fetch in flight counts as lost. Returns `None` until the first `decide`. Once the
    /// time is reached by either clock, an `decide` starts a fetch, unless the state changed in between.
    pub fn next_wakeup(&self) -> Option<Now> {
        let lost = self.flight.as_ref().map(|flight| {
            let bound_ms = self.settings.fetch_bound_ms.saturating_add(1);
            flight.fetch_id.started.plus_ms(bound_ms)
        });
        let retry = self.backoff.as_ref().map(|backoff| backoff.until);
        let due = match &self.current {
            None => retry,
            Some(_) if self.ended && retry.is_some() => retry,
            Some(Held { times, .. }) => {
                let refresh = retry.map_or(times.refresh, |retry| latest(times.refresh, retry));
                Some(earliest(refresh, times.dead))
            }
        };
        match (due, lost) {
            (Some(due), Some(lost)) => Some(latest(due, lost)),
            (due, lost) => due.or(lost),
        }
    }

    /// Returns the current token, dead or not, for the snapshot of the lock-free path.
    pub fn current(&self) -> Option<(&T, &TokenTimes)> {
        self.current.as_ref().map(|held| (&held.token, &held.times))
    }

    /// Returns a token to use if a better one does not arrive in time. If there is one, a fetch does not need retries
    /// of its own.
    pub fn fallback(&self, now: Now) -> Option<&T> {
        self.current.as_ref().filter(|held| !held.times.is_dead(now)).map(|held| &held.token)
    }

    /// Takes a token copied from another state (across event loops or a fork), with its times from there. Returns false
    /// if the token is dead or not newer than the current one.
    pub fn adopt(&mut self, now: Now, token: T, times: TokenTimes) -> bool {
        self.notice_end(now);
        let (times, refused) = self.known(&token).unwrap_or((times, false));
        !times.is_dead(now) && self.offer(now, Held { token, times, refused }, false)
    }

    /// Starts over without a token, because new tokens would be for another identity (the profile of the CLI changed).
    /// Results of fetches that started before are dropped.
    pub fn forget(&mut self) {
        *self = Self {
            next_fetch_id: self.next_fetch_id,
            first_valid_fetch_id: self.next_fetch_id,
            ..Self::new(self.settings.clone(), self.dice.next())
        };
    }

    /// Reduces remembered errors to their texts: the last error at once, the error of the back-off when that is over.
    pub fn release_errors(&mut self, now: Now, words: impl FnOnce(E) -> E) {
        self.last_error = self.last_error.take().map(words);
        if let Some(over) = self.backoff.as_mut().filter(|backoff| now.reached(backoff.until)) {
            over.error = None;
        }
    }

    /// Returns the statistics of this state.
    pub fn stats(&self, now: Now) -> RefreshStats<'_, E> {
        let until = |point: fn(&TokenTimes) -> Now| self.current.as_ref().map(|held| now.ms_until(point(&held.times)));
        RefreshStats {
            consecutive_failures: self.failures,
            last_error: self.last_error.as_ref(),
            last_success_ms: self.last_success_ms,
            expires_in_ms: until(|times| times.expires),
            refresh_due_in_ms: until(|times| times.refresh),
            next_try_in_ms: self.running_backoff(now).map(|backoff| now.ms_until(backoff.until)),
            in_flight: self.live_fetch(now).is_some(),
        }
    }

    /// Resets the back-off when the token expires, because callers now depend on the next attempt.
    fn notice_end(&mut self, now: Now) {
        let ended = self.current.as_ref().is_some_and(|held| held.times.is_dead(now));
        if ended && !self.ended {
            self.backoff = None;
            self.backoff_step = 0;
        }
        self.ended = ended;
    }

    fn start(&mut self, now: Now, forced: bool) -> FetchId {
        let fetch_id = FetchId { id: self.next_fetch_id, started: now };
        self.next_fetch_id += 1;
        self.flight = Some(Flight { fetch_id, forced });
        fetch_id
    }

    fn live_fetch(&self, now: Now) -> Option<FetchId> {
        self.flight.as_ref().map(|flight| flight.fetch_id).filter(|&fetch_id| !self.is_lost(fetch_id, now))
    }

    fn is_lost(&self, fetch_id: FetchId, now: Now) -> bool {
        now.ms_since(fetch_id.started) > self.settings.fetch_bound_ms
    }

    fn running_backoff(&self, now: Now) -> Option<&Backoff<E>> {
        self.backoff.as_ref().filter(|backoff| !now.reached(backoff.until))
    }

    /// Returns the times of these bytes if they arrived before, and whether a server refused them. The current token
    /// and a few earlier ones are compared, because replicas of a service (or caches in front of it) can return two
    /// tokens in turn.
    fn known(&self, token: &T) -> Option<(TokenTimes, bool)> {
        self.current
            .iter()
            .chain(self.earlier.iter().flatten())
            .find(|held| held.token.same_bytes(token))
            .map(|held| (held.times, held.refused))
    }

    /// Makes a token that is not dead the current one if it is newer. If the current token was refused, any other token
    /// replaces it: lifetimes vary, and the refused one can expire later.
    fn offer(&mut self, now: Now, held: Held<T>, forced: bool) -> bool {
        let same = |other: &Held<T>| other.token.same_bytes(&held.token);
        if self.current.as_ref().is_some_and(same) {
            return false;
        }
        let better = self.current.as_ref().is_none_or(|current| {
            let is_newer = || held.times.ends_after(&current.times, now) || forced && held.times.is_fresh(now);
            current.times.is_dead(now) || !held.refused && is_newer()
        });
        let slot = self.earlier.iter().position(|slot| slot.as_ref().is_some_and(same)).unwrap_or(RECOGNISED - 1);
        let aside = if better {
            self.backoff = None;
            self.backoff_step = 0;
            self.ended = false;
            self.current.replace(held)
        } else {
            Some(held)
        };
        self.earlier[..=slot].rotate_right(1);
        self.earlier[0] = aside;
        better
    }

    fn succeeded(&mut self, now: Now) {
        self.failures = 0;
        self.last_success_ms = Some(now.wall_ms);
    }

    fn nothing_newer(&mut self, now: Now, brought: T) -> Settled<T, E> {
        let delay_ms = self.next_backoff_ms();
        self.hold_back(now, delay_ms, None);
        Settled::Token(self.fallback(now).cloned().unwrap_or(brought))
    }

    fn fail(&mut self, now: Now, FetchFailure { error, kind }: FetchFailure<E>) -> Settled<T, E> {
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error.clone());
        let rules = &self.settings.rules;
        let delay_ms = match kind {
            FailureKind::Ordinary => self.next_backoff_ms(),
            FailureKind::DefiniteRefusal => rules.refusal_ms,
            FailureKind::RetryAfter(ms) => ms.max(rules.backoff_ms[0]).min(rules.retry_after_max_ms),
        };
        self.hold_back(now, delay_ms, Some(error.clone()));
        match self.fallback(now) {
            Some(token) => Settled::Token(token.clone()),
            None => Settled::Failed(error),
        }
    }

    fn next_backoff_ms(&mut self) -> i64 {
        let steps = &self.settings.rules.backoff_ms;
        let step_ms = steps[self.backoff_step.min(steps.len() - 1)];
        self.backoff_step = self.backoff_step.saturating_add(1);
        (step_ms as f64 * (0.8 + 0.4 * self.jitter())) as i64
    }

    /// Starts the back-off. While the current token is not dead, the back-off is at most half of its remaining time.
    fn hold_back(&mut self, now: Now, delay_ms: i64, error: Option<E>) {
        let left = self.current.as_ref().filter(|held| !held.times.is_dead(now));
        let delay_ms = left.map_or(delay_ms, |held| delay_ms.min(now.ms_until(held.times.expires) / 2));
        self.backoff = Some(Backoff { until: now.plus_ms(delay_ms), error });
    }

    fn jitter(&mut self) -> f64 {
        self.settings.jitter.unwrap_or_else(|| self.dice.fraction())
    }
}

fn earliest(a: Now, b: Now) -> Now {
    Now { wall_ms: a.wall_ms.min(b.wall_ms), mono_ms: a.mono_ms.min(b.mono_ms) }
}

fn latest(a: Now, b: Now) -> Now {
    Now { wall_ms: a.wall_ms.max(b.wall_ms), mono_ms: a.mono_ms.max(b.mono_ms) }
}

/// SplitMix64: small, seeded, and random enough to spread the refreshes of many processes.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a fraction from 0 up to, but not including, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
