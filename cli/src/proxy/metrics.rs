//! What the proxy counts.

use std::time::Duration;

/// The result of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOutcome {
    /// A session started.
    Session,
    /// The client was refused, by the proxy or by the server.
    Refused,
    /// It was a cancel request.
    Cancel,
    /// It ended before a startup message, or was not PostgreSQL's protocol.
    Abandoned,
}

/// Why a client was refused: the label `cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// The guard refused it.
    Guard,
    /// All places of --max-connections are taken.
    MaxConnections,
    /// The wait for a place of --max-logins was too long.
    MaxLogins,
    /// The user name is not one of --map.
    UnknownUser,
    /// There is no token.
    Token,
    /// The server cannot be reached, or not by TLS.
    Unreachable,
    /// The server requests another kind of password, so that the token was not sent.
    NotEntra,
    /// The server refused the login.
    Login,
    /// The client violated the protocol.
    Protocol,
    /// The proxy is at its end.
    ShuttingDown,
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    ToServer,
    /// To the client.
    ToClient,
}

/// The result of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was passed to the server.
    Forwarded,
    /// No session has its key.
    Unknown,
    /// The server could not be reached.
    Failed,
}

/// The counters and histograms. All methods take a shared reference and do not block.
#[derive(Default)]
pub struct Metrics {}

impl Metrics {
    /// Counts a connection by its result, once.
    pub fn connection(&self, _outcome: ConnectionOutcome) {}

    /// Counts a refused client.
    pub fn refusal(&self, _cause: RefusalCause) {}

    /// Records how long a login took, from the startup message to the server's ReadyForQuery.
    pub fn login(&self, _time: Duration) {}

    /// Records how long a connection to the server took, with TLS.
    pub fn connect(&self, _time: Duration) {}

    /// Counts forwarded bytes.
    pub fn bytes(&self, _direction: Direction, _count: u64) {}

    /// Counts a cancel request.
    pub fn cancel(&self, _outcome: CancelOutcome) {}

    /// Changes the number of logins that wait for a place.
    pub fn waiting_logins(&self, _change: i64) {}

    /// Changes the number of sessions of a role.
    pub fn sessions(&self, _role: &str, _change: i64) {}
}
