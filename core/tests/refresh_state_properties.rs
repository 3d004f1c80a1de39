//! Random schedules of asks, settles, lost fetches, clock jumps and freezes, against an oracle that knows the rules
//! but not the code: it keeps its own books of tokens, fetches and back-offs.

use std::collections::{HashMap, HashSet};

use pgentra::testing::refresh_state::{
    Arrival, Decision, FailureKind, FetchFailure, FetchId, FetchOutcome, Invalidation, Now, RefreshMode,
    RefreshSettings, RefreshState, SameToken, Settled, TimingRules, TokenTimes,
};
use proptest::{collection::vec, prelude::*, sample::Index};

const BOUND_MS: i64 = 30_000;
const START: Now = Now { wall_ms: 1_900_000_000_000, mono_ms: 500_000 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Token(u32);

impl SameToken for Token {
    fn same_bytes(&self, other: &Self) -> bool {
        self == other
    }
}

/// Each failure has a number of its own, so that it shows which one is remembered.
type Error = u32;
const ARRIVED_DEAD: Error = u32::MAX;

#[derive(Clone, Debug)]
enum Op {
    Ask(RefreshMode),
    /// Any fetch_id that was ever issued, often the last one.
    Settle(Option<Index>, Brings),
    Abandon(Option<Index>),
    Invalidate {
        current: bool,
    },
    Adopt {
        age_ms: i64,
        lifetime_ms: i64,
    },
    Forget,
    Pass(i64),
    /// Time goes on for the wall clock alone.
    Freeze(i64),
    SetWall(i64),
    SetMono(i64),
}

#[derive(Clone, Debug)]
enum Brings {
    New { lifetime_ms: i64, by_expires_on: bool, refresh_in_ms: Option<i64> },
    Again { back: usize, lifetime_ms: i64 },
    Error(FailureKind),
}

fn mode() -> impl Strategy<Value = RefreshMode> {
    prop_oneof![4 => Just(RefreshMode::Background), 1 => Just(RefreshMode::Lazy), 1 => Just(RefreshMode::Ahead)]
}

fn lifetime() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => Just(3_600_000_i64),
        6 => 1_000..60_000_i64,
        3 => 60_000..100_000_000_i64,
        1 => -10_000..1_000_i64,
    ]
}

fn kind() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        4 => Just(FailureKind::Ordinary),
        1 => Just(FailureKind::DefiniteRefusal),
        2 => (-1_000..1_000_000_i64).prop_map(FailureKind::RetryAfter),
    ]
}

fn brings() -> impl Strategy<Value = Brings> {
    prop_oneof![
        4 => (lifetime(), any::<bool>(), proptest::option::weighted(0.2, -1_000..4_000_000_i64)).prop_map(
            |(lifetime_ms, by_expires_on, refresh_in_ms)| Brings::New { lifetime_ms, by_expires_on, refresh_in_ms }
        ),
        2 => (0..3_usize, lifetime()).prop_map(|(back, lifetime_ms)| Brings::Again { back, lifetime_ms }),
        4 => kind().prop_map(Brings::Error),
    ]
}

/// Waits of every size, from a moment to past the end of an hour's token.
fn pass() -> impl Strategy<Value = i64> {
    prop_oneof![Just(1), 1..1_000_i64, 1_000..10_000_i64, 10_000..100_000_i64, 100_000..4_000_000_i64]
}

fn which() -> impl Strategy<Value = Option<Index>> {
    proptest::option::weighted(0.25, any::<Index>())
}

/// `steady`: only time that passes equally for both clocks, and no token that is asked for because one was refused.
fn op(steady: bool) -> BoxedStrategy<Op> {
    let calm = prop_oneof![
        10 => mode().prop_map(Op::Ask),
        8 => (which(), brings()).prop_map(|(which, brings)| Op::Settle(which, brings)),
        1 => which().prop_map(Op::Abandon),
        1 => (0..4_000_000_i64, lifetime()).prop_map(|(age_ms, lifetime_ms)| Op::Adopt { age_ms, lifetime_ms }),
        8 => pass().prop_map(Op::Pass),
    ];
    if steady {
        return calm.boxed();
    }
    prop_oneof![
        28 => calm,
        2 => proptest::bool::weighted(0.8).prop_map(|current| Op::Invalidate { current }),
        1 => Just(Op::Forget),
        1 => pass().prop_map(Op::Freeze),
        1 => (-10_000_000..10_000_000_i64).prop_map(Op::SetWall),
        1 => (-100_000..100_000_i64).prop_map(Op::SetMono),
    ]
    .boxed()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Fresh,
    Due,
    Margin,
    Dead,
}

/// What the oracle knows of a token: when its time began and how long it is.
#[derive(Clone, Copy, Debug)]
struct Life {
    from: Now,
    lifetime_ms: i64,
}

impl Life {
    /// Milliseconds since it began, by the clock on which more time went by.
    fn age_ms(&self, now: Now) -> i64 {
        (now.wall_ms - self.from.wall_ms).max(now.mono_ms - self.from.mono_ms)
    }

    fn left_ms(&self, now: Now) -> i64 {
        self.lifetime_ms - self.age_ms(now)
    }

    fn is_dead(&self, now: Now) -> bool {
        self.left_ms(now) <= 5_000.min(self.lifetime_ms / 20)
    }

    fn is_good(&self, now: Now) -> bool {
        self.left_ms(now) > 60_000.min(self.lifetime_ms / 10)
    }

    /// Which stage it can be in: between two fifths and four fifths of the lifetime it can be fresh or due.
    fn stages(&self, now: Now) -> (Stage, Stage) {
        let age_ms = self.age_ms(now);
        match () {
            () if self.is_dead(now) => (Stage::Dead, Stage::Dead),
            () if !self.is_good(now) => (Stage::Margin, Stage::Margin),
            () if age_ms < self.lifetime_ms / 2 - self.lifetime_ms / 10 - 1 => (Stage::Fresh, Stage::Fresh),
            () if age_ms <= self.lifetime_ms * 4 / 5 => (Stage::Fresh, Stage::Due),
            () => (Stage::Due, Stage::Due),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    since: Now,
    least_ms: i64,
    most_ms: i64,
    error: Option<Error>,
}

impl Remembered {
    fn surely_over(&self, now: Now) -> bool {
        now.ms_since(self.since) > self.most_ms
    }

    fn surely_running(&self, now: Now) -> bool {
        now.ms_since(self.since) < self.least_ms
    }
}

#[derive(PartialEq)]
enum Fate {
    Live,
    /// Settled, abandoned or replaced.
    Over,
    Forgotten,
}

struct World {
    state: RefreshState<Token, Error>,
    now: Now,
    steady: bool,
    lives: HashMap<Token, Life>,
    /// In the order in which they last arrived.
    arrived: Vec<Token>,
    fetch_ids: Vec<(FetchId, Now, Fate)>,
    remembered: Option<Remembered>,
    step: usize,
    ended: bool,
    /// The last fetch that an invalidating caller waited for, and since when.
    forced: Option<(FetchId, Now)>,
    /// Tokens with which a login was refused.
    refused: HashSet<Token>,
    errors: Error,
}

impl World {
    fn new(seed: u64, steady: bool) -> Self {
        World {
            state: RefreshState::new(RefreshSettings { fetch_bound_ms: BOUND_MS, ..RefreshSettings::default() }, seed),
            now: START,
            steady,
            lives: HashMap::new(),
            arrived: Vec::new(),
            fetch_ids: Vec::new(),
            remembered: None,
            step: 0,
            ended: false,
            forced: None,
            refused: HashSet::new(),
            errors: 0,
        }
    }

    fn current(&self) -> Option<(Token, Life)> {
        self.state.current().map(|(token, _)| (*token, self.lives[token]))
    }

    fn live(&self) -> Option<FetchId> {
        let (fetch_id, ..) = self
            .fetch_ids
            .iter()
            .find(|(_, since, fate)| *fate == Fate::Live && self.now.ms_since(*since) <= BOUND_MS)?;
        Some(*fetch_id)
    }

    fn pick(&self, which: &Option<Index>) -> Option<usize> {
        match which {
            _ if self.fetch_ids.is_empty() => None,
            None => Some(self.fetch_ids.len() - 1),
            Some(index) => Some(index.index(self.fetch_ids.len())),
        }
    }

    fn handed_out(&self, token: Token) {
        assert!(!self.lives[&token].is_dead(self.now), "{token:?} is handed out dead");
    }

    /// A fetch_id is issued only if none is live and no back-off is running.
    fn issued(&mut self, fetch_id: FetchId) {
        assert_eq!(self.live(), None, "two fetches in flight");
        if let Some(remembered) = self.remembered {
            assert!(!remembered.surely_running(self.now), "a fetch within {remembered:?}");
        }
        for (_, _, fate) in &mut self.fetch_ids {
            if *fate == Fate::Live {
                *fate = Fate::Over;
            }
        }
        self.fetch_ids.push((fetch_id, self.now, Fate::Live));
    }

    fn notice_end(&mut self) {
        let ended = self.current().is_some_and(|(_, life)| life.is_dead(self.now));
        if ended && !self.ended {
            self.remembered = None;
            self.step = 0;
        }
        self.ended = ended;
    }

    fn remember(&mut self, kind: FailureKind, error: Option<Error>) {
        let (mut least_ms, mut most_ms) = match kind {
            FailureKind::Ordinary => {
                let step_ms = [1_000, 2_000, 4_000, 5_000][self.step.min(3)];
                self.step += 1;
                (step_ms * 8 / 10, step_ms * 12 / 10)
            }
            FailureKind::DefiniteRefusal => (30_000, 30_000),
            FailureKind::RetryAfter(ms) => (ms.clamp(1_000, 300_000), ms.clamp(1_000, 300_000)),
        };
        if let Some((_, life)) = self.current().filter(|(_, life)| !life.is_dead(self.now)) {
            let half_ms = life.left_ms(self.now) / 2;
            (least_ms, most_ms) = (least_ms.min(half_ms), most_ms.min(half_ms));
        }
        self.remembered = Some(Remembered { since: self.now, least_ms, most_ms, error });
    }

    fn taken(&mut self) {
        self.remembered = None;
        self.step = 0;
        self.ended = false;
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Pass(ms) => self.now = self.now.plus_ms(*ms),
            Op::Freeze(ms) | Op::SetWall(ms) => self.now.wall_ms += ms,
            Op::SetMono(ms) => self.now.mono_ms += ms,
            Op::Ask(mode) => self.decide(*mode),
            Op::Settle(which, brings) => self.settle(which, brings),
            Op::Abandon(which) => {
                if let Some(index) = self.pick(which) {
                    self.state.abandon(self.fetch_ids[index].0);
                    if self.fetch_ids[index].2 == Fate::Live {
                        self.fetch_ids[index].2 = Fate::Over;
                    }
                }
            }
            Op::Invalidate { current } => self.invalidate(*current),
            Op::Adopt { age_ms, lifetime_ms } => {
                self.notice_end();
                let life = Life { from: self.now.plus_ms(-age_ms), lifetime_ms: *lifetime_ms.max(&0) };
                let token = self.new_token(life);
                let times = TokenTimes::new(life.from, *lifetime_ms, None, &TimingRules::default(), 0.5);
                if self.state.adopt(self.now, token, times) {
                    self.handed_out(token);
                    self.taken();
                } else if life.is_dead(self.now) {
                    self.arrived.retain(|known| *known != token);
                }
            }
            Op::Forget => {
                self.state.forget();
                self.taken();
                self.forced = None;
                for (_, _, fate) in &mut self.fetch_ids {
                    *fate = Fate::Forgotten;
                }
                self.arrived.clear();
                assert!(self.state.current().is_none() && self.state.next_wakeup().is_none());
            }
        }
        if let Some(token) = self.state.fallback(self.now) {
            self.handed_out(*token);
        }
        let stats = self.state.stats(self.now);
        assert_eq!(stats.in_flight, self.live().is_some());
    }

    fn new_token(&mut self, life: Life) -> Token {
        let token = Token(self.lives.len() as u32);
        self.lives.insert(token, life);
        self.arrived.push(token);
        token
    }

    fn decide(&mut self, mode: RefreshMode) {
        self.notice_end();
        let held = self.current();
        let stages = held.map_or((Stage::Dead, Stage::Dead), |(_, life)| life.stages(self.now));
        let can_be = |stage| stages.0 <= stage && stage <= stages.1;
        let current = held.map(|(token, _)| token);
        let live = self.live();
        let may_hold_back = self.remembered.is_some_and(|remembered| !remembered.surely_over(self.now));
        let wakeup = self.state.next_wakeup();
        let answer = self.state.decide(self.now, mode);
        match answer {
            Decision::Use(token) => {
                assert_eq!(Some(token), current);
                self.handed_out(token);
                assert!(
                    can_be(Stage::Fresh)
                        || can_be(Stage::Due) && (live.is_some() || may_hold_back)
                        || can_be(Stage::Margin) && live.is_none() && may_hold_back,
                    "nothing is done for a token in {stages:?}"
                );
            }
            Decision::UseAndRefresh(token, fetch_id) => {
                assert_eq!(Some(token), current);
                self.handed_out(token);
                assert!(can_be(Stage::Due) && mode != RefreshMode::Lazy);
                self.issued(fetch_id);
            }
            Decision::Fetch(fetch_id) => {
                let lazily = mode == RefreshMode::Lazy && can_be(Stage::Due);
                assert!(lazily || stages.0 >= Stage::Margin, "a caller waits though its token is {stages:?}");
                self.issued(fetch_id);
            }
            Decision::Wait(fetch_id) => {
                assert!(stages.0 >= Stage::Margin, "a caller waits though its token is {stages:?}");
                assert_eq!(Some(fetch_id), live);
            }
            Decision::Fail(error) => {
                assert_eq!(stages.0, Stage::Dead, "a caller fails though there is a token");
                assert!(may_hold_back && live.is_none());
                assert_eq!(self.remembered.and_then(|remembered| remembered.error), Some(error));
            }
        }
        let started = matches!(answer, Decision::UseAndRefresh(..) | Decision::Fetch(_));
        let awake = wakeup.is_some_and(|wakeup| self.now.reached(wakeup));
        // A clock that was set back can wake a timer for nothing, but not twice.
        let still_awake = self.state.next_wakeup().is_some_and(|wakeup| self.now.reached(wakeup));
        assert!(!still_awake && (started || !awake || !self.steady), "woken for nothing: {answer:?}");
        if self.steady && held.is_some() {
            assert!(awake || !started, "a timer would have slept over this");
        }
    }

    fn settle(&mut self, which: &Option<Index>, brings: &Brings) {
        let Some(index) = self.pick(which) else { return };
        self.notice_end();
        let (fetch_id, since, ref fate) = self.fetch_ids[index];
        let (live, forgotten) = (*fate == Fate::Live, *fate == Fate::Forgotten);
        let late = self.now.ms_since(since) > BOUND_MS;
        let from = if late { since } else { self.now };
        let before = self.current();
        let (token, arrival) = match brings {
            Brings::Error(kind) => {
                self.errors += 1;
                let error = self.errors;
                let settled = self.settle_state(index, FetchOutcome::Failed(FetchFailure { error, kind: *kind }));
                if !live || forgotten {
                    assert_eq!(settled, Settled::Stale);
                    return;
                }
                self.remember(*kind, Some(error));
                return self.failed(settled, error);
            }
            Brings::New { lifetime_ms, by_expires_on, refresh_in_ms } => {
                let life = Life { from, lifetime_ms: *lifetime_ms.max(&0) };
                let token = if forgotten { Token(u32::MAX) } else { self.new_token(life) };
                let arrival = Arrival {
                    token,
                    expires_on_ms: by_expires_on.then_some(from.wall_ms + lifetime_ms),
                    expires_in_ms: (!by_expires_on).then_some(*lifetime_ms),
                    refresh_in_ms: *refresh_in_ms,
                    times: None,
                };
                (token, arrival)
            }
            Brings::Again { back, lifetime_ms } => {
                let Some(token) = self.arrived.iter().rev().nth(*back).copied() else { return };
                let arrival = Arrival {
                    token,
                    expires_on_ms: None,
                    expires_in_ms: Some(*lifetime_ms),
                    refresh_in_ms: None,
                    times: None,
                };
                (token, arrival)
            }
        };
        let forced = live && self.forced.is_some_and(|(forced, _)| forced == fetch_id);
        let settled = self.settle_state(index, FetchOutcome::Token(arrival));
        if forgotten {
            assert_eq!(settled, Settled::Stale);
            return;
        }
        let life = self.lives[&token];
        if life.is_dead(self.now) {
            if !matches!(brings, Brings::Again { .. }) {
                // What arrives dead is not kept, so it is not recognised either.
                self.arrived.retain(|known| *known != token);
            }
            if !live || late {
                assert_eq!(settled, Settled::Stale);
            } else {
                self.remember(FailureKind::Ordinary, Some(ARRIVED_DEAD));
                self.failed(settled, ARRIVED_DEAD);
            }
            return;
        }
        self.arrived.retain(|known| *known != token);
        self.arrived.push(token);
        let refused = self.refused.contains(&token);
        let newer = before.is_none_or(|(_, held)| {
            held.is_dead(self.now) || !refused && life.left_ms(self.now) > held.left_ms(self.now)
        });
        let after = self.current();
        let changed = after.map(|(token, _)| token) != before.map(|(token, _)| token);
        if changed {
            assert_eq!(after.map(|(token, _)| token), Some(token));
            assert!(newer || forced && !refused, "an older token replaced a newer one");
            self.taken();
            assert_eq!(settled, if live { Settled::Token(token) } else { Settled::TokenTaken(token) });
        } else {
            assert!(!newer || before.is_some_and(|(held, _)| held == token), "a newer token was not taken");
            if live {
                self.remember(FailureKind::Ordinary, None);
                let (held, _) = before.unwrap_or((token, life));
                assert_eq!(settled, Settled::Token(held));
            } else {
                assert_eq!(settled, Settled::Stale);
            }
        }
    }

    fn settle_state(&mut self, index: usize, outcome: FetchOutcome<Token, Error>) -> Settled<Token, Error> {
        let (fetch_id, _, fate) = &mut self.fetch_ids[index];
        let settled = self.state.settle(*fetch_id, self.now, outcome, |_| ARRIVED_DEAD);
        if *fate == Fate::Live {
            *fate = Fate::Over;
        }
        if let Settled::Token(token) | Settled::TokenTaken(token) = settled {
            self.handed_out(token);
        }
        settled
    }

    /// A failed fetch is an error only where there is no token.
    fn failed(&self, settled: Settled<Token, Error>, error: Error) {
        match self.current().filter(|(_, life)| !life.is_dead(self.now)) {
            Some((token, _)) => assert_eq!(settled, Settled::Token(token)),
            None => assert_eq!(settled, Settled::Failed(error)),
        }
    }

    fn invalidate(&mut self, the_current: bool) {
        self.notice_end();
        let held = self.current();
        let live = self.live();
        let old_enough = held.is_some_and(|(_, life)| life.age_ms(self.now) > 30_000.min(life.lifetime_ms / 10));
        if the_current && old_enough {
            self.refused.extend(held.map(|(token, _)| token));
        }
        match self.state.invalidate(self.now, |_| the_current) {
            Invalidation::Ignored => {
                let gap_ms = held.map_or(0, |(_, life)| 30_000.min(life.lifetime_ms / 4));
                let just_forced = self.forced.is_some_and(|(_, last)| self.now.ms_since(last) < gap_ms);
                let may_hold_back = self.remembered.is_some_and(|remembered| !remembered.surely_over(self.now));
                assert!(!the_current || !old_enough || live.is_none() && (just_forced || may_hold_back));
            }
            Invalidation::Wait(fetch_id) => {
                assert!(the_current && old_enough);
                assert_eq!(Some(fetch_id), live);
                self.joined(fetch_id);
            }
            Invalidation::Fetch(fetch_id) => {
                assert!(the_current && old_enough);
                self.issued(fetch_id);
                self.joined(fetch_id);
            }
        }
        assert_eq!(self.current().map(|(token, _)| token), held.map(|(token, _)| token), "invalidate removes nothing");
    }

    fn joined(&mut self, fetch_id: FetchId) {
        if self.forced.is_none_or(|(forced, _)| forced != fetch_id) {
            self.forced = Some((fetch_id, self.now));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn refresh_state_keeps_its_rules_in_any_schedule(seed: u64, ops in vec(op(false), 1..120)) {
        let mut world = World::new(seed, false);
        for op in &ops {
            world.run(op);
        }
    }

    /// With clocks that agree, the current token is at all times the one that lasts longest of all that came.
    #[test]
    fn refresh_state_keeps_the_latest_expiry(seed: u64, ops in vec(op(true), 1..120)) {
        let mut world = World::new(seed, true);
        for op in &ops {
            world.run(op);
            let latest = world.arrived.iter().map(|token| world.lives[token].left_ms(world.now)).max();
            if let (Some(latest), Some((_, held))) = (latest, world.current()) {
                let left = held.left_ms(world.now);
                // Tokens of different lifetimes die at different distances from their ends.
                prop_assert!(left >= latest || held.is_dead(world.now) || latest < 5_000, "{left} of {latest}");
            }
        }
    }

    /// Whatever fails from now on, callers are asked to fetch no more often than the back-off lets them.
    #[test]
    fn refresh_state_in_an_outage_fetches_every_five_seconds(
        seed: u64,
        lifetime_ms in 10_000..4_000_000_i64,
        gaps in vec(1..3_000_i64, 1..400),
    ) {
        let mut world = World::new(seed, true);
        world.run(&Op::Ask(RefreshMode::Background));
        world.run(&Op::Settle(None, Brings::New { lifetime_ms, by_expires_on: false, refresh_in_ms: None }));
        let mut fetches = 0;
        let from = world.now;
        for gap_ms in gaps {
            world.run(&Op::Pass(gap_ms));
            let before = world.fetch_ids.len();
            world.run(&Op::Ask(RefreshMode::Background));
            if world.fetch_ids.len() > before {
                fetches += 1;
                world.run(&Op::Settle(None, Brings::Error(FailureKind::Ordinary)));
            }
        }
        let outage_ms = world.now.ms_since(from);
        // One every 4 s at least, the first few of each series, and the halving steps before the token's end.
        prop_assert!(fetches <= outage_ms / 4_000 + 16, "{fetches} in {outage_ms} ms");
    }

    /// Any numbers at all: nothing panics, and nothing dead is handed out.
    #[test]
    fn refresh_state_accepts_absurd_numbers(
        seed: u64,
        steps in vec((
            any::<(i64, i64)>(),
            any::<(Option<i64>, Option<i64>, Option<i64>)>(),
            any::<i64>(),
            0..8_u8,
            proptest::bool::weighted(0.3),
        ), 1..40),
        bound: i64,
    ) {
        let mut state = RefreshState::new(RefreshSettings { fetch_bound_ms: bound, ..RefreshSettings::default() }, seed);
        let mut now = START;
        let mut bytes = 0;
        let mut last = None;
        for ((wall_ms, mono_ms), (expires_on_ms, expires_in_ms, refresh_in_ms), ms, what, jump) in steps {
            if jump {
                now = Now { wall_ms, mono_ms };
            }
            let answer = match what {
                0..4 => state.decide(now, [RefreshMode::Background, RefreshMode::Lazy, RefreshMode::Ahead, RefreshMode::Background][usize::from(what)]),
                4 => match state.invalidate(now, |_| true) {
                    Invalidation::Fetch(fetch_id) => Decision::Fetch(fetch_id),
                    _ => continue,
                },
                _ => {
                    let Some(fetch_id) = last else { continue };
                    bytes += u32::from(what == 5);
                    let arrival = Arrival { token: Token(bytes), expires_on_ms, expires_in_ms, refresh_in_ms, times: None };
                    let failure = FetchFailure { error: 0, kind: FailureKind::RetryAfter(ms) };
                    let outcome = if what == 7 { FetchOutcome::Failed(failure) } else { FetchOutcome::Token(arrival) };
                    match state.settle(fetch_id, now, outcome, |_| 1) {
                        Settled::Token(token) | Settled::TokenTaken(token) => Decision::Use(token),
                        Settled::Failed(_) | Settled::Stale => continue,
                    }
                }
            };
            match answer {
                Decision::Use(token) | Decision::UseAndRefresh(token, _) => {
                    let alive = state.current().is_some_and(|(held, times)| *held == token && !times.is_dead(now));
                    prop_assert!(alive, "{token:?} is handed out dead");
                }
                _ => {}
            }
            if let Decision::UseAndRefresh(_, fetch_id) | Decision::Fetch(fetch_id) = answer {
                last = Some(fetch_id);
            }
            let _ = (state.next_wakeup(), state.stats(now), state.fallback(now));
        }
    }

    /// The times of any lifetime are in order, and the refresh point lies between two and four fifths.
    #[test]
    fn token_times_are_in_order(
        wall_ms: i64,
        mono_ms: i64,
        lifetime_ms in prop_oneof![any::<i64>(), 0..10_000_000_i64],
        refresh_in_ms: Option<i64>,
        jitter in -0.5..1.5_f64,
    ) {
        let arrived = Now { wall_ms, mono_ms };
        let times = TokenTimes::new(arrived, lifetime_ms, refresh_in_ms, &TimingRules::default(), jitter);
        let on = |clock: fn(Now) -> i64| {
            let times = [times.arrived, times.refresh, times.good_until, times.dead, times.expires].map(clock);
            times.is_sorted()
        };
        prop_assert!(on(|now| now.wall_ms) && on(|now| now.mono_ms), "{times:?}");
        if wall_ms.checked_add(times.lifetime_ms).is_some() {
            let refresh = i128::from(times.refresh.wall_ms) - i128::from(wall_ms);
            let lifetime = i128::from(times.lifetime_ms);
            prop_assert!(refresh * 5 >= lifetime * 2 - 5 && refresh * 5 <= lifetime * 4, "{times:?}");
        }
    }
}
