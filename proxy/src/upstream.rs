//! The server's side of the start: connection, TLS, login, cancel requests.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::authenticate::{AuthenticationRequest, AuthenticationResponse, Authenticator};
use crate::message::{ErrorFields, read_message};
use crate::startup::{CancelRequest, SSL_REQUEST, StartupMessage};
use crate::stream::{BoxedStream, Stream};

/// The address of a server. It is displayed as `host:port`, or as the directory of the socket.
pub enum ServerAddress {
    /// A Unix socket.
    #[cfg(unix)]
    UnixSocket {
        /// The directory of the socket.
        directory: PathBuf,
        /// The port, which is the suffix of the socket's name.
        port: u16,
    },
    /// A TCP port.
    Tcp {
        /// A host name or an IP address.
        host: String,
        /// The port.
        port: u16,
        /// TLS, which is then required and verified for `host`.
        tls: Option<TlsConnector>,
    },
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(unix)]
            Self::UnixSocket { directory, .. } => directory.display().fmt(formatter),
            Self::Tcp { host, port, .. } => write!(formatter, "{host}:{port}"),
        }
    }
}

/// Connects to a server. The caller sets a time limit.
///
/// # Errors
/// Fails if the server cannot be reached, or if TLS is required and the server has none or cannot be verified.
pub async fn connect(address: &ServerAddress) -> io::Result<BoxedStream> {
    match address {
        #[cfg(unix)]
        ServerAddress::UnixSocket { directory, port } => {
            Ok(Box::new(UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await?))
        }
        ServerAddress::Tcp { host, port, tls } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = tls else { return Ok(Box::new(stream)) };
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            Ok(Box::new(negotiate_tls(stream, tls, name).await?))
        }
    }
}

/// Requests TLS and starts it. For direct TLS, call [`TlsConnector::connect`] with a connector for the protocol
/// [`ALPN`](crate::ALPN) instead.
///
/// # Errors
/// Fails if the server does not support TLS, or if it cannot be verified. The stream is then closed.
pub async fn negotiate_tls<S: Stream>(
    mut stream: S,
    tls: &TlsConnector,
    name: ServerName<'static>,
) -> io::Result<TlsStream<S>> {
    stream.write_all(&SSL_REQUEST).await?;
    stream.flush().await?;
    // Exactly one byte is read, so that bytes that were sent ahead of TLS are read as TLS, and make it fail.
    if stream.read_u8().await? != b'S' {
        return Err(io::Error::other("the server does not support TLS"));
    }
    tls.connect(name, stream).await
}

/// The result of [`log_in`].
#[derive(Debug, PartialEq, Eq)]
pub enum UpstreamLogin {
    /// The server accepted the login. Its messages, up to and including `AuthenticationOk`, are for the client.
    Accepted {
        /// The messages, without those of the authentication itself.
        messages: Vec<u8>,
    },
    /// The server refused the login.
    Refused {
        /// The server's messages, up to and including the error, for the client.
        messages: Vec<u8>,
        /// The error.
        error: ErrorFields,
    },
    /// The authenticator declined the requested authentication.
    Declined,
}

/// Starts a session: sends the startup message and completes the authentication. The caller sets a time limit.
///
/// # Errors
/// Fails if the connection ends, if the server violates the protocol, or with the authenticator's error.
pub async fn log_in(
    stream: &mut impl Stream,
    startup: &StartupMessage,
    authenticator: &mut impl Authenticator,
) -> io::Result<UpstreamLogin> {
    send(stream, startup.packet()).await?;
    let mut messages = Vec::new();
    loop {
        let message = read_message(stream).await?;
        match message.kind {
            b'R' => match AuthenticationRequest::of(&message)? {
                AuthenticationRequest::Ok => {
                    messages.extend(message.bytes);
                    return Ok(UpstreamLogin::Accepted { messages });
                }
                request => match authenticator.respond(request)? {
                    AuthenticationResponse::Send(response) => send(stream, &response).await?,
                    AuthenticationResponse::Wait => {}
                    AuthenticationResponse::Decline => return Ok(UpstreamLogin::Declined),
                },
            },
            b'E' => {
                let error = ErrorFields::parse(message.body());
                messages.extend(message.bytes);
                return Ok(UpstreamLogin::Refused { messages, error });
            }
            // Notices, and the negotiation of the protocol's version.
            _ => messages.extend(message.bytes),
        }
        if messages.len() > MAX_MESSAGES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent too many messages"));
        }
    }
}

/// The limit for all of a server's messages before the end of the authentication.
const MAX_MESSAGES: usize = 1 << 20;

/// Forwards a cancel request and waits until the server has received it. The caller sets a time limit.
///
/// # Errors
/// Fails if the connection fails.
pub async fn cancel(stream: &mut impl Stream, request: &CancelRequest) -> io::Result<()> {
    send(stream, request.packet()).await?;
    // The server responds by closing the connection.
    stream.read(&mut [0; 1]).await.map(drop)
}

async fn send(stream: &mut impl Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
