//! The sessions of the proxy: how many there are, and which are to end.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pgentra_proxy::{SessionState, message::session_ended};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// From this number of sessions on, memory is given back to the system after half of them have ended.
const TRIM_FROM: usize = 64;

/// How often the limits of time are checked.
const SHORTEST_CHECK: Duration = Duration::from_millis(10);
const LONGEST_CHECK: Duration = Duration::from_secs(1);

/// How often the bytes of sessions are added to the counters.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// All sessions, and the places for them.
pub struct Sessions {
    max: usize,
    counters: ByteCounters,
    places: AtomicUsize,
    next: AtomicU64,
    live: Mutex<Live>,
    /// Notified when a session or a login ends.
    ended: Notify,
}

#[derive(Default)]
struct Live {
    sessions: HashMap<u64, Entry>,
    /// The highest number of sessions since the last trim.
    highest: usize,
    /// Whether all sessions are to end when they become idle.
    is_draining: bool,
    /// When the last session ended; `None` before the first one.
    empty_since: Option<Instant>,
}

/// A session in the table.
struct Entry {
    state: Arc<SessionState>,
    /// The bytes that are in the counters already.
    counted: Bytes,
}

/// Forwarded bytes of a session.
#[derive(Clone, Copy, Default)]
struct Bytes {
    to_client: u64,
    to_server: u64,
}

impl Entry {
    /// Adds the bytes since the last call to the counters.
    fn count(&mut self, counters: &ByteCounters) {
        let now = Bytes { to_client: self.state.bytes_to_client(), to_server: self.state.bytes_to_server() };
        counters.from_server.inc_by(now.to_client.saturating_sub(self.counted.to_client));
        counters.from_client.inc_by(now.to_server.saturating_sub(self.counted.to_server));
        self.counted = now;
    }
}

/// The counters of forwarded bytes.
#[derive(Clone, Default)]
pub struct ByteCounters {
    /// From clients to the server.
    pub from_client: Counter<u64, AtomicU64>,
    /// From the server to clients.
    pub from_server: Counter<u64, AtomicU64>,
}

/// One of the places of `--max-connections`. Dropping it gives the place back.
pub struct Place(Arc<Sessions>);

/// A session in the table. Dropping it removes the session.
pub struct Registered {
    place: Place,
    /// The number of the session, for the log.
    pub id: u64,
}

impl Sessions {
    /// Creates an empty table with this number of places.
    pub fn new(max: usize, counters: ByteCounters) -> Arc<Sessions> {
        Arc::new(Sessions {
            max,
            counters,
            places: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            live: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// Takes a place for a session, if one is free.
    pub fn take_place(self: &Arc<Self>) -> Option<Place> {
        let taken = self
            .places
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < self.max).then_some(count + 1));
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// Returns whether a place is free.
    pub fn has_place(&self) -> bool {
        self.places.load(Ordering::Acquire) < self.max
    }

    /// Returns the number of sessions and of logins under way.
    pub fn places_taken(&self) -> usize {
        self.places.load(Ordering::Acquire)
    }

    /// Adds a session.
    pub fn add(self: &Arc<Self>, place: Place, state: Arc<SessionState>) -> Registered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut live = self.lock();
        live.sessions.insert(id, Entry { state: Arc::clone(&state), counted: Bytes::default() });
        live.highest = live.highest.max(live.sessions.len());
        live.empty_since = None;
        if live.is_draining {
            state.end_when_idle(session_ended());
        }
        Registered { place, id }
    }

    /// Ends all sessions, also later ones, as soon as they are idle.
    pub fn drain(&self) {
        let mut live = self.lock();
        live.is_draining = true;
        let message: Arc<[u8]> = session_ended().into();
        live.sessions.values().for_each(|entry| entry.state.end_when_idle(Arc::clone(&message)));
    }

    /// Returns whether [`drain`](Self::drain) was called.
    pub fn is_draining(&self) -> bool {
        self.lock().is_draining
    }

    /// Ends all sessions at once.
    pub fn end_all(&self) {
        // The message is also sent by a cut.
        self.drain();
        self.lock().sessions.values().for_each(|entry| entry.state.cut());
    }

    /// Waits until there are no sessions and no logins.
    pub async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            // From here on, the end of a session is not missed.
            ended.as_mut().enable();
            if self.places_taken() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Waits until the last session or login has ended, and returns since when there is none; `None` before the first
    /// one.
    pub fn empty_since(&self) -> Option<Instant> {
        match self.places_taken() {
            0 => self.lock().empty_since,
            _ => None,
        }
    }

    /// Ends the sessions that have reached the limits of age or of idle time, regularly. Never returns. A session over
    /// the age ends as soon as it is idle.
    pub async fn end_old(&self, max_age: Option<Duration>, idle_timeout: Option<Duration>) {
        let Some(shortest) = max_age.into_iter().chain(idle_timeout).min() else { return std::future::pending().await };
        let message: Arc<[u8]> = session_ended().into();
        loop {
            sleep((shortest / 4).clamp(SHORTEST_CHECK, LONGEST_CHECK)).await;
            for Entry { state, .. } in self.lock().sessions.values() {
                let is_old = max_age.is_some_and(|limit| state.age() >= limit);
                let is_idle = idle_timeout.is_some_and(|limit| state.idle_for().is_some_and(|time| time >= limit));
                if is_old {
                    state.end_when_idle(Arc::clone(&message));
                } else if is_idle {
                    state.end_if_idle(Arc::clone(&message));
                }
            }
        }
    }

    /// Counts the bytes of all sessions, regularly. Never returns. Those of a session that ends are counted then.
    pub async fn count_bytes(&self) {
        loop {
            sleep(COUNT_INTERVAL).await;
            self.lock().sessions.values_mut().for_each(|entry| entry.count(&self.counters));
        }
    }

    fn remove(&self, id: u64) {
        let is_trimmed = {
            let mut live = self.lock();
            if let Some(mut entry) = live.sessions.remove(&id) {
                entry.count(&self.counters);
            }
            if live.sessions.is_empty() {
                live.empty_since = Some(Instant::now());
            }
            let is_half = live.highest >= TRIM_FROM && live.sessions.len() <= live.highest / 2;
            if is_half {
                live.highest = live.sessions.len();
                // The table itself keeps its size otherwise.
                live.sessions.shrink_to_fit();
            }
            is_half
        };
        if is_trimmed {
            trim_memory();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_waiters();
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.place.0.remove(self.id);
    }
}

/// Gives unused memory back to the system. glibc would keep it.
fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn_blocking(|| {
            // SAFETY: the function has no requirements and can be called by any thread.
            unsafe { libc::malloc_trim(0) };
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_places_are_limited_and_given_back() {
        let sessions = Sessions::new(2, ByteCounters::default());
        let (one, two) = (sessions.take_place().expect("free"), sessions.take_place().expect("free"));
        assert!(sessions.take_place().is_none() && !sessions.has_place());
        let registered = sessions.add(one, Arc::default());
        assert_eq!(sessions.empty_since(), None);
        drop(two);
        assert_eq!(sessions.places_taken(), 1);
        drop(registered);
        assert!(sessions.empty_since().is_some());
        sessions.ended().await;
    }
}
