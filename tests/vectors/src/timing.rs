//! Runs the steps of a case of `timing.json`, which describes its own format.

use std::{error::Error, sync::LazyLock};

use pgentra::testing::refresh_state::{
    Arrival, Decision, FailureKind, FetchFailure, FetchId, FetchOutcome, Invalidation, Now, RefreshMode,
    RefreshSettings, RefreshState, SameToken, Settled, TimingRules, TokenTimes,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks<T> {
    pub wall: T,
    pub mono: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub rule: String,
    #[serde(default)]
    mode: RefreshMode,
    fetch_bound: Option<Time>,
    #[serde(default)]
    rules: TimingRules,
    jitter: Option<f64>,
    pub steps: Vec<Step>,
}

#[derive(Deserialize)]
pub struct Step {
    pub at: Time,
    #[serde(flatten)]
    op: Op,
    #[serde(default)]
    pub expect: Value,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Op {
    Ask { mode: Option<RefreshMode> },
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
    kind: FailureKindName,
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
enum FailureKindName {
    #[default]
    Ordinary,
    DefiniteRefusal,
    RetryAfter(Time),
}

/// A time: seconds in the file, milliseconds here.
#[derive(Clone, Copy)]
pub struct Time(pub i64);

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
pub struct Token(pub String);

impl SameToken for Token {
    fn same_bytes(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vectors {
    #[serde(rename = "about")]
    _about: Vec<String>,
    start_ms: Clocks<i64>,
    pub refresh_points: Vec<RefreshPoint>,
    pub cases: Vec<Case>,
}

/// The bounds of a token's refresh point, over all random fractions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshPoint {
    pub name: String,
    pub expires_in: Time,
    pub refresh_in: Option<Time>,
    pub from: Time,
    pub to: Time,
}

/// Returns the contents of `timing.json`.
pub fn vectors() -> &'static Vectors {
    static VECTORS: LazyLock<Vectors> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../timing.json")).expect("timing.json is as its `about` says")
    });
    &VECTORS
}

/// Returns the start time of the cases.
pub fn start() -> Now {
    let start = vectors().start_ms;
    Now { wall_ms: start.wall, mono_ms: start.mono }
}

impl RefreshPoint {
    /// Returns when a state refreshes such a token, counted from its arrival.
    ///
    /// # Panics
    /// Panics if the state does not keep the token.
    pub fn refresh(&self, jitter: Option<f64>, seed: u64) -> Time {
        let start = start();
        let mut state = RefreshState::new(RefreshSettings { jitter, ..RefreshSettings::default() }, seed);
        let Decision::Fetch(ticket) = state.decide(start, RefreshMode::Background) else {
            panic!("an empty state fetches")
        };
        let arrival = Arrival {
            token: Token("A".into()),
            expires_on_ms: None,
            expires_in_ms: Some(self.expires_in.0),
            refresh_in_ms: self.refresh_in.map(|time| time.0),
            times: None,
        };
        let _: Settled<_, String> =
            state.settle(ticket, start, FetchOutcome::Token(arrival), |_| "arrived_dead".into());
        let (_, points) = state.current().expect("a token that lives is kept");
        assert_eq!(points.refresh.wall_ms - start.wall_ms, points.refresh.mono_ms - start.mono_ms);
        Time(points.refresh.mono_ms - start.mono_ms)
    }
}

/// Returns the bounds of a row of `refresh_points`, as a state calculates them.
///
/// # Panics
/// Panics if the row is invalid.
pub fn refresh_points(row: &str) -> Value {
    let row: RefreshPoint = serde_json::from_str(row).unwrap_or_else(|error| panic!("{error}: {row}"));
    json!({ "from": seconds(row.refresh(Some(1.0), 0).0), "to": seconds(row.refresh(Some(0.0), 0).0) })
}

/// Returns the result of each step of a case, or why the case cannot be run.
///
/// # Panics
/// Panics if the case is invalid.
pub fn answers(case: &str) -> Value {
    let case: Case = serde_json::from_str(case).unwrap_or_else(|error| panic!("{error}: {case}"));
    let mut run = Run::new(&case, start());
    let answer = |step| run.step(step).unwrap_or_else(|problem| json!({ "cannot run": problem.to_string() }));
    case.steps.iter().map(answer).collect()
}

/// A running case: the state, the offsets of the clocks, and the names of the fetches.
pub struct Run {
    state: RefreshState<Token, String>,
    mode: RefreshMode,
    rules: TimingRules,
    jitter: f64,
    start: Now,
    jumped: Clocks<i64>,
    tickets: Vec<FetchId>,
}

impl Run {
    pub fn new(case: &Case, start: Now) -> Self {
        let jitter = case.jitter.unwrap_or(0.5);
        let mut settings =
            RefreshSettings { rules: case.rules.clone(), jitter: Some(jitter), ..RefreshSettings::default() };
        if let Some(bound) = case.fetch_bound {
            settings.fetch_bound_ms = bound.0;
        }
        Run {
            state: RefreshState::new(settings, 1),
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

    /// Returns the name of a fetch. Fetches are named in the order in which the state issues them.
    fn name(&mut self, ticket: FetchId) -> String {
        let index = self.tickets.iter().position(|known| *known == ticket).unwrap_or_else(|| {
            self.tickets.push(ticket);
            self.tickets.len() - 1
        });
        format!("t{}", index + 1)
    }

    fn ticket(&self, name: &str) -> Result<FetchId, Box<dyn Error>> {
        let index: usize = name.strip_prefix('t').ok_or("a ticket is called t1, t2, ...")?.parse()?;
        self.tickets.get(index.wrapping_sub(1)).copied().ok_or_else(|| format!("{name} was never issued").into())
    }

    fn points(&self, source: &SourcePoints) -> TokenTimes {
        TokenTimes::new(self.start.plus_ms(source.arrived.0), source.lifetime.0, None, &self.rules, self.jitter)
    }

    /// Runs a step and returns its result in the format of the file.
    pub fn step(&mut self, step: &Step) -> Result<Value, Box<dyn Error>> {
        let now = self.now(step.at);
        let answer = match &step.op {
            Op::Ask { mode } => match self.state.decide(now, mode.unwrap_or(self.mode)) {
                Decision::Use(token) => format!("use {}", token.0),
                Decision::UseAndRefresh(token, ticket) => format!("use_and_refresh {} {}", token.0, self.name(ticket)),
                Decision::Fetch(ticket) => format!("fetch {}", self.name(ticket)),
                Decision::Wait(ticket) => format!("wait {}", self.name(ticket)),
                Decision::Fail(error) => format!("fail {error}"),
            },
            Op::Settle(settle) => {
                let outcome = self.outcome(settle)?;
                match self.state.settle(self.ticket(&settle.ticket)?, now, outcome, |_| "arrived_dead".into()) {
                    Settled::Token(token) => format!("token {}", token.0),
                    Settled::TokenTaken(token) => format!("token_taken {}", token.0),
                    Settled::Failed(error) => format!("failed {error}"),
                    Settled::Stale => "stale".into(),
                }
            }
            Op::Invalidate { bytes } => match self.state.invalidate(now, |token| token.0 == *bytes) {
                Invalidation::Ignored => "ignored".into(),
                Invalidation::Fetch(ticket) => format!("fetch {}", self.name(ticket)),
                Invalidation::Wait(ticket) => format!("wait {}", self.name(ticket)),
            },
            Op::Fallback => self.state.fallback(now).map_or("none".into(), |token| token.0.clone()),
            Op::Adopt { token } => {
                let points = self.points(token.points.as_ref().ok_or("adopt needs points")?);
                return Ok(json!(self.state.adopt(now, Token(token.bytes.clone()), points)));
            }
            Op::Wakeup => return Ok(self.state.next_wakeup().map_or(Value::Null, |point| self.after_start(point))),
            Op::Points => {
                let (token, points) = self.state.current().ok_or("no token has points")?;
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
                let stats = self.state.stats(now);
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
                self.state.abandon(self.ticket(ticket)?);
                return Ok(Value::Null);
            }
            Op::Forget => {
                self.state.forget();
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

    fn outcome(&self, settle: &Settle) -> Result<FetchOutcome<Token, String>, Box<dyn Error>> {
        match (&settle.token, &settle.error) {
            (Some(token), None) => Ok(FetchOutcome::Token(Arrival {
                token: Token(token.bytes.clone()),
                expires_on_ms: token.expires_on.map(|after| self.start.wall_ms.saturating_add(after.0)),
                expires_in_ms: token.expires_in.map(|time| time.0),
                refresh_in_ms: token.refresh_in.map(|time| time.0),
                times: token.points.as_ref().map(|points| self.points(points)),
            })),
            (None, Some(error)) => Ok(FetchOutcome::Failed(FetchFailure {
                error: error.clone(),
                kind: match settle.kind {
                    FailureKindName::Ordinary => FailureKind::Ordinary,
                    FailureKindName::DefiniteRefusal => FailureKind::DefiniteRefusal,
                    FailureKindName::RetryAfter(time) => FailureKind::RetryAfter(time.0),
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

/// Formats a time as the file does: whole seconds without a fraction.
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

fn only_expected(mut all: serde_json::Map<String, Value>, expect: &Value) -> Value {
    all.retain(|name, _| expect.get(name).is_some());
    Value::Object(all)
}
