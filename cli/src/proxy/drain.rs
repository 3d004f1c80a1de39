//! The end of the proxy: signals, and sessions that end as they become idle.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tracing::info;

use super::{arguments::SessionOptions, health::Health, sessions::Sessions};
use crate::failure::{Failure, Result};

/// How often it is checked whether the proxy is idle.
const IDLE_CHECK: Duration = Duration::from_millis(250);

/// The signals that end the proxy.
pub struct EndSignals {
    /// Begin to drain.
    gentle: [Signal; 2],
    /// End at once.
    hard: [Signal; 2],
}

impl EndSignals {
    /// Starts to receive the signals. They do not end this process from then on.
    ///
    /// # Errors
    /// Fails if the operating system has no resources left.
    pub fn listen() -> Result<EndSignals> {
        let open = |kind| signal(kind).map_err(|error| Failure::io("signals cannot be received", &error));
        Ok(EndSignals {
            gentle: [open(SignalKind::terminate())?, open(SignalKind::hangup())?],
            hard: [open(SignalKind::interrupt())?, open(SignalKind::quit())?],
        })
    }

    /// Waits for a signal to drain; returns false for one to end at once.
    pub async fn is_gentle(&mut self) -> bool {
        let [terminate, hangup] = &mut self.gentle;
        let [interrupt, quit] = &mut self.hard;
        tokio::select! {
            _ = terminate.recv() => true,
            _ = hangup.recv() => true,
            _ = interrupt.recv() => false,
            _ = quit.recv() => false,
        }
    }
}

/// Waits for the reason to end. Returns whether sessions may be waited for.
pub async fn end_requested(
    signals: &mut EndSignals,
    health: &Health,
    sessions: &Sessions,
    options: &SessionOptions,
) -> bool {
    tokio::select! {
        is_gentle = signals.is_gentle() => {
            info!(target: "pgentra::proxy", "ending: signal received");
            is_gentle
        }
        () = health.quit() => {
            info!(target: "pgentra::proxy", "ending: requested by POST /quit");
            true
        }
        () = is_idle(sessions, options.exit_when_idle) => {
            info!(target: "pgentra::proxy", "ending: no session for the time of --exit-when-idle");
            true
        }
    }
}

/// Waits until there was no session for this time, after the first one.
async fn is_idle(sessions: &Sessions, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        if sessions.empty_since().is_some_and(|since| since.elapsed() >= limit) {
            return;
        }
        sleep(IDLE_CHECK).await;
    }
}

/// Ends the sessions: each when it is idle, and the others after the time of `--drain`, or at a second signal. `close`
/// closes the listeners.
pub async fn drain(signals: &mut EndSignals, sessions: &Sessions, options: &SessionOptions, close: impl FnOnce()) {
    let draining = async {
        sleep(options.shutdown_delay).await;
        close();
        sessions.drain();
        timeout(options.drain, sessions.ended()).await.is_ok()
    };
    let is_complete = tokio::select! {
        is_complete = draining => is_complete,
        _ = signals.is_gentle() => false,
    };
    if !is_complete {
        info!(target: "pgentra::proxy", "ending {} sessions that are not idle", sessions.places_taken());
        end_all(sessions).await;
    }
}

/// Ends all sessions at once.
pub async fn end_all(sessions: &Sessions) {
    /// How long the sessions' own ends may take.
    const LIMIT: Duration = Duration::from_secs(2);
    sessions.end_all();
    let _ = timeout(LIMIT, sessions.ended()).await;
}
