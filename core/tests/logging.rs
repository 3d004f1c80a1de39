//! The log as a subscriber receives it.

mod support;

use std::{sync::mpsc::channel, time::Duration};

use pgentra::{
    Config,
    bindings::{LogEvent, set_log_sink},
};
use support::{Scripted, down};

/// A subscriber can call the engine during an event, and a panic in it does not keep callers waiting.
#[test]
fn set_log_sink_with_a_sink_that_calls_the_engine_and_panics_ends_all_waits() {
    let (told, heard) = channel();
    let told = std::sync::Mutex::new(told);
    let sink = move |event: LogEvent<'_>| {
        let line = event.message;
        if event.target == "pgentra::cache" && line.contains("scope=") {
            let entries = pgentra::stats().len();
            told.lock().expect("not poisoned").send((entries, line.to_owned())).expect("a receiver");
            assert!(!line.contains("good for"), "canary");
        }
    };
    assert!(set_log_sink(sink));
    let works = Scripted::user("a", 3600).provider(Config::default());
    let fails = Scripted::new(|_, _| Err(down())).provider(Config::default());
    let asker = std::thread::spawn(move || (works.get_blocking().is_ok(), fails.get_blocking().is_ok()));
    for expected in ["token fetched", "token fetch failed and no valid token is cached, next attempt in"] {
        let (entries, line) = heard.recv_timeout(Duration::from_secs(30)).expect("an event");
        assert!(entries >= 2 && line.contains(expected), "{line}");
    }
    assert_eq!(asker.join().expect("no panic"), (true, false));
}
