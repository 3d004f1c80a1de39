//! Every request that was made, without its secrets, for tests to assert on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

/// Requests kept; older ones are forgotten, but stay counted.
const CAPACITY: usize = 100_000;

/// One request.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RecordedRequest {
    /// Counts from 1 since the start of the emulator.
    pub id: u64,
    /// The name by which faults and counters know the endpoint.
    pub endpoint: String,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query parameters; secret values as `***`.
    pub query: BTreeMap<String, String>,
    /// Headers, names in lower case; secret values as `***`.
    pub headers: BTreeMap<String, String>,
    /// Form fields; secret values as `***`.
    pub form: BTreeMap<String, String>,
    /// Name of the principal that asked, as far as it is known.
    pub principal: Option<String>,
    /// Resource asked for.
    pub resource: Option<String>,
    /// Header and claims of the client's assertion, and what is wrong with its `x5c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_assertion: Option<Value>,
    /// Number of the connection it came over.
    pub connection: u64,
    /// Id of the fault that hit it.
    pub fault: Option<u64>,
    /// Status of the answer; `None` while there is none, and where none was sent.
    pub status: Option<u16>,
    /// Milliseconds since 1970, by this machine's clock.
    pub started_ms: u64,
    /// Milliseconds since 1970; `None` while in flight.
    pub finished_ms: Option<u64>,
}

/// Counts of one endpoint.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counters {
    /// Requests begun.
    pub total: u64,
    /// Requests without an answer yet.
    pub in_flight: u64,
    /// The most there ever were at once.
    pub max_in_flight: u64,
    /// Connections that carried at least one of these requests.
    pub connections: u64,
}

/// A copy of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// By endpoint.
    pub counters: BTreeMap<String, Counters>,
    /// Connections accepted, by listener; those that carried no request are counted too.
    pub accepted: BTreeMap<String, u64>,
    /// In the order they began.
    pub requests: Vec<RecordedRequest>,
}

/// The log; see [`RequestLog::snapshot`].
#[derive(Default)]
pub struct RequestLog {
    entries: Arc<Mutex<Entries>>,
    connections: AtomicU64,
}

#[derive(Default)]
struct Entries {
    next_id: u64,
    counters: BTreeMap<String, Counters>,
    accepted: BTreeMap<String, u64>,
    requests: VecDeque<RecordedRequest>,
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RequestLog {
    /// The log as it is now.
    pub fn snapshot(&self) -> Requests {
        let entries = lock(&self.entries);
        Requests {
            counters: entries.counters.clone(),
            accepted: entries.accepted.clone(),
            requests: entries.requests.iter().cloned().collect(),
        }
    }

    /// The counts of one endpoint.
    pub fn counters(&self, endpoint: &str) -> Counters {
        lock(&self.entries).counters.get(endpoint).copied().unwrap_or_default()
    }

    /// Forgets requests and counts, but not those in flight.
    pub fn clear(&self) {
        let mut entries = lock(&self.entries);
        entries.requests.retain(|request| request.finished_ms.is_none());
        entries.accepted.clear();
        for counters in entries.counters.values_mut() {
            let in_flight = counters.in_flight;
            *counters = Counters { total: in_flight, in_flight, max_in_flight: in_flight, connections: 0 };
        }
    }

    /// Counts a connection and numbers it.
    pub(crate) fn accept(&self, listener: &str) -> u64 {
        *lock(&self.entries).accepted.entry(listener.into()).or_default() += 1;
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Begins a request. It ends when what is returned is dropped, however that comes about.
    pub(crate) fn begin(&self, mut request: RecordedRequest, first_on_connection: bool) -> InFlight {
        let mut entries = lock(&self.entries);
        entries.next_id += 1;
        request.id = entries.next_id;
        request.started_ms = now_ms();
        let counters = entries.counters.entry(request.endpoint.clone()).or_default();
        counters.total += 1;
        counters.in_flight += 1;
        counters.max_in_flight = counters.max_in_flight.max(counters.in_flight);
        counters.connections += u64::from(first_on_connection);
        let in_flight = InFlight {
            id: request.id,
            endpoint: request.endpoint.clone(),
            entries: self.entries.clone(),
            status: None,
        };
        if entries.requests.len() == CAPACITY {
            entries.requests.pop_front();
        }
        entries.requests.push_back(request);
        in_flight
    }
}

/// A request that is being answered.
pub(crate) struct InFlight {
    id: u64,
    endpoint: String,
    entries: Arc<Mutex<Entries>>,
    status: Option<u16>,
}

impl InFlight {
    pub(crate) fn hit_by(&self, fault: u64) {
        self.update(|request| request.fault = Some(fault));
    }

    pub(crate) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }

    fn update(&self, change: impl FnOnce(&mut RecordedRequest)) {
        // From the back: the newest are the ones in flight.
        if let Some(request) = lock(&self.entries).requests.iter_mut().rev().find(|request| request.id == self.id) {
            change(request);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.update(|request| {
            request.status = self.status;
            request.finished_ms = Some(now_ms());
        });
        if let Some(counters) = lock(&self.entries).counters.get_mut(&self.endpoint) {
            counters.in_flight = counters.in_flight.saturating_sub(1);
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
