//! The checks on the server: the login, and what the role finds there.

use std::time::Duration;

use pgentra::{
    Login,
    postgres::{
        login_error::{CHECK_EACH_STEP, LoginErrorCause, classify, explain},
        role_name::{Principal, decode_jwt},
    },
};
use pgentra_proxy::{
    BoxedStream,
    authenticate::{AuthenticationRequest, AuthenticationResponse, Authenticator},
    message::password_message,
    upstream::{UpstreamLogin, log_in},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    report::Check,
    session::{QueryError, Session},
};
use crate::{
    connection::{self, Connection},
    startup_message::startup_message,
};

/// The time limit of the login.
const LIMIT: Duration = Duration::from_secs(20);

/// SQLSTATEs: the object does not exist; a privilege is missing.
const UNDEFINED: [&str; 2] = ["42883", "42P01"];
const DENIED: &str = "42501";

/// Sends the token if the server requests a password in clear text, and nothing otherwise.
struct Token<'a> {
    login: &'a Login,
    declined: Option<&'static str>,
}

impl Authenticator for Token<'_> {
    fn respond(&mut self, request: AuthenticationRequest<'_>) -> std::io::Result<AuthenticationResponse> {
        let method = match request {
            AuthenticationRequest::CleartextPassword => match password_message(self.login.password().as_bytes()) {
                Some(message) => return Ok(AuthenticationResponse::Send(message)),
                None => "a password that is shorter than the token",
            },
            AuthenticationRequest::Md5Password { .. } => "an MD5 password",
            AuthenticationRequest::Sasl { .. } => "a SCRAM password",
            _ => "another kind of authentication",
        };
        self.declined = Some(method);
        Ok(AuthenticationResponse::Decline)
    }
}

/// Logs in.
pub async fn login(
    connection: &Connection,
    login: &Login,
    principal: Option<&Principal>,
    mut stream: BoxedStream,
) -> (Check, Option<Session>) {
    let Some(startup) = startup_message(login.user(), connection.database(), "pgentra doctor") else {
        return (Check::fail("login", "the names of role and database are too long"), None);
    };
    let mut token = Token { login, declined: None };
    let result = match timeout(LIMIT, log_in(&mut stream, &startup, &mut token)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            let check = Check::fail("login", format!("the connection ended: {error}"))
                .do_this("A server closes the connection without an error for a password of more than 65,530 bytes.");
            return (check, None);
        }
        Err(_) => return (Check::fail("login", format!("no response within {} s", LIMIT.as_secs())), None),
    };
    match result {
        UpstreamLogin::Accepted { .. } => match timeout(LIMIT, Session::start(stream)).await {
            Ok(Ok(session)) => {
                let summary = format!("as \"{}\" in database \"{}\"", login.user(), connection.database());
                (Check::ok("login", summary), Some(session))
            }
            Ok(Err(error)) => (Check::fail("login", error.to_string()), None),
            Err(_) => (Check::fail("login", format!("no response within {} s", LIMIT.as_secs())), None),
        },
        UpstreamLogin::Declined => {
            let method = token.declined.unwrap_or("another kind of authentication");
            let check = Check::fail("login", format!("the server requests {method}; the token was not sent"))
                .do_this("The role is not made for Entra, or Microsoft Entra authentication is off for this server.");
            (check, None)
        }
        UpstreamLogin::Refused { error, .. } => {
            let message = error.message.replace(['\r', '\n'], " ");
            let classified = classify(Some(&error.sqlstate), &message);
            let source = connection.user_source(login);
            let check = match classified.cause {
                LoginErrorCause::NotALogin => Check::fail("login", format!("{message} ({})", error.sqlstate)),
                cause => Check::fail("login", format!("{}: {message} ({})", cause.as_str(), error.sqlstate)),
            };
            let explained = explain(&classified, login.user(), source, principal, None);
            (check.do_this(explained.trim_end_matches(CHECK_EACH_STEP)), None)
        }
    }
}

/// Returns how many seconds this machine's clock is ahead of the server's.
pub async fn clock_skew(session: &mut Session) -> Option<i64> {
    let row = session.first("select extract(epoch from clock_timestamp())::bigint").await.ok()??;
    Some(-connection::life_left(row.first()?.parse().ok()?))
}

/// Compares the security label of the role with the token.
pub async fn label(session: &mut Session, principal: Option<&Principal>, token: &str) -> Check {
    let query = "select l.label from pg_catalog.pg_seclabels l join pg_catalog.pg_roles r on r.oid = l.objoid \
                 where l.provider = 'pgaadauth' and l.objtype = 'role' and r.rolname = session_user";
    let label = match session.first(query).await {
        Ok(Some(row)) => row.into_iter().next().unwrap_or_default(),
        Ok(None) => return Check::skip("label", "the server shows no label of the role"),
        Err(error) => return Check::skip("label", error.to_string()),
    };
    let parts: Vec<&str> = label.split(',').map(str::trim).collect();
    let value = |name: &str| parts.iter().find_map(|part| part.strip_prefix(name));
    let (oid, kind) = (value("oid=").unwrap_or_default(), value("type=").unwrap_or_default());
    let has = |flag: &str| parts.contains(&flag);
    let flags = [("admin", ", Entra administrator"), ("mfa", ", second factor required")];
    let flags: String = flags.into_iter().filter(|(flag, _)| has(flag)).map(|(_, text)| text).collect();
    let summary = format!("type {kind}, object id {oid}{flags}");
    let is_other = principal.and_then(|one| one.oid.as_deref()).is_some_and(|token| !token.eq_ignore_ascii_case(oid));
    if is_other && kind != "group" {
        return Check::fail("label", summary)
            .found("The role belongs to another object id than the token.")
            .do_this("Drop the role and create it again for this principal, or log in as the principal's own role.");
    }
    if let Some(principal) = principal.filter(|one| kind != "group" && one.kind.role_type().as_str() != kind) {
        return Check::fail("label", summary)
            .found(format!("The token is for a {}.", principal.kind))
            .do_this(format!("Create the role with the type {}.", principal.kind.role_type().as_str()));
    }
    if has("mfa") && !has_second_factor(token) {
        return Check::fail("label", summary)
            .found("The role requires a sign-in with a second factor, and the token's is without one.")
            .do_this("Sign in again with a second factor, such as az login --claims-challenge.");
    }
    Check::ok("label", summary)
}

fn has_second_factor(token: &str) -> bool {
    let Ok(claims) = decode_jwt(token) else { return false };
    match claims.get("amr") {
        Some(Value::Array(methods)) => methods.iter().any(|method| method == "mfa"),
        _ => false,
    }
}

/// Looks for roles of the same principal and of the same name. Only Entra administrators can see them.
pub async fn principals(session: &mut Session, role: &str, principal: Option<&Principal>) -> Check {
    let rows =
        match session.query("select rolname, objectid, principaltype from pgaadauth_list_principals(false)").await {
            Ok(rows) => rows,
            Err(QueryError::Server(error)) if UNDEFINED.contains(&error.sqlstate.as_str()) => {
                return Check::skip("principals", "only in database postgres of a server of Azure");
            }
            Err(QueryError::Server(error)) if error.sqlstate == DENIED => {
                return Check::skip("principals", "only for Entra administrators");
            }
            Err(error) => return Check::skip("principals", error.to_string()),
        };
    let mut check = Check::ok("principals", format!("{} roles are made for Entra", rows.len()));
    let oid = principal.and_then(|principal| principal.oid.as_deref()).unwrap_or_default();
    for row in rows {
        let text = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
        let (name, object) = (text(0), text(1));
        if name != role && !oid.is_empty() && object.eq_ignore_ascii_case(oid) {
            check.warn(
                format!("The role \"{name}\" has the same object id."),
                format!("Log in with --user \"{name}\", or drop the role that is not needed."),
            );
        } else if name != role && name.eq_ignore_ascii_case(role) {
            check.warn(
                format!("The role \"{name}\" has the same name in another spelling, and object id {object}."),
                "Names are case-sensitive: drop the role that is not needed.",
            );
        }
    }
    check
}

/// Counts what the role may use.
pub async fn grants(session: &mut Session, role: &str, database: &str) -> Check {
    let query = "
        select has_database_privilege(current_database(), 'CONNECT'),
            (select count(*) from pg_catalog.pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
                and has_schema_privilege(oid, 'USAGE')),
            count(*) filter (where has_table_privilege(c.oid, 'SELECT')),
            count(*) filter (where has_table_privilege(c.oid, 'INSERT')),
            count(*) filter (where has_table_privilege(c.oid, 'UPDATE')),
            count(*) filter (where has_table_privilege(c.oid, 'DELETE')),
            count(*)
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
    let row = match session.first(query).await {
        Ok(row) => row.unwrap_or_default(),
        Err(error) => return Check::fail("grants", error.to_string()),
    };
    let [connect, schemas, select, insert, update, delete, all] = &row[..] else {
        return Check::fail("grants", "the server's response has another form");
    };
    let summary = format!(
        "CONNECT {}, USAGE of {schemas} schemas; of {all} tables SELECT {select}, INSERT {insert}, UPDATE {update}, DELETE {delete}",
        if connect == "t" { "yes" } else { "no" }
    );
    let mut check = Check::ok("grants", summary);
    if select == "0" && all != "0" {
        let name = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        check.warn("The role cannot read any table of this database.", "As owner of the tables:");
        check = check.do_this(format!("  grant usage on schema public to {};", name(role))).do_this(format!(
            "  grant select, insert, update, delete on all tables in schema public to {};",
            name(role)
        ));
        if connect != "t" {
            check = check.do_this(format!("  grant connect on database {} to {};", name(database), name(role)));
        }
    }
    check
}

/// Reports version and load.
pub async fn server(session: &mut Session) -> Check {
    let query = "
        select current_setting('server_version'), pg_is_in_recovery(),
            current_setting('require_secure_transport', true), current_setting('max_connections'),
            (select count(*) from pg_catalog.pg_stat_activity where datid is not null)";
    let row = match session.first(query).await {
        Ok(row) => row.unwrap_or_default(),
        Err(error) => return Check::fail("server", error.to_string()),
    };
    let [version, standby, secure, limit, used] = &row[..] else {
        return Check::fail("server", "the server's response has another form");
    };
    let state = if standby == "t" { "standby (read-only)" } else { "primary" };
    let secure = if secure.is_empty() { String::new() } else { format!(", require_secure_transport {secure}") };
    let mut check =
        Check::ok("server", format!("PostgreSQL {version}, {state}{secure}, {used} of {limit} connections are used"));
    let numbers = (used.parse::<u64>(), limit.parse::<u64>());
    if let (Ok(used), Ok(limit)) = numbers
        && used * 10 >= limit * 9
    {
        check.warn("Nearly all connections are used.", "Use smaller pools or a pooler, or raise max_connections.");
    }
    check
}
