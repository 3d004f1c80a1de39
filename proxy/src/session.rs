//! The state of a session that is shared with the rest of the program: what it does, and requests to end it.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// The values of `SessionState::request`.
const NONE: u8 = 0;
const END_IF_IDLE: u8 = 1;
const END_WHEN_IDLE: u8 = 2;
const CUT: u8 = 3;

/// The state of one session, for the task that relays it and for the rest of the program, usually in an [`Arc`].
///
/// Its counters are updated by [`relay_session`](crate::relay::relay_session) without a lock. Until the relay has read
/// the first `ReadyForQuery`, the session is not idle.
#[derive(Debug)]
pub struct SessionState {
    started: Instant,
    bytes_to_client: AtomicU64,
    bytes_to_server: AtomicU64,
    /// Milliseconds from `started` to the last byte of an idle session, plus 1; 0 while it is not idle.
    idle_since: AtomicU64,
    request: AtomicU8,
    control: Mutex<Control>,
}

#[derive(Debug, Default)]
struct Control {
    /// Wakes the task of the relay.
    waker: Option<Waker>,
    /// What the client receives when the session is ended.
    message: Option<Arc<[u8]>>,
}

impl Default for SessionState {
    fn default() -> Self {
        Self::new()
    }
}

impl SessionState {
    /// Creates the state of a session that begins now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            bytes_to_client: AtomicU64::new(0),
            bytes_to_server: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            request: AtomicU8::new(NONE),
            control: Mutex::default(),
        }
    }

    /// Returns the time since the state was created.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns whether the session is idle, as [`MessageTracker`](crate::tracker::MessageTracker) defines it, and all
    /// bytes were forwarded.
    pub fn is_idle(&self) -> bool {
        self.idle_since.load(Ordering::Relaxed) != 0
    }

    /// Returns for how long the session has been idle without a byte in either direction, or `None` if it is not idle.
    pub fn idle_for(&self) -> Option<Duration> {
        let since = self.idle_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.age().saturating_sub(Duration::from_millis(since)))
    }

    /// Returns the number of bytes that were sent to the client, after TLS was removed.
    pub fn bytes_to_client(&self) -> u64 {
        self.bytes_to_client.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that were sent to the server, after TLS was removed.
    pub fn bytes_to_server(&self) -> u64 {
        self.bytes_to_server.load(Ordering::Relaxed)
    }

    /// Ends the session as soon as it is idle. The client then receives `message`, usually an
    /// [`error_response`](crate::message::error_response) with the SQLSTATE 57P01, and the server a Terminate message.
    /// A further call changes nothing.
    pub fn end_when_idle(&self, message: impl Into<Arc<[u8]>>) {
        self.request(END_WHEN_IDLE, Some(message.into()));
    }

    /// Ends the session like [`end_when_idle`](Self::end_when_idle) if it is idle now. If bytes arrive before that, the
    /// request is void: a limit of idle time must not end a session that has just begun a query.
    pub fn end_if_idle(&self, message: impl Into<Arc<[u8]>>) {
        self.request(END_IF_IDLE, Some(message.into()));
    }

    /// Ends the session at once. If the client is not within a message, it first receives the message of
    /// [`end_when_idle`](Self::end_when_idle), if there is one; this takes at most a second.
    pub fn cut(&self) {
        self.request(CUT, None);
    }

    /// Makes a request, if it goes further than an earlier one.
    fn request(&self, request: u8, message: Option<Arc<[u8]>>) {
        let mut control = self.control();
        if self.request.load(Ordering::Relaxed) < request {
            if message.is_some() {
                control.message = message;
            }
            self.request.store(request, Ordering::Release);
        }
        Self::wake(control);
    }

    fn wake(control: MutexGuard<'_, Control>) {
        let waker = control.waker.clone();
        drop(control);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the waker of the relay's task. A request that comes later wakes it.
    pub(crate) fn set_waker(&self, waker: Waker) {
        self.control().waker = Some(waker);
    }

    /// Removes the waker, which keeps the memory of the task.
    pub(crate) fn remove_waker(&self) {
        self.control().waker = None;
    }

    pub(crate) fn is_cut_requested(&self) -> bool {
        self.request.load(Ordering::Acquire) == CUT
    }

    pub(crate) fn is_end_requested(&self) -> bool {
        matches!(self.request.load(Ordering::Acquire), END_IF_IDLE | END_WHEN_IDLE)
    }

    /// Makes a request of [`end_if_idle`](Self::end_if_idle) void.
    pub(crate) fn withdraw_end_if_idle(&self) {
        if self.request.load(Ordering::Relaxed) == END_IF_IDLE {
            // A request that goes further can be made meanwhile.
            let _control = self.control();
            if self.request.load(Ordering::Relaxed) == END_IF_IDLE {
                self.request.store(NONE, Ordering::Release);
            }
        }
    }

    pub(crate) fn end_message(&self) -> Arc<[u8]> {
        self.control().message.clone().unwrap_or_default()
    }

    pub(crate) fn sent_to(&self, side: Side, bytes: usize) {
        let counter = match side {
            Side::Client => &self.bytes_to_client,
            Side::Server => &self.bytes_to_server,
        };
        // Only the relay's task writes.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(bytes as u64), Ordering::Relaxed);
    }

    /// Records that the session is idle from now on, or that it is not idle.
    pub(crate) fn set_idle(&self, is_idle: bool) {
        let since = match is_idle {
            true => u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX).saturating_add(1),
            false => 0,
        };
        self.idle_since.store(since, Ordering::Relaxed);
    }
}

/// One of the two connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

/// Why a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// The client closed its connection, with or without a Terminate message.
    ClientClosed,
    /// The server closed its connection. The client has received the bytes before that.
    ServerClosed,
    /// It was idle, and its end was requested with [`SessionState::end_when_idle`].
    EndedWhenIdle,
    /// Its end was requested with [`SessionState::cut`].
    Cut,
    /// A connection failed.
    Failed {
        /// The connection that failed.
        side: Side,
        /// The error.
        error: io::Error,
    },
}
