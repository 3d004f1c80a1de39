//! One connection of the proxy: the token is verified at its start, and the faults are applied; then a session is
//! relayed, or the client is rejected. The steps of the protocol are those of `pgentra_proxy`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pgentra_proxy::message::error_response;
use pgentra_proxy::startup::{CancelRequest, Opening, StartupMessage};
use pgentra_proxy::tokio_rustls::TlsAcceptor;
use pgentra_proxy::{
    ALPN, BoxedStream, Handshake, HandshakeError, ProtocolError, ReadError, SessionState, authenticate, reject,
    relay_session,
};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::login_error::LoginError;
use super::proxy_state::{DropStage, LoginOutcome, LoginRecord, ProxyState, TokenPrincipal};
use super::upstream::{Session, Upstream};
use crate::state::State;

/// The time limit from the connection to the password.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The SQLSTATE for an upstream server that is not available.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// What all connections of a proxy share.
pub(super) struct Connections {
    pub(super) tls: TlsAcceptor,
    pub(super) upstream: Arc<Upstream>,
    pub(super) state: Arc<State>,
    pub(super) proxy_state: ProxyState,
}

/// A client that has sent its password.
struct Client {
    stream: BoxedStream,
    startup: StartupMessage,
    password: Vec<u8>,
}

/// Why a connection ends before a session.
enum Rejection {
    /// No message is sent.
    Silent(LoginOutcome, Option<String>),
    /// The client violated the protocol.
    Protocol(BoxedStream, ProtocolError),
    /// The login is refused. The text is the object id of the role, if the message contains it.
    Refused(BoxedStream, LoginError, Option<String>),
    /// The upstream server is not available.
    UpstreamFailed(BoxedStream, String),
    /// The upstream server refused the login with these bytes, SQLSTATE and message.
    UpstreamRefused(BoxedStream, Vec<u8>, String, String),
    /// The connection was a cancel request.
    Cancelled(BoxedStream),
}

impl Rejection {
    fn abandoned() -> Self {
        Self::Silent(LoginOutcome::Abandoned, None)
    }

    fn dropped() -> Self {
        Self::Silent(LoginOutcome::Dropped, None)
    }

    fn unreadable(stream: BoxedStream, error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::abandoned(),
            ReadError::Protocol(error) => Self::Protocol(stream, error),
        }
    }
}

impl From<HandshakeError> for Rejection {
    fn from(error: HandshakeError) -> Self {
        let tls_failed = |message| Self::Silent(LoginOutcome::TlsFailed, Some(message));
        match error {
            HandshakeError::Closed => Self::abandoned(),
            HandshakeError::Tls(error) => tls_failed(error.to_string()),
            HandshakeError::NoAlpn => tls_failed(format!("direct TLS without the ALPN protocol \"{ALPN}\"")),
            HandshakeError::Protocol(stream, error) => Self::Protocol(stream, error),
        }
    }
}

impl Connections {
    /// Serves one connection until it ends.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        self.proxy_state.count(|counters| counters.connections += 1);
        let mut login = LoginRecord {
            id: 0,
            time: self.state.now(),
            outcome: LoginOutcome::LoggedIn,
            role: None,
            database: None,
            application_name: None,
            tls: false,
            principal: None,
            refusal: None,
            sqlstate: None,
            message: None,
        };
        let mut disconnects = self.proxy_state.disconnects();
        match self.start(stream, &mut login).await {
            Ok((client, server, messages)) => {
                // The session is recorded before the client gets ReadyForQuery, so that a test that has connected finds
                // the login in the report.
                let _session = self.proxy_state.session();
                self.proxy_state.record(login);
                let state = SessionState::new();
                tokio::select! {
                    _ = relay_session(client, server, messages, &state) => {}
                    _ = disconnects.changed() => {}
                }
            }
            Err(rejection) => self.reject(rejection, login, peer).await,
        }
    }

    /// Starts a session: the handshake and the password, with a time limit, then the login.
    ///
    /// Returns the streams of the client and of the server, and the server's messages up to `AuthenticationOk`, which
    /// the client does not have yet.
    async fn start(
        &self,
        stream: TcpStream,
        login: &mut LoginRecord,
    ) -> Result<(BoxedStream, BoxedStream, Vec<u8>), Rejection> {
        if self.proxy_state.take_drop(DropStage::Accept) {
            return Err(Rejection::dropped());
        }
        let plaintext = self.proxy_state.faults().plaintext;
        let mut handshake = Handshake::new((!plaintext).then_some(&self.tls));
        let client = timeout(HANDSHAKE_LIMIT, self.authenticate(stream, &mut handshake, plaintext, login)).await;
        login.tls = handshake.is_encrypted();
        match client {
            Ok(client) => self.log_in(client?, login).await,
            Err(_) => Err(Rejection::Silent(LoginOutcome::TimedOut, None)),
        }
    }

    /// Handles a connection from the first byte to the password.
    async fn authenticate(
        &self,
        stream: TcpStream,
        handshake: &mut Handshake<'_>,
        plaintext: bool,
        login: &mut LoginRecord,
    ) -> Result<Client, Rejection> {
        let (mut stream, opening) = handshake.accept(stream).await?;
        let startup = match opening {
            Opening::Startup(startup) => startup,
            Opening::Cancel(request) => return Err(self.cancel(stream, &request).await),
            Opening::Ssl | Opening::Gss => {
                let message = "unexpected request for encryption".to_owned();
                return Err(Rejection::Protocol(stream, ProtocolError { sqlstate: "08P01", message }));
            }
        };
        login.role = Some(startup.user().to_owned());
        login.database = Some(startup.database().to_owned());
        login.application_name = Some(startup.application_name().to_owned()).filter(|name| !name.is_empty());
        if self.proxy_state.take_drop(DropStage::Startup) {
            return Err(Rejection::dropped());
        }
        if !handshake.is_encrypted() && !plaintext {
            return Err(Rejection::Refused(stream, LoginError::NoEncryption, None));
        }
        let password = match authenticate::request_password(&mut stream).await {
            Ok(password) => password,
            Err(error) => return Err(Rejection::unreadable(stream, error)),
        };
        if !handshake.is_encrypted() {
            self.proxy_state.count(|counters| counters.plaintext_password_bytes += password.len() as u64);
        }
        if self.proxy_state.take_drop(DropStage::Password) {
            return Err(Rejection::dropped());
        }
        Ok(Client { stream, startup, password })
    }

    async fn cancel(&self, stream: BoxedStream, request: &CancelRequest) -> Rejection {
        self.proxy_state.count(|counters| counters.cancels += 1);
        // The protocol has no response to a cancel request.
        let _ = self.upstream.cancel(request).await;
        Rejection::Cancelled(stream)
    }

    /// Verifies a password and, if it is valid, starts the role's session.
    async fn log_in(
        &self,
        client: Client,
        login: &mut LoginRecord,
    ) -> Result<(BoxedStream, BoxedStream, Vec<u8>), Rejection> {
        let Client { stream, startup, password } = client;
        let delay = self.proxy_state.faults().delay_ms;
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        if let Some(error) = self.proxy_state.take_login_error() {
            return Err(Rejection::Refused(stream, error, None));
        }
        let role = match self.upstream.role(startup.user()).await {
            Ok(Some(role)) => role,
            Ok(None) => return Err(Rejection::Refused(stream, LoginError::RoleMissing, None)),
            Err(error) => return Err(Rejection::UpstreamFailed(stream, error.to_string())),
        };
        let Some(label) = &role.label else {
            return Err(Rejection::Refused(stream, LoginError::PasswordFailed, None));
        };
        // A password that is not UTF-8 is not a token either.
        let claims = match self.state.verify(std::str::from_utf8(&password).unwrap_or_default()) {
            Ok(claims) => claims,
            Err(error) => return Err(Rejection::Refused(stream, error.into(), None)),
        };
        let name = self.state.principal_by_oid(&claims.oid).map(|principal| principal.name.clone());
        login.principal = Some(TokenPrincipal { oid: claims.oid.clone(), name, app_only: claims.app_only });
        let error = match label.kind.as_str() {
            "group" => (!self.state.is_member(&claims.oid, &label.oid)).then_some(LoginError::NotInGroup),
            "user" if claims.app_only => Some(LoginError::AppTokenForUserRole),
            "service" if !claims.app_only => Some(LoginError::UserTokenForServiceRole),
            _ => (!claims.oid.eq_ignore_ascii_case(&label.oid)).then_some(LoginError::OtherPrincipal),
        };
        if let Some(error) = error {
            return Err(Rejection::Refused(stream, error, Some(label.oid.clone())));
        }
        match self.upstream.start_session(&startup, &role).await {
            Ok(Session::Started { server, messages }) => Ok((stream, server, messages)),
            Ok(Session::Refused { messages, sqlstate, message }) => {
                Err(Rejection::UpstreamRefused(stream, messages, sqlstate, message))
            }
            Err(error) => Err(Rejection::UpstreamFailed(stream, error.to_string())),
        }
    }

    /// Records a rejection, sends the client its error and closes the connection.
    async fn reject(&self, rejection: Rejection, login: LoginRecord, peer: SocketAddr) {
        let with_error = |outcome, sqlstate: &str, message: String| LoginRecord {
            outcome,
            sqlstate: Some(sqlstate.to_owned()),
            message: Some(message),
            ..login.clone()
        };
        let (stream, bytes, login) = match rejection {
            Rejection::Cancelled(stream) => return reject(stream, &[]).await,
            Rejection::Silent(outcome, message) => {
                return self.proxy_state.record(LoginRecord { outcome, message, ..login });
            }
            Rejection::Protocol(stream, ProtocolError { sqlstate, message }) => {
                let bytes = error_response(sqlstate, &message, None);
                (stream, bytes, with_error(LoginOutcome::ProtocolError, sqlstate, message))
            }
            Rejection::Refused(stream, error, oid) => {
                let entry = error.entry();
                let text = fill_in(entry.text, &login, peer, oid.as_deref().unwrap_or_default());
                let bytes = error_response(entry.sqlstate, &text, entry.hint);
                let login = with_error(LoginOutcome::Refused, entry.sqlstate, text);
                (stream, bytes, LoginRecord { refusal: Some(error), ..login })
            }
            Rejection::UpstreamFailed(stream, message) => {
                let bytes = error_response(CANNOT_CONNECT_NOW, &format!("pgentra-emulator: {message}"), None);
                (stream, bytes, with_error(LoginOutcome::UpstreamFailed, CANNOT_CONNECT_NOW, message))
            }
            Rejection::UpstreamRefused(stream, bytes, sqlstate, message) => {
                (stream, bytes, with_error(LoginOutcome::UpstreamFailed, &sqlstate, message))
            }
        };
        // The login is recorded before the client gets the error, so that a test that has seen the error finds the
        // login in the report.
        self.proxy_state.record(login);
        reject(stream, &bytes).await;
    }
}

/// Fills in the placeholders of a login error's text.
fn fill_in(text: &str, login: &LoginRecord, peer: SocketAddr, oid: &str) -> String {
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
