//! Azure Service Connector: reads the variables that it sets for an application, in the forms of every client type.
//!
//! Source: "Integrate Azure Database for PostgreSQL with Service Connector" of Microsoft's documentation. A connection
//! is a group of variables with one prefix: `AZURE_POSTGRESQL_`, or `AZURE_POSTGRESQL_<CONNECTION>_` for further ones.

use std::collections::BTreeMap;

use serde::{Deserializer, de};
use serde_json::{Value, json};

use super::{connection_string, settings::ConnectionSettings};
use crate::{
    config::{Environment, variable},
    error::{Error, ErrorKind, Result},
};

const PREFIX: &str = "AZURE_POSTGRESQL_";

/// The prefix that App Service adds to the names on its page of connection strings.
const APP_SERVICE_PREFIX: &str = "POSTGRESQLCONNSTR_";

/// The names after a prefix, longest first: `CLIENTID` is not a connection with the name `CLIENTID`.
const NAMES: &[&str] = &[
    "CONNECTIONSTRING",
    "CLIENTSECRET",
    "CLIENTID",
    "TENANTID",
    "DATABASE",
    "USERNAME",
    "PASSWORD",
    "HOST",
    "NAME",
    "PORT",
    "USER",
    "SSL",
];

/// Which connection of Service Connector to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceConnector {
    /// The only one.
    Only,
    /// By the connection's name, or by a literal prefix of its variables.
    Named(String),
}

/// Reads `true`, or a connection's name or prefix. `false` counts as not given.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServiceConnector>, D::Error> {
    struct Choice;
    impl de::Visitor<'_> for Choice {
        type Value = Option<ServiceConnector>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("true, or a connection's name or the prefix of its variables")
        }
        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok(value.then_some(ServiceConnector::Only))
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            match value.trim() {
                // An error does not repeat a connection string that was passed instead of a name, because it can
                // contain a password.
                name if name.is_empty() || name.contains(['=', ';', '/']) => {
                    Err(E::invalid_value(de::Unexpected::Str(value), &self))
                }
                name => Ok(Some(ServiceConnector::Named(name.to_owned()))),
            }
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Choice)
}

/// A connection as its variables describe it.
#[derive(Debug)]
pub struct Connection {
    /// The settings. A user is used as it is; a password counts as explicit.
    pub settings: ConnectionSettings,
    /// The variable that contains the user.
    pub user_variable: Option<String>,
    /// The credential's configuration: a user-assigned identity or a service principal; `None` for the default chain,
    /// which uses a system-assigned identity.
    pub credential: Option<Value>,
}

/// Reads a connection's variables.
///
/// # Errors
/// [`ErrorKind::InvalidConnection`] if there is no such connection, if several match, or if its variables are
/// incomplete.
pub fn read(choice: &ServiceConnector, environment: &Environment) -> Result<Connection> {
    let prefixes = prefixes(environment);
    let prefix = match choice {
        ServiceConnector::Only => match prefixes.len() {
            0 => return Err(none("no variable of Azure Service Connector is set", &prefixes)),
            1 => prefixes.into_iter().next().unwrap_or_default(),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidConnection,
                    format!("several connections of Azure Service Connector are set: {}", listed(&prefixes)),
                )
                .with_advice("Pass the name of one of them in the option for Service Connector."));
            }
        },
        ServiceConnector::Named(name) => {
            let wanted =
                [format!("{PREFIX}{}_", name.to_ascii_uppercase().replace(['-', '.', ' '], "_")), name.clone()];
            let with_underscore = format!("{name}_");
            let candidates = wanted.iter().chain([&with_underscore]);
            let set = |prefix: &&String| NAMES.iter().any(|name| value(environment, prefix, name).is_some());
            match candidates.into_iter().find(set) {
                Some(prefix) => prefix.clone(),
                None => {
                    return Err(none(
                        &format!("no variable of Azure Service Connector is set for the connection {name:?}"),
                        &prefixes,
                    ));
                }
            }
        }
    };
    connection(prefix, environment)
}

fn connection(prefix: String, environment: &Environment) -> Result<Connection> {
    let get = |name: &str| value(environment, &prefix, name);
    let mut settings = match get("CONNECTIONSTRING") {
        Some(text) => {
            connection_string::parse_any(text).map_err(|error| error.about(&format!("{prefix}CONNECTIONSTRING")))?
        }
        None => ConnectionSettings::default(),
    };
    let mut user_variable = settings.get("user").map(|_| format!("{prefix}CONNECTIONSTRING"));
    for (name, keyword) in [
        ("HOST", "host"),
        ("PORT", "port"),
        ("DATABASE", "dbname"),
        ("NAME", "dbname"),
        ("USER", "user"),
        ("USERNAME", "user"),
        ("PASSWORD", "password"),
    ] {
        if let Some(text) = get(name).map(str::trim)
            && settings.get(keyword).is_none()
        {
            settings.set(keyword, text);
            if keyword == "user" {
                user_variable = Some(format!("{prefix}{name}"));
            }
        }
    }
    if let Some(ssl) = get("SSL")
        && settings.get("sslmode").is_none()
    {
        let sslmode = super::settings::sslmode_of_text(ssl.trim()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidConnection,
                format!("{prefix}SSL: expected true, false or an sslmode of libpq, got another text"),
            )
        })?;
        settings.set("sslmode", sslmode);
    }
    // Drivers differ in how they read other text.
    if let Some(ports) = settings.get("port")
        && !ports.split(',').all(|port| port.is_empty() || port.parse::<u16>().is_ok())
    {
        return Err(Error::new(
            ErrorKind::InvalidConnection,
            format!("the variables {prefix}* of Azure Service Connector: the port is not a number from 0 to 65535"),
        )
        .with_advice(format!("Correct {prefix}PORT or {prefix}CONNECTIONSTRING.")));
    }
    let credential = credential(&prefix, get("CLIENTID"), get("TENANTID"), get("CLIENTSECRET"))?;
    if settings.get("host").is_none() {
        return Err(Error::new(
            ErrorKind::InvalidConnection,
            format!("the variables {prefix}* of Azure Service Connector do not contain a server"),
        )
        .with_advice(format!("Set {prefix}HOST or {prefix}CONNECTIONSTRING, or select another connection.")));
    }
    Ok(Connection { settings, user_variable, credential })
}

fn credential(prefix: &str, client: Option<&str>, tenant: Option<&str>, secret: Option<&str>) -> Result<Option<Value>> {
    let missing = |name: &str| {
        Err(Error::new(
            ErrorKind::InvalidConnection,
            format!("the variables {prefix}* of Azure Service Connector are incomplete: {prefix}{name} is not set"),
        )
        .with_advice(
            "A service principal has a client id, a tenant id and a client secret. A user-assigned identity has only \
             a client id.",
        ))
    };
    match (client.map(str::trim), tenant.map(str::trim), secret) {
        (Some(client), Some(tenant), Some(secret)) => Ok(Some(
            json!({"type": "client_secret", "tenant_id": tenant, "client_id": client, "client_secret": secret}),
        )),
        (Some(client), None, None) => Ok(Some(json!({"type": "managed_identity", "client_id": client}))),
        // The login must not use another identity than the intended one.
        (Some(_), Some(_), None) => missing("CLIENTSECRET"),
        (Some(_), None, Some(_)) => missing("TENANTID"),
        (None, Some(_), _) | (None, None, Some(_)) => missing("CLIENTID"),
        (None, None, None) => Ok(None),
    }
}

/// Returns the variable, unless it is unset or empty.
fn value<'a>(environment: &'a Environment, prefix: &str, name: &str) -> Option<&'a str> {
    let name = format!("{prefix}{name}");
    variable(environment, &name)
        .or_else(|| variable(environment, &format!("{APP_SERVICE_PREFIX}{name}")))
        .filter(|value| !value.trim().is_empty())
}

/// Returns the prefixes of all connections with the usual beginning that specify a server. `AZURE_POSTGRESQL_` alone,
/// and `AZURE_POSTGRESQL_SHOP_`, are two connections.
fn prefixes(environment: &Environment) -> Vec<String> {
    let mut found: BTreeMap<String, ()> = BTreeMap::new();
    for name in environment.keys() {
        let name = name.strip_prefix(APP_SERVICE_PREFIX).unwrap_or(name);
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let Some(kind) = NAMES.iter().find(|kind| rest == **kind || rest.ends_with(&format!("_{kind}"))) else {
            continue;
        };
        let prefix = name[..name.len() - kind.len()].to_owned();
        if matches!(*kind, "CONNECTIONSTRING" | "HOST") && value(environment, &prefix, kind).is_some() {
            found.insert(prefix, ());
        }
    }
    found.into_keys().collect()
}

fn listed(prefixes: &[String]) -> String {
    prefixes.iter().map(|prefix| format!("{prefix}*")).collect::<Vec<_>>().join(", ")
}

fn none(what: &str, prefixes: &[String]) -> Error {
    let advice = match prefixes.is_empty() {
        true => "Create the connection with Service Connector, or omit the option.".to_owned(),
        false => format!("Connections that are set: {}.", listed(prefixes)),
    };
    Error::new(ErrorKind::InvalidConnection, what).with_advice(advice)
}

/// Returns the variables of a connection of Service Connector to one of the servers in `host` (names separated by
/// commas), listed for the explanation of a login error. Call this only if the connection did not use them.
pub fn unused(host: &str, environment: &Environment) -> Option<String> {
    for prefix in prefixes(environment) {
        let text =
            value(environment, &prefix, "CONNECTIONSTRING").and_then(|text| connection_string::parse_any(text).ok());
        let settings = text.unwrap_or_default();
        let named = settings.get("host").or_else(|| value(environment, &prefix, "HOST")).unwrap_or_default();
        if named.split(',').any(|name| host.split(',').any(|host| same_host(name, host))) {
            let set = NAMES.iter().filter(|name| value(environment, &prefix, name).is_some());
            return Some(set.map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(", "));
        }
    }
    None
}

fn same_host(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.trim().trim_end_matches('.').to_ascii_lowercase();
    !plain(one).is_empty() && plain(one) == plain(other)
}
