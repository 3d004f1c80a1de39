//! One connection of a client: the opening, the login, and then the session.

use std::{fmt, sync::Arc, time::Duration};

use pgentra_proxy::{
    BoxedStream, Handshake, HandshakeError, SessionEnd, SessionState, Side,
    message::error_response,
    reject, relay_session,
    startup::{INVALID_LENGTH, Opening, StartupMessage},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    cancel::{CancelKey, CancelKeys},
    client_tls::ClientTls,
    guard::{Denied, Guard, Peer, RefusalCause},
    health::Health,
    listener::Accepted,
    login::{self, CANNOT_CONNECT_NOW, INVALID_AUTHORIZATION, LoginFailure},
    metrics::{ConnectionOutcome, InProgress, ServerMetrics},
    roles::{Role, Roles},
    server::UpstreamServer,
    sessions::{Place, Registered, Sessions},
};
use crate::{connection::Connection, startup_message::startup_message};

/// The time limit from the connection to the client's startup message.
const OPENING_LIMIT: Duration = Duration::from_secs(10);

/// The time limit for the client's own password.
const PASSWORD_LIMIT: Duration = Duration::from_secs(60);

/// The longest wait for a place of `--max-logins`.
const LOGIN_WAIT: Duration = Duration::from_secs(30);

/// The pause before the first token is requested again.
const TOKEN_RETRY: Duration = Duration::from_secs(5);

/// SQLSTATEs.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// What all connections share.
pub struct Proxy {
    /// How logins are obtained.
    pub connection: Connection,
    /// The server.
    pub server: UpstreamServer,
    /// The name of the server for health and metrics.
    pub name: String,
    /// Which role a client gets.
    pub roles: Roles,
    /// Which clients are admitted.
    pub guard: Arc<Guard>,
    /// TLS for clients.
    pub tls: Option<ClientTls>,
    /// The sessions and their places.
    pub sessions: Arc<Sessions>,
    /// The keys for cancel requests.
    pub cancels: Arc<CancelKeys>,
    /// The places for logins.
    pub logins: Semaphore,
    /// The counters.
    pub metrics: ServerMetrics,
    /// What the health endpoints report.
    pub health: Arc<Health>,
}

/// A client that is to get a session.
struct Client {
    stream: BoxedStream,
    startup: StartupMessage,
    is_encrypted: bool,
}

/// A session between its login and its end.
struct Session {
    client: BoxedStream,
    server: BoxedStream,
    messages: Vec<u8>,
    facts: Facts,
    state: Arc<SessionState>,
    registered: Registered,
    key: Option<CancelKey>,
    in_progress: InProgress,
}

/// What is logged about a session.
struct Facts {
    peer: String,
    role: String,
    database: String,
    application_name: String,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted and escaped, because clients choose the names.
        let Facts { peer, role, database, application_name } = self;
        write!(f, "peer={peer}, role={role:?}, database={database:?}, application_name={application_name:?}")
    }
}

impl Proxy {
    /// Serves a connection until its session starts, or it ends. `permit` is kept until the first message was read.
    pub async fn serve(self: Arc<Self>, accepted: Accepted, permit: OwnedSemaphorePermit) {
        let Accepted { stream, peer } = accepted;
        let Some((client, permit)) = self.open(stream, permit).await else { return };
        drop(permit);
        // Its state is large, and the session's task needs none of it.
        if let Some(session) = Box::pin(self.log_in(client, &peer)).await {
            drop(tokio::spawn(self.run(session)));
        }
    }

    /// Reads the client's first messages. Returns `None` if it does not start a session.
    async fn open(&self, stream: BoxedStream, permit: OwnedSemaphorePermit) -> Option<(Client, OwnedSemaphorePermit)> {
        let acceptor = self.tls.as_ref().map(ClientTls::acceptor);
        let mut handshake = Handshake::new(acceptor.as_ref());
        let opened = timeout(OPENING_LIMIT, handshake.accept(stream)).await;
        let is_encrypted = handshake.is_encrypted();
        let outcome = match opened {
            Ok(Ok((stream, Opening::Startup(startup)))) => {
                return Some((Client { stream, startup, is_encrypted }, permit));
            }
            Ok(Ok((stream, Opening::Cancel(request)))) => {
                drop(permit);
                self.metrics.cancel(self.cancels.forward(&self.server, &request).await);
                // After the server has closed the request: a client waits for that.
                reject(stream, &[]).await;
                ConnectionOutcome::Cancel
            }
            Ok(Ok((_, Opening::Ssl | Opening::Gss))) => ConnectionOutcome::Closed,
            Ok(Err(HandshakeError::Protocol(stream, error))) => {
                // Another protocol, whose first bytes are not the length of a message, gets no response.
                if error.message != INVALID_LENGTH {
                    self.metrics.refusal(RefusalCause::Protocol);
                    reject(stream, &error_response(error.sqlstate, &error.message, None)).await;
                }
                ConnectionOutcome::Closed
            }
            Ok(Err(_)) => ConnectionOutcome::Closed,
            Err(_) => {
                self.metrics.refusal(RefusalCause::TimedOut);
                ConnectionOutcome::Closed
            }
        };
        self.metrics.connection(outcome);
        None
    }

    async fn log_in(&self, mut client: Client, peer: &Peer) -> Option<Session> {
        let began = Instant::now();
        let facts = Facts {
            peer: peer.to_string(),
            role: client.startup.user().to_owned(),
            database: client.startup.database().to_owned(),
            application_name: client.startup.application_name().to_owned(),
        };
        match self.start(&mut client, peer, &facts).await {
            Ok(Some((place, started, role, database))) => {
                self.metrics.login(began.elapsed());
                self.metrics.connection(ConnectionOutcome::Session);
                let state = Arc::new(SessionState::new());
                let in_progress = self.metrics.session(&role);
                let key = started.key.map(|key| self.cancels.add(key, started.target));
                let registered = self.sessions.add(place, Arc::clone(&state));
                let facts = Facts { role, database, ..facts };
                info!(target: "pgentra::proxy", "session {} started: {facts}", registered.id);
                Some(Session {
                    client: client.stream,
                    server: started.server,
                    messages: started.messages,
                    facts,
                    state,
                    registered,
                    key,
                    in_progress,
                })
            }
            Ok(None) => {
                self.metrics.connection(ConnectionOutcome::Closed);
                None
            }
            Err(failure) => {
                warn!(target: "pgentra::proxy", "login refused: {}: {facts}", failure.message);
                self.metrics.refusal(failure.cause);
                self.metrics.connection(ConnectionOutcome::Refused);
                reject(client.stream, &failure.messages).await;
                None
            }
        }
    }

    /// Returns `None` if the client has closed the connection.
    async fn start(
        &self,
        client: &mut Client,
        peer: &Peer,
        facts: &Facts,
    ) -> Result<Option<(Place, login::Started, String, String)>, LoginFailure> {
        let user = facts.role.as_str();
        let admitting = self.guard.admit(peer, &mut client.stream, user, client.is_encrypted);
        match timeout(PASSWORD_LIMIT, admitting).await {
            Ok(Ok(())) => {}
            Ok(Err(Denied::Closed)) => return Ok(None),
            Ok(Err(Denied::Refused(refusal))) => {
                let messages = refusal.response();
                return Err(LoginFailure { cause: refusal.cause, messages, message: refusal.message });
            }
            Err(_) => {
                let message = "the password was not sent in time";
                return Err(LoginFailure::new(RefusalCause::TimedOut, INVALID_AUTHORIZATION, message, ""));
            }
        }
        if self.sessions.is_draining() {
            let message = "the proxy is shutting down";
            return Err(LoginFailure::new(RefusalCause::Draining, CANNOT_CONNECT_NOW, message, ""));
        }
        let Some(place) = self.sessions.take_place() else {
            let hint = "End sessions, or raise --max-connections of pgentra proxy.";
            let message = "sorry, too many clients already";
            return Err(LoginFailure::new(RefusalCause::TooManyConnections, TOO_MANY_CONNECTIONS, message, hint));
        };
        let Some(role) = self.roles.role(user) else {
            let message = format!("the user \"{user}\" has no role on the server");
            let hint = "Name it with --map of pgentra proxy, or connect as another user.";
            return Err(LoginFailure::new(RefusalCause::Role, INVALID_AUTHORIZATION, message, hint));
        };
        let credentials = match login::credentials(&self.connection, role).await {
            Ok(credentials) => {
                self.health.note_login(&self.name, Ok(()));
                credentials
            }
            Err((failure, error)) => {
                self.health.note_login(&self.name, Err(&error));
                return Err(failure);
            }
        };
        let _permit = {
            let _waiting = self.metrics.waiting_login();
            match timeout(LOGIN_WAIT, self.logins.acquire()).await {
                Ok(Ok(permit)) => permit,
                _ => {
                    let message = format!("no login was possible within {} s", LOGIN_WAIT.as_secs());
                    let hint = "Connect less often, use a pool, or raise --max-logins of pgentra proxy.";
                    return Err(LoginFailure::new(RefusalCause::TimedOut, CANNOT_CONNECT_NOW, message, hint));
                }
            }
        };
        let database = self.roles.database(user, &facts.database).to_owned();
        let provider = &self.connection.provider;
        let (started, role) =
            login::start(&self.server, provider, credentials, &client.startup, &database, &self.metrics).await?;
        Ok(Some((place, started, role, database)))
    }

    /// Requests the first token, so that the first client does not wait for it. The engine renews it from then on.
    pub async fn request_token(&self) {
        while let Err(error) = self.connection.provider.login().await {
            self.health.note_login(&self.name, Err(&error));
            sleep(TOKEN_RETRY).await;
        }
        self.health.note_login(&self.name, Ok(()));
    }

    /// Logs in to the server and ends the session again.
    ///
    /// # Errors
    /// Fails with the reason.
    pub async fn try_login(&self) -> Result<(), String> {
        let database = self.connection.database();
        // The user is replaced by the role.
        let startup = startup_message("pgentra", database, "pgentra proxy").ok_or("the database's name is too long")?;
        let credentials = login::credentials(&self.connection, Role::OfToken).await;
        let credentials = credentials.map_err(|(failure, _)| failure.message)?;
        let provider = &self.connection.provider;
        let started = login::start(&self.server, provider, credentials, &startup, database, &self.metrics).await;
        let (started, _) = started.map_err(|failure| failure.message)?;
        login::end(started.server).await;
        Ok(())
    }

    /// Forwards a session's bytes until it ends.
    async fn run(self: Arc<Self>, session: Session) {
        let Session { client, server, messages, facts, state, registered, key, in_progress } = session;
        let end = relay_session(client, server, messages, &state).await;
        let (to_client, to_server) = (state.bytes_to_client(), state.bytes_to_server());
        info!(
            target: "pgentra::proxy",
            "session {} ended: {}: {facts}, bytes_to_client={to_client}, bytes_to_server={to_server}, seconds={}",
            registered.id,
            describe(&end),
            state.age().as_secs(),
        );
        drop((key, in_progress, registered));
    }
}

/// Returns why a session ended, for the log.
fn describe(end: &SessionEnd) -> String {
    match end {
        SessionEnd::ClientClosed => "the client has closed the connection".to_owned(),
        SessionEnd::ServerClosed => "the server has closed the connection".to_owned(),
        SessionEnd::EndedWhenIdle => "ended by the proxy while it was idle".to_owned(),
        SessionEnd::Cut => "cut by the proxy".to_owned(),
        SessionEnd::Failed { side: Side::Client, error } => format!("the client's connection failed: {error}"),
        SessionEnd::Failed { side: Side::Server, error } => format!("the server's connection failed: {error}"),
    }
}
