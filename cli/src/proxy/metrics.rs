//! What the proxy counts.
use std::{sync::Arc, time::Duration};

use pgentra::TokenProvider;

pub struct Metrics;

impl Metrics {
    pub fn new(_has_roles: bool) -> Arc<Metrics> {
        Arc::new(Metrics)
    }

    pub fn server(&self, _name: &str, _provider: &TokenProvider) -> ServerMetrics {
        ServerMetrics::default()
    }
}

#[derive(Clone, Default)]
pub struct ServerMetrics {
    pub bytes_from_client: Counter,
    pub bytes_from_server: Counter,
}

#[derive(Clone, Default)]
pub struct Counter;

impl Counter {
    pub fn inc_by(&self, _count: u64) {}
}

pub struct InProgress;

impl ServerMetrics {
    pub fn session(&self, _role: &str) -> InProgress {
        InProgress
    }

    pub fn waiting_login(&self) -> InProgress {
        InProgress
    }

    pub fn connection(&self, _outcome: ConnectionOutcome) {}

    pub fn refusal(&self, _cause: &RefusalCause) {}

    pub fn login(&self, _took: Duration) {}

    pub fn connect(&self, _took: Duration) {}

    pub fn cancel(&self, _outcome: CancelOutcome) {}
}

#[derive(Clone, Copy)]
pub enum ConnectionOutcome {
    Session,
    Cancel,
    Refused,
    Failed,
    Closed,
}

#[derive(Clone, Copy)]
pub enum CancelOutcome {
    Forwarded,
    UnknownKey,
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub enum RefusalCause {
    Uid,
    Unmapped,
    UnknownOwner,
    NoPassword,
    Password,
    TlsRequired,
    Draining,
    TooManyConnections,
    Token,
    ServerUnreachable,
    ServerLogin,
    NoCleartext,
    Role,
    Protocol,
    TimedOut,
}
