//! The log of all requests, without their secrets, for assertions in tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

/// The maximum number of requests that are kept. Older ones are dropped, but stay counted.
const CAPACITY: usize = 100_000;

/// A request.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RecordedRequest {
    /// The number, counted from 1 since the start of the emulator.
    pub id: u64,
    /// The name of the endpoint in faults and counters.
    pub endpoint: String,
    /// The HTTP method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query parameters, with secret values as `***`.
    pub query: BTreeMap<String, String>,
    /// The headers, with names in lower case and secret values as `***`.
    pub headers: BTreeMap<String, String>,
    /// The form fields, with secret values as `***`.
    pub form: BTreeMap<String, String>,
    /// The name of the principal of the request, as far as it is known.
    pub principal: Option<String>,
    /// The requested resource.
    pub resource: Option<String>,
    /// Header and claims of the client's assertion, and the error in its `x5c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_assertion: Option<Value>,
    /// The number of the connection.
    pub connection: u64,
    /// The id of the fault that affected the request.
    pub fault: Option<u64>,
    /// The status of the response; `None` before the response, and if a response was not sent.
    pub status: Option<u16>,
    /// The start in milliseconds since 1970, by this machine's clock.
    pub started_ms: u64,
    /// The end in milliseconds since 1970; `None` while in flight.
    pub finished_ms: Option<u64>,
}

/// The counters of one endpoint.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RequestCounters {
    /// The number of requests that started.
    pub total: u64,
    /// The number of requests without a response yet.
    pub in_flight: u64,
    /// The highest number of requests in flight at the same time.
    pub max_in_flight: u64,
    /// The number of connections with at least one of these requests.
    pub connections: u64,
}

/// A copy of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// The counters by endpoint.
    pub counters: BTreeMap<String, RequestCounters>,
    /// The number of accepted connections by listener, including those without a request.
    pub accepted: BTreeMap<String, u64>,
    /// The requests in the order in which they started.
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
    counters: BTreeMap<String, RequestCounters>,
    accepted: BTreeMap<String, u64>,
    requests: VecDeque<RecordedRequest>,
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RequestLog {
    /// Returns a copy of the current log.
    pub fn snapshot(&self) -> Requests {
        let entries = lock(&self.entries);
        Requests {
            counters: entries.counters.clone(),
            accepted: entries.accepted.clone(),
            requests: entries.requests.iter().cloned().collect(),
        }
    }

    /// Returns the counters of one endpoint.
    pub fn counters(&self, endpoint: &str) -> RequestCounters {
        lock(&self.entries).counters.get(endpoint).copied().unwrap_or_default()
    }

    /// Removes requests and counters, except those in flight.
    pub fn clear(&self) {
        let mut entries = lock(&self.entries);
        entries.requests.retain(|request| request.finished_ms.is_none());
        entries.accepted.clear();
        for counters in entries.counters.values_mut() {
            let in_flight = counters.in_flight;
            *counters = RequestCounters { total: in_flight, in_flight, max_in_flight: in_flight, connections: 0 };
        }
    }

    /// Counts a connection and returns its number.
    pub(crate) fn accept(&self, listener: &str) -> u64 {
        *lock(&self.entries).accepted.entry(listener.into()).or_default() += 1;
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Starts a request. It ends when the returned value is dropped, for whatever reason.
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

/// A request in flight.
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
        // The search starts at the end, because the newest requests are in flight.
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
