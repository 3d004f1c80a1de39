//! The life of one token: when it is used, refreshed, waited for, and how long a failure is remembered.
//!
//! Every timing rule of the project is in this file and nowhere else. [`TokenCell`] is pure: time and outcomes come
//! in, answers go out. It has no clock, no I/O, no runtime and no randomness but a seeded generator of its own, so
//! the code that runs in production is the code that tables (`tests/vectors/timing.json`), random schedules and a
//! simulation of weeks are run against.
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
//! | dead or none | fetch                              | wait            | fail             |
//!
//! # What the caller of a cell owes it
//!
//! - Whoever is handed a [`Ticket`] runs one fetch and ends it with [`settle`](TokenCell::settle), or with
//!   [`abandon`](TokenCell::abandon) if the place where it ran is gone. The fetch has a time limit of its own, no
//!   longer than [`CellSettings::fetch_bound_ms`].
//! - Waiters of a ticket get what `settle` returns for it. A waiter of a ticket that was abandoned or replaced asks
//!   again.
//! - A waiter whose patience ends before the fetch does takes [`fallback`](TokenCell::fallback), if there is one.

use serde::{Deserialize, Serialize};

/// Longer lifetimes count as this one: a hundred years, in milliseconds.
const LONGEST_LIFETIME_MS: i64 = 100 * 365 * 24 * 3_600_000;

/// How many tokens a cell recognises beside its current one, see [`TokenCell::known`].
const RECOGNISED: usize = 3;

/// One moment as both clocks saw it, in milliseconds.
///
/// A deadline kept on both clocks counts as reached when either says so: the wall clock runs on while a machine is
/// suspended, the monotonic one is not moved when somebody sets the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Now {
    /// Since the Unix epoch.
    pub wall_ms: i64,
    /// Since any origin, as long as it stays the same for the life of the cell.
    pub mono_ms: i64,
}

impl Now {
    /// This moment moved by `ms` on both clocks.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Now {
        Now { wall_ms: self.wall_ms.saturating_add(ms), mono_ms: self.mono_ms.saturating_add(ms) }
    }

    /// Whether `point` has come by either clock.
    #[inline]
    pub fn reached(self, point: Now) -> bool {
        self.wall_ms >= point.wall_ms || self.mono_ms >= point.mono_ms
    }

    /// Milliseconds until `point`, by the clock on which it comes first. Negative once it has passed.
    pub fn ms_until(self, point: Now) -> i64 {
        point.wall_ms.saturating_sub(self.wall_ms).min(point.mono_ms.saturating_sub(self.mono_ms))
    }

    /// Milliseconds since `earlier`, by the clock on which more time went by.
    pub fn ms_since(self, earlier: Now) -> i64 {
        self.wall_ms.saturating_sub(earlier.wall_ms).max(self.mono_ms.saturating_sub(earlier.mono_ms))
    }
}

/// When a provider may refresh. Providers of different modes can share one cell, so it is a matter of each
/// [`ask`](TokenCell::ask).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refreshes beside the caller who asks after the refresh point. The default.
    #[default]
    Background,
    /// Never refreshes while nobody asks and never beside the caller, who fetches instead. For functions and lambdas,
    /// which are frozen between calls.
    Lazy,
    /// As `Background`, and on a timer while nobody asks: see [`TokenCell::next_wakeup`].
    Ahead,
}

/// The figures of the timing rules, in milliseconds. The fractions beside them in the text are fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimingRules {
    /// A lifetime from here on is refreshed at its half. Default: 2 h.
    pub long_lifetime_ms: i64,
    /// A shorter lifetime is refreshed this long before its end, or a fifth of it if that is more. Default: 5 min.
    pub refresh_lead_ms: i64,
    /// A token is good until this long before its end, at most a tenth of its lifetime. Default: 60 s.
    pub margin_ms: i64,
    /// A token is dead this long before its end, at most a twentieth of its lifetime. Default: 5 s.
    pub dead_ms: i64,
    /// How long a failure is remembered, give or take 20 %: the first, the second, ..., the last and all after it.
    /// Default: 1, 2, 4, 5 s.
    pub backoff_ms: [i64; 4],
    /// How long a definite refusal is remembered. Default: 30 s.
    pub refusal_ms: i64,
    /// The longest `Retry-After` that is heeded. Default: 5 min. The shortest is the first back-off: a service that
    /// answers `Retry-After: 0` is not hammered.
    pub retry_after_max_ms: i64,
    /// Only a token older than this, or than a tenth of its lifetime if that is less, can be invalidated.
    /// Default: 30 s.
    pub invalidate_age_ms: i64,
    /// Refreshes forced by `invalidate` start at least this far apart, or a quarter of the lifetime if that is less.
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

/// What a cell is told when it is made.
#[derive(Clone, Debug)]
pub struct CellSettings {
    /// How long a fetch can last. A ticket older than this by either clock counts as lost (a frozen CPU), and the
    /// next asker starts a new fetch. Default: 30 s; managed identity takes [`Self::MANAGED_IDENTITY_BOUND_MS`].
    pub fetch_bound_ms: i64,
    /// The figures of the rules.
    pub rules: TimingRules,
    /// Puts this fraction (0 to 1) in place of every random one, for tests. 0 is the latest refresh point and the
    /// shortest back-off. Default: none.
    pub jitter: Option<f64>,
}

impl CellSettings {
    /// The bound of a managed-identity fetch, whose service asks to be retried for more than a minute.
    pub const MANAGED_IDENTITY_BOUND_MS: i64 = 75_000;
}

impl Default for CellSettings {
    fn default() -> Self {
        Self { fetch_bound_ms: 30_000, rules: TimingRules::default(), jitter: None }
    }
}

/// Tells whether two tokens are the same bytes, whatever came along with them.
pub trait SameToken {
    /// Whether `other` is the same token.
    fn same_bytes(&self, other: &Self) -> bool;
}

/// The moments of a token's life. Set when it first arrives, never moved by the same bytes arriving again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Points {
    /// When it first arrived.
    pub arrived: Now,
    /// From here on it is worth refreshing.
    pub refresh: Now,
    /// Until here it is handed out without a second thought; after it only if nothing newer can be had.
    pub good_until: Now,
    /// From here on it is never handed out.
    pub dead: Now,
    /// The end that the service stated.
    pub expires: Now,
    /// From arrival to end; 0 for a token that had ended when it came.
    pub lifetime_ms: i64,
    /// By how much chance moved the refresh point forward.
    pub spread_ms: i64,
}

impl Points {
    /// The points of a token that arrives at `arrived` with `lifetime_ms` to go. `refresh_in_ms` is the service's
    /// wish; `jitter` is a random fraction, 0 to 1.
    #[must_use]
    pub fn new(arrived: Now, lifetime_ms: i64, refresh_in_ms: Option<i64>, rules: &TimingRules, jitter: f64) -> Points {
        let lifetime = lifetime_ms.clamp(0, LONGEST_LIFETIME_MS);
        let wish = match refresh_in_ms {
            Some(refresh_in) => refresh_in,
            None if lifetime >= rules.long_lifetime_ms => lifetime / 2,
            None => lifetime.saturating_sub(rules.refresh_lead_ms),
        };
        // Never in the last fifth; and as the spread takes up to a tenth off, from a half on is from two fifths on, with
        // the whole spread kept whatever the wish was.
        let latest = wish.clamp(lifetime / 2, lifetime * 4 / 5);
        let spread_ms = spread(lifetime, jitter);
        Points {
            arrived,
            refresh: arrived.plus_ms(latest - spread_ms),
            good_until: arrived.plus_ms(lifetime - rules.margin_ms.clamp(0, lifetime / 10)),
            dead: arrived.plus_ms(lifetime - rules.dead_ms.clamp(0, lifetime / 20)),
            expires: arrived.plus_ms(lifetime),
            lifetime_ms: lifetime,
            spread_ms,
        }
    }

    /// The hot path, usable without the cell: neither at its refresh point nor beyond it.
    #[inline]
    pub fn is_fresh(&self, now: Now) -> bool {
        now.wall_ms < self.refresh.wall_ms && now.mono_ms < self.refresh.mono_ms
    }

    /// Not yet in the margin before its end: nobody waits while there is such a token.
    #[inline]
    pub fn is_good(&self, now: Now) -> bool {
        !now.reached(self.good_until) && !self.is_dead(now)
    }

    /// Never to be handed out again.
    #[inline]
    pub fn is_dead(&self, now: Now) -> bool {
        now.reached(self.dead)
    }

    /// The same points with a refresh point by another draw: for a copy in a forked process, which would otherwise
    /// refresh in step with its parent and siblings.
    #[must_use]
    pub fn spread_anew(mut self, seed: u64) -> Points {
        let spread_ms = spread(self.lifetime_ms, Dice(seed).fraction());
        self.refresh = self.refresh.plus_ms(self.spread_ms - spread_ms);
        self.spread_ms = spread_ms;
        self
    }

    fn stage(&self, now: Now) -> Stage {
        if self.is_dead(now) {
            Stage::Dead
        } else if self.is_fresh(now) {
            Stage::Fresh
        } else if self.is_good(now) {
            Stage::Due
        } else {
            Stage::Margin
        }
    }

    /// "Newer": ends later, each end measured from `now` by the clock on which it comes first, so that a token from
    /// before a clock was set compares rightly with one from after it.
    fn ends_after(&self, other: &Points, now: Now) -> bool {
        now.ms_until(self.expires) > now.ms_until(other.expires)
    }
}

fn spread(lifetime_ms: i64, jitter: f64) -> i64 {
    (lifetime_ms as f64 / 10.0 * jitter.clamp(0.0, 1.0)) as i64
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Due,
    Margin,
    Dead,
}

/// A token as it comes from its source. A lifetime that is stated by none of the fields is a lifetime of zero.
#[derive(Clone, Debug)]
pub struct Arrival<T> {
    /// The token.
    pub token: T,
    /// Its end by the service's clock, milliseconds since the Unix epoch. Used where `expires_in_ms` is absent.
    pub expires_on_ms: Option<i64>,
    /// The lifetime that the service stated.
    pub expires_in_ms: Option<i64>,
    /// When the service wishes it to be refreshed, from now.
    pub refresh_in_ms: Option<i64>,
    /// The points that were set for these bytes elsewhere in this process; they stand in place of all the above.
    pub points: Option<Points>,
}

/// A fetch that brought no token.
#[derive(Clone, Debug)]
pub struct Failure<E> {
    /// Why. Cloned for every caller it is told to.
    pub error: E,
    /// How long it is remembered.
    pub kind: FailureKind,
}

/// What a failure says about the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Nothing: 1, 2, 4, then 5 s.
    Ordinary,
    /// It will fail again until somebody changes something (`invalid_client`, unknown tenant): 30 s.
    DefiniteRefusal,
    /// The service said when, in milliseconds from now: as given, at most 5 min.
    RetryAfter(i64),
}

/// How a fetch ended.
#[derive(Clone, Debug)]
pub enum Outcome<T, E> {
    /// With a token, which may be the old one again, or dead.
    Token(Arrival<T>),
    /// Without one.
    Failed(Failure<E>),
}

/// Why a token that arrived is a failed fetch: for the error that [`TokenCell::settle`] asks its caller for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedDead {
    /// How long it had to go by what came with it, in milliseconds; negative if it had ended.
    pub stated_ms: i64,
    /// The bytes had come before, and their time is over whatever came with them now.
    pub seen_before: bool,
}

/// The right, and the duty, to run one fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    id: u64,
    started: Now,
}

/// What a caller who needs a token does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T, E> {
    /// Use this token.
    Use(T),
    /// Use this token, and start the fetch of this ticket in the background.
    UseAndRefresh(T, Ticket),
    /// Start the fetch of this ticket and wait for it.
    Fetch(Ticket),
    /// Wait for the fetch of this ticket.
    Wait(Ticket),
    /// No token: a failure that is remembered.
    Fail(E),
}

/// What the waiters of a settled ticket get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<T, E> {
    /// This token: the new one, or the old one where the fetch failed or brought nothing newer.
    Token(T),
    /// This error: there is no token that is not dead.
    Failed(E),
    /// The ticket was dead, its token is newer and taken all the same: whoever waits, for any ticket, gets it.
    TokenTaken(T),
    /// The ticket was dead and nothing changed. Who still waits for it asks again.
    Stale,
}

/// What a caller whose token was refused by a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Nothing: it is not the current token, or too young, or a forced refresh or a failure was just now.
    Ignored,
    /// Start the fetch of this ticket and wait for it. Only a token with other bytes is worth another login.
    Fetch(Ticket),
    /// Wait for the fetch of this ticket, likewise.
    Wait(Ticket),
}

/// What a cell knows of itself, for statistics and log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellStats<'a, E> {
    /// Failed fetches since the last one that brought a token.
    pub consecutive_failures: u32,
    /// The error of the last fetch that failed, also after a later success.
    pub last_error: Option<&'a E>,
    /// When a fetch last brought a token, by the wall clock, milliseconds since the Unix epoch.
    pub last_success_ms: Option<i64>,
    /// Until the end of the current token; not positive once it has ended.
    pub expires_in_ms: Option<i64>,
    /// Until the current token is worth refreshing; not positive once it is.
    pub refresh_due_in_ms: Option<i64>,
    /// Until the back-off that runs now ends.
    pub next_try_in_ms: Option<i64>,
    /// Whether a fetch is in flight.
    pub in_flight: bool,
}

struct Held<T> {
    token: T,
    points: Points,
    /// A server refused a login with it.
    refused: bool,
}

struct Flight {
    ticket: Ticket,
    /// Somebody waits for it because a server refused the current token.
    forced: bool,
}

/// After a fetch that brought nothing newer: no further one before `until`.
struct Backoff<E> {
    until: Now,
    /// Absent where the old token came again.
    error: Option<E>,
}

/// One token and everything decided about it. See the module.
pub struct TokenCell<T, E> {
    settings: CellSettings,
    dice: Dice,
    current: Option<Held<T>>,
    earlier: [Option<Held<T>>; RECOGNISED],
    flight: Option<Flight>,
    backoff: Option<Backoff<E>>,
    backoff_step: usize,
    /// Whether the current token was dead when last looked at.
    ended: bool,
    last_forced: Option<Now>,
    next_ticket: u64,
    /// Tickets below this one were issued before `forget`.
    first_valid_ticket: u64,
    failures: u32,
    last_error: Option<E>,
    last_success_ms: Option<i64>,
}

impl<T: Clone + SameToken, E: Clone> TokenCell<T, E> {
    /// An empty cell. `seed` is the source of its randomness: draw it from the operating system, also after a fork.
    pub fn new(settings: CellSettings, seed: u64) -> Self {
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
            next_ticket: 1,
            first_valid_ticket: 1,
            failures: 0,
            last_error: None,
            last_success_ms: None,
        }
    }

    /// A caller needs a token.
    pub fn ask(&mut self, now: Now, mode: Mode) -> Answer<T, E> {
        self.notice_end(now);
        let in_flight = self.live_ticket(now);
        let holding_back = self.running_backoff(now).is_some();
        if let Some(held) = &self.current {
            let token = || held.token.clone();
            match held.points.stage(now) {
                Stage::Fresh => return Answer::Use(token()),
                Stage::Due if in_flight.is_some() || holding_back => return Answer::Use(token()),
                Stage::Due if mode != Mode::Lazy => {
                    let token = token();
                    return Answer::UseAndRefresh(token, self.start(now, false));
                }
                Stage::Margin if in_flight.is_none() && holding_back => return Answer::Use(token()),
                Stage::Due | Stage::Margin | Stage::Dead => {}
            }
        }
        if let Some(ticket) = in_flight {
            return Answer::Wait(ticket);
        }
        match self.running_backoff(now).and_then(|backoff| backoff.error.clone()) {
            Some(error) => Answer::Fail(error),
            None => Answer::Fetch(self.start(now, false)),
        }
    }

    /// The fetch of `ticket` has ended. A token is taken even if the ticket is dead; a failure then counts for
    /// nothing. `arrived_dead` makes the error for a token that cannot be used any more.
    pub fn settle(
        &mut self,
        ticket: Ticket,
        now: Now,
        outcome: Outcome<T, E>,
        arrived_dead: impl FnOnce(ArrivedDead) -> E,
    ) -> Settled<T, E> {
        self.notice_end(now);
        let flight = self.flight.take_if(|flight| flight.ticket == ticket);
        if ticket.id < self.first_valid_ticket {
            return Settled::Stale;
        }
        let live = flight.is_some();
        let forced = flight.is_some_and(|flight| flight.forced);
        match outcome {
            Outcome::Failed(failure) if live => self.fail(now, failure),
            Outcome::Failed(_) => Settled::Stale,
            Outcome::Token(arrival) => {
                let late = self.is_lost(ticket, now);
                // What a frozen process finds in its buffers may be as old as the request for it.
                let counted_from = if late { ticket.started } else { now };
                let (known, refused) = self.known(&arrival.token).unzip();
                let stated_ms = match (arrival.expires_in_ms, arrival.expires_on_ms) {
                    (Some(expires_in), _) => expires_in,
                    (None, Some(expires_on)) => expires_on.saturating_sub(counted_from.wall_ms),
                    (None, None) => arrival.points.map_or(0, |points| now.ms_until(points.expires)),
                };
                let points = known.or(arrival.points).unwrap_or_else(|| {
                    let jitter = self.jitter();
                    Points::new(counted_from, stated_ms, arrival.refresh_in_ms, &self.settings.rules, jitter)
                });
                let token = arrival.token;
                if !points.is_dead(now) {
                    let refused = refused.unwrap_or(false);
                    if self.offer(now, Held { token: token.clone(), points, refused }, forced) {
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
                    self.fail(now, Failure { error, kind: FailureKind::Ordinary })
                } else {
                    Settled::Stale
                }
            }
        }
    }

    /// The place where the fetch of `ticket` ran is gone (its loop closed, its worker ended, it panicked). The next
    /// asker starts a new one.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.flight.take_if(|flight| flight.ticket == ticket);
    }

    /// A server refused a login; `is_refused` recognises the token it was tried with. Removes nothing: starts, or
    /// joins, one refresh for which only this caller waits. What that brings replaces the refused token even if it
    /// ends earlier, and the refused one does not come back while that is good.
    pub fn invalidate(&mut self, now: Now, is_refused: impl FnOnce(&T) -> bool) -> Invalidation {
        self.notice_end(now);
        let rules = &self.settings.rules;
        let Some(held) = &mut self.current else { return Invalidation::Ignored };
        let lifetime = held.points.lifetime_ms;
        if !is_refused(&held.token) || now.ms_since(held.points.arrived) <= rules.invalidate_age_ms.min(lifetime / 10) {
            return Invalidation::Ignored;
        }
        held.refused = true;
        if let Some(ticket) = self.live_ticket(now) {
            if let Some(flight) = self.flight.as_mut().filter(|flight| !flight.forced) {
                flight.forced = true;
                self.last_forced = Some(now);
            }
            return Invalidation::Wait(ticket);
        }
        let gap_ms = rules.invalidate_gap_ms.min(lifetime / 4);
        if self.last_forced.is_some_and(|last| now.ms_since(last) < gap_ms) || self.running_backoff(now).is_some() {
            return Invalidation::Ignored;
        }
        self.last_forced = Some(now);
        Invalidation::Fetch(self.start(now, true))
    }

    /// When a timer asks although nobody does, for [`Mode::Ahead`]: at the refresh point or the end of the token, but
    /// not before the back-off is over or the fetch in flight counts as lost. `None` until somebody has asked. Once it
    /// is reached by either clock, an `ask` starts a fetch, unless something happened in between.
    pub fn next_wakeup(&self) -> Option<Now> {
        let lost = self.flight.as_ref().map(|flight| {
            let bound_ms = self.settings.fetch_bound_ms.saturating_add(1);
            flight.ticket.started.plus_ms(bound_ms)
        });
        let retry = self.backoff.as_ref().map(|backoff| backoff.until);
        let due = match &self.current {
            None => retry,
            Some(_) if self.ended && retry.is_some() => retry,
            Some(Held { points, .. }) => {
                let refresh = retry.map_or(points.refresh, |retry| latest(points.refresh, retry));
                Some(earliest(refresh, points.dead))
            }
        };
        match (due, lost) {
            (Some(due), Some(lost)) => Some(latest(due, lost)),
            (due, lost) => due.or(lost),
        }
    }

    /// The current token, dead or not, for the snapshot of the lock-free path.
    pub fn current(&self) -> Option<(&T, &Points)> {
        self.current.as_ref().map(|held| (&held.token, &held.points))
    }

    /// A token to use if no better one can be had in time. Where there is one, a fetch need not retry by itself.
    pub fn fallback(&self, now: Now) -> Option<&T> {
        self.current.as_ref().filter(|held| !held.points.is_dead(now)).map(|held| &held.token)
    }

    /// Takes a token copied from another cell (across event loops or a fork), with the points it had there. False if
    /// it is dead or not newer than the current one.
    pub fn adopt(&mut self, now: Now, token: T, points: Points) -> bool {
        self.notice_end(now);
        let (points, refused) = self.known(&token).unwrap_or((points, false));
        !points.is_dead(now) && self.offer(now, Held { token, points, refused }, false)
    }

    /// Starts over, because tokens would now be somebody else's (the CLI's profile changed). What tickets issued
    /// until now still bring is not taken.
    pub fn forget(&mut self) {
        *self = Self {
            next_ticket: self.next_ticket,
            first_valid_ticket: self.next_ticket,
            ..Self::new(self.settings.clone(), self.dice.next())
        };
    }

    /// Lets go of what remembered errors hold beside their words: the last one at once, the back-off's when that is over.
    pub fn let_go(&mut self, now: Now, words: impl FnOnce(E) -> E) {
        self.last_error = self.last_error.take().map(words);
        if let Some(over) = self.backoff.as_mut().filter(|backoff| now.reached(backoff.until)) {
            over.error = None;
        }
    }

    /// What the cell knows of itself.
    pub fn stats(&self, now: Now) -> CellStats<'_, E> {
        let until = |point: fn(&Points) -> Now| self.current.as_ref().map(|held| now.ms_until(point(&held.points)));
        CellStats {
            consecutive_failures: self.failures,
            last_error: self.last_error.as_ref(),
            last_success_ms: self.last_success_ms,
            expires_in_ms: until(|points| points.expires),
            refresh_due_in_ms: until(|points| points.refresh),
            next_try_in_ms: self.running_backoff(now).map(|backoff| now.ms_until(backoff.until)),
            in_flight: self.live_ticket(now).is_some(),
        }
    }

    /// Passing the end of the token starts the back-off over: what was bearable beside a good token is not without.
    fn notice_end(&mut self, now: Now) {
        let ended = self.current.as_ref().is_some_and(|held| held.points.is_dead(now));
        if ended && !self.ended {
            self.backoff = None;
            self.backoff_step = 0;
        }
        self.ended = ended;
    }

    fn start(&mut self, now: Now, forced: bool) -> Ticket {
        let ticket = Ticket { id: self.next_ticket, started: now };
        self.next_ticket += 1;
        self.flight = Some(Flight { ticket, forced });
        ticket
    }

    fn live_ticket(&self, now: Now) -> Option<Ticket> {
        self.flight.as_ref().map(|flight| flight.ticket).filter(|&ticket| !self.is_lost(ticket, now))
    }

    fn is_lost(&self, ticket: Ticket, now: Now) -> bool {
        now.ms_since(ticket.started) > self.settings.fetch_bound_ms
    }

    fn running_backoff(&self, now: Now) -> Option<&Backoff<E>> {
        self.backoff.as_ref().filter(|backoff| !now.reached(backoff.until))
    }

    /// The points of these bytes if they came before: as the current token, or as one of the few before it, because
    /// replicas of a service (or caches in front of it) can hand out two tokens in turn. And whether a server refused them.
    fn known(&self, token: &T) -> Option<(Points, bool)> {
        self.current
            .iter()
            .chain(self.earlier.iter().flatten())
            .find(|held| held.token.same_bytes(token))
            .map(|held| (held.points, held.refused))
    }

    /// Makes a token that is not dead the current one if it is newer. One that comes because the current one was
    /// refused need only be another: lifetimes vary, and the refused one may well end later.
    fn offer(&mut self, now: Now, held: Held<T>, forced: bool) -> bool {
        let same = |other: &Held<T>| other.token.same_bytes(&held.token);
        if self.current.as_ref().is_some_and(same) {
            return false;
        }
        let better = self.current.as_ref().is_none_or(|current| {
            let is_newer = || held.points.ends_after(&current.points, now) || forced && held.points.is_fresh(now);
            current.points.is_dead(now) || !held.refused && is_newer()
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

    fn fail(&mut self, now: Now, Failure { error, kind }: Failure<E>) -> Settled<T, E> {
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

    /// Beside a token that is not dead, never for longer than half of what it has left.
    fn hold_back(&mut self, now: Now, delay_ms: i64, error: Option<E>) {
        let left = self.current.as_ref().filter(|held| !held.points.is_dead(now));
        let delay_ms = left.map_or(delay_ms, |held| delay_ms.min(now.ms_until(held.points.expires) / 2));
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

/// SplitMix64: small, seeded, and good enough to keep a fleet out of step.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not including, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
