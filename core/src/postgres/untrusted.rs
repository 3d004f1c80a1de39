//! Decides whether a connection that the application does not describe itself may use the process's token.
//!
//! Some applications take a database URL from their users: dashboards, notebooks, schedulers. If such a process logs in
//! with tokens, the author of the URL must not receive one. Therefore a token is used only if every host is an
//! allowed one, the server's certificate is verified with the process's own certificate authorities, and no setting
//! changes either of these. The rules are cases of `tests/vectors/untrusted.json`.

use super::{
    connection_plan::{ConnectionPlan, ConnectionRequest},
    tls_policy::Server,
};
use crate::{
    cloud::Cloud,
    config::Environment,
    error::{Error, ErrorKind, Result},
};

/// The variable with the allowed hosts, which replace the hosts of Azure Database for PostgreSQL.
pub const ALLOWED_HOSTS_VARIABLE: &str = "PGENTRA_ALLOWED_HOSTS";

/// The settings that replace the given ones in a connection that uses a token, by libpq's keywords.
///
/// GSSAPI encryption is switched off, because libpq prefers it to TLS, and then ignores `sslmode`.
pub const SETTINGS: &[(&str, &str)] = &[("sslmode", "verify-full"), ("gssencmode", "disable")];

/// The settings that may be given. None of them changes the server, how it is verified, or which file is read.
const PERMITTED: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "sslmode",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "timeout",
    "user",
];

/// How an untrusted connection logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UntrustedLogin {
    /// With a token. [`SETTINGS`] replace the given settings.
    Token,
    /// Without a token, because a password is given.
    Password,
    /// Without a token, because a host is not an allowed one. The text names it, as the cause in an error.
    HostNotAllowed(String),
}

/// Decides how a connection logs in if its `arguments` come from outside the application. The request's other sources,
/// which are the environment and service files that it names, belong to the process.
///
/// # Errors
/// [`ErrorKind::InvalidConnection`] if every host is allowed and no password is given, but a setting is not permitted;
/// also for settings that cannot be read, and for an invalid value of [`ALLOWED_HOSTS_VARIABLE`].
pub fn untrusted_login(request: &ConnectionRequest) -> Result<UntrustedLogin> {
    let given = |name: &str| request.arguments.get(name).is_some_and(|value| !value.is_null() && value != "");
    if given("password") || given("passfile") {
        return Ok(UntrustedLogin::Password);
    }
    let allowed = AllowedHosts::read(&request.environment)?;
    // These cannot be part of the plan: a service that is given selects another server, and a wrong mode is an error.
    let mut own = request.clone();
    own.allow_insecure_transport = true;
    own.repeat_warnings = true;
    let plan = ConnectionPlan::new(&own)?;
    if !plan.uses_entra || plan.drops_password {
        return Ok(UntrustedLogin::Password);
    }
    if let Some(cause) = allowed.refused(&plan.server) {
        return Ok(UntrustedLogin::HostNotAllowed(cause));
    }
    for (name, value) in &request.arguments {
        if !value.is_null() && !PERMITTED.contains(&name.as_str()) {
            return Err(refused(&format!("the setting {name} is not permitted")));
        }
        if !matches!(name.as_str(), "host" | "port") && (value.is_array() || value.is_object()) {
            return Err(refused(&format!("the setting {name} has several values")));
        }
    }
    let text = |name: &str| request.arguments.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    if !matches!(text("sslmode"), "" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full") {
        return Err(refused("sslmode must be verify-full"));
    }
    if !matches!(text("gssencmode"), "" | "prefer" | "disable") {
        return Err(refused("gssencmode must be disable"));
    }
    // Some programs of libpq expand a database name that is a connection string.
    if text("dbname").contains('=') || text("dbname").contains("://") {
        return Err(refused("dbname is a connection string"));
    }
    Ok(UntrustedLogin::Token)
}

/// Returns the error of a connection that must not use the process's token.
pub fn refused(cause: &str) -> Error {
    Error::new(
        ErrorKind::InvalidConnection,
        format!("the connection's URL must not use the identity of this process: {cause}"),
    )
    .with_advice(
        "Name only hosts of Azure Database for PostgreSQL or of the variable PGENTRA_ALLOWED_HOSTS, and leave out settings \
         of TLS, services and pgentra; or give a user and a password.",
    )
}

/// The suffixes of the allowed hosts, in lower case.
struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Reads the variable. If it is set, an empty list allows no host.
    fn read(environment: &Environment) -> Result<Self> {
        let Some(value) = environment.get(ALLOWED_HOSTS_VARIABLE) else {
            return Ok(AllowedHosts(Cloud::KNOWN.iter().map(|cloud| cloud.facts().host_suffix.to_owned()).collect()));
        };
        let entries = value.expose().split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        let suffixes: Option<Vec<String>> =
            entries.map(|entry| labels(entry.strip_prefix('.').unwrap_or(entry))).collect();
        suffixes.map(AllowedHosts).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidConnection,
                format!("{ALLOWED_HOSTS_VARIABLE}: expected host names or their suffixes, separated by commas"),
            )
            .with_advice("Write for example shop.postgres.database.azure.com, without ports, wildcards and schemes.")
        })
    }

    /// Returns why the connection could reach a host that is not allowed.
    fn refused(&self, server: &Server) -> Option<String> {
        let hosts = match server {
            Server::Unknown => return Some("the server's address is not known".to_owned()),
            Server::Known(hosts) if hosts.is_empty() => return Some("no host is given".to_owned()),
            Server::Known(hosts) => hosts,
        };
        let stranger = hosts.iter().find(|host| !self.contains(&host.host))?;
        Some(match stranger.host.as_str() {
            "" => "a host has no name".to_owned(),
            name => format!("{name:?} is not an allowed host"),
        })
    }

    fn contains(&self, host: &str) -> bool {
        let Some(host) = labels(host) else { return false };
        let ends = |suffix: &String| {
            host.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.0.iter().any(ends)
    }
}

/// Returns a host name in lower case, if it consists of labels of ASCII letters, digits and hyphens. Resolvers and
/// drivers read any other text in different ways: addresses, paths, ports, percent-encoding, other alphabets, and dots
/// at the end.
fn labels(name: &str) -> Option<String> {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name.split('.').all(is_label).then(|| name.to_ascii_lowercase())
}
