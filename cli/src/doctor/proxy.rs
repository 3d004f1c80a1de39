//! The check of a proxy for the same server on this machine.

use std::{io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use pgentra::postgres::Host;
use tokio::{net::UnixStream, time::timeout};

use super::report::Check;
use crate::{proxy::default_socket, ready};

/// The time limit of the connection, and of the request to the health endpoint.
const LIMIT: Duration = Duration::from_secs(5);

/// The variable of the proxy's option `--http`.
const HTTP_VARIABLE: &str = "PGENTRA_HTTP";

/// Looks for a proxy at the default socket. `http` is the address of its health endpoint, if it is known.
pub async fn check(host: &Host, http: Option<&str>) -> Check {
    let name = if host.host.is_empty() { host.address() } else { &host.host };
    let path = default_socket(name);
    let Ok(metadata) = std::fs::symlink_metadata(&path) else {
        return Check::skip("proxy", "no proxy listens at the default socket");
    };
    if let Some(check) = not_connected(&path).await {
        return check;
    }
    let (owner, mode) = (metadata.uid(), metadata.mode());
    let mut check = Check::ok("proxy", format!("listens at {}, for processes of the user id {owner}", path.display()));
    if mode & 0o077 != 0 {
        check.warn(
            format!("The socket's mode is {:04o}, so that other users can connect.", mode & 0o7777),
            "Start pgentra proxy again.",
        );
    }
    match http.filter(|address| !address.is_empty()).map(str::parse) {
        None => {}
        Some(Err(_)) => {
            let found = format!("{HTTP_VARIABLE} is not an address, so that the proxy's state is unknown.");
            check.warn(found, format!("Set {HTTP_VARIABLE} to IP:PORT."));
        }
        Some(Ok(address)) => match ready::ask(address, LIMIT).await {
            Ok(()) => check = check.found(format!("http://{address}/readyz: ready")),
            Err(failure) => check.warn(format!("{}.", failure.headline()), failure.advice()),
        },
    }
    check
}

/// Returns the check of a socket that does not accept connections.
async fn not_connected(path: &Path) -> Option<Check> {
    let error = match timeout(LIMIT, UnixStream::connect(path)).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    let mut check = Check::ok("proxy", format!("does not respond at {}", path.display()));
    let (found, fix) = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            ("The proxy that created the socket has ended.".to_owned(), "Start pgentra proxy again.")
        }
        io::ErrorKind::PermissionDenied => {
            ("The proxy is another user's.".to_owned(), "Start pgentra proxy as this user.")
        }
        _ => (format!("The socket cannot be connected to: {error}."), "Start pgentra proxy again."),
    };
    check.warn(found, fix);
    Some(check)
}

/// Returns the address of the health endpoint, if the variable has one.
pub fn http_address() -> Option<String> {
    std::env::var(HTTP_VARIABLE).ok()
}
