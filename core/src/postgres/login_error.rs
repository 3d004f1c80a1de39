//! Login errors: whether a new token can help, and an explanation for the error message.
//!
//! Every recognised text is a case of `tests/vectors/login_errors.json`, marked as seen on Azure or assumed.

use serde::Serialize;

use super::{
    role_name::{Claims, Principal, PrincipalKind, RoleType, create_role_statement, sql_literal},
    service_connector,
};
use crate::config::Environment;

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginErrorCause {
    /// The token has expired by the server's clock.
    TokenExpired,
    /// The token is for another resource than PostgreSQL, or for another cloud.
    WrongAudience,
    /// The server could not read or verify the token.
    TokenRejected,
    /// The role belongs to a group, and the token's principal is not a member of it.
    NotInGroup,
    /// PostgreSQL's response to every wrong password, and to a role that is missing or was not created for Entra.
    BadPassword,
    /// The role does not exist.
    RoleMissing,
    /// The role belongs to another object id.
    PrincipalMismatch,
    /// The type of the role (user, group, service) is not that of the token.
    WrongTokenType,
    /// The connection has no TLS.
    NoTls,
    /// The server has no rule that allows this user, host and database.
    NotAllowed,
    /// A refused login with an unknown cause.
    Other,
    /// Not recognised as a refused login.
    NotALogin,
}

impl LoginErrorCause {
    /// Returns the stable name, as the vectors and the error detail spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::WrongAudience => "wrong_audience",
            Self::TokenRejected => "token_rejected",
            Self::NotInGroup => "not_in_group",
            Self::BadPassword => "bad_password",
            Self::RoleMissing => "role_missing",
            Self::PrincipalMismatch => "principal_mismatch",
            Self::WrongTokenType => "wrong_token_type",
            Self::NoTls => "no_tls",
            Self::NotAllowed => "not_allowed",
            Self::Other => "other",
            Self::NotALogin => "not_a_login",
        }
    }

    /// Returns whether one retry with a newer token can succeed. It can if the token was refused. If the role or the
    /// connection was refused, a retry would get the same response.
    pub fn retry(self) -> bool {
        match self {
            // A newer token can also contain a newer group membership.
            Self::TokenExpired | Self::WrongAudience | Self::TokenRejected | Self::NotInGroup | Self::BadPassword => {
                true
            }
            Self::RoleMissing | Self::PrincipalMismatch | Self::WrongTokenType => false,
            Self::NoTls | Self::NotAllowed | Self::Other | Self::NotALogin => false,
        }
    }
}

/// The classification of a failed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LoginError {
    /// Whether to invalidate the token and retry once.
    pub retry: bool,
    /// Why the login was refused.
    pub cause: LoginErrorCause,
}

/// The last line of an explanation.
pub const CHECK_EACH_STEP: &str = "To check each step of the login: pgentra doctor";

/// The texts that must all occur in a line, in lower case and outside of quoted names, and their meaning. The first
/// rule that matches a line is used.
const RULES: [(&[&str], LoginErrorCause); 11] = [
    (&["aad_auth_tokentype"], LoginErrorCause::WrongTokenType),
    (&["role", "does not exist"], LoginErrorCause::RoleMissing),
    (&["pg_hba.conf", "no encryption"], LoginErrorCause::NoTls),
    (&["pg_hba.conf", "ssl off"], LoginErrorCause::NoTls),
    (&["pg_hba.conf"], LoginErrorCause::NotAllowed),
    (&["oid mismatch"], LoginErrorCause::PrincipalMismatch),
    (&["access token", "does not contain group"], LoginErrorCause::NotInGroup),
    (&["access token", "expired"], LoginErrorCause::TokenExpired),
    (&["access token", "audience"], LoginErrorCause::WrongAudience),
    (&["access token"], LoginErrorCause::TokenRejected),
    (&["password authentication failed"], LoginErrorCause::BadPassword),
];

/// Classifies a failed connection by its SQLSTATE, if the driver provides one, and by the message.
///
/// libpq provides only text. PostgreSQL's own texts depend on the server's `lc_messages`. A translated text is
/// recognised only by its SQLSTATE, and without one it is [`LoginErrorCause::NotALogin`]. Azure's own texts are not
/// translated.
pub fn classify(sqlstate: Option<&str>, message: &str) -> LoginError {
    let cause = match sqlstate.filter(|state| !state.is_empty()) {
        Some("28P01") => by_text(message).unwrap_or(LoginErrorCause::BadPassword),
        Some("28000") => by_text(message).unwrap_or(LoginErrorCause::Other),
        Some(_) => LoginErrorCause::NotALogin,
        None => by_text(message).unwrap_or(LoginErrorCause::NotALogin),
    };
    LoginError { retry: cause.retry(), cause }
}

fn by_text(message: &str) -> Option<LoginErrorCause> {
    // libpq lists its attempts in separate lines. Under sslmode=prefer the first attempt, with TLS, is relevant; the
    // second one, without TLS, only shows that Azure requires TLS.
    let causes = || message.lines().filter_map(by_line);
    causes().find(|cause| *cause != LoginErrorCause::NoTls).or_else(|| causes().next())
}

fn by_line(line: &str) -> Option<LoginErrorCause> {
    let line = without_names(line).to_ascii_lowercase();
    RULES.iter().find(|(words, _)| words.iter().all(|word| line.contains(word))).map(|(_, cause)| *cause)
}

/// Removes text in quotes or brackets, because a role can have a name such as "access token".
fn without_names(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(open) = rest.find(['"', '[']) {
        let close = if rest.as_bytes()[open] == b'"' { '"' } else { ']' };
        let Some(length) = rest[open + 1..].find(close) else { break };
        plain.push_str(&rest[..open]);
        rest = &rest[open + 1 + length + 1..];
    }
    plain + rest
}

/// Returns a few lines to show below the server's own message: the principal and the role that were used, and what to
/// do.
///
/// `role_source` is the `user_source` of a login or a connection plan. `unused_connector` lists variables of Azure
/// Service Connector that are set for this server and were not used: Service Connector created its own role, so the
/// text does not propose another one. The result is empty for [`LoginErrorCause::NotALogin`].
pub fn explain(
    login_error: &LoginError,
    role: &str,
    role_source: &str,
    principal: Option<&Principal>,
    unused_connector: Option<&str>,
) -> String {
    if login_error.cause == LoginErrorCause::NotALogin {
        return String::new();
    }
    let mut lines = explanation(login_error, role, role_source, principal, unused_connector);
    lines.push(CHECK_EACH_STEP.to_owned());
    lines.join("\n")
}

fn explanation(
    login_error: &LoginError,
    role: &str,
    role_source: &str,
    principal: Option<&Principal>,
    unused_connector: Option<&str>,
) -> Vec<String> {
    use LoginErrorCause::{BadPassword, Other, PrincipalMismatch, RoleMissing, WrongTokenType};

    let kind = principal.map_or(PrincipalKind::Unknown, |principal| principal.kind);
    let source = match role_source {
        "user" => "the user given to the connection",
        "PGUSER" => "the environment variable PGUSER",
        "fallback_username" => "the fallback user name",
        "management token" => "a management-scope token",
        "service file" => "the connection service file",
        other => &match other.strip_prefix("variable ") {
            Some(name) => format!("the environment variable {name}"),
            None => format!("claim {other} of the token"),
        },
    };
    let owner = principal.map_or("unknown, because the claims cannot be read".to_owned(), ToString::to_string);
    let mut lines = vec![
        format!("Role tried: {} (from {source}).", sql_literal(role)),
        format!("Token of: {owner}."),
        advice(login_error.cause, kind.role_type()),
    ];
    if let Some(variables) = unused_connector {
        lines.push(format!(
            "Azure Service Connector configured its own identity and role for this server, and this connection does \
             not use them. Its variables: {variables}. Enable the option for Service Connector."
        ));
        return lines;
    }
    if matches!(login_error.cause, BadPassword | RoleMissing | PrincipalMismatch | WrongTokenType) {
        let oid = principal.and_then(|principal| principal.oid.as_deref()).unwrap_or("OBJECT_ID");
        lines.push("To create the role, as Entra administrator, in database postgres:".to_owned());
        lines.push(format!("  {}", create_role_statement(role, oid, kind.role_type())));
    }
    if matches!(login_error.cause, BadPassword | RoleMissing | PrincipalMismatch | Other) {
        lines.push("To list the roles that exist for Entra:".to_owned());
        lines.push("  select * from pgaadauth_list_principals(false);".to_owned());
        let hint = match kind {
            PrincipalKind::Guest => {
                "A guest's role is usually named name_home.com#EXT#@tenant.onmicrosoft.com, which is not in the \
                 token: pass it as the connection's user."
            }
            PrincipalKind::User => {
                "To log in as a member of a group, pass the group's name as the connection's user; its role has the group's object id \
                 and type 'group'."
            }
            _ => return lines,
        };
        lines.push(hint.to_owned());
    }
    lines
}

/// Does the same as [`explain`] with the values that a driver's module has. `host` lists the server's names, separated
/// by commas, and `environment` is the process's. Both are used only if Service Connector's variables were not used for
/// the connection.
pub fn explain_login(
    sqlstate: Option<&str>,
    message: &str,
    role: &str,
    role_source: &str,
    token: Option<&str>,
    unused: Option<(&str, &Environment)>,
) -> String {
    let login_error = classify(sqlstate, message);
    if login_error.cause == LoginErrorCause::NotALogin {
        return String::new();
    }
    let principal = token.and_then(|token| Claims::decode(token).ok()).map(|claims| claims.principal());
    let connector = unused.and_then(|(host, environment)| service_connector::unused(host, environment));
    let explained = explain(&login_error, role, role_source, principal.as_ref(), connector.as_deref());
    match unused.and_then(|(host, _)| without_server(role, host)) {
        // The statement would create a role with that name, which is not intended.
        Some(name) if matches!(login_error.cause, LoginErrorCause::BadPassword | LoginErrorCause::RoleMissing) => {
            let tried = explained.lines().take(2).collect::<Vec<_>>().join("\n");
            format!(
                "{tried}\nThe form user@server was used by Azure's single server. A flexible server has roles \
                 without the server's name: log in as {}.",
                sql_literal(name)
            )
        }
        _ => explained,
    }
}

/// Returns the role without `@server`, if it ends with the name of one of the servers in `host`.
fn without_server<'a>(role: &'a str, host: &str) -> Option<&'a str> {
    let (name, server) = role.rsplit_once('@').filter(|(name, _)| !name.is_empty())?;
    let is_server = |host: &str| {
        let host = host.trim().trim_end_matches('.');
        crate::cloud::is_azure_server(host)
            && (host.eq_ignore_ascii_case(server)
                || host.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(server)))
    };
    host.split(',').any(is_server).then_some(name)
}

fn advice(cause: LoginErrorCause, role_type: RoleType) -> String {
    let text = match cause {
        LoginErrorCause::TokenExpired => {
            "The token has expired by the server's clock. If this happens repeatedly, check this machine's clock, \
             and check that each new connection requests its own token."
        }
        LoginErrorCause::WrongAudience => {
            "The token is for another resource. Omit the option scope, or pass the scope of the server's cloud. A \
             custom credential must use the scope of the token request."
        }
        LoginErrorCause::TokenRejected => {
            "The server could not read or verify the token. It must belong to the server's tenant and reach the \
             server unchanged: a connection pooler in between can truncate long passwords."
        }
        LoginErrorCause::NotInGroup => {
            "The role belongs to a group, and the token's principal is not a member of the group, or was not a \
             member when the token was issued."
        }
        LoginErrorCause::BadPassword => {
            "If the token has not expired, the role is missing on the server, has another spelling (it is \
             case-sensitive), or was not created for Entra."
        }
        LoginErrorCause::RoleMissing => {
            "The role is missing on the server, or has another spelling there (it is case-sensitive)."
        }
        LoginErrorCause::PrincipalMismatch => {
            "The role belongs to another object id: the principal was deleted and created again, or another \
             principal has the same name. The role of a deleted principal must be dropped first."
        }
        LoginErrorCause::WrongTokenType => {
            return format!(
                "The token's principal is of type {}, but the role is not. Log in as another role, or drop this role \
                 and create it with that type.",
                role_type.as_str()
            );
        }
        LoginErrorCause::NoTls => {
            "The server accepts only connections with TLS: use sslmode=verify-full, or at least require."
        }
        LoginErrorCause::NotAllowed => {
            "The server has no rule for this user, database and address: check that Entra authentication is enabled \
             on the server, and that the connection uses TLS."
        }
        LoginErrorCause::Other | LoginErrorCause::NotALogin => "The cause is unknown.",
    };
    text.to_owned()
}
