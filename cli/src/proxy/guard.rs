//! Decides which processes may use the proxy.

use std::{fmt, net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use pgentra_proxy::message::error_response;

use super::metrics::RefusalCause;
use crate::failure::{Failure, Result};

/// What clients must prove, and how they are encrypted.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Clients")]
pub struct AccessOptions {
    /// User of this machine who may connect without a password: a number, a name, or any; may be repeated
    /// [default: this user and root]
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    pub allow_uid: Vec<String>,
    /// File with a line USER:PASSWORD or USER:SCRAM-SHA-256$... for each client; other clients are asked for it
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificate chain for clients that request TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// TLS for clients with a certificate that is created at the start
    #[arg(long, value_enum, value_name = "SOURCE", conflicts_with = "tls_cert")]
    pub tls: Option<TlsSource>,
}

/// The origin of the certificate for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TlsSource {
    /// A certificate that signs itself
    SelfSigned,
}

/// The rules for clients.
pub struct Guard;

impl Guard {
    pub fn new(_options: &AccessOptions) -> Result<Guard> {
        Ok(Guard)
    }

    pub fn check_address(&self, listen: SocketAddr, _has_tls: bool) -> Result<()> {
        if listen.ip().is_loopback() {
            return Ok(());
        }
        Err(Failure::usage(format!("--listen {listen} is not loopback"), ""))
    }

    pub fn check_tcp(&self, stream: &tokio::net::TcpStream) -> Peer {
        Peer { uid: None, address: stream.peer_addr().ok() }
    }

    pub fn check_unix(&self, stream: &tokio::net::UnixStream) -> Peer {
        Peer { uid: stream.peer_cred().ok().map(|peer| peer.uid()), address: None }
    }

    pub async fn admit<S: pgentra_proxy::Stream>(
        &self,
        _peer: &Peer,
        _stream: &mut S,
        _user: &str,
        _is_encrypted: bool,
    ) -> Result<(), Denied> {
        Ok(())
    }
}

pub struct Peer {
    pub uid: Option<u32>,
    pub address: Option<SocketAddr>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.address, self.uid)
    }
}

pub enum Denied {
    Closed,
    Refused(Refusal),
}

pub struct Refusal {
    pub cause: RefusalCause,
    pub sqlstate: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Refusal {
    pub fn response(&self) -> Vec<u8> {
        error_response(self.sqlstate, &self.message, self.hint.as_deref())
    }
}
