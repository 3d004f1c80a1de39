//! Lines of libpq's password file.

use pgentra::Login;
use zeroize::Zeroizing;

use crate::{
    connection::{self, Connection, port_of},
    failure::Result,
};

/// Returns a line with the login for each host of the server, each ended by a newline. The database is `*`.
///
/// # Errors
/// Fails if no server is given, or if the role contains NUL or a line break.
pub fn lines(connection: &Connection, login: &Login) -> Result<Zeroizing<String>> {
    connection::require_role(login.user())?;
    let mut lines = Zeroizing::new(String::new());
    for host in connection.hosts()? {
        // libpq compares the name, or the address if there is no name.
        let name = if host.host.is_empty() { host.address() } else { &host.host };
        lines.push_str(&line(name, port_of(host)?, login.user(), login.password()));
    }
    Ok(lines)
}

/// Returns one line. Source: libpq, "The Password File".
pub fn line(host: &str, port: u16, user: &str, password: &str) -> String {
    format!("{}:{port}:*:{}:{}\n", escaped(host), escaped(user), escaped(password))
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace(':', r"\:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_escapes_colons_and_backslashes() {
        assert_eq!(line("::1", 5432, r"a\b:c", "t"), "\\:\\:1:5432:*:a\\\\b\\:c:t\n");
    }
}
