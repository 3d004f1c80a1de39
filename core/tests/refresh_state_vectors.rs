//! Runs `tests/vectors/timing.json`: the timing rules as tables. The file says how it is read.

use std::collections::HashMap;

use pgentra::testing::refresh_state::{
    Decision, FailureKind, FetchFailure, FetchOutcome, RefreshMode, RefreshSettings, RefreshState, Settled,
    TimingRules, TokenTimes,
};
use pgentra_vectors::timing::{Run, Token, start, vectors};
use serde_json::json;

#[test]
fn refresh_state_vectors() {
    let vectors = vectors();
    let mut wrong = Vec::new();
    for case in &vectors.cases {
        let mut run = Run::new(case, start());
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
fn vector_names_are_unique() {
    let vectors = vectors();
    let mut count = HashMap::new();
    for case in &vectors.cases {
        *count.entry(case.name.as_str()).or_insert(0) += 1;
    }
    assert!(count.len() > 100 && count.values().all(|count| *count == 1), "{count:?}");
}

/// The bounds are reached at the ends of the random fraction, kept for every seed, and the seeds fill them.
#[test]
fn refresh_point_vectors() {
    for row in &vectors().refresh_points {
        let name = &row.name;
        assert_eq!((row.refresh(Some(1.0), 0).0, row.refresh(Some(0.0), 0).0), (row.from.0, row.to.0), "{name}");
        let drawn: Vec<i64> = (0..1000).map(|seed| row.refresh(None, seed).0).collect();
        let (least, most) = (drawn.iter().copied().min().unwrap_or(0), drawn.iter().copied().max().unwrap_or(0));
        assert!(row.from.0 <= least && most <= row.to.0, "{name}: {least}..{most}");
        assert!(10 * (most - least) >= 9 * (row.to.0 - row.from.0), "{name}: {least}..{most} is not spread");
    }
}

/// The same for the series of back-offs.
#[test]
fn back_off_is_spread() {
    let start = start();
    let mut seen = [(i64::MAX, i64::MIN); 6];
    for seed in 0..1000 {
        let mut state = RefreshState::<Token, &str>::new(RefreshSettings::default(), seed);
        let mut now = start;
        for (least, most) in &mut seen {
            let Decision::Fetch(fetch_id) = state.decide(now, RefreshMode::Background) else {
                panic!("the back-off has ended")
            };
            let failure = FetchFailure { error: "down", kind: FailureKind::Ordinary };
            assert_eq!(state.settle(fetch_id, now, FetchOutcome::Failed(failure), |_| "dead"), Settled::Failed("down"));
            let delay = state.stats(now).next_try_in_ms.expect("a failure is remembered");
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
fn token_times_of_a_forked_copy_are_spread() {
    let start = start();
    let parent = TokenTimes::new(start, 3_600_000, None, &TimingRules::default(), 0.3);
    let drawn: Vec<i64> = (0..1000)
        .map(|seed| {
            let child = parent.spread_anew(seed);
            let others = |times: TokenTimes| (times.arrived, times.good_until, times.dead, times.expires);
            assert_eq!(others(child), others(parent));
            child.refresh.mono_ms - start.mono_ms
        })
        .collect();
    assert!(drawn.iter().all(|refresh| (2_520_000..=2_880_000).contains(refresh)));
    assert!(drawn.iter().any(|refresh| *refresh < 2_540_000) && drawn.iter().any(|refresh| *refresh > 2_860_000));
}
