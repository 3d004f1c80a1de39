//! A process that ends in the middle of a fetch: it neither hangs nor crashes, and later calls are told why.

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use pgentra::{Config, ErrorKind};
use support::Scripted;

const ROLE: &str = "PGENTRA_TEST_EXIT_ROLE";

#[test]
fn exit_in_the_middle_of_a_fetch() {
    for role in ["return", "shutdown"] {
        let started = Instant::now();
        let status = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "the_process_that_exits", "--ignored", "--test-threads=1", "-q"])
            .env(ROLE, role)
            .status()
            .expect("starts");
        assert!(status.success(), "{role}: {status}");
        assert!(started.elapsed() < Duration::from_secs(20), "{role} took {:?}", started.elapsed());
    }
}

#[test]
#[ignore = "run by exit_in_the_middle_of_a_fetch, in a process of its own"]
fn the_process_that_exits() {
    let credential = Scripted::user("a", 3600).delayed(Duration::from_secs(60));
    let provider = credential.provider(Config::default());
    let pending = provider.start_login(None);
    std::thread::sleep(Duration::from_millis(20));
    if std::env::var(ROLE).as_deref() == Ok("shutdown") {
        let started = Instant::now();
        pgentra::shutdown();
        assert!(started.elapsed() < Duration::from_secs(5));
        let error = pending.wait(Duration::from_secs(5)).expect("woken").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ShuttingDown);
        assert_eq!(provider.login_blocking().unwrap_err().kind(), ErrorKind::ShuttingDown);
    }
}
