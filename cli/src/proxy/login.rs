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
    authenticate::{AuthenticationRequest, AuthenticationResponse, Authenticator},
    message::{ErrorFields, error_response, password_message, read_message},
    startup::StartupMessage,
    upstream::{UpstreamLogin, log_in},
};
use tokio::time::{Instant, timeout};

use super::{
    metrics::{RefusalCause, ServerMetrics},
    roles::Role,
    server::{Target, UpstreamServer},
};
use crate::connection::Connection;

/// The time limit for a login, after the connection: PostgreSQL's own.
const LIMIT: Duration = Duration::from_secs(60);

/// The limit for the server's messages from the login to ReadyForQuery.
const MAX_MESSAGES: usize = 1 << 20;

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
    pub key: Option<Vec<u8>>,
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
        let retry = is_first && classify(Some(&error.fields.sqlstate), &error.fields.message).retry;
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

/// The server's error.
struct Refused {
    messages: Vec<u8>,
    fields: ErrorFields,
}

impl Attempt<'_> {
    async fn run(&self, metrics: &ServerMetrics) -> Result<Result<Started, Refused>, LoginFailure> {
        let began = Instant::now();
        let (stream, target) = self.server.connect().await.map_err(|error| {
            let (sqlstate, hint) = match error.is_transient {
                true => (CANNOT_CONNECT_NOW, "Check the server's name, its firewall rules and this network."),
                false => (UNABLE_TO_CONNECT, "No token was sent."),
            };
            let message = format!("the server cannot be reached: {error}");
            LoginFailure::new(RefusalCause::ServerUnreachable, sqlstate, message, hint)
        })?;
        metrics.connect(began.elapsed());
        let failed =
            |message: String| LoginFailure::new(RefusalCause::ServerUnreachable, CANNOT_CONNECT_NOW, message, "");
        match timeout(LIMIT, self.log_in(stream, target)).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(failed(format!("the connection to the server ended during the login: {error}"))),
            Err(_) => Err(failed(format!("the server did not complete the login within {} s", LIMIT.as_secs()))),
        }
    }

    async fn log_in(
        &self,
        mut server: BoxedStream,
        target: Target,
    ) -> io::Result<Result<Result<Started, Refused>, LoginFailure>> {
        let mut token = TokenAuthenticator { token: self.token, requested: None };
        let mut messages = match log_in(&mut server, self.startup, &mut token).await? {
            UpstreamLogin::Accepted { messages } => messages,
            UpstreamLogin::Refused { messages, error } => return Ok(Ok(Err(Refused { messages, fields: error }))),
            UpstreamLogin::Declined => return Ok(Err(token.declined())),
        };
        let mut key = None;
        loop {
            let message = read_message(&mut server).await?;
            messages.extend(&message.bytes);
            match message.kind {
                b'Z' => return Ok(Ok(Ok(Started { server, target, messages, key }))),
                b'E' => {
                    let fields = ErrorFields::parse(message.body());
                    return Ok(Ok(Err(Refused { messages, fields })));
                }
                b'K' => key = Some(message.body().to_vec()),
                _ if messages.len() > MAX_MESSAGES => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent too many messages"));
                }
                _ => {}
            }
        }
    }
}

/// Sends the token if the server requests a password in clear text, and nothing otherwise.
struct TokenAuthenticator<'a> {
    token: &'a Token,
    requested: Option<&'static str>,
}

impl Authenticator for TokenAuthenticator<'_> {
    fn respond(&mut self, request: AuthenticationRequest<'_>) -> io::Result<AuthenticationResponse> {
        self.requested = Some(match request {
            AuthenticationRequest::CleartextPassword => match password_message(self.token.secret().as_bytes()) {
                Some(message) => return Ok(AuthenticationResponse::Send(message)),
                None => "a password of at most 65,530 bytes",
            },
            AuthenticationRequest::Md5Password { .. } => "an MD5 password",
            AuthenticationRequest::Sasl { .. } => "a SCRAM password",
            _ => "another kind of authentication",
        });
        Ok(AuthenticationResponse::Decline)
    }
}

impl TokenAuthenticator<'_> {
    fn declined(&self) -> LoginFailure {
        let requested = self.requested.unwrap_or("another kind of authentication");
        let message = "the role is not made for Entra, or Entra is off for this server; the token was not sent";
        let hint = format!("The server requests {requested}. {CHECK_EACH_STEP}");
        LoginFailure::new(RefusalCause::NoCleartext, INVALID_AUTHORIZATION, message, &hint)
    }
}

impl Refused {
    /// Adds the explanation of a login error to the server's own error. Its severity, SQLSTATE and message stay.
    fn explain(self, credentials: &Credentials) -> LoginFailure {
        let ErrorFields { sqlstate, message, .. } = &self.fields;
        let logged = format!("{} ({sqlstate})", message.replace(['\r', '\n'], " "));
        let classified = classify(Some(sqlstate), message);
        if classified.cause == LoginErrorCause::NotALogin {
            return LoginFailure { cause: RefusalCause::Role, messages: self.messages, message: logged };
        }
        let principal = credentials.token.claims().ok().map(|claims| claims.principal());
        let explained = explain(&classified, &credentials.role, &credentials.source, principal.as_ref(), None);
        let statement = statement(classified.cause, credentials, principal.as_ref());
        let messages = with_explanation(&self.messages, &explained, statement.as_deref());
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

/// Replaces detail and hint of the error at the end of the messages.
fn with_explanation(messages: &[u8], detail: &str, hint: Option<&str>) -> Vec<u8> {
    let Some(start) = last_message(messages) else { return messages.to_vec() };
    let mut body = Vec::new();
    let mut append = |kind: u8, value: &[u8]| {
        body.push(kind);
        body.extend(value.iter().copied().filter(|byte| *byte != 0));
        body.push(0);
    };
    let mut own = None;
    for field in messages[start + 5..].split(|byte| *byte == 0) {
        let Some((kind, value)) = field.split_first() else { break };
        match kind {
            b'D' => own = Some(value),
            b'H' if hint.is_some() => {}
            kind => append(*kind, value),
        }
    }
    let detail = [own.unwrap_or_default(), detail.as_bytes()];
    append(b'D', &detail.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b'\n'));
    if let Some(hint) = hint {
        append(b'H', hint.as_bytes());
    }
    body.push(0);
    let mut changed = messages[..start].to_vec();
    changed.push(b'E');
    changed.extend(u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    changed.extend(body);
    changed
}

/// Returns where the last of complete messages begins.
fn last_message(messages: &[u8]) -> Option<usize> {
    let (mut start, mut next) = (None, 0);
    while let Some(length) = messages.get(next + 1..next + 5) {
        start = Some(next);
        next += 1 + u32::from_be_bytes(length.try_into().ok()?) as usize;
    }
    start.filter(|start| messages[*start] == b'E')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_explanation_keeps_the_servers_own_fields() {
        let notice = b"N\0\0\0\x0aMnote\0\0".to_vec();
        let error = b"SFATAL\0VFATAL\0C28P01\0Mno\0Down\0Hserver\0Fauth.c\0\0";
        let mut messages = notice.clone();
        messages.push(b'E');
        messages.extend(u32::try_from(error.len() + 4).expect("short").to_be_bytes());
        messages.extend(error);
        let changed = with_explanation(&messages, "line 1\nline 2", Some("select 1;"));
        assert_eq!(changed[..notice.len()], notice);
        let fields = ErrorFields::parse(&changed[notice.len() + 5..]);
        assert_eq!((fields.sqlstate.as_str(), fields.message.as_str()), ("28P01", "no"));
        assert_eq!(fields.detail.as_deref(), Some("own\nline 1\nline 2"));
        assert_eq!(fields.hint.as_deref(), Some("select 1;"));
        let length = u32::from_be_bytes(changed[notice.len() + 1..notice.len() + 5].try_into().expect("4 bytes"));
        assert_eq!(length as usize, changed.len() - notice.len() - 1);
        assert!(changed.windows(7).any(|bytes| bytes == b"Fauth.c"));
        // Without a hint of ours, the server's stays.
        let kept = with_explanation(&messages, "line 1", None);
        assert_eq!(ErrorFields::parse(&kept[notice.len() + 5..]).hint.as_deref(), Some("server"));
        for other in [&b""[..], b"E", b"S\0\0\0\x04"] {
            assert_eq!(with_explanation(other, "x", None), other);
        }
    }
}
