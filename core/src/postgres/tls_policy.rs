//! Decides which TLS mode a connection must use before a token is sent over it.
//!
//! A token is a bearer secret, so it must not cross a network without TLS. The rules are in `tests/vectors/tls.json`.

use std::net::IpAddr;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// One address that a driver connects to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The host name, IP address or socket folder; empty for the driver's local default.
    pub host: String,
    /// `hostaddr` or `PGHOSTADDR`: the address to connect to instead of the name's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostaddr: Option<String>,
    /// The port, if one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

impl Host {
    /// Returns the address that the driver opens a socket to: `hostaddr` if given, otherwise the name.
    pub fn address(&self) -> &str {
        self.hostaddr.as_deref().filter(|address| !address.is_empty()).unwrap_or(&self.host)
    }
}

/// The server or servers of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Every address that the driver can connect to. An empty list means the driver's local default.
    Known(Vec<Host>),
    /// The address cannot be determined, for example because a service is defined in a file that was not found. Counts as
    /// remote.
    Unknown,
}

impl Server {
    /// Returns the server with these names or addresses.
    pub fn named(hosts: &[&str]) -> Self {
        Server::Known(hosts.iter().map(|host| Host { host: (*host).to_owned(), ..Host::default() }).collect())
    }

    /// Returns whether every address is loopback, a Unix socket or the driver's local default.
    pub fn is_local(&self) -> bool {
        match self {
            Server::Known(hosts) => hosts.iter().all(|host| is_local(host.address())),
            Server::Unknown => false,
        }
    }

    /// Returns the hosts, if they are known.
    pub fn hosts(&self) -> &[Host] {
        match self {
            Server::Known(hosts) => hosts,
            Server::Unknown => &[],
        }
    }

    /// Returns the first remote address, for an error message.
    fn first_remote(&self) -> &str {
        let remote = self.hosts().iter().find(|host| !is_local(host.address()));
        remote.map(Host::address).unwrap_or("a server with an unknown address")
    }
}

/// Returns the `sslmode` to connect with: `None` keeps the given one, `Some` replaces it. `sslmode` is spelled as libpq
/// spells it.
///
/// # Errors
/// [`ErrorKind::InsecureTransport`] if TLS is switched off for a server that is not local.
pub fn secure_sslmode(sslmode: Option<&str>, server: &Server, allow_insecure: bool) -> Result<Option<&'static str>> {
    if allow_insecure || server.is_local() {
        return Ok(None);
    }
    match sslmode.map(str::trim) {
        None | Some("" | "allow" | "prefer") => Ok(Some("require")),
        Some("disable") => Err(Error::new(
            ErrorKind::InsecureTransport,
            format!("TLS is switched off: the token would be sent unencrypted to {}", server.first_remote()),
        )),
        // The driver itself rejects an invalid mode.
        Some(_) => Ok(None),
    }
}

/// Returns whether a connection to `host` stays on this machine: loopback, a Unix socket, or the local default.
pub fn is_local(host: &str) -> bool {
    let host = host.trim();
    if host.is_empty() || host.starts_with(['/', '@']) {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => address.to_ipv4_mapped().map_or(address.is_loopback(), |v4| v4.is_loopback()),
        Ok(address) => address.is_loopback(),
        Err(_) => bare.strip_suffix('.').unwrap_or(bare).eq_ignore_ascii_case("localhost"),
    }
}
