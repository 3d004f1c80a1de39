//! The state of the proxy, which all its tasks share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgentra::{RefreshMode, TokenProvider};
use tokio::sync::Notify;

use super::metrics::Metrics;

/// The state of a running proxy.
pub struct Status {
    /// The server's name: the label `server` of metrics.
    pub server: String,
    /// The provider of logins.
    pub provider: TokenProvider,
    /// When its token is refreshed.
    pub mode: RefreshMode,
    /// The counters.
    pub metrics: Metrics,
    /// The limit of sessions.
    pub max_connections: usize,
    connections: AtomicUsize,
    is_listening: AtomicBool,
    is_draining: AtomicBool,
    quit: Notify,
}

impl Status {
    /// Creates the state of a proxy that does not listen yet.
    pub fn new(server: String, provider: TokenProvider, mode: RefreshMode, max_connections: usize) -> Status {
        Status {
            server,
            provider,
            mode,
            metrics: Metrics::default(),
            max_connections,
            connections: AtomicUsize::new(0),
            is_listening: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            quit: Notify::new(),
        }
    }

    /// Returns whether all listeners are open, or were.
    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Acquire)
    }

    /// Returns whether the proxy is at its end.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Returns the number of sessions, including those whose login is under way.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Begins the end of the proxy, as SIGTERM does. For `POST /quit`.
    pub fn quit(&self) {
        self.quit.notify_one();
    }

    /// Waits for [`quit`](Self::quit).
    pub async fn quits(&self) {
        self.quit.notified().await;
    }

    /// Reports that all listeners are open.
    pub fn set_listening(&self) {
        self.is_listening.store(true, Ordering::Release);
    }

    /// Reports the end of the proxy.
    pub fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Takes one of the places for sessions.
    pub fn take_place(&self) -> bool {
        let taken = self.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < self.max_connections).then_some(count + 1)
        });
        taken.is_ok()
    }

    /// Gives a place back, and returns how many are still taken.
    pub fn give_place(&self) -> usize {
        self.connections.fetch_sub(1, Ordering::AcqRel) - 1
    }
}
