//! The proxy's listener: handles the protocol until the login is decided, then forwards bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::control::{Control, Desk, Login, Outcome, Presented, Report, Stage};
use super::refusals::Refusal;
use super::upstream::{Opened, Upstream};
use super::wire::{self, BoxedStream, Opening, Startup, WireError};
use crate::state::State;

/// The time limit from the connection to the password.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The maximum number of connections in any state. Further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1_000;

/// How long, and for how many bytes, the proxy reads from a client after an error, before it closes the connection.
/// With unread bytes the system would reset the connection, and the error would be lost.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: u64 = 1 << 20;

/// The name of PostgreSQL's protocol in TLS protocol negotiation.
pub const ALPN: &str = "postgresql";

/// The SQLSTATE for an upstream server that is not available.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// The first byte of a TLS handshake, which a client sends if it does not request TLS first.
const TLS_HANDSHAKE: u8 = 0x16;

/// A listening proxy. Dropping it closes the listener and all sessions.
pub struct FrontDoor {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: AbortHandle,
}

struct Shared {
    tls: TlsAcceptor,
    upstream: Arc<Upstream>,
    state: Arc<State>,
    desk: Desk,
}

impl FrontDoor {
    /// Listens at `address` (port 0 selects a free one). `tls` offers the protocol [`ALPN`]; the caller provisions
    /// `upstream`.
    ///
    /// # Errors
    /// Fails if it cannot listen at the address.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        upstream: Arc<Upstream>,
        state: Arc<State>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { tls: TlsAcceptor::from(tls), upstream, state, desk: Desk::default() });
        let listener = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self { address, shared, listener })
    }

    /// Returns the address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the proxy's behaviour.
    pub fn control(&self, control: Control) {
        self.shared.desk.apply(control);
    }

    /// Returns the settings and the record of the proxy.
    pub fn report(&self) -> Report {
        self.shared.desk.report(self.address)
    }
}

impl Drop for FrontDoor {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The set aborts its tasks when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let shared = shared.clone();
                connections.spawn(async move {
                    shared.serve(stream, peer).await;
                    drop(place);
                });
            }
            // The causes are a lack of file descriptors, or a connection that ended in the queue.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// A client up to its password, if one was requested.
struct Visitor {
    stream: BoxedStream,
    startup: Startup,
    password: Vec<u8>,
}

/// Why a connection ends before a session.
enum End {
    /// No message is sent.
    Silent(Outcome, Option<String>),
    /// The client violated the protocol.
    Protocol(BoxedStream, &'static str, String),
    /// A refusal, and the object id of the role, if it matters.
    Refused(BoxedStream, Refusal, Option<String>),
    /// The upstream server is not available.
    UpstreamFailed(BoxedStream, String),
    /// The upstream server refused the login with these bytes.
    UpstreamRefused(BoxedStream, Vec<u8>, String, String),
    /// The connection was a cancel request.
    Cancelled(BoxedStream),
}

impl Shared {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        self.desk.count(|counters| counters.connections += 1);
        let mut login = Login {
            id: 0,
            time: self.state.now(),
            outcome: Outcome::LoggedIn,
            role: None,
            database: None,
            application_name: None,
            tls: false,
            principal: None,
            refusal: None,
            sqlstate: None,
            message: None,
        };
        let mut disconnects = self.desk.disconnects();
        let let_in = match timeout(HANDSHAKE_LIMIT, self.greet(stream, &mut login)).await {
            Ok(Ok(visitor)) => self.let_in(visitor, &mut login).await,
            Ok(Err(end)) => Err(end),
            Err(_) => Err(End::Silent(Outcome::TimedOut, None)),
        };
        match let_in {
            Ok((mut client, server, greeting)) => {
                // The session is recorded before the client gets ReadyForQuery, so that a test that has connected finds
                // the login in the report.
                let _session = self.desk.session();
                self.desk.record(login);
                let relay = async {
                    client.write_all(&greeting).await?;
                    client.flush().await?;
                    carry(client, server).await;
                    io::Result::Ok(())
                };
                tokio::select! {
                    _ = relay => {}
                    _ = disconnects.changed() => {}
                }
            }
            Err(end) => self.turn_away(end, login, peer).await,
        }
    }

    /// Handles a connection from the first byte to the password.
    async fn greet(&self, stream: TcpStream, login: &mut Login) -> Result<Visitor, End> {
        if self.desk.take_drop(Stage::Accept) {
            return Err(End::Silent(Outcome::Dropped, None));
        }
        // This only affects the speed.
        let _ = stream.set_nodelay(true);
        let plaintext = self.desk.faults().plaintext;
        let (mut stream, opening) = self.encrypt(stream, plaintext, login).await?;
        let startup = match opening {
            Opening::Startup(startup) => startup,
            Opening::Cancel(packet) => return Err(self.cancel(stream, &packet).await),
            Opening::Ssl | Opening::Gss => {
                return Err(End::Protocol(stream, "08P01", "unexpected request for encryption".to_owned()));
            }
        };
        login.role = Some(startup.user.clone());
        login.database = Some(startup.database.clone());
        login.application_name = Some(startup.application_name.clone()).filter(|name| !name.is_empty());
        if self.desk.take_drop(Stage::Startup) {
            return Err(End::Silent(Outcome::Dropped, None));
        }
        if !login.tls && !plaintext {
            return Err(End::Refused(stream, Refusal::NoEncryption, None));
        }
        let asked = async {
            stream.write_all(&wire::ASK_FOR_PASSWORD).await?;
            stream.flush().await
        };
        asked.await.map_err(|_| End::Silent(Outcome::Abandoned, None))?;
        let password = match wire::read_password(&mut stream).await {
            Ok(password) => password,
            Err(WireError::Closed) => return Err(End::Silent(Outcome::Abandoned, None)),
            Err(WireError::Protocol(sqlstate, message)) => return Err(End::Protocol(stream, sqlstate, message)),
        };
        if !login.tls {
            self.desk.count(|counters| counters.plaintext_password_bytes += password.len() as u64);
        }
        if self.desk.take_drop(Stage::Password) {
            return Err(End::Silent(Outcome::Dropped, None));
        }
        Ok(Visitor { stream, startup, password })
    }

    /// Responds to requests for encryption, up to the first other message.
    async fn encrypt(
        &self,
        mut stream: TcpStream,
        plaintext: bool,
        login: &mut Login,
    ) -> Result<(BoxedStream, Opening), End> {
        let closed = |_| End::Silent(Outcome::Abandoned, None);
        let mut first = [0];
        let count = stream.peek(&mut first).await.map_err(closed)?;
        if count == 1 && first[0] == TLS_HANDSHAKE && !plaintext {
            let stream = self.tls.accept(stream).await.map_err(tls_failed)?;
            // PostgreSQL requires this, so that a client of another protocol cannot be misused to connect to it.
            if stream.get_ref().1.alpn_protocol() != Some(ALPN.as_bytes()) {
                let message = "direct TLS without the ALPN protocol \"postgresql\"".to_owned();
                return Err(End::Silent(Outcome::TlsFailed, Some(message)));
            }
            login.tls = true;
            return self.open(Box::new(stream)).await;
        }
        let (mut asked_tls, mut asked_gss) = (false, false);
        loop {
            let opening = match wire::read_opening(&mut stream).await {
                Ok(opening) => opening,
                Err(error) => return Err(unreadable(Box::new(stream), error)),
            };
            match opening {
                Opening::Ssl if !asked_tls && !plaintext => {
                    stream.write_all(b"S").await.map_err(closed)?;
                    // Bytes that a client or an attacker sent before the handshake are read as TLS here, and are
                    // rejected.
                    let stream = self.tls.accept(stream).await.map_err(tls_failed)?;
                    login.tls = true;
                    return self.open(Box::new(stream)).await;
                }
                Opening::Ssl if !asked_tls => {
                    asked_tls = true;
                    stream.write_all(b"N").await.map_err(closed)?;
                }
                Opening::Gss if !asked_gss => {
                    asked_gss = true;
                    stream.write_all(b"N").await.map_err(closed)?;
                }
                other => return Ok((Box::new(stream), other)),
            }
        }
    }

    async fn open(&self, mut stream: BoxedStream) -> Result<(BoxedStream, Opening), End> {
        match wire::read_opening(&mut stream).await {
            Ok(opening) => Ok((stream, opening)),
            Err(error) => Err(unreadable(stream, error)),
        }
    }

    async fn cancel(&self, stream: BoxedStream, packet: &[u8]) -> End {
        self.desk.count(|counters| counters.cancels += 1);
        // The protocol has no response to a cancel request.
        let _ = self.upstream.cancel(packet).await;
        End::Cancelled(stream)
    }

    /// Verifies a password and, if it is valid, starts the role's session.
    ///
    /// Returns the streams of the client and of the server, and the server's messages up to ReadyForQuery, which the
    /// client does not have yet.
    async fn let_in(&self, visitor: Visitor, login: &mut Login) -> Result<(BoxedStream, BoxedStream, Vec<u8>), End> {
        let Visitor { stream, startup, password } = visitor;
        let delay = self.desk.faults().delay_ms;
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        if let Some(refusal) = self.desk.take_refusal() {
            return Err(End::Refused(stream, refusal, None));
        }
        let role = match self.upstream.role(&startup.user).await {
            Ok(Some(role)) => role,
            Ok(None) => return Err(End::Refused(stream, Refusal::RoleMissing, None)),
            Err(error) => return Err(End::UpstreamFailed(stream, error.to_string())),
        };
        let Some(label) = &role.label else { return Err(End::Refused(stream, Refusal::PasswordFailed, None)) };
        // A password that is not UTF-8 is not a token either.
        let claims = match self.state.verify(std::str::from_utf8(&password).unwrap_or_default()) {
            Ok(claims) => claims,
            Err(refusal) => return Err(End::Refused(stream, refusal.into(), None)),
        };
        let name = self.state.principal_by_oid(&claims.oid).map(|principal| principal.name.clone());
        login.principal = Some(Presented { oid: claims.oid.clone(), name, app_only: claims.app_only });
        let refusal = match label.kind.as_str() {
            "group" => (!self.state.is_member(&claims.oid, &label.oid)).then_some(Refusal::NotInGroup),
            "user" if claims.app_only => Some(Refusal::AppTokenForUserRole),
            "service" if !claims.app_only => Some(Refusal::UserTokenForServiceRole),
            _ => (!claims.oid.eq_ignore_ascii_case(&label.oid)).then_some(Refusal::OtherPrincipal),
        };
        if let Some(refusal) = refusal {
            return Err(End::Refused(stream, refusal, Some(label.oid.clone())));
        }
        match self.upstream.open(&startup, &role).await {
            Ok(Opened::Session(server, greeting)) => Ok((stream, server, greeting)),
            Ok(Opened::Refused { bytes, sqlstate, message }) => {
                Err(End::UpstreamRefused(stream, bytes, sqlstate, message))
            }
            Err(error) => Err(End::UpstreamFailed(stream, error.to_string())),
        }
    }

    async fn turn_away(&self, end: End, login: Login, peer: SocketAddr) {
        let told = |outcome, sqlstate: &str, message: String| Login {
            outcome,
            sqlstate: Some(sqlstate.to_owned()),
            message: Some(message),
            ..login.clone()
        };
        let (stream, bytes, login) = match end {
            End::Cancelled(stream) => {
                // Without TLS's closing message libpq treats the request as failed.
                let _ = timeout(FAREWELL_LIMIT, say_farewell(stream, &[])).await;
                return;
            }
            End::Silent(outcome, message) => return self.desk.record(Login { outcome, message, ..login }),
            End::Protocol(stream, sqlstate, message) => {
                let bytes = wire::error_response(sqlstate, &message, None);
                (stream, bytes, told(Outcome::ProtocolError, sqlstate, message))
            }
            End::Refused(stream, refusal, oid) => {
                let entry = refusal.entry();
                let text = fill_in(entry.text, &login, peer, oid.as_deref().unwrap_or_default());
                let bytes = wire::error_response(entry.sqlstate, &text, entry.hint);
                (stream, bytes, Login { refusal: Some(refusal), ..told(Outcome::Refused, entry.sqlstate, text) })
            }
            End::UpstreamFailed(stream, message) => {
                let bytes = wire::error_response(CANNOT_CONNECT_NOW, &format!("pgentra-emulator: {message}"), None);
                (stream, bytes, told(Outcome::UpstreamFailed, CANNOT_CONNECT_NOW, message))
            }
            End::UpstreamRefused(stream, bytes, sqlstate, message) => {
                (stream, bytes, told(Outcome::UpstreamFailed, &sqlstate, message))
            }
        };
        // The login is recorded before the client gets the error, so that a test that has seen the error finds the
        // login in the report.
        self.desk.record(login);
        // The client can have disconnected.
        let _ = timeout(FAREWELL_LIMIT, say_farewell(stream, &bytes)).await;
    }
}

fn tls_failed(error: io::Error) -> End {
    End::Silent(Outcome::TlsFailed, Some(error.to_string()))
}

fn unreadable(stream: BoxedStream, error: WireError) -> End {
    match error {
        WireError::Closed => End::Silent(Outcome::Abandoned, None),
        WireError::Protocol(sqlstate, message) => End::Protocol(stream, sqlstate, message),
    }
}

fn fill_in(text: &str, login: &Login, peer: SocketAddr, oid: &str) -> String {
    // The text is filled in one pass, so that a role named "{host}" is not replaced.
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        filled.push_str(before);
        match name {
            "role" => filled.push_str(login.role.as_deref().unwrap_or_default()),
            "database" => filled.push_str(login.database.as_deref().unwrap_or_default()),
            "host" => filled.push_str(&peer.ip().to_string()),
            _ => filled.push_str(oid),
        }
        rest = after;
    }
    filled + rest
}

async fn say_farewell(mut stream: BoxedStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await.map(drop)
}

/// Forwards bytes until the server has closed. If the client closes first, the server is notified and then closes too.
async fn carry(client: BoxedStream, server: BoxedStream) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = timeout(FAREWELL_LIMIT, to_client.shutdown()).await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
