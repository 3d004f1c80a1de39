//! A child process: it gets this process's signals, and its exit code is passed on.

use std::{
    future::Future,
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
};

use rustix::process::{Pid, Signal as SignalNumber, kill_process};
use tokio::{
    process::Child,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::failure::{Failure, Result};

/// Returns a runtime on this thread.
///
/// # Errors
/// Fails if the operating system has no resources left.
pub fn runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::io("the runtime cannot start", &error))
}

/// The signals that are passed to a child, or end a program without one. A signal that was ignored when this process
/// started, as by `nohup`, remains ignored.
pub struct Signals(Vec<(SignalNumber, Signal)>);

impl Signals {
    /// Starts to receive the signals. They do not end this process from then on. Must be called within a runtime.
    ///
    /// # Errors
    /// Fails if the operating system has no resources left.
    pub fn listen() -> Result<Signals> {
        let all = [
            SignalNumber::HUP,
            SignalNumber::INT,
            SignalNumber::QUIT,
            SignalNumber::TERM,
            SignalNumber::USR1,
            SignalNumber::USR2,
        ];
        let received = all.into_iter().filter(|number| !is_ignored(number.as_raw()));
        let listening = received.map(|number| Ok((number, signal(SignalKind::from_raw(number.as_raw()))?)));
        let listening: io::Result<Vec<_>> = listening.collect();
        listening.map(Signals).map_err(|error| Failure::io("signals cannot be received", &error))
    }

    /// Returns the next signal.
    pub async fn next(&mut self) -> SignalNumber {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

fn is_ignored(number: i32) -> bool {
    // SAFETY: with a null pointer for the new action, the call only writes the current one, for which zeros are a valid
    // value.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(number, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Runs a child and `meanwhile` until the child ends. Returns the exit code: that of a child that was ended by a signal
/// is 128 and the signal's number, as in shells.
///
/// # Errors
/// Fails if the child cannot be started.
pub async fn run(command: Command, signals: &mut Signals, meanwhile: impl Future<Output = ()>) -> io::Result<u8> {
    let mut child = tokio::process::Command::from(command).spawn()?;
    let mut meanwhile = std::pin::pin!(meanwhile);
    let mut is_over = false;
    loop {
        tokio::select! {
            status = child.wait() => return status.map(exit_code),
            number = signals.next() => pass(&child, number),
            () = &mut meanwhile, if !is_over => is_over = true,
        }
    }
}

fn pass(child: &Child, number: SignalNumber) {
    // At a terminal, the keyboard sends these signals to the whole foreground group. The child must not get them twice.
    let from_keyboard = matches!(number, SignalNumber::INT | SignalNumber::QUIT) && is_foreground();
    // The child has an id until it is waited for, so that the id is still its own.
    let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let (Some(id), false) = (id, from_keyboard) {
        let _ = kill_process(id, number);
    }
}

/// Returns whether this process is in the foreground of a terminal.
fn is_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn exit_code(status: ExitStatus) -> u8 {
    let of_signal = || status.signal().map_or(i32::from(u8::MAX), |number| 128 + number);
    u8::try_from(status.code().unwrap_or_else(of_signal)).unwrap_or(u8::MAX)
}

/// Returns the exit code of a process that a signal has ended.
pub fn code_of(number: SignalNumber) -> u8 {
    u8::try_from(128 + number.as_raw()).unwrap_or(u8::MAX)
}
