//! Runs `tests/vectors/timing.json`: the timing rules as tables. The file says how it is read.

use std::{collections::HashMap, error::Error};

use pgentra::cell::{
    Answer, Arrival, CellSettings, Failure, FailureKind, Invalidation, Mode, Now, Outcome, Points, SameToken, Settled,
    Ticket, TimingRules, TokenCell,
};
use serde::Deserialize;
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../tests/vectors/timing.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "about")]
    _about: Vec<String>,
    start_ms: Clocks<i64>,
    refresh_points: Vec<RefreshPoint>,
    cases: Vec<Case>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clocks<T> {
    wall: T,
    mono: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshPoint {
    name: String,
    expires_in: Time,
    refresh_in: Option<Time>,
    from: Time,
    to: Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    rule: String,
    #[serde(default)]
    mode: Mode,
    fetch_bound: Option<Time>,
    #[serde(default)]
    rules: TimingRules,
    jitter: Option<f64>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    at: Time,
    #[serde(flatten)]
    op: Op,
    #[serde(default)]
    expect: Value,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Op {
    Ask { mode: Option<Mode> },
    Settle(Settle),
    Abandon { ticket: String },
    Invalidate { bytes: String },
    Adopt { token: TokenStep },
    Forget,
    Fallback,
    Wakeup,
    Points,
    Stats,
    Jump { wall: Option<Time>, mono: Option<Time> },
}

#[derive(Deserialize)]
struct Settle {
    ticket: String,
    token: Option<TokenStep>,
    error: Option<String>,
    #[serde(default)]
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenStep {
    bytes: String,
    expires_in: Option<Time>,
    expires_on: Option<Time>,
    refresh_in: Option<Time>,
    points: Option<SourcePoints>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourcePoints {
    arrived: Time,
    lifetime: Time,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Ordinary,
    DefiniteRefusal,
    RetryAfter(Time),
}

/// Seconds in the file, milliseconds here.
#[derive(Clone, Copy)]
struct Time(i64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(end) if end == "max" => Ok(Time(i64::MAX)),
            Value::String(end) if end == "min" => Ok(Time(i64::MIN)),
            Value::Number(seconds) => Ok(Time((seconds.as_f64().unwrap_or(f64::NAN) * 1000.0).round() as i64)),
            other => Err(serde::de::Error::custom(format!("not a time: {other}"))),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Token(String);

impl SameToken for Token {
    fn same_bytes(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// A case as it runs: the cell, how far the clocks are off, and the names of the tickets.
struct Run {
    cell: TokenCell<Token, String>,
    mode: Mode,
    rules: TimingRules,
    jitter: f64,
    start: Now,
    jumped: Clocks<i64>,
    tickets: Vec<Ticket>,
}

impl Run {
    fn new(case: &Case, start: Now) -> Self {
        let jitter = case.jitter.unwrap_or(0.5);
        let mut settings = CellSettings { rules: case.rules.clone(), jitter: Some(jitter), ..CellSettings::default() };
        if let Some(bound) = case.fetch_bound {
            settings.fetch_bound_ms = bound.0;
        }
        Run {
            cell: TokenCell::new(settings, 1),
            mode: case.mode,
            rules: case.rules.clone(),
            jitter,
            start,
            jumped: Clocks { wall: 0, mono: 0 },
            tickets: Vec::new(),
        }
    }

    fn now(&self, at: Time) -> Now {
        let now = self.start.plus_ms(at.0);
        Now {
            wall_ms: now.wall_ms.saturating_add(self.jumped.wall),
            mono_ms: now.mono_ms.saturating_add(self.jumped.mono),
        }
    }

    /// Tickets are named in the order in which the cell issues them.
    fn name(&mut self, ticket: Ticket) -> String {
        let index = self.tickets.iter().position(|known| *known == ticket).unwrap_or_else(|| {
            self.tickets.push(ticket);
            self.tickets.len() - 1
        });
        format!("t{}", index + 1)
    }

    fn ticket(&self, name: &str) -> Result<Ticket, Box<dyn Error>> {
        let index: usize = name.strip_prefix('t').ok_or("a ticket is called t1, t2, ...")?.parse()?;
        self.tickets.get(index.wrapping_sub(1)).copied().ok_or_else(|| format!("{name} was never issued").into())
    }

    fn points(&self, source: &SourcePoints) -> Points {
        Points::new(self.start.plus_ms(source.arrived.0), source.lifetime.0, None, &self.rules, self.jitter)
    }

    /// What the step gives, in the words of the file.
    fn step(&mut self, step: &Step) -> Result<Value, Box<dyn Error>> {
        let now = self.now(step.at);
        let answer = match &step.op {
            Op::Ask { mode } => match self.cell.ask(now, mode.unwrap_or(self.mode)) {
                Answer::Use(token) => format!("use {}", token.0),
                Answer::UseAndRefresh(token, ticket) => format!("use_and_refresh {} {}", token.0, self.name(ticket)),
                Answer::Fetch(ticket) => format!("fetch {}", self.name(ticket)),
                Answer::Wait(ticket) => format!("wait {}", self.name(ticket)),
                Answer::Fail(error) => format!("fail {error}"),
            },
            Op::Settle(settle) => {
                let outcome = self.outcome(settle)?;
                match self.cell.settle(self.ticket(&settle.ticket)?, now, outcome, |_| "arrived_dead".into()) {
                    Settled::Token(token) => format!("token {}", token.0),
                    Settled::TokenTaken(token) => format!("token_taken {}", token.0),
                    Settled::Failed(error) => format!("failed {error}"),
                    Settled::Stale => "stale".into(),
                }
            }
            Op::Invalidate { bytes } => match self.cell.invalidate(now, |token| token.0 == *bytes) {
                Invalidation::Ignored => "ignored".into(),
                Invalidation::Fetch(ticket) => format!("fetch {}", self.name(ticket)),
                Invalidation::Wait(ticket) => format!("wait {}", self.name(ticket)),
            },
            Op::Fallback => self.cell.fallback(now).map_or("none".into(), |token| token.0.clone()),
            Op::Adopt { token } => {
                let points = self.points(token.points.as_ref().ok_or("adopt needs points")?);
                return Ok(json!(self.cell.adopt(now, Token(token.bytes.clone()), points)));
            }
            Op::Wakeup => return Ok(self.cell.next_wakeup().map_or(Value::Null, |point| self.after_start(point))),
            Op::Points => {
                let (token, points) = self.cell.current().ok_or("no token has points")?;
                let named = [
                    ("arrived", points.arrived),
                    ("refresh", points.refresh),
                    ("good_until", points.good_until),
                    ("dead", points.dead),
                    ("expires", points.expires),
                ];
                let mut all: serde_json::Map<_, _> =
                    named.into_iter().map(|(name, point)| (name.into(), self.after_start(point))).collect();
                all.insert("token".into(), json!(token.0));
                return Ok(only_expected(all, &step.expect));
            }
            Op::Stats => {
                let stats = self.cell.stats(now);
                let all = json!({
                    "consecutive_failures": stats.consecutive_failures,
                    "last_error": stats.last_error,
                    "last_success": stats.last_success_ms.map(|at| seconds(at - self.start.wall_ms)),
                    "expires_in": stats.expires_in_ms.map(seconds),
                    "refresh_due_in": stats.refresh_due_in_ms.map(seconds),
                    "next_try_in": stats.next_try_in_ms.map(seconds),
                    "in_flight": stats.in_flight,
                });
                return Ok(only_expected(all.as_object().cloned().unwrap_or_default(), &step.expect));
            }
            Op::Abandon { ticket } => {
                self.cell.abandon(self.ticket(ticket)?);
                return Ok(Value::Null);
            }
            Op::Forget => {
                self.cell.forget();
                return Ok(Value::Null);
            }
            Op::Jump { wall, mono } => {
                let add = |jumped: i64, by: &Option<Time>| jumped.saturating_add(by.map_or(0, |by| by.0));
                self.jumped = Clocks { wall: add(self.jumped.wall, wall), mono: add(self.jumped.mono, mono) };
                return Ok(Value::Null);
            }
        };
        Ok(Value::String(answer))
    }

    fn outcome(&self, settle: &Settle) -> Result<Outcome<Token, String>, Box<dyn Error>> {
        match (&settle.token, &settle.error) {
            (Some(token), None) => Ok(Outcome::Token(Arrival {
                token: Token(token.bytes.clone()),
                expires_on_ms: token.expires_on.map(|after| self.start.wall_ms.saturating_add(after.0)),
                expires_in_ms: token.expires_in.map(|time| time.0),
                refresh_in_ms: token.refresh_in.map(|time| time.0),
                points: token.points.as_ref().map(|points| self.points(points)),
            })),
            (None, Some(error)) => Ok(Outcome::Failed(Failure {
                error: error.clone(),
                kind: match settle.kind {
                    Kind::Ordinary => FailureKind::Ordinary,
                    Kind::DefiniteRefusal => FailureKind::DefiniteRefusal,
                    Kind::RetryAfter(time) => FailureKind::RetryAfter(time.0),
                },
            })),
            _ => Err("settle takes a token or an error".into()),
        }
    }

    fn after_start(&self, point: Now) -> Value {
        let wall = point.wall_ms.saturating_sub(self.start.wall_ms);
        let mono = point.mono_ms.saturating_sub(self.start.mono_ms);
        if wall == mono { seconds(wall) } else { json!({"wall": seconds(wall), "mono": seconds(mono)}) }
    }
}

/// As the file writes it: whole seconds without a fraction.
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

fn only_expected(mut all: serde_json::Map<String, Value>, expect: &Value) -> Value {
    all.retain(|name, _| expect.get(name).is_some());
    Value::Object(all)
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).expect("timing.json is as its `about` says")
}

#[test]
fn every_case_answers_as_the_table_says() {
    let vectors = vectors();
    let start = Now { wall_ms: vectors.start_ms.wall, mono_ms: vectors.start_ms.mono };
    let mut wrong = Vec::new();
    for case in &vectors.cases {
        let mut run = Run::new(case, start);
        for (index, step) in case.steps.iter().enumerate() {
            let got = run.step(step).unwrap_or_else(|problem| json!({"cannot run": problem.to_string()}));
            if got != step.expect {
                wrong.push(format!(
                    "{}: step {} at {} s: expected {}, got {got}\n    ({})",
                    case.name,
                    index + 1,
                    step.at.0 as f64 / 1000.0,
                    step.expect,
                    case.rule
                ));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), vectors.cases.len(), wrong.join("\n"));
}

#[test]
fn case_names_are_unique() {
    let vectors = vectors();
    let mut count = HashMap::new();
    for case in &vectors.cases {
        *count.entry(case.name.as_str()).or_insert(0) += 1;
    }
    assert!(count.len() > 100 && count.values().all(|count| *count == 1), "{count:?}");
}

/// The bounds are reached at the ends of the random fraction, kept for every seed, and the seeds fill them.
#[test]
fn refresh_points_lie_where_the_table_says() {
    let start = Now { wall_ms: 1_900_000_000_000, mono_ms: 500_000 };
    for row in vectors().refresh_points {
        let refresh = |jitter: Option<f64>, seed: u64| {
            let mut cell = TokenCell::new(CellSettings { jitter, ..CellSettings::default() }, seed);
            let Answer::Fetch(ticket) = cell.ask(start, Mode::Background) else { panic!("an empty cell fetches") };
            let arrival = Arrival {
                token: Token("A".into()),
                expires_on_ms: None,
                expires_in_ms: Some(row.expires_in.0),
                refresh_in_ms: row.refresh_in.map(|time| time.0),
                points: None,
            };
            let _: Settled<_, String> = cell.settle(ticket, start, Outcome::Token(arrival), |_| "arrived_dead".into());
            let (_, points) = cell.current().expect("a token that lives is kept");
            assert_eq!(points.refresh.wall_ms - start.wall_ms, points.refresh.mono_ms - start.mono_ms);
            points.refresh.mono_ms - start.mono_ms
        };
        let name = &row.name;
        assert_eq!((refresh(Some(1.0), 0), refresh(Some(0.0), 0)), (row.from.0, row.to.0), "{name}");
        let drawn: Vec<i64> = (0..1000).map(|seed| refresh(None, seed)).collect();
        let (least, most) = (drawn.iter().copied().min().unwrap_or(0), drawn.iter().copied().max().unwrap_or(0));
        assert!(row.from.0 <= least && most <= row.to.0, "{name}: {least}..{most}");
        assert!(10 * (most - least) >= 9 * (row.to.0 - row.from.0), "{name}: {least}..{most} is not spread");
    }
}

/// The same for the series of back-offs.
#[test]
fn back_offs_are_spread() {
    let start = Now { wall_ms: 1_900_000_000_000, mono_ms: 500_000 };
    let mut seen = [(i64::MAX, i64::MIN); 6];
    for seed in 0..1000 {
        let mut cell = TokenCell::<Token, &str>::new(CellSettings::default(), seed);
        let mut now = start;
        for (least, most) in &mut seen {
            let Answer::Fetch(ticket) = cell.ask(now, Mode::Background) else { panic!("the back-off has ended") };
            let failure = Failure { error: "down", kind: FailureKind::Ordinary };
            assert_eq!(cell.settle(ticket, now, Outcome::Failed(failure), |_| "dead"), Settled::Failed("down"));
            let delay = cell.stats(now).next_try_in_ms.expect("a failure is remembered");
            (*least, *most) = (delay.min(*least), delay.max(*most));
            now = now.plus_ms(delay);
        }
    }
    for ((least, most), step) in seen.into_iter().zip([1000, 2000, 4000, 5000, 5000, 5000]) {
        let (low, high) = (step * 8 / 10, step * 12 / 10);
        assert!((low..low + step / 20).contains(&least), "{step}: from {least}");
        assert!((high - step / 20..=high).contains(&most), "{step}: to {most}");
    }
}

/// A forked child's copy refreshes by a draw of its own, within the bounds of the original.
#[test]
fn copies_across_a_fork_are_spread() {
    let start = Now { wall_ms: 1_900_000_000_000, mono_ms: 500_000 };
    let parent = Points::new(start, 3_600_000, None, &TimingRules::default(), 0.3);
    let drawn: Vec<i64> = (0..1000)
        .map(|seed| {
            let child = parent.spread_anew(seed);
            let others = |points: Points| (points.arrived, points.good_until, points.dead, points.expires);
            assert_eq!(others(child), others(parent));
            child.refresh.mono_ms - start.mono_ms
        })
        .collect();
    assert!(drawn.iter().all(|refresh| (2_520_000..=2_880_000).contains(refresh)));
    assert!(drawn.iter().any(|refresh| *refresh < 2_540_000) && drawn.iter().any(|refresh| *refresh > 2_860_000));
}
