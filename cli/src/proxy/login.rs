//! The login at the server, in place of the client.

use std::{fmt, io, sync::Arc, time::Duration};

use pgentra::{
    Token, TokenProvider,
    postgres::{
        login_error::{CHECK_EACH_STEP, LoginErrorCause, classify, explain},
        role_name::{Principal, create_role_statement},
    },
};
use pgentra_proxy::{
    BoxedStream,
    authenticate::CleartextPassword,
    message::{ErrorFields, error_response},
    startup::{SessionKey, StartupMessage},
    upstream::{self, SessionStart, UpstreamLogin, log_in, read_session_start},
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use super::{
    guard::RefusalCause,
    metrics::ServerMetrics,
    roles::Role,
    server::{ConnectFailure, SessionAttributes, Target, UpstreamServer},
};
use crate::connection::Connection;

/// The time limit for a login, after the connection: PostgreSQL's own.
const LIMIT: Duration = Duration::from_secs(60);

/// SQLSTATEs.
pub const INVALID_AUTHORIZATION: &str = "28000";
pub const CANNOT_CONNECT_NOW: &str = "57P03";
const UNABLE_TO_CONNECT: &str = "08001";

/// A role and its token.
pub struct Credentials {
    /// The role on the server.
    pub role: String,
    source: String,
    token: Arc<Token>,
}

/// A session that the server has accepted.
pub struct Started {
    /// The connection to the server.
    pub server: BoxedStream,
    /// Its address.
    pub target: Target,
    /// The server's messages from AuthenticationOk to ReadyForQuery, for the client.
    pub messages: Vec<u8>,
    /// The key for cancel requests.
    pub key: Option<SessionKey>,
}

/// Why there is no session.
pub struct LoginFailure {
    /// For the metrics.
    pub cause: RefusalCause,
    /// For the client.
    pub messages: Vec<u8>,
    /// For the log.
    pub message: String,
}

impl LoginFailure {
    /// Creates a failure with an error of the proxy's own.
    pub fn new(cause: RefusalCause, sqlstate: &str, message: impl fmt::Display, hint: &str) -> LoginFailure {
        let message = message.to_string();
        let hint = (!hint.is_empty()).then_some(hint);
        LoginFailure { cause, messages: error_response(sqlstate, &message, hint), message }
    }

    /// Creates a failure without a token.
    fn without_token(error: &pgentra::Error) -> LoginFailure {
        let sqlstate = if error.is_transient() { CANNOT_CONNECT_NOW } else { INVALID_AUTHORIZATION };
        LoginFailure::new(RefusalCause::Token, sqlstate, error.headline(), error.advice())
    }
}

/// Obtains the token and the role's name.
///
/// # Errors
/// Fails without a token, with the engine's headline.
pub async fn credentials(connection: &Connection, role: Role) -> Result<Credentials, (LoginFailure, pgentra::Error)> {
    let provider = &connection.provider;
    let failed = |error: pgentra::Error| (LoginFailure::without_token(&error), error);
    match role {
        Role::Named(role) => {
            let token = provider.get().await.map_err(failed)?;
            Ok(Credentials { role, source: "user".to_owned(), token })
        }
        _ => {
            let login = provider.login().await.map_err(failed)?;
            let source = connection.user_source(&login).to_owned();
            Ok(Credentials { role: login.user().to_owned(), source, token: Arc::clone(login.token()) })
        }
    }
}

/// Logs in; once more with a newer token if the server refused the token.
///
/// # Errors
/// Fails with the error for the client.
pub async fn start(
    server: &UpstreamServer,
    provider: &TokenProvider,
    mut credentials: Credentials,
    startup: &StartupMessage,
    database: &str,
    metrics: &ServerMetrics,
) -> Result<(Started, String), LoginFailure> {
    let startup = startup
        .with_login(&credentials.role, database)
        .map_err(|error| LoginFailure::new(RefusalCause::Protocol, error.sqlstate, error.message, ""))?;
    let mut is_first = true;
    loop {
        let attempt = Attempt { server, startup: &startup, token: &credentials.token };
        let error = match attempt.run(metrics).await? {
            Ok(started) => return Ok((started, credentials.role)),
            Err(error) => error,
        };
        let retry = is_first && classify(Some(&error.error.sqlstate), &error.error.message).retry;
        is_first = false;
        match if retry { provider.invalidate(credentials.token.secret()).await } else { None } {
            Some(newer) => credentials.token = newer,
            None => return Err(error.explain(&credentials)),
        }
    }
}

struct Attempt<'a> {
    server: &'a UpstreamServer,
    startup: &'a StartupMessage,
    token: &'a Token,
}

/// What a host responded.
enum Response {
    Started(Started),
    Refused(Refused),
    /// It is not one of `target_session_attrs`.
    OtherKind,
}

/// The server's error.
struct Refused {
    /// The messages before the error.
    messages: Vec<u8>,
    error: ErrorFields,
}

impl Attempt<'_> {
    /// Logs in at the first host that can be reached and is of the right kind.
    async fn run(&self, metrics: &ServerMetrics) -> Result<Result<Started, Refused>, LoginFailure> {
        let mut unreachable = ConnectFailure::default();
        let mut are_of_other_kind = false;
        let passes = if self.server.attributes() == SessionAttributes::PreferStandby { 2 } else { 1 };
        for (pass, host) in (0..passes).flat_map(|pass| (0..self.server.hosts()).map(move |host| (pass, host))) {
            let began = Instant::now();
            let (connection, target) = match self.server.connect(host).await {
                Ok(connected) => connected,
                Err(failure) => {
                    let separator = if unreachable.message.is_empty() { "" } else { "; " };
                    unreachable.message += &format!("{separator}{}", failure.message);
                    unreachable.is_transient &= failure.is_transient;
                    continue;
                }
            };
            metrics.connect(began.elapsed());
            match self.log_in_within_limit(connection, target, pass + 1 == passes).await? {
                Response::Started(started) => return Ok(Ok(started)),
                Response::Refused(refused) => return Ok(Err(refused)),
                Response::OtherKind => are_of_other_kind = true,
            }
        }
        if are_of_other_kind {
            let message = "no host is of the kind of target_session_attrs";
            return Err(LoginFailure::new(RefusalCause::ServerUnreachable, CANNOT_CONNECT_NOW, message, ""));
        }
        let (sqlstate, hint) = match unreachable.is_transient {
            true => (CANNOT_CONNECT_NOW, "Check the server's name, its firewall rules and this network."),
            false => (UNABLE_TO_CONNECT, "The token was not sent."),
        };
        let message = format!("the server cannot be reached: {}", unreachable.message);
        Err(LoginFailure::new(RefusalCause::ServerUnreachable, sqlstate, message, hint))
    }

    async fn log_in_within_limit(
        &self,
        connection: upstream::Connection,
        target: Target,
        is_last_pass: bool,
    ) -> Result<Response, LoginFailure> {
        let failed =
            |message: String| LoginFailure::new(RefusalCause::ServerUnreachable, CANNOT_CONNECT_NOW, message, "");
        match timeout(LIMIT, self.log_in(connection, target, is_last_pass)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => Err(failed(format!("the connection to the server ended during the login: {error}"))),
            Err(_) => Err(failed(format!("the server did not complete the login within {} s", LIMIT.as_secs()))),
        }
    }

    async fn log_in(
        &self,
        connection: upstream::Connection,
        target: Target,
        is_last_pass: bool,
    ) -> io::Result<Result<Response, LoginFailure>> {
        // The settings do not allow such a server, so that this is not reached.
        if !self.server.is_safe(&connection) {
            let message = "the connection to the server is not encrypted; the token was not sent";
            let failure = LoginFailure::new(RefusalCause::ServerUnreachable, UNABLE_TO_CONNECT, message, "");
            return Ok(Err(failure));
        }
        let mut server = connection.stream;
        let mut password = CleartextPassword::new(self.token.secret().as_bytes());
        let mut messages = match log_in(&mut server, self.startup, &mut password).await? {
            UpstreamLogin::Accepted { messages } => messages,
            UpstreamLogin::Refused { messages, error } => return Ok(Ok(Response::refused(messages, error))),
            UpstreamLogin::Declined => return Ok(Err(declined(password.declined()))),
        };
        match read_session_start(&mut server).await? {
            SessionStart::Ready { messages: further, key, parameters } => {
                if !self.server.attributes().accepts(parameters.in_hot_standby(), is_last_pass) {
                    end(server).await;
                    return Ok(Ok(Response::OtherKind));
                }
                messages.extend(further);
                Ok(Ok(Response::Started(Started { server, target, messages, key })))
            }
            SessionStart::Refused { messages: further, error } => {
                messages.extend(further);
                Ok(Ok(Response::refused(messages, error)))
            }
        }
    }
}

/// Ends a session that is not used.
pub async fn end(mut server: BoxedStream) {
    /// The message Terminate.
    const TERMINATE: &[u8] = b"X\0\0\0\x04";
    let _ = server.write_all(TERMINATE).await;
    let _ = server.shutdown().await;
}

fn declined(requested: Option<&str>) -> LoginFailure {
    let requested = requested.unwrap_or("another kind of authentication");
    let message = "the role is not made for Entra, or Entra is off for this server; the token was not sent";
    let hint = format!("The server requests {requested}. {CHECK_EACH_STEP}");
    LoginFailure::new(RefusalCause::NoCleartext, INVALID_AUTHORIZATION, message, &hint)
}

impl Response {
    /// `messages` end with the error.
    fn refused(mut messages: Vec<u8>, error: ErrorFields) -> Response {
        messages.truncate(messages.len().saturating_sub(error.to_message().len()));
        Response::Refused(Refused { messages, error })
    }
}

impl Refused {
    /// Adds the explanation of a login error to the server's own error. Its severity, SQLSTATE and message stay.
    fn explain(self, credentials: &Credentials) -> LoginFailure {
        let Refused { mut messages, error } = self;
        let (sqlstate, message) = (&error.sqlstate, &error.message);
        let logged = format!("{} ({sqlstate})", message.replace(['\r', '\n'], " "));
        let classified = classify(Some(sqlstate), message);
        if classified.cause == LoginErrorCause::NotALogin {
            messages.extend(error.to_message());
            return LoginFailure { cause: RefusalCause::ServerLogin, messages, message: logged };
        }
        let principal = credentials.token.claims().ok().map(|claims| claims.principal());
        let explained = explain(&classified, &credentials.role, &credentials.source, principal.as_ref(), None);
        let detail = match &error.detail {
            Some(own) => format!("{own}\n{explained}"),
            None => explained,
        };
        let mut error = error.with_detail(&detail);
        if let Some(statement) = statement(classified.cause, credentials, principal.as_ref()) {
            error = error.with_hint(&statement);
        }
        messages.extend(error.to_message());
        LoginFailure { cause: RefusalCause::ServerLogin, messages, message: logged }
    }
}

/// Returns the statement that creates the role, if that can help.
fn statement(cause: LoginErrorCause, credentials: &Credentials, principal: Option<&Principal>) -> Option<String> {
    use LoginErrorCause::{BadPassword, PrincipalMismatch, RoleMissing, WrongTokenType};
    let principal = principal?;
    matches!(cause, BadPassword | PrincipalMismatch | RoleMissing | WrongTokenType).then(|| {
        let oid = principal.oid.as_deref().unwrap_or("OBJECT_ID");
        create_role_statement(&credentials.role, oid, principal.kind.role_type())
    })
}
