//! What a connection's own settings must be before a token goes over it.
//!
//! A token is a bearer secret: it never crosses a network without TLS. The rules are in `tests/vectors/tls.json`.

use std::net::IpAddr;

use crate::error::{Error, ErrorKind, Result};

/// The `sslmode` to connect with: `None` leaves the given one as it is, `Some` replaces it.
///
/// `hosts` are the places that the driver connects to: for each the address where one is given, else the name; an empty
/// one is the driver's local default. `sslmode` is as libpq spells it.
///
/// # Errors
/// [`ErrorKind::InsecureTransport`] where TLS is switched off for a place that is not this machine.
pub fn secure_sslmode(sslmode: Option<&str>, hosts: &[&str], allow_insecure: bool) -> Result<Option<&'static str>> {
    if allow_insecure || hosts.iter().all(|host| is_local(host)) {
        return Ok(None);
    }
    match sslmode.map(str::trim) {
        None | Some("" | "allow" | "prefer") => Ok(Some("require")),
        Some("disable") => {
            let host = hosts.iter().find(|host| !is_local(host)).copied().unwrap_or_default();
            Err(Error::new(
                ErrorKind::InsecureTransport,
                format!("sslmode=disable: the token would cross the network to {host} in the clear"),
            ))
        }
        // What is not a mode, the driver refuses itself.
        Some(_) => Ok(None),
    }
}

/// Whether a connection to `host` stays on this machine: loopback, a Unix socket, or the local default.
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
