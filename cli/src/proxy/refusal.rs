//! Why a client gets no session.

use pgentra_proxy::message::error_response;

/// Why a connection gets no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// The client's process is another user's.
    Uid,
    /// The client's user has no id in this user namespace.
    UnmappedUid,
    /// The client's user cannot be determined.
    UnknownOwner,
    /// A password is needed, and no password file is given.
    NoPassword,
    /// The password is wrong.
    Password,
    /// A password is needed, and the connection is not encrypted.
    TlsRequired,
    /// The client's messages are not those of the protocol.
    Protocol,
    /// The client did not complete its start in time.
    TimedOut,
    /// The client's name is not mapped to a role.
    Role,
    /// There are as many sessions as allowed.
    TooManyConnections,
    /// The proxy ends.
    Draining,
    /// There is no token.
    Token,
    /// The server cannot be reached, or not by TLS.
    ServerUnreachable,
    /// The server requests something else than a password in clear text.
    NoCleartext,
    /// The server refused the login.
    ServerLogin,
}

impl RefusalCause {
    /// All causes.
    pub const ALL: [RefusalCause; 15] = [
        RefusalCause::Uid,
        RefusalCause::UnmappedUid,
        RefusalCause::UnknownOwner,
        RefusalCause::NoPassword,
        RefusalCause::Password,
        RefusalCause::TlsRequired,
        RefusalCause::Protocol,
        RefusalCause::TimedOut,
        RefusalCause::Role,
        RefusalCause::TooManyConnections,
        RefusalCause::Draining,
        RefusalCause::Token,
        RefusalCause::ServerUnreachable,
        RefusalCause::NoCleartext,
        RefusalCause::ServerLogin,
    ];

    /// Returns the value of the label `cause`.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalCause::Uid => "uid",
            RefusalCause::UnmappedUid => "unmapped_uid",
            RefusalCause::UnknownOwner => "unknown_owner",
            RefusalCause::NoPassword => "no_password",
            RefusalCause::Password => "password",
            RefusalCause::TlsRequired => "tls_required",
            RefusalCause::Protocol => "protocol",
            RefusalCause::TimedOut => "timed_out",
            RefusalCause::Role => "role",
            RefusalCause::TooManyConnections => "too_many_connections",
            RefusalCause::Draining => "draining",
            RefusalCause::Token => "token",
            RefusalCause::ServerUnreachable => "server_unreachable",
            RefusalCause::NoCleartext => "no_cleartext_request",
            RefusalCause::ServerLogin => "server_login",
        }
    }

    /// Returns whether the client itself was refused, not its login at the server.
    pub fn is_of_guard(self) -> bool {
        use RefusalCause::{NoPassword, Password, TlsRequired, Uid, UnknownOwner, UnmappedUid};
        matches!(self, Uid | UnmappedUid | UnknownOwner | NoPassword | Password | TlsRequired)
    }
}

/// A refusal, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub cause: RefusalCause,
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Refusal {
    /// Creates a refusal with the SQLSTATE `invalid_authorization_specification`.
    pub fn new(cause: RefusalCause, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { cause, sqlstate: "28000", message: message.into(), hint: Some(hint.into()) }
    }

    /// Returns the error for the client.
    pub fn response(&self) -> Vec<u8> {
        error_response(self.sqlstate, &self.message, self.hint.as_deref())
    }
}

/// Why a client is not admitted.
#[derive(Debug)]
pub enum Denied {
    /// The connection was closed.
    Closed,
    /// It is refused.
    Refused(Refusal),
}
