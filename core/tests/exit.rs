//! A process that ends in the middle of a fetch: it neither hangs nor crashes, and later calls are told why. Each situation
//! is run 20 times, or `PGENTRA_EXITS` times.

mod support;

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pgentra::{Config, ErrorKind, TokenProvider};
use support::Scripted;

const ROLE: &str = "PGENTRA_TEST_EXIT_ROLE";
const LIMIT: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 10;

/// By name: what a process does, and its status.
const SITUATIONS: &[(&str, fn(), i32)] = &[
    ("return", fetch, 0),
    ("shutdown", shutdown, 0),
    ("exit", || exit_after(fetch), 3),
    ("exit while threads wait", || exit_after(wait_on_threads), 3),
    ("exit on a thread while the main one waits", exit_on_a_thread, 3),
    ("exit in a callback, on the engine's thread", exit_in_a_callback, 3),
    ("exit as a fetch ends", exit_as_a_fetch_ends, 3),
    ("panic", panic_during_a_fetch, 101),
    ("a credential that blocks the engine's thread", block_the_engine, 0),
    ("a sink of events that blocks the engine's thread", block_events, 0),
];

#[test]
fn exit_during_a_fetch_ends_in_time() {
    let count = std::env::var("PGENTRA_EXITS").map_or(20, |count| count.parse().expect("a number"));
    for (situation, _, expected) in SITUATIONS {
        let begun = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while begun.fetch_add(1, Ordering::Relaxed) < count {
                        assert_eq!(run(situation), Some(*expected), "{situation}; None: killed, or not within 10 s");
                    }
                });
            }
        });
    }
}

/// The status of a process that is in a situation.
fn run(situation: &str) -> Option<i32> {
    let started = Instant::now();
    let mut process = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "child_that_exits", "--ignored", "--test-threads=1", "-q"])
        .env(ROLE, situation)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    loop {
        if let Some(status) = process.try_wait().expect("waits") {
            return status.code();
        }
        if started.elapsed() > LIMIT {
            process.kill().expect("ends");
            process.wait().expect("waits");
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "run by exit_during_a_fetch_ends_in_time, in a process of its own"]
fn child_that_exits() {
    let role = std::env::var(ROLE).expect("a situation");
    let (_, situation, _) = SITUATIONS.iter().find(|(name, ..)| *name == role).expect("a situation");
    situation();
}

fn slow() -> TokenProvider {
    Scripted::user("a", 3600).delayed(Duration::from_secs(60)).provider(Config::default())
}

fn a_moment() {
    thread::sleep(Duration::from_millis(20));
}

fn fetch() {
    drop(slow().start_login(None));
    a_moment();
}

fn shutdown() {
    let provider = slow();
    let pending = provider.start_login(None);
    a_moment();
    let started = Instant::now();
    pgentra::shutdown();
    assert!(started.elapsed() < Duration::from_secs(5));
    let error = pending.wait(Duration::from_secs(5)).expect("woken").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
    assert_eq!(provider.login_blocking().unwrap_err().kind(), ErrorKind::ShuttingDown);
}

fn exit_after(situation: fn()) {
    situation();
    std::process::exit(3);
}

fn wait_on_threads() {
    let provider = Arc::new(slow());
    for _ in 0..4 {
        let provider = Arc::clone(&provider);
        thread::spawn(move || drop(provider.login_blocking()));
    }
    a_moment();
}

fn exit_on_a_thread() {
    thread::spawn(|| exit_after(a_moment));
    drop(slow().login_blocking());
}

fn exit_in_a_callback() {
    let provider = Scripted::user("a", 3600).delayed(Duration::from_millis(5)).provider(Config::default());
    provider.start_login(None).on_done(|_| {
        pgentra::shutdown();
        std::process::exit(3);
    });
    thread::sleep(LIMIT);
}

fn exit_as_a_fetch_ends() {
    let provider = Scripted::user("a", 3600).delayed(Duration::from_millis(20)).provider(Config::default());
    provider.start_login(None).on_done(drop);
    thread::sleep(Duration::from_millis(18 + u64::from(std::process::id() % 5)));
    std::process::exit(3);
}

fn panic_during_a_fetch() {
    fetch();
    panic!("the end");
}

fn block_the_engine() {
    let credential = Scripted::new(|_, _| {
        thread::sleep(Duration::from_secs(60));
        Err(support::down())
    });
    drop(credential.provider(Config::default()).start_login(None));
    a_moment();
    shut_down_in_time();
}

fn block_events() {
    assert!(pgentra::bindings::set_log_sink(|_| thread::sleep(Duration::from_secs(60))));
    // It logs too.
    thread::spawn(fetch);
    a_moment();
    shut_down_in_time();
}

fn shut_down_in_time() {
    let started = Instant::now();
    pgentra::shutdown();
    assert!(started.elapsed() < Duration::from_secs(5));
}
