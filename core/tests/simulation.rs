//! A month of one process's callers, and a morning of ten thousand processes, in virtual time.
//!
//! Deterministic: one seed a scenario, an event queue, no clock. Prints its figures (`--nocapture`).

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use pgentra::testing::refresh_state::{
    Arrival, Decision, FailureKind, FetchFailure, FetchId, FetchOutcome, Now, RefreshMode, RefreshSettings,
    RefreshState, SameToken, Settled,
};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const BOUND: i64 = 30 * SECOND;
/// How long a caller waits at most.
const PATIENCE: i64 = 30 * SECOND;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.fraction() * (to - from) as f64) as i64
    }

    /// The time to the next of events that come at random, `mean` apart.
    fn gap(&mut self, mean: i64) -> i64 {
        (-(1.0 - self.fraction()).ln() * mean as f64) as i64 + 1
    }

    fn chance(&mut self, of: f64) -> bool {
        self.fraction() < of
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token(u32);

impl SameToken for Token {
    fn same_bytes(&self, other: &Self) -> bool {
        self == other
    }
}

type Cell = RefreshState<Token, &'static str>;

// ---------------------------------------------------------------------------------------------- services

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Hour-long tokens in a fraction of a second.
    Healthy,
    /// Down for minutes up to an hour and a half, several times a day, sometimes with definite refusals.
    Failing,
    /// Answers after anything from 0.1 s to 100 s.
    Slow,
    /// Every other request is told to come back later, in seconds or in ten minutes.
    Throttling,
    /// Hands out one token until just before its end, like a cache in front of the service.
    SameToken,
    /// Three replicas, each with a token of its own.
    Rotating,
    /// Tokens of 20 s.
    Short,
    /// Everything above in turn, dead tokens and lifetimes from a second to two hours among it.
    Wild,
}

/// What the service knows of a token that it issued.
#[derive(Clone, Copy)]
struct Issued {
    token: Token,
    at: i64,
    lifetime: i64,
}

struct Reply {
    after: i64,
    brings: Result<(Token, i64), FailureKind>,
}

struct Service {
    kind: Kind,
    dice: Dice,
    issued: Vec<Issued>,
    cached: [Option<Issued>; 3],
    down: Option<(i64, i64)>,
    next_down: i64,
}

impl Service {
    fn new(kind: Kind, seed: u64) -> Self {
        Service { kind, dice: Dice(seed), issued: Vec::new(), cached: [None; 3], down: None, next_down: 2 * HOUR }
    }

    fn issue(&mut self, at: i64, lifetime: i64) -> Issued {
        let issued = Issued { token: Token(self.issued.len() as u32), at, lifetime };
        self.issued.push(issued);
        issued
    }

    /// Whether the service is down at `time`.
    fn is_down(&mut self, time: i64) -> bool {
        while time >= self.next_down {
            let length =
                if self.dice.chance(0.5) { self.dice.gap(2 * MINUTE) } else { self.dice.between(0, 90 * MINUTE) };
            self.down = Some((self.next_down, self.next_down + length));
            self.next_down += length + self.dice.gap(4 * HOUR);
        }
        self.down.is_some_and(|(from, to)| from <= time && time < to)
    }

    fn request(&mut self, time: i64) -> Reply {
        let kind = match self.kind {
            Kind::Wild => {
                let kinds = [
                    Kind::Healthy,
                    Kind::Failing,
                    Kind::Slow,
                    Kind::Throttling,
                    Kind::SameToken,
                    Kind::Rotating,
                    Kind::Short,
                    Kind::Wild,
                ];
                // Another one every two hours.
                kinds[(time / (2 * HOUR)) as usize * 5 % kinds.len()]
            }
            kind => kind,
        };
        let after = match kind {
            Kind::Slow => (100.0 * 1000_f64.powf(self.dice.fraction())) as i64,
            _ => self.dice.between(50, 300),
        };
        let at = time + after - 10;
        let brings = match kind {
            Kind::Failing if self.is_down(time) => {
                let definite = self.dice.chance(0.01);
                Err(if definite { FailureKind::DefiniteRefusal } else { FailureKind::Ordinary })
            }
            Kind::Throttling if self.dice.chance(0.5) => {
                let seconds = if self.dice.chance(0.3) { 600 } else { self.dice.between(0, 60) };
                Err(FailureKind::RetryAfter(seconds * SECOND))
            }
            Kind::SameToken | Kind::Rotating => {
                let replica = if kind == Kind::Rotating { self.dice.between(0, 3) as usize } else { 0 };
                let renew_before = if kind == Kind::Rotating { 30 * MINUTE } else { 3 * SECOND };
                let kept = self.cached[replica].filter(|kept| at < kept.at + kept.lifetime - renew_before);
                let kept = kept.unwrap_or_else(|| {
                    let lifetime = self.dice.between(60 * MINUTE, 90 * MINUTE);
                    self.issue(at, lifetime)
                });
                self.cached[replica] = Some(kept);
                Ok((kept.token, kept.at + kept.lifetime - at))
            }
            Kind::Wild => match self.dice.between(0, 4) {
                0 => Err(FailureKind::Ordinary),
                1 => Ok((self.issue(at, 0).token, 0)),
                2 => {
                    let lifetime = (SECOND as f64 * 7_200_f64.powf(self.dice.fraction())) as i64;
                    Ok((self.issue(at, lifetime).token, lifetime))
                }
                _ => Ok((self.issue(at, HOUR).token, HOUR)),
            },
            Kind::Short => Ok((self.issue(at, 20 * SECOND).token, 20 * SECOND)),
            _ => Ok((self.issue(at, HOUR).token, HOUR)),
        };
        Reply { after, brings }
    }
}

// ---------------------------------------------------------------------------------------------- a month of callers

#[derive(Clone, Copy, PartialEq)]
enum Clocks {
    Right,
    /// The wall clock is set by up to two hours either way, every few hours.
    WallSet,
    /// The machine is suspended, from a minute to half a day: its monotonic clock stands still.
    Suspended,
}

#[derive(Clone, Copy)]
struct Scenario {
    service: Kind,
    callers: usize,
    mode: RefreshMode,
    clocks: Clocks,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask(usize),
    GiveUp {
        caller: usize,
        wait: u32,
    },
    /// The fetch reaches its own time limit.
    TimeUp(usize),
    FetchEnds(usize),
    ClockTrouble,
    Timer,
}

struct Fetch {
    fetch_id: FetchId,
    started: Now,
    reply: Reply,
    settled: bool,
}

#[derive(Default)]
struct Tally {
    asks: u64,
    fetches: u64,
    failed: u64,
    /// Late successes that were taken.
    late: u64,
    errors: u64,
    patience_ended: u64,
    waits: u64,
    longest_wait: i64,
}

struct Month {
    scenario: Scenario,
    time: i64,
    wall_off: i64,
    frozen: i64,
    state: Cell,
    service: Service,
    dice: Dice,
    queue: BinaryHeap<Reverse<(i64, u64, Event)>>,
    sequence: u64,
    fetches: Vec<Fetch>,
    /// Waiting callers with the number of their wait.
    waiting: HashMap<usize, (u32, i64)>,
    waits: u32,
    /// The tokens that the state was given.
    arrived: HashSet<u32>,
    last_failure: Option<(Now, i64)>,
    tally: Tally,
}

impl Month {
    const LENGTH: i64 = 30 * DAY;

    fn run(scenario: Scenario) -> Tally {
        let seed = scenario.callers as u64 * 1000 + scenario.service as u64 * 10 + scenario.clocks as u64;
        let mut month = Month {
            scenario,
            time: 0,
            wall_off: 0,
            frozen: 0,
            state: Cell::new(RefreshSettings { fetch_bound_ms: BOUND, ..RefreshSettings::default() }, seed),
            service: Service::new(scenario.service, seed + 1),
            dice: Dice(seed + 2),
            queue: BinaryHeap::new(),
            sequence: 0,
            fetches: Vec::new(),
            waiting: HashMap::new(),
            waits: 0,
            arrived: HashSet::new(),
            last_failure: None,
            tally: Tally::default(),
        };
        for caller in 0..scenario.callers {
            month.at(0, Event::Ask(caller));
        }
        if scenario.clocks != Clocks::Right {
            month.at(HOUR, Event::ClockTrouble);
        }
        if scenario.mode == RefreshMode::Ahead {
            month.at(SECOND, Event::Timer);
        }
        while let Some(Reverse((time, _, event))) = month.queue.pop() {
            // After a suspension all that was due in it happens at once.
            month.time = month.time.max(time);
            if month.time >= Self::LENGTH {
                break;
            }
            month.happens(event);
        }
        month.tally
    }

    fn at(&mut self, time: i64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((time, self.sequence, event)));
    }

    fn now(&self) -> Now {
        Now { wall_ms: 1_900_000_000_000 + self.time + self.wall_off, mono_ms: 77_777_000 + self.time - self.frozen }
    }

    /// The next time a caller needs a connection: after a while, a long one if there are many callers, and on the
    /// stroke of each sixth hour all of them.
    fn ask_again(&mut self, caller: usize) {
        let mean = if self.scenario.callers == 1 { MINUTE } else { self.scenario.callers as i64 * 3 * SECOND };
        let stroke = (self.time / (6 * HOUR) + 1) * 6 * HOUR;
        let next = (self.time + self.dice.gap(mean)).min(stroke);
        self.at(next, Event::Ask(caller));
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Ask(caller) => self.decide(caller),
            Event::GiveUp { caller, wait } => {
                if self.waiting.get(&caller).is_some_and(|(waits, _)| *waits == wait) {
                    self.waiting.remove(&caller);
                    self.tally.patience_ended += 1;
                    let fallback = self.state.fallback(self.now()).copied();
                    match fallback {
                        Some(token) => self.handed(token),
                        None => self.tally.errors += 1,
                    }
                    self.ask_again(caller);
                }
            }
            Event::TimeUp(fetch) => self.settle(fetch, Err(FailureKind::Ordinary)),
            Event::FetchEnds(fetch) => self.settle(fetch, self.fetches[fetch].reply.brings),
            Event::ClockTrouble => {
                match self.scenario.clocks {
                    Clocks::Right => {}
                    Clocks::WallSet => self.wall_off = self.dice.between(-HOUR, HOUR),
                    Clocks::Suspended => {
                        let length = (MINUTE as f64 * 720_f64.powf(self.dice.fraction())) as i64;
                        self.time += length;
                        self.frozen += length;
                    }
                }
                let next = self.time + self.dice.gap(3 * HOUR);
                self.at(next, Event::ClockTrouble);
            }
            Event::Timer => {
                if self.state.next_wakeup().is_some_and(|wakeup| self.now().reached(wakeup)) {
                    match self.state.decide(self.now(), RefreshMode::Ahead) {
                        Decision::UseAndRefresh(_, fetch_id) | Decision::Fetch(fetch_id) => self.start(fetch_id),
                        answer => panic!("woken for nothing: {answer:?}"),
                    }
                }
                let nap = self.state.next_wakeup().map_or(SECOND, |wakeup| self.now().ms_until(wakeup));
                self.at(self.time + nap.clamp(10, MINUTE), Event::Timer);
            }
        }
    }

    fn decide(&mut self, caller: usize) {
        self.tally.asks += 1;
        match self.state.decide(self.now(), self.scenario.mode) {
            Decision::Use(token) => {
                self.handed(token);
                self.ask_again(caller);
            }
            Decision::UseAndRefresh(token, fetch_id) => {
                self.handed(token);
                self.start(fetch_id);
                self.ask_again(caller);
            }
            Decision::Fetch(fetch_id) => {
                self.start(fetch_id);
                self.wait(caller, self.scenario.mode == RefreshMode::Lazy);
            }
            Decision::Wait(_) => self.wait(caller, false),
            Decision::Fail(_) => {
                self.tally.errors += 1;
                self.assert_no_token(0, "a caller fails");
                // After the service is back, no caller fails for longer than the longest step.
                if self.scenario.service == Kind::Failing && self.last_failure.is_some_and(|(_, delay)| delay < 10_000)
                {
                    let back = self.service.down.map_or(0, |(_, to)| to);
                    assert!(self.time < back + 6 * SECOND + 300, "still failing {} ms later", self.time - back);
                }
                self.ask_again(caller);
            }
        }
    }

    fn wait(&mut self, caller: usize, lazily: bool) {
        if !lazily {
            self.assert_no_token(MINUTE, "a caller waits");
        }
        self.tally.waits += 1;
        self.waits += 1;
        self.waiting.insert(caller, (self.waits, self.time));
        self.at(self.time + PATIENCE, Event::GiveUp { caller, wait: self.waits });
    }

    /// By true time no token that ever arrived lasts for longer than `margin` (or a tenth of its life).
    fn assert_no_token(&self, margin: i64, what: &str) {
        if self.scenario.clocks != Clocks::Right {
            return;
        }
        let current = self.state.current().map(|(token, _)| *token);
        let alive = self.service.issued.iter().rev().take(8).find(|issued| {
            // Of tokens of very different lifetimes the one that ends later can be in its margin before the other.
            if self.scenario.service == Kind::Wild && current != Some(issued.token) {
                return false;
            }
            let margin = margin.min(issued.lifetime / 10).max((5 * SECOND).min(issued.lifetime / 20));
            self.arrived.contains(&issued.token.0) && self.time < issued.at + issued.lifetime - margin
        });
        assert!(alive.is_none(), "{what} at {} though there is {:?}", self.time, alive.map(|issued| issued.token));
    }

    /// Every token that leaves the state passes here.
    fn handed(&self, token: Token) {
        let issued = self.service.issued[token.0 as usize];
        let left = issued.at + issued.lifetime - self.time;
        assert!(left > 0, "{token:?} is handed out {} ms after its end", -left);
    }

    fn start(&mut self, fetch_id: FetchId) {
        let now = self.now();
        let in_flight = self.fetches.iter().rev().take(8).filter(|fetch| !fetch.settled);
        let in_flight = in_flight.filter(|fetch| now.ms_since(fetch.started) <= BOUND).count();
        assert_eq!(in_flight, 0, "two fetches in flight");
        if let Some((since, delay)) = self.last_failure.take() {
            assert!(now.ms_since(since) >= delay, "{} ms after a failure that counts for {delay}", now.ms_since(since));
        }
        self.tally.fetches += 1;
        let reply = self.service.request(self.time);
        let fetch = self.fetches.len();
        if reply.after >= BOUND {
            self.at(self.time + BOUND, Event::TimeUp(fetch));
        }
        self.at(self.time + reply.after, Event::FetchEnds(fetch));
        self.fetches.push(Fetch { fetch_id, started: now, reply, settled: false });
    }

    fn settle(&mut self, fetch: usize, brings: Result<(Token, i64), FailureKind>) {
        let now = self.now();
        let Fetch { fetch_id, ref mut settled, .. } = self.fetches[fetch];
        *settled = true;
        let outcome = match brings {
            Ok((token, expires_in)) => FetchOutcome::Token(Arrival {
                token,
                expires_on_ms: None,
                expires_in_ms: Some(expires_in),
                refresh_in_ms: None,
                times: None,
            }),
            Err(kind) => FetchOutcome::Failed(FetchFailure { error: "the service", kind }),
        };
        let before = self.state.stats(now).consecutive_failures;
        let answer = self.state.settle(fetch_id, now, outcome, |_| "arrived dead");
        if let Ok((token, expires_in)) = brings
            && expires_in > 0
        {
            self.arrived.insert(token.0);
        }
        if self.state.stats(now).consecutive_failures > before {
            self.tally.failed += 1;
            self.note_failure(now, brings.err().unwrap_or(FailureKind::Ordinary));
        }
        self.tally.late += u64::from(matches!(answer, Settled::TokenTaken(_)));
        match answer {
            Settled::Token(token) | Settled::TokenTaken(token) => {
                for caller in self.answered() {
                    self.handed(token);
                    self.ask_again(caller);
                }
            }
            Settled::Failed(_) => {
                self.assert_no_token(0, "a fetch fails");
                for caller in self.answered() {
                    self.tally.errors += 1;
                    self.ask_again(caller);
                }
            }
            Settled::Stale => {
                for caller in self.answered() {
                    self.at(self.time, Event::Ask(caller));
                }
            }
        }
    }

    /// How long, at the least, no other fetch begins: the first step, or half of what a token has left. Passing the
    /// end of a token lifts it, so a failure within five minutes of one is not watched.
    fn note_failure(&mut self, now: Now, kind: FailureKind) {
        let stats = self.state.stats(now);
        let step = match kind {
            FailureKind::Ordinary => 800,
            FailureKind::DefiniteRefusal => 30 * SECOND,
            FailureKind::RetryAfter(ms) => ms.clamp(SECOND, 5 * MINUTE),
        };
        let alive = self.state.fallback(now).is_some();
        self.last_failure = match stats.expires_in_ms.filter(|_| alive) {
            Some(left) if left < 6 * MINUTE => None,
            Some(left) => Some((now, step.min(left / 2))),
            None => Some((now, step)),
        };
    }

    fn answered(&mut self) -> Vec<usize> {
        let mut callers: Vec<usize> = Vec::with_capacity(self.waiting.len());
        for (caller, (_, since)) in self.waiting.drain() {
            self.tally.longest_wait = self.tally.longest_wait.max(self.time - since);
            callers.push(caller);
        }
        callers.sort_unstable();
        callers
    }
}

fn months(service: Kind, scenarios: &[(usize, RefreshMode, Clocks)]) -> Vec<Tally> {
    scenarios
        .iter()
        .map(|&(callers, mode, clocks)| {
            let tally = Month::run(Scenario { service, callers, mode, clocks });
            let trouble = match clocks {
                Clocks::Right => "",
                Clocks::WallSet => ", wall clock set",
                Clocks::Suspended => ", suspended",
            };
            println!(
                "month: {service:?}, {callers} callers, {mode:?}{trouble}: {} asks, {} fetches ({} failed), {} late, {} waits (longest {:.1} s), {} errors, {} times out of patience",
                tally.asks,
                tally.fetches,
                tally.failed,
                tally.late,
                tally.waits,
                tally.longest_wait as f64 / 1000.0,
                tally.errors,
                tally.patience_ended,
            );
            assert!(tally.asks > 20_000);
            assert!(clocks == Clocks::Suspended || tally.longest_wait <= PATIENCE);
            tally
        })
        .collect()
}

use Clocks::{Right, Suspended, WallSet};
use RefreshMode::{Ahead, Background, Lazy};

const ALL: &[(usize, RefreshMode, Clocks)] = &[
    (1, Background, Right),
    (30, Background, Right),
    (500, Background, Right),
    (30, Lazy, Right),
    (30, Ahead, Right),
    (30, Background, WallSet),
    (30, Background, Suspended),
];

#[test]
fn simulated_month_with_a_healthy_service() {
    for tally in months(Kind::Healthy, ALL) {
        assert_eq!((tally.failed, tally.errors), (0, 0));
    }
    for tally in months(Kind::Healthy, &[(500, Background, Right), (500, Ahead, Right)]) {
        // A token of an hour is refreshed after 42 to 48 minutes; only the first is waited for.
        assert!((900..=1030).contains(&tally.fetches), "{}", tally.fetches);
        assert_eq!(tally.waits, 500);
    }
}

#[test]
fn simulated_month_with_a_failing_service() {
    for tally in months(Kind::Failing, ALL) {
        // A third of the time down at the most, a fetch every four seconds at the most.
        assert!(tally.failed < (Month::LENGTH / 3 / (4 * SECOND)) as u64);
    }
}

#[test]
fn simulated_month_with_a_slow_service() {
    for tally in months(Kind::Slow, ALL) {
        assert!(tally.late > 0, "no late success was taken");
    }
}

#[test]
fn simulated_month_with_a_throttling_service() {
    for tally in months(Kind::Throttling, ALL) {
        assert!(tally.fetches < 8_000, "{}", tally.fetches);
    }
}

#[test]
fn simulated_month_with_a_service_that_returns_the_same_token() {
    for tally in months(Kind::SameToken, ALL) {
        // From the refresh point to the token's end, a fetch every four seconds at the most.
        assert!(tally.fetches < 110_000, "{}", tally.fetches);
    }
}

#[test]
fn simulated_month_with_a_rotating_service() {
    for tally in months(Kind::Rotating, &ALL[..5]) {
        assert_eq!(tally.errors, 0);
    }
    months(Kind::Rotating, &ALL[5..]);
}

#[test]
fn simulated_month_of_short_tokens() {
    months(Kind::Short, ALL);
}

#[test]
fn simulated_month_of_everything() {
    months(Kind::Wild, ALL);
}

// ---------------------------------------------------------------------------------------------- a fleet

/// Processes that start within one second, each with a state of its own, all asking one service for hour-long tokens.
struct Fleet {
    /// Between two asks of one process.
    ask_every: i64,
    down: std::ops::Range<i64>,
    hours: i64,
}

struct Process {
    state: Cell,
    flight: Option<FetchId>,
    /// It has asked since its last token was over and was told no.
    failing: bool,
}

impl Fleet {
    const PROCESSES: usize = 10_000;

    /// Requests in each second; asserts that every process recovers within 6 s of the service's return.
    fn run(&self) -> Vec<u32> {
        let mut dice = Dice(42);
        let mut requests = vec![0_u32; (self.hours * HOUR / SECOND) as usize];
        let mut tokens = 0;
        let mut queue: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
        let mut processes: Vec<Process> = (0..Self::PROCESSES)
            .map(|index| {
                queue.push(Reverse((dice.between(0, SECOND), index)));
                let state = Cell::new(RefreshSettings::default(), dice.next());
                Process { state, flight: None, failing: false }
            })
            .collect();
        while let Some(Reverse((time, index))) = queue.pop() {
            if time >= self.hours * HOUR {
                break;
            }
            let process = &mut processes[index];
            let now = Now { wall_ms: 1_900_000_000_000 + time, mono_ms: time };
            if let Some(fetch_id) = process.flight.take() {
                let outcome = if self.down.contains(&time) {
                    FetchOutcome::Failed(FetchFailure { error: "down", kind: FailureKind::Ordinary })
                } else {
                    tokens += 1;
                    process.failing = false;
                    FetchOutcome::Token(Arrival {
                        token: Token(tokens),
                        expires_on_ms: None,
                        expires_in_ms: Some(HOUR),
                        refresh_in_ms: None,
                        times: None,
                    })
                };
                process.state.settle(fetch_id, now, outcome, |_| "arrived dead");
            } else {
                match process.state.decide(now, RefreshMode::Background) {
                    Decision::UseAndRefresh(_, fetch_id) | Decision::Fetch(fetch_id) => {
                        requests[(time / SECOND) as usize] += 1;
                        process.flight = Some(fetch_id);
                        queue.push(Reverse((time + dice.between(20, 200), index)));
                        continue;
                    }
                    Decision::Fail(_) => {
                        process.failing = true;
                        assert!(time < self.down.end + 6 * SECOND + 200, "process {index} still fails at {time}");
                    }
                    Decision::Use(_) => {}
                    Decision::Wait(_) => unreachable!("a process asks once at a time"),
                }
            }
            // Asks come at random, so the first after the next one that matters is as far from it as from any other
            // moment: those in between need not be played.
            let matters = process.state.next_wakeup().map_or(time, |wakeup| time + now.ms_until(wakeup).max(0));
            queue.push(Reverse((matters + dice.gap(self.ask_every), index)));
        }
        requests
    }
}

/// Peak and mean per second.
fn load(requests: &[u32]) -> (u32, f64) {
    let peak = requests.iter().copied().max().unwrap_or(0);
    (peak, f64::from(requests.iter().sum::<u32>()) / requests.len() as f64)
}

fn hour(requests: &[u32], number: usize) -> &[u32] {
    &requests[(number - 1) * 3600..number * 3600]
}

#[test]
fn simulated_fleet_spreads_its_refreshes() {
    for ask_every in [SECOND, MINUTE] {
        let requests = Fleet { ask_every, down: 0..0, hours: 6 }.run();
        assert_eq!(requests[..2].iter().sum::<u32>(), Fleet::PROCESSES as u32, "each fetches as it starts");
        for number in 2..=6 {
            let (peak, mean) = load(hour(&requests, number));
            let asking = ask_every / SECOND;
            println!("fleet, asking every {asking} s: hour {number} peak {peak}/s mean {mean:.1}/s");
            // All at once would be 10,000 in one second; on average each process asks 1.33 times an hour.
            assert!(peak <= if number == 2 { 60 } else { 50 });
            assert!(mean <= 6.0);
        }
    }
}

#[test]
fn simulated_fleet_spares_a_service_that_is_down() {
    for (what, from, ask_every) in [
        ("out of step", 3 * HOUR, SECOND),
        ("out of step", 3 * HOUR, MINUTE),
        ("all tokens ending together", 30 * MINUTE, SECOND),
        ("all tokens ending together", 30 * MINUTE, MINUTE),
    ] {
        let down = from..from + HOUR;
        let requests = Fleet { ask_every, down: down.clone(), hours: 6 }.run();
        let seconds =
            |range: std::ops::Range<i64>| &requests[(range.start / SECOND) as usize..(range.end / SECOND) as usize];
        let (peak, mean) = load(seconds(down.clone()));
        let (peak_back, _) = load(seconds(down.end..down.end + MINUTE));
        let (peak_after, mean_after) = load(seconds(down.end + MINUTE..6 * HOUR));
        let asking = ask_every / SECOND;
        println!(
            "fleet, asking every {asking} s, service down for an hour, {what}: peak {peak}/s mean {mean:.0}/s; as it returns peak {peak_back}/s; after that peak {peak_after}/s mean {mean_after:.1}/s"
        );
        // Each process at most every four seconds, and once more when its token ends.
        assert!(mean <= Fleet::PROCESSES as f64 / 4.0);
        for seconds in seconds(down).chunks(10) {
            assert!(seconds.iter().sum::<u32>() as usize <= Fleet::PROCESSES * 10 / 4 + Fleet::PROCESSES);
        }
        assert!(peak as usize <= Fleet::PROCESSES / 2);
        assert!(peak_back as usize <= Fleet::PROCESSES / 4 && peak_after <= 80);
    }
}
