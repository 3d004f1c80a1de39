//! Forks in the middle of fetches. One test in this file, so that the harness has no other thread at work.
#![cfg(unix)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgentra::{Config, TokenProvider};
use support::Scripted;

const LIMIT: Duration = Duration::from_secs(20);

/// Forks; the child logs in, at most for `LIMIT`, and tells by its exit status.
fn child_logs_in(provider: &TokenProvider) -> libc::pid_t {
    // SAFETY: the child runs only this function and leaves by `_exit`; the C library makes its allocator usable after a
    // fork of a process with threads.
    match unsafe { libc::fork() } {
        0 => {
            let status = match provider.login_blocking() {
                Ok(login) if login.user() == "a" => 0,
                Ok(_) => 2,
                Err(_) => 3,
            };
            // SAFETY: ends the child without running what belongs to its parent.
            unsafe { libc::_exit(status) }
        }
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        pid => pid,
    }
}

fn await_child(pid: libc::pid_t) {
    let ends = Instant::now() + LIMIT;
    let mut status = 0;
    loop {
        // SAFETY: `pid` is our own child and `status` a live integer.
        match unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } {
            0 if Instant::now() < ends => std::thread::sleep(Duration::from_millis(2)),
            0 => {
                // SAFETY: as above; the child is ours and still there.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                panic!("a forked child hangs");
            }
            _ => break,
        }
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "a forked child failed: {status:#x}");
}

#[test]
fn fork_during_a_fetch_leaves_both_processes_working() {
    for round in 0..100 {
        // The first fetch is under way when the child is made.
        let credential = Scripted::user("a", 3600).delayed(Duration::from_millis(10));
        let provider = credential.provider(Config::default());
        let first = provider.start_login(None);
        std::thread::sleep(Duration::from_micros(50 * round));
        let pid = child_logs_in(&provider);
        await_child(pid);
        first.wait(LIMIT).expect("ends").expect("the parent logs in");
    }
    // A token of 2 s has its refresh point before 1 s: let it come, then fork in the middle of refreshes. The children
    // go on with the parent's token.
    let credential = Scripted::user("a", 2);
    let provider = credential.provider(Config::default());
    provider.login_blocking().expect("logs in");
    *credential.delay.lock().expect("not poisoned") = Duration::from_millis(3);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let provider = provider.clone();
            let credential = Arc::clone(&credential);
            std::thread::spawn(move || {
                while credential.calls() < 10_000 {
                    if provider.login_blocking().is_err() {
                        return false;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                true
            })
        })
        .collect();
    for _ in 0..100 {
        let pid = child_logs_in(&provider);
        await_child(pid);
        std::thread::sleep(Duration::from_millis(10));
    }
    credential.calls.store(10_000, std::sync::atomic::Ordering::SeqCst);
    for thread in threads {
        assert!(thread.join().expect("no panic"), "the parent failed to log in");
    }
}
