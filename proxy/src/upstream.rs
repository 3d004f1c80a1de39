//! The server's side of the start: connection, TLS, login, cancel requests.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use crate::authenticate::{AuthenticationRequest, AuthenticationResponse, Authenticator};
use crate::message::{ErrorFields, read_message};
use crate::socket::configure_server;
use crate::startup::{CancelRequest, SSL_REQUEST, SessionKey, StartupMessage};
use crate::stream::{BoxedStream, Stream};

/// The time limit of [`connect`], with name resolution and TLS.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The time limit of [`cancel_session`] after the connection.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// The address of a server. It is displayed as `host:port`, or as the directory of the socket.
#[derive(Clone)]
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
        /// A host name or an IP address. A name is resolved for each connection.
        host: String,
        /// The IP address to connect to, if it is not that of `host`.
        hostaddr: Option<IpAddr>,
        /// The port.
        port: u16,
        /// TLS, which is then required.
        tls: Option<ServerTls>,
    },
}

/// How TLS is started with a server.
#[derive(Clone)]
pub struct ServerTls {
    /// The connector, which verifies the server. For [`TlsNegotiation::Direct`], it must offer the protocol
    /// [`ALPN`](crate::ALPN) only.
    pub connector: TlsConnector,
    /// The name that the certificate must have, by default the host.
    pub name: Option<ServerName<'static>>,
    /// How TLS is negotiated.
    pub negotiation: TlsNegotiation,
}

impl ServerTls {
    /// Creates TLS that is requested with `SSLRequest`, for a certificate with the name of the host.
    pub fn new(connector: TlsConnector) -> Self {
        Self { connector, name: None, negotiation: TlsNegotiation::Postgres }
    }
}

/// How TLS is negotiated: the values of libpq's `sslnegotiation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsNegotiation {
    /// With an `SSLRequest`.
    #[default]
    Postgres,
    /// Without it, which saves a round trip. PostgreSQL supports it from version 17 on.
    Direct,
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

/// Why a server cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name cannot be resolved, or has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// No address accepts a connection.
    #[error("cannot connect to {}", Attempts(.attempts))]
    Unreachable {
        /// Each address with its error, in the order in which they failed.
        attempts: Vec<(String, io::Error)>,
    },
    /// The time limit was reached.
    #[error("no response within {} s", CONNECT_LIMIT.as_secs())]
    TimedOut,
    /// The server does not support TLS.
    #[error("the server does not support TLS")]
    NoTls,
    /// The TLS handshake failed, or the server cannot be verified.
    #[error("TLS failed: {0}")]
    Tls(#[source] io::Error),
}

struct Attempts<'a>(&'a [(String, io::Error)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{address}: {error}")?;
        }
        Ok(())
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match &error {
            ConnectError::Resolve { .. } => io::ErrorKind::HostUnreachable,
            ConnectError::Unreachable { attempts } => {
                attempts.last().map_or(io::ErrorKind::Other, |last| last.1.kind())
            }
            ConnectError::TimedOut => io::ErrorKind::TimedOut,
            ConnectError::NoTls => io::ErrorKind::Unsupported,
            ConnectError::Tls(source) => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// A connection to a server.
pub struct Connection {
    /// The stream, encrypted if the address requires TLS.
    pub stream: BoxedStream,
    /// The address that was selected, for [`cancel_session`]; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// Whether the connection is encrypted, and the server was verified as the connector does.
    pub is_encrypted: bool,
}

/// Connects to a server within [`CONNECT_LIMIT`]. Names are resolved each time. The addresses of a name are tried in
/// their order: the next one is added when an address has failed, or has not responded for 250 ms. The options of
/// [`configure_server`] are set.
///
/// # Errors
/// Fails if the server cannot be reached, or if TLS is required and the server has none or cannot be verified.
pub async fn connect(server: &ServerAddress) -> Result<Connection, ConnectError> {
    connect_to(server, None).await
}

/// Connects like [`connect`], but only to the address of an earlier connection.
///
/// # Errors
/// See [`connect`].
pub async fn connect_to(server: &ServerAddress, address: Option<SocketAddr>) -> Result<Connection, ConnectError> {
    timeout(CONNECT_LIMIT, connect_without_limit(server, address)).await.unwrap_or(Err(ConnectError::TimedOut))
}

async fn connect_without_limit(
    server: &ServerAddress,
    address: Option<SocketAddr>,
) -> Result<Connection, ConnectError> {
    match server {
        #[cfg(unix)]
        ServerAddress::UnixSocket { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let stream = UnixStream::connect(&path)
                .await
                .map_err(|error| ConnectError::Unreachable { attempts: vec![(path.display().to_string(), error)] })?;
            Ok(Connection { stream: Box::new(stream), address: None, is_encrypted: false })
        }
        ServerAddress::Tcp { host, hostaddr, port, tls } => {
            let addresses = match (address, hostaddr) {
                (Some(address), _) => vec![address],
                (None, Some(address)) => vec![SocketAddr::new(*address, *port)],
                (None, None) => resolve(host, *port).await?,
            };
            let (stream, address) = connect_first(addresses, TcpStream::connect).await?;
            // The options only affect the end of a connection, and its speed.
            let _ = configure_server(&stream);
            let stream: BoxedStream = match tls {
                Some(tls) => Box::new(start_tls(stream, tls, host).await?),
                None => Box::new(stream),
            };
            Ok(Connection { stream, address: Some(address), is_encrypted: tls.is_some() })
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve { host: host.to_owned(), source };
    let mut addresses = Vec::new();
    for address in lookup_host((host, port)).await.map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(addresses)
}

/// How long an address is tried before the next one is added.
const HEAD_START: Duration = Duration::from_millis(250);

/// Returns the connection to the first address that accepts one, as in RFC 8305. The others are closed.
async fn connect_first<T, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<(T, SocketAddr), ConnectError>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut attempts = Vec::new();
    let mut connecting = JoinSet::new();
    let mut addresses = addresses.into_iter().peekable();
    loop {
        if let Some(address) = addresses.next() {
            let connection = connect(address);
            connecting.spawn(async move { (address, connection.await) });
        }
        loop {
            let finished = tokio::select! {
                finished = connecting.join_next() => finished,
                () = sleep(HEAD_START), if addresses.peek().is_some() => break,
            };
            match finished {
                Some(Ok((address, Ok(stream)))) => return Ok((stream, address)),
                Some(Ok((address, Err(error)))) => attempts.push((address.to_string(), error)),
                // A task that has panicked has no address.
                Some(Err(error)) => attempts.push((String::new(), io::Error::other(error))),
                None => {}
            }
            if addresses.peek().is_some() {
                break;
            }
            if connecting.is_empty() {
                return Err(ConnectError::Unreachable { attempts });
            }
        }
    }
}

async fn start_tls(stream: TcpStream, tls: &ServerTls, host: &str) -> Result<TlsStream<TcpStream>, ConnectError> {
    let name = match &tls.name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.to_owned()).map_err(|error| ConnectError::Tls(io::Error::other(error)))?,
    };
    let tls_stream = match tls.negotiation {
        TlsNegotiation::Postgres => negotiate_tls(stream, &tls.connector, name).await,
        TlsNegotiation::Direct => tls.connector.connect(name, stream).await,
    };
    tls_stream.map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => ConnectError::NoTls,
        _ => ConnectError::Tls(error),
    })
}

/// Requests TLS and starts it. For direct TLS, call [`TlsConnector::connect`] with a connector for the protocol
/// [`ALPN`](crate::ALPN) instead.
///
/// # Errors
/// Fails if the server does not support TLS, with the kind `Unsupported`, or if it cannot be verified. The stream is then
/// closed.
pub async fn negotiate_tls<S: Stream>(
    mut stream: S,
    tls: &TlsConnector,
    name: ServerName<'static>,
) -> io::Result<TlsStream<S>> {
    stream.write_all(&SSL_REQUEST).await?;
    stream.flush().await?;
    // Exactly one byte is read, so that bytes that were sent ahead of TLS are read as TLS, and make it fail.
    if stream.read_u8().await? != b'S' {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the server does not support TLS"));
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
                    AuthenticationResponse::Send(response) => {
                        let response = Zeroizing::new(response);
                        send(stream, &response).await?;
                    }
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
        check_limit(&messages)?;
    }
}

/// The limit for all of a server's messages before the end of the authentication, and again before the first query.
const MAX_MESSAGES: usize = 1 << 20;

/// What a server sends between `AuthenticationOk` and the first `ReadyForQuery`.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionStart {
    /// The session has started.
    Ready {
        /// The server's messages, up to and including `ReadyForQuery`, for the client.
        messages: Vec<u8>,
        /// The session's key, if the server has sent one.
        key: Option<SessionKey>,
        /// The parameters that the server has reported.
        parameters: Parameters,
    },
    /// The server refused the session, for example because the database does not exist.
    Refused {
        /// The server's messages, up to and including the error, for the client.
        messages: Vec<u8>,
        /// The error.
        error: ErrorFields,
    },
}

/// The parameters that a server has reported with `ParameterStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Returns the value of a parameter, such as `server_version`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns whether the server is a standby, or `None` if it does not report it, as servers before version 14.
    pub fn in_hot_standby(&self) -> Option<bool> {
        self.get("in_hot_standby").map(|value| value == "on")
    }

    fn read(&mut self, body: &[u8]) {
        let mut texts = body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        if let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            self.0.push((name, value));
        }
    }
}

/// Reads the messages after [`log_in`] has returned `Accepted`, up to the first `ReadyForQuery`. The caller sets a time
/// limit.
///
/// # Errors
/// Fails if the connection ends, or if the server violates the protocol.
pub async fn read_session_start(stream: &mut impl Stream) -> io::Result<SessionStart> {
    let mut messages = Vec::new();
    let mut key = None;
    let mut parameters = Parameters::default();
    loop {
        let message = read_message(stream).await?;
        match message.kind {
            b'K' => key = SessionKey::parse(message.body()),
            b'S' => parameters.read(message.body()),
            _ => {}
        }
        let (kind, error) = (message.kind, (message.kind == b'E').then(|| ErrorFields::parse(message.body())));
        messages.extend(message.bytes);
        if let Some(error) = error {
            return Ok(SessionStart::Refused { messages, error });
        }
        if kind == b'Z' {
            return Ok(SessionStart::Ready { messages, key, parameters });
        }
        check_limit(&messages)?;
    }
}

fn check_limit(messages: &[u8]) -> io::Result<()> {
    if messages.len() > MAX_MESSAGES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent too many messages"));
    }
    Ok(())
}

/// Forwards a cancel request to the address that its session uses, and waits until the server has closed the connection.
/// The server has then processed the request. This takes at most 20 s.
///
/// # Errors
/// Fails if the server cannot be reached, or if it does not close the connection in time.
pub async fn cancel_session(
    server: &ServerAddress,
    address: Option<SocketAddr>,
    request: &CancelRequest,
) -> Result<(), ConnectError> {
    let mut connection = connect_to(server, address).await?;
    let unreachable = |error| ConnectError::Unreachable { attempts: vec![(server.to_string(), error)] };
    match timeout(CANCEL_LIMIT, cancel(&mut connection.stream, request)).await {
        Ok(result) => result.map_err(unreachable),
        Err(_) => Err(ConnectError::TimedOut),
    }
}

/// Sends a cancel request and waits until the server has closed the connection. The caller sets a time limit.
///
/// # Errors
/// Fails if the request cannot be sent.
pub async fn cancel(stream: &mut impl Stream, request: &CancelRequest) -> io::Result<()> {
    send(stream, request.packet()).await?;
    // The server responds by closing the connection, and does so without TLS's closing message.
    while matches!(stream.read(&mut [0; 1]).await, Ok(1..)) {}
    Ok(())
}

async fn send(stream: &mut impl Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use tokio::time::Instant;

    use super::*;

    /// How an address responds.
    #[derive(Clone, Copy, Debug)]
    enum Response {
        After(u64),
        RefusedAfter(u64),
        Never,
    }
    use Response::*;

    fn address(number: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(number).unwrap())), 5432)
    }

    async fn respond(response: Response) -> io::Result<()> {
        match response {
            After(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            RefusedAfter(milliseconds) => {
                sleep(Duration::from_millis(milliseconds)).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Never => pending().await,
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn connect_first_gives_each_address_a_head_start() {
        for (responses, selected, milliseconds) in [
            (&[After(10)][..], 0, 10),
            (&[After(3000)], 0, 3000),
            (&[After(200), After(1)], 0, 200),
            (&[After(400), After(100)], 1, 350),
            (&[After(300), After(100)], 0, 300),
            (&[Never, Never, After(10)], 2, 510),
            (&[RefusedAfter(10), After(10)], 1, 20),
            (&[RefusedAfter(10), Never, After(10)], 2, 270),
            (&[Never, RefusedAfter(10), After(10)], 2, 270),
            (&[RefusedAfter(600), RefusedAfter(600), After(2000)], 2, 2500),
        ] {
            let begun = Instant::now();
            let addresses = (0..responses.len()).map(address).collect();
            let connected = connect_first(addresses, |to| {
                let index = (0..responses.len()).find(|index| address(*index) == to).unwrap();
                respond(responses[index])
            })
            .await;
            assert_eq!(connected.unwrap().1, address(selected), "{responses:?}");
            assert_eq!(begun.elapsed().as_millis(), milliseconds, "{responses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connect_first_without_a_connection_names_each_address() {
        let begun = Instant::now();
        let connected = connect_first(vec![address(1), address(2)], |_| respond(RefusedAfter(400))).await;
        let error = connected.unwrap_err().to_string();
        assert_eq!(error, "cannot connect to 10.0.0.1:5432: connection refused; 10.0.0.2:5432: connection refused");
        assert_eq!(begun.elapsed().as_millis(), 650);
        let error = connect_first(Vec::new(), |_| respond(Never)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { attempts } if attempts.is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn connect_first_with_a_result_ends_the_other_attempts() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        let connected = connect_first(vec![address(0), address(1)], |to| {
            let sender = sender.clone();
            async move {
                respond(if to == address(0) { Never } else { After(1) }).await?;
                drop(sender);
                Ok(())
            }
        })
        .await;
        drop(sender);
        assert_eq!(connected.unwrap().1, address(1));
        // The attempt without a response was dropped, and with it its sender.
        assert_eq!(timeout(Duration::from_secs(1), receiver.recv()).await, Ok(None));
    }
}
