//! Decides which processes may use the proxy.

use pgentra_proxy::{BoxedStream, tokio_rustls::TlsAcceptor};

use super::{
    address::{ListenAddress, Peer},
    arguments::ClientOptions,
};
use crate::failure::{Failure, Result};

/// What a client must do to be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Nothing: its user may connect.
    Allowed {
        /// The user of the process, if it is known.
        uid: Option<u32>,
    },
    /// It must log in to the proxy with a password: [`Guard::authenticate`].
    Password {
        /// The user of the process, if it is known.
        uid: Option<u32>,
    },
    /// It may not connect.
    Refused(Refusal),
}

/// Why a client is refused. It gets SQLSTATE 28000 with this message and hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The user of the process, if it is known.
    pub uid: Option<u32>,
    /// The SQLSTATE: 28000, or 28P01 for a wrong password.
    pub sqlstate: &'static str,
    /// What failed.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The rules for clients.
pub struct Guard {
    tls: Option<TlsAcceptor>,
}

impl Guard {
    /// Reads the rules and the files that they name.
    ///
    /// # Errors
    /// Fails for users that do not exist and for files that cannot be used, with the flag.
    pub fn new(_options: &ClientOptions) -> Result<Guard> {
        Ok(Guard { tls: None })
    }

    /// Checks an address before the proxy listens there.
    ///
    /// # Errors
    /// Fails for an address that other machines reach, without a password file or without TLS, with the flag.
    pub fn check_address(&self, address: &ListenAddress) -> Result<()> {
        if address.is_local() {
            return Ok(());
        }
        Err(Failure::usage(format!("--listen {address} is not an address of this machine only"), ""))
    }

    /// Returns TLS for clients.
    pub fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// Decides about a connection. Called after the client's startup message was read.
    pub async fn admit(&self, peer: &Peer) -> Admission {
        match peer {
            Peer::Unix { uid } => Admission::Allowed { uid: *uid },
            Peer::Tcp { .. } => Admission::Allowed { uid: None },
        }
    }

    /// Asks a client for its password. The caller sets a time limit. After success the client still expects
    /// `AuthenticationOk`, which the server's messages contain.
    ///
    /// # Errors
    /// Fails for a wrong password. An error of the connection is a refusal with an empty message.
    pub async fn authenticate(
        &self,
        _client: &mut BoxedStream,
        _user: &str,
        uid: Option<u32>,
        _is_encrypted: bool,
    ) -> Result<(), Refusal> {
        Err(Refusal { uid, sqlstate: "28000", message: String::new(), hint: String::new() })
    }
}
