//! Random schedules of asks, settles, dead tickets, clock jumps and freezes, against an oracle that knows the rules
//! but not the code: it keeps its own books of tokens, fetches and back-offs.

use std::collections::{HashMap, HashSet};

use pgentra::cell::{
    Answer, Arrival, CellSettings, Failure, FailureKind, Invalidation, Mode, Now, Outcome, Points, SameToken, Settled,
    Ticket, TimingRules, TokenCell,
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
    Ask(Mode),
    /// Any ticket that was ever issued, often the last one.
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

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![4 => Just(Mode::Background), 1 => Just(Mode::Lazy), 1 => Just(Mode::Ahead)]
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
    cell: TokenCell<Token, Error>,
    now: Now,
    steady: bool,
    lives: HashMap<Token, Life>,
    /// In the order in which they last arrived.
    arrived: Vec<Token>,
    tickets: Vec<(Ticket, Now, Fate)>,
    remembered: Option<Remembered>,
    step: usize,
    ended: bool,
    /// The last fetch that an invalidating caller waited for, and since when.
    forced: Option<(Ticket, Now)>,
    /// Tokens with which a login was refused.
    refused: HashSet<Token>,
    errors: Error,
}

impl World {
    fn new(seed: u64, steady: bool) -> Self {
        World {
            cell: TokenCell::new(CellSettings { fetch_bound_ms: BOUND_MS, ..CellSettings::default() }, seed),
            now: START,
            steady,
            lives: HashMap::new(),
            arrived: Vec::new(),
            tickets: Vec::new(),
            remembered: None,
            step: 0,
            ended: false,
            forced: None,
            refused: HashSet::new(),
            errors: 0,
        }
    }

    fn current(&self) -> Option<(Token, Life)> {
        self.cell.current().map(|(token, _)| (*token, self.lives[token]))
    }

    fn live(&self) -> Option<Ticket> {
        let (ticket, ..) = self
            .tickets
            .iter()
            .find(|(_, since, fate)| *fate == Fate::Live && self.now.ms_since(*since) <= BOUND_MS)?;
        Some(*ticket)
    }

    fn pick(&self, which: &Option<Index>) -> Option<usize> {
        match which {
            _ if self.tickets.is_empty() => None,
            None => Some(self.tickets.len() - 1),
            Some(index) => Some(index.index(self.tickets.len())),
        }
    }

    fn handed_out(&self, token: Token) {
        assert!(!self.lives[&token].is_dead(self.now), "{token:?} is handed out dead");
    }

    /// A ticket is issued only if none is live and no back-off is running.
    fn issued(&mut self, ticket: Ticket) {
        assert_eq!(self.live(), None, "two fetches in flight");
        if let Some(remembered) = self.remembered {
            assert!(!remembered.surely_running(self.now), "a fetch within {remembered:?}");
        }
        for (_, _, fate) in &mut self.tickets {
            if *fate == Fate::Live {
                *fate = Fate::Over;
            }
        }
        self.tickets.push((ticket, self.now, Fate::Live));
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
            Op::Ask(mode) => self.ask(*mode),
            Op::Settle(which, brings) => self.settle(which, brings),
            Op::Abandon(which) => {
                if let Some(index) = self.pick(which) {
                    self.cell.abandon(self.tickets[index].0);
                    if self.tickets[index].2 == Fate::Live {
                        self.tickets[index].2 = Fate::Over;
                    }
                }
            }
            Op::Invalidate { current } => self.invalidate(*current),
            Op::Adopt { age_ms, lifetime_ms } => {
                self.notice_end();
                let life = Life { from: self.now.plus_ms(-age_ms), lifetime_ms: *lifetime_ms.max(&0) };
                let token = self.new_token(life);
                let points = Points::new(life.from, *lifetime_ms, None, &TimingRules::default(), 0.5);
                if self.cell.adopt(self.now, token, points) {
                    self.handed_out(token);
                    self.taken();
                } else if life.is_dead(self.now) {
                    self.arrived.retain(|known| *known != token);
                }
            }
            Op::Forget => {
                self.cell.forget();
                self.taken();
                self.forced = None;
                for (_, _, fate) in &mut self.tickets {
                    *fate = Fate::Forgotten;
                }
                self.arrived.clear();
                assert!(self.cell.current().is_none() && self.cell.next_wakeup().is_none());
            }
        }
        if let Some(token) = self.cell.fallback(self.now) {
            self.handed_out(*token);
        }
        let stats = self.cell.stats(self.now);
        assert_eq!(stats.in_flight, self.live().is_some());
    }

    fn new_token(&mut self, life: Life) -> Token {
        let token = Token(self.lives.len() as u32);
        self.lives.insert(token, life);
        self.arrived.push(token);
        token
    }

    fn ask(&mut self, mode: Mode) {
        self.notice_end();
        let held = self.current();
        let stages = held.map_or((Stage::Dead, Stage::Dead), |(_, life)| life.stages(self.now));
        let can_be = |stage| stages.0 <= stage && stage <= stages.1;
        let current = held.map(|(token, _)| token);
        let live = self.live();
        let may_hold_back = self.remembered.is_some_and(|remembered| !remembered.surely_over(self.now));
        let wakeup = self.cell.next_wakeup();
        let answer = self.cell.ask(self.now, mode);
        match answer {
            Answer::Use(token) => {
                assert_eq!(Some(token), current);
                self.handed_out(token);
                assert!(
                    can_be(Stage::Fresh)
                        || can_be(Stage::Due) && (live.is_some() || may_hold_back)
                        || can_be(Stage::Margin) && live.is_none() && may_hold_back,
                    "nothing is done for a token in {stages:?}"
                );
            }
            Answer::UseAndRefresh(token, ticket) => {
                assert_eq!(Some(token), current);
                self.handed_out(token);
                assert!(can_be(Stage::Due) && mode != Mode::Lazy);
                self.issued(ticket);
            }
            Answer::Fetch(ticket) => {
                let lazily = mode == Mode::Lazy && can_be(Stage::Due);
                assert!(lazily || stages.0 >= Stage::Margin, "a caller waits though its token is {stages:?}");
                self.issued(ticket);
            }
            Answer::Wait(ticket) => {
                assert!(stages.0 >= Stage::Margin, "a caller waits though its token is {stages:?}");
                assert_eq!(Some(ticket), live);
            }
            Answer::Fail(error) => {
                assert_eq!(stages.0, Stage::Dead, "a caller fails though there is a token");
                assert!(may_hold_back && live.is_none());
                assert_eq!(self.remembered.and_then(|remembered| remembered.error), Some(error));
            }
        }
        let started = matches!(answer, Answer::UseAndRefresh(..) | Answer::Fetch(_));
        let awake = wakeup.is_some_and(|wakeup| self.now.reached(wakeup));
        // A clock that was set back can wake a timer for nothing, but not twice.
        let still_awake = self.cell.next_wakeup().is_some_and(|wakeup| self.now.reached(wakeup));
        assert!(!still_awake && (started || !awake || !self.steady), "woken for nothing: {answer:?}");
        if self.steady && held.is_some() {
            assert!(awake || !started, "a timer would have slept over this");
        }
    }

    fn settle(&mut self, which: &Option<Index>, brings: &Brings) {
        let Some(index) = self.pick(which) else { return };
        self.notice_end();
        let (ticket, since, ref fate) = self.tickets[index];
        let (live, forgotten) = (*fate == Fate::Live, *fate == Fate::Forgotten);
        let late = self.now.ms_since(since) > BOUND_MS;
        let from = if late { since } else { self.now };
        let before = self.current();
        let (token, arrival) = match brings {
            Brings::Error(kind) => {
                self.errors += 1;
                let error = self.errors;
                let settled = self.settle_cell(index, Outcome::Failed(Failure { error, kind: *kind }));
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
                    points: None,
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
                    points: None,
                };
                (token, arrival)
            }
        };
        let forced = live && self.forced.is_some_and(|(forced, _)| forced == ticket);
        let settled = self.settle_cell(index, Outcome::Token(arrival));
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

    fn settle_cell(&mut self, index: usize, outcome: Outcome<Token, Error>) -> Settled<Token, Error> {
        let (ticket, _, fate) = &mut self.tickets[index];
        let settled = self.cell.settle(*ticket, self.now, outcome, |_| ARRIVED_DEAD);
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
        match self.cell.invalidate(self.now, |_| the_current) {
            Invalidation::Ignored => {
                let gap_ms = held.map_or(0, |(_, life)| 30_000.min(life.lifetime_ms / 4));
                let just_forced = self.forced.is_some_and(|(_, last)| self.now.ms_since(last) < gap_ms);
                let may_hold_back = self.remembered.is_some_and(|remembered| !remembered.surely_over(self.now));
                assert!(!the_current || !old_enough || live.is_none() && (just_forced || may_hold_back));
            }
            Invalidation::Wait(ticket) => {
                assert!(the_current && old_enough);
                assert_eq!(Some(ticket), live);
                self.joined(ticket);
            }
            Invalidation::Fetch(ticket) => {
                assert!(the_current && old_enough);
                self.issued(ticket);
                self.joined(ticket);
            }
        }
        assert_eq!(self.current().map(|(token, _)| token), held.map(|(token, _)| token), "invalidate removes nothing");
    }

    fn joined(&mut self, ticket: Ticket) {
        if self.forced.is_none_or(|(forced, _)| forced != ticket) {
            self.forced = Some((ticket, self.now));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_keeps_the_rules(seed: u64, ops in vec(op(false), 1..120)) {
        let mut world = World::new(seed, false);
        for op in &ops {
            world.run(op);
        }
    }

    /// With clocks that agree, the current token is at all times the one that lasts longest of all that came.
    #[test]
    fn the_latest_expiry_is_kept(seed: u64, ops in vec(op(true), 1..120)) {
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
    fn an_outage_costs_a_fetch_every_five_seconds(
        seed: u64,
        lifetime_ms in 10_000..4_000_000_i64,
        gaps in vec(1..3_000_i64, 1..400),
    ) {
        let mut world = World::new(seed, true);
        world.run(&Op::Ask(Mode::Background));
        world.run(&Op::Settle(None, Brings::New { lifetime_ms, by_expires_on: false, refresh_in_ms: None }));
        let mut fetches = 0;
        let from = world.now;
        for gap_ms in gaps {
            world.run(&Op::Pass(gap_ms));
            let before = world.tickets.len();
            world.run(&Op::Ask(Mode::Background));
            if world.tickets.len() > before {
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
    fn absurd_numbers_are_harmless(
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
        let mut cell = TokenCell::new(CellSettings { fetch_bound_ms: bound, ..CellSettings::default() }, seed);
        let mut now = START;
        let mut bytes = 0;
        let mut last = None;
        for ((wall_ms, mono_ms), (expires_on_ms, expires_in_ms, refresh_in_ms), ms, what, jump) in steps {
            if jump {
                now = Now { wall_ms, mono_ms };
            }
            let answer = match what {
                0..4 => cell.ask(now, [Mode::Background, Mode::Lazy, Mode::Ahead, Mode::Background][usize::from(what)]),
                4 => match cell.invalidate(now, |_| true) {
                    Invalidation::Fetch(ticket) => Answer::Fetch(ticket),
                    _ => continue,
                },
                _ => {
                    let Some(ticket) = last else { continue };
                    bytes += u32::from(what == 5);
                    let arrival = Arrival { token: Token(bytes), expires_on_ms, expires_in_ms, refresh_in_ms, points: None };
                    let failure = Failure { error: 0, kind: FailureKind::RetryAfter(ms) };
                    let outcome = if what == 7 { Outcome::Failed(failure) } else { Outcome::Token(arrival) };
                    match cell.settle(ticket, now, outcome, |_| 1) {
                        Settled::Token(token) | Settled::TokenTaken(token) => Answer::Use(token),
                        Settled::Failed(_) | Settled::Stale => continue,
                    }
                }
            };
            match answer {
                Answer::Use(token) | Answer::UseAndRefresh(token, _) => {
                    let alive = cell.current().is_some_and(|(held, points)| *held == token && !points.is_dead(now));
                    prop_assert!(alive, "{token:?} is handed out dead");
                }
                _ => {}
            }
            if let Answer::UseAndRefresh(_, ticket) | Answer::Fetch(ticket) = answer {
                last = Some(ticket);
            }
            let _ = (cell.next_wakeup(), cell.stats(now), cell.fallback(now));
        }
    }

    /// The points of any lifetime are in order, and the refresh point lies between two and four fifths.
    #[test]
    fn points_are_in_order(
        wall_ms: i64,
        mono_ms: i64,
        lifetime_ms in prop_oneof![any::<i64>(), 0..10_000_000_i64],
        refresh_in_ms: Option<i64>,
        jitter in -0.5..1.5_f64,
    ) {
        let arrived = Now { wall_ms, mono_ms };
        let points = Points::new(arrived, lifetime_ms, refresh_in_ms, &TimingRules::default(), jitter);
        let on = |clock: fn(Now) -> i64| {
            let points = [points.arrived, points.refresh, points.good_until, points.dead, points.expires].map(clock);
            points.is_sorted()
        };
        prop_assert!(on(|now| now.wall_ms) && on(|now| now.mono_ms), "{points:?}");
        if wall_ms.checked_add(points.lifetime_ms).is_some() {
            let refresh = i128::from(points.refresh.wall_ms) - i128::from(wall_ms);
            let lifetime = i128::from(points.lifetime_ms);
            prop_assert!(refresh * 5 >= lifetime * 2 - 5 && refresh * 5 <= lifetime * 4, "{points:?}");
        }
    }
}
