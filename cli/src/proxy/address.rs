//! Addresses to listen at.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// PostgreSQL's port, which is a part of a socket's name.
pub const DEFAULT_PORT: u16 = 5432;

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// The socket `.s.PGSQL.PORT` in a directory.
    Unix {
        /// The directory, which is this user's own.
        directory: PathBuf,
        /// The port in the socket's name.
        port: u16,
    },
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket that systemd has opened, by its name.
    Descriptor(String),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("fd:") {
            return match name {
                "" => Err("expected fd:NAME".to_owned()),
                name => Ok(ListenAddress::Descriptor(name.to_owned())),
            };
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let (directory, port) = match rest.rsplit_once(':').map(|(directory, port)| (directory, port.parse())) {
                Some((directory, Ok(port))) => (directory, port),
                _ => (rest, DEFAULT_PORT),
            };
            return match directory {
                "" => Err("expected unix:DIRECTORY or unix:DIRECTORY:PORT".to_owned()),
                directory => Ok(ListenAddress::Unix { directory: directory.into(), port }),
            };
        }
        let expected = "expected IP:PORT, unix:DIRECTORY[:PORT] or fd:NAME";
        text.parse().map(ListenAddress::Tcp).map_err(|_| expected.to_owned())
    }
}

/// As it is written in arguments.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Unix { directory, port: DEFAULT_PORT } => write!(f, "unix:{}", directory.display()),
            ListenAddress::Unix { directory, port } => write!(f, "unix:{}:{port}", directory.display()),
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Descriptor(name) => write!(f, "fd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_address_reads_each_form() {
        let unix = |directory: &str, port| ListenAddress::Unix { directory: directory.into(), port };
        for (text, address) in [
            ("unix:/run/x", unix("/run/x", 5432)),
            ("unix:/run/x/:6432", unix("/run/x/", 6432)),
            ("unix:/run/a:b", unix("/run/a:b", 5432)),
            ("127.0.0.1:6432", ListenAddress::Tcp(([127, 0, 0, 1], 6432).into())),
            ("[::1]:6432", ListenAddress::Tcp("[::1]:6432".parse().expect("an address"))),
            ("fd:shop", ListenAddress::Descriptor("shop".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
        for text in ["", "unix:", "fd:", "localhost:1", "127.0.0.1", "unix::5432"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
