//! The log, as a program's own subscriber meets it.

mod support;

use std::{sync::mpsc::channel, time::Duration};

use pgentra::{Config, logging};
use support::{Scripted, down};

/// What asks the engine in the middle of an event is answered, and what panics there keeps nobody waiting.
#[test]
fn a_subscriber_may_ask_and_fail() {
    let (told, heard) = channel();
    let told = std::sync::Mutex::new(told);
    let sink = move |_: tracing::Level, target: &str, line: &str| {
        if target == "pgentra::cache" && line.contains("scope=") {
            let entries = pgentra::stats().len();
            told.lock().expect("not poisoned").send((entries, line.to_owned())).expect("somebody listens");
            assert!(!line.contains("good for"), "canary");
        }
    };
    assert!(logging::set_sink(Box::new(sink)));
    let works = Scripted::user("a", 3600).provider(Config::default());
    let fails = Scripted::new(|_, _| Err(down())).provider(Config::default());
    let asker = std::thread::spawn(move || (works.get_blocking().is_ok(), fails.get_blocking().is_ok()));
    for expected in ["token fetched", "token fetch failed, no token left, next try in"] {
        let (entries, line) = heard.recv_timeout(Duration::from_secs(30)).expect("an event");
        assert!(entries >= 2 && line.contains(expected), "{line}");
    }
    assert_eq!(asker.join().expect("no panic"), (true, false));
}
