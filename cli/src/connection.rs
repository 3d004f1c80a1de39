//! The connection that a command is about: its server, and the provider of its login.

use std::{path::Path, time::Duration};

use pgentra::{
    Config, CredentialKind, Login, RefreshMode, TokenProvider, TokenRequest,
    bindings::cloud::{Cloud, CloudInputs, Resolved, resolve},
    postgres::{ConnectionPlan, ConnectionRequest, Form, Host, Server, connection_string, role_name::Principal},
};
use serde_json::{Map, Value, json};

use crate::{
    config_file,
    failure::{Exit, Failure, Result},
    options::{ConnectionOptions, CredentialOptions},
};

/// The credentials that need no further settings, so that a name is enough.
const NAMED: [&str; 7] = [
    "default",
    "environment",
    "workload_identity",
    "managed_identity",
    "azure_cli",
    "azure_powershell",
    "azure_developer_cli",
];

/// PostgreSQL's port.
const DEFAULT_PORT: u16 = 5432;

/// The database, if none is given: it exists on every server of Azure.
const DEFAULT_DATABASE: &str = "postgres";

/// The files in which Linux distributions, BSD and macOS keep the certificate authorities.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
];

/// A connection, and how it logs in.
pub struct Connection {
    /// The decision of the engine.
    pub plan: ConnectionPlan,
    /// The provider of the login.
    pub provider: TokenProvider,
    /// The scope of the token.
    pub scope: String,
    /// The configuration of the provider, without the environment.
    pub config: Config,
    resolved: Resolved,
}

impl Connection {
    /// Reads all settings. `mode` is used unless the configuration file has one.
    ///
    /// # Errors
    /// Fails for settings that cannot be read or contradict each other, and for a password in `server`.
    pub fn new(
        server: Option<&str>,
        options: &ConnectionOptions,
        credential: &CredentialOptions,
        mode: Option<RefreshMode>,
    ) -> Result<Connection> {
        let file = credential.config.as_deref().map(config_file::load).transpose()?.unwrap_or_default();
        let mut document = file.document;
        apply(credential, &mut document)?;
        if let (Some(mode), false) = (mode, document.contains_key("mode")) {
            document.insert("mode".to_owned(), json!(mode));
        }
        let request = request(server, options, &mut document)?;
        let environment = options.ignores_user.then(|| request.environment.clone());
        let plan = ConnectionPlan::new(&ConnectionRequest { config: Some(document), ..request })?;
        for warning in &plan.warnings {
            eprintln!("pgentra: warning: {warning}");
        }
        let builder = plan.provider()?;
        let builder = match environment {
            Some(environment) => builder.environment(environment),
            None => builder,
        };
        let provider = builder.build()?;
        let scope = provider.scope().to_owned();
        let config = Config::from_value(Value::Object(plan.config.clone().unwrap_or_default()))?;
        let authority = std::env::var("AZURE_AUTHORITY_HOST").ok();
        let resolved = resolve(&CloudInputs {
            scope_option: config.scope.as_deref(),
            host: plan.host.as_deref(),
            authority_option: config.credential.options.authority_host.as_deref(),
            cloud_option: config.credential.options.cloud.as_deref(),
            env_authority_host: authority.as_deref(),
        })
        .map_err(pgentra::Error::from)?;
        Ok(Connection { plan, provider, scope, config, resolved })
    }

    /// Returns the hosts of the server.
    ///
    /// # Errors
    /// Fails if no server is given, or if its connection service was not found.
    pub fn hosts(&self) -> Result<&[Host]> {
        match &self.plan.server {
            Server::Known(hosts) if !hosts.is_empty() => Ok(hosts),
            Server::Known(_) => {
                Err(Failure::usage("no server is given", "Pass SERVER or --host, or set PGHOST or PGSERVICE."))
            }
            Server::Unknown => Err(Failure::usage(
                "the server is unknown, because its connection service was not found",
                "Correct PGSERVICE or PGSERVICEFILE, or pass SERVER.",
            )),
        }
    }

    /// Returns the database to connect to.
    pub fn database(&self) -> &str {
        self.plan.resolved.get("dbname").unwrap_or(DEFAULT_DATABASE)
    }

    /// Returns the `sslmode` of the connection: the given one if it requires TLS, otherwise `verify-full`. A Unix socket
    /// has none. The engine has refused `disable` for a server that is not local.
    pub fn sslmode(&self) -> Option<&str> {
        let is_socket = self.plan.server.hosts().iter().all(|host| host.address().starts_with(['/', '@']));
        match self.plan.resolved.get("sslmode") {
            Some(mode) if !matches!(mode, "allow" | "prefer") => Some(mode),
            _ if is_socket => None,
            _ => Some("verify-full"),
        }
    }

    /// Returns the file of certificate authorities for libpq: the given one, the one in libpq's default place, or the
    /// system's; `system`, which libpq knows from version 16 on, if no file is found.
    pub fn sslrootcert(&self) -> String {
        if let Some(given) = self.plan.resolved.get("sslrootcert") {
            return given.to_owned();
        }
        let of_user = std::env::var("HOME").map(|home| format!("{home}/.postgresql/root.crt")).ok();
        let of_openssl = std::env::var("SSL_CERT_FILE").ok();
        let candidates = of_user.into_iter().chain(of_openssl).chain(BUNDLES.map(str::to_owned));
        candidates.into_iter().find(|path| Path::new(path).is_file()).unwrap_or_else(|| "system".to_owned())
    }

    /// Returns the cloud of the connection.
    pub fn cloud(&self) -> Cloud {
        self.resolved.cloud
    }

    /// Returns the scope of Azure Resource Manager.
    pub fn management_scope(&self) -> &str {
        &self.resolved.management_scope
    }

    /// Returns a contradiction between the settings that select the cloud.
    pub fn cloud_warning(&self) -> Option<&str> {
        self.resolved.warning.as_deref()
    }

    /// Returns the principal of a token, by the claims of a management token too if the role name is from one: only that
    /// token shows the kind of a managed identity.
    pub fn principal(&self, login: &Login) -> Option<Principal> {
        let principal = login.token().claims().ok()?.principal();
        if login.user_source() != "management token" {
            return Some(principal);
        }
        // It is cached, because the name is from it.
        let request = TokenRequest::new(self.management_scope());
        let management = self.provider.credential().try_token(&request)?.ok()?.claims().ok()?.principal();
        let kind = if management.oid == principal.oid { management.kind } else { principal.kind };
        Some(Principal { kind, ..principal })
    }

    /// Obtains a login.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn login(&self) -> Result<std::sync::Arc<Login>> {
        Ok(self.provider.login_blocking()?)
    }

    /// Returns the source of a role name, as the connection's settings show it.
    pub fn user_source<'a>(&'a self, login: &'a Login) -> &'a str {
        match (login.user_source(), &self.plan.user_source) {
            ("user", Some(source)) => source,
            (source, _) => source,
        }
    }
}

/// Returns the port of a host.
///
/// # Errors
/// Fails if it is not a number.
pub fn port_of(host: &Host) -> Result<u16> {
    match host.port.as_deref() {
        None => Ok(DEFAULT_PORT),
        Some(text) => text.trim().parse().map_err(|_| Failure::usage("the port is not a number", "Correct the port.")),
    }
}

/// Returns the request to the engine. Takes `host` and `user` out of the document.
fn request(
    server: Option<&str>,
    options: &ConnectionOptions,
    document: &mut Map<String, Value>,
) -> Result<ConnectionRequest> {
    let mut arguments = Map::new();
    let mut text = None;
    let mut in_text = (false, false);
    match server.map(str::trim).filter(|server| !server.is_empty()) {
        Some(server) if server.contains("://") || server.contains('=') => {
            let settings = connection_string::parse(server, Form::Libpq)?;
            if settings.given("password").is_some() || settings.given("passfile").is_some() {
                return Err(Failure::usage(
                    "SERVER contains a password, which every user of this machine can read in the arguments",
                    "Remove it: the password is a token. If the password was real, change it.",
                ));
            }
            let has_server = ["host", "hostaddr", "service"].iter().any(|key| settings.get(key).is_some());
            in_text = (has_server, settings.get("user").is_some());
            text = Some(server.into());
        }
        Some(server) => {
            let (host, port) = host_and_port(server)?;
            arguments.insert("host".to_owned(), host.into());
            if let Some(port) = port {
                arguments.insert("port".to_owned(), port.into());
            }
        }
        None => {}
    }
    // The argument SERVER replaces the variables PGENTRA_HOST and PGENTRA_PORT.
    let has_server = in_text.0 || arguments.contains_key("host");
    if let Some(host) = options.host.as_ref().filter(|_| !(options.is_host_variable && has_server)) {
        if has_server {
            return Err(Failure::usage("SERVER and --host name two servers", "Pass one of them."));
        }
        arguments.insert("host".to_owned(), host.as_str().into());
    }
    if let Some(port) = options.port.filter(|_| !(options.is_port_variable && has_server)) {
        arguments.insert("port".to_owned(), port.into());
    }
    if let Some(database) = &options.dbname {
        arguments.insert("dbname".to_owned(), database.as_str().into());
    }
    if let Some(path) = &options.sslrootcert {
        arguments.insert("sslrootcert".to_owned(), path.as_str().into());
    }
    if let Some(user) = &options.user {
        arguments.insert("user".to_owned(), user.as_str().into());
    }
    for (key, is_given) in [("host", in_text.0), ("user", in_text.1)] {
        if let (Some(value), false) = (document.remove(key), is_given || arguments.contains_key(key)) {
            arguments.insert(key.to_owned(), value);
        }
    }
    let mut process = ConnectionRequest::from_process();
    if options.ignores_user {
        document.remove("user");
        process.environment.remove("PGUSER");
    }
    Ok(ConnectionRequest { arguments, text, ignore_password: true, verifies_certificates: true, ..process })
}

/// Splits HOST[:PORT]. An IPv6 address with a port is in brackets.
fn host_and_port(server: &str) -> Result<(String, Option<String>)> {
    let wrong = || {
        Failure::usage(
            "SERVER is not HOST[:PORT], a URL or a connection string",
            "Pass for example shop.postgres.database.azure.com or 'host=… dbname=…'.",
        )
    };
    if server.chars().any(char::is_whitespace) {
        return Err(wrong());
    }
    if server.starts_with(['/', '@']) || server.parse::<std::net::IpAddr>().is_ok() {
        return Ok((server.to_owned(), None));
    }
    let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
        None => match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        },
    };
    match port {
        _ if host.is_empty() => Err(wrong()),
        Some(port) => {
            let port: u16 = port.parse().map_err(|_| wrong())?;
            Ok((host.to_owned(), Some(port.to_string())))
        }
        None => Ok((host.to_owned(), None)),
    }
}

/// Applies the options to the engine's document.
fn apply(options: &CredentialOptions, document: &mut Map<String, Value>) -> Result<()> {
    for (key, value) in [
        ("scope", options.scope.as_deref().map(Value::from)),
        ("ca_file", options.ca_file.as_ref().map(|path| Value::from(path.to_string_lossy()))),
        ("timeout", options.timeout.map(Value::from)),
        ("management_lookup", options.no_management_lookup.then_some(Value::Bool(false))),
    ] {
        if let Some(value) = value {
            document.insert(key.to_owned(), value);
        }
    }
    if let Some(name) = &options.credential {
        document.insert("credential".to_owned(), json!({ "type": credential_type(name)? }));
    }
    let of_credential =
        [("client_id", &options.client_id), ("tenant_id", &options.tenant_id), ("cloud", &options.cloud)];
    if of_credential.iter().all(|(_, value)| value.is_none()) {
        return Ok(());
    }
    let credential = document.entry("credential").or_insert_with(|| json!({ "type": "default" }));
    let kind = credential["type"].as_str().unwrap_or("default").to_owned();
    let Value::Object(credential) = credential else {
        return Err(Failure::usage("option `credential`: expected a table", "Correct this option."));
    };
    for (option, value) in of_credential {
        let Some(value) = value else { continue };
        let key = match (option, kind.as_str()) {
            ("client_id", "default") => "managed_identity_client_id",
            ("client_id", "environment" | "azure_cli" | "azure_powershell" | "azure_developer_cli" | "chained")
            | ("tenant_id", "environment" | "managed_identity" | "chained") => {
                return Err(Failure::usage(
                    format!("--{} cannot be used with the credential {kind}", option.replace('_', "-")),
                    "Omit it, or select another credential.",
                ));
            }
            (option, _) => option,
        };
        credential.insert(key.to_owned(), value.as_str().into());
    }
    Ok(())
}

/// Returns the `type` of the credential with this class name or type.
fn credential_type(name: &str) -> Result<&'static str> {
    let plain = name.trim().replace('-', "_");
    let found = CredentialKind::ALL
        .iter()
        .find(|(tag, class)| tag.eq_ignore_ascii_case(&plain) || class.eq_ignore_ascii_case(&plain))
        .map(|(tag, _)| *tag);
    match found {
        Some(tag) if NAMED.contains(&tag) => Ok(tag),
        Some(tag) => Err(Failure::usage(
            format!("--credential {tag} needs further settings"),
            "Put the credential into the file of --config. For an application with a secret or a certificate, \
             --credential environment reads the variables AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET or \
             AZURE_CLIENT_CERTIFICATE_PATH.",
        )),
        None => Err(Failure::usage(
            "--credential does not name a credential",
            format!("Use one of {}, or the class name of one.", NAMED.join(", ")),
        )),
    }
}

/// Returns how long a token lives, in seconds from now; negative if it has expired.
pub fn life_left(expires_on: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    expires_on.saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// Fails if the role name cannot be written to a line of text.
///
/// # Errors
/// Fails for NUL and line breaks.
pub fn require_role(user: &str) -> Result<()> {
    if user.contains(['\0', '\n', '\r']) {
        return Err(Failure::new(
            Exit::Usage,
            "username_extraction",
            "the role name contains NUL or a line break, which this form cannot represent",
            "Pass the role with --user.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_reads_each_form() {
        for (server, host, port) in [
            ("shop.postgres.database.azure.com", "shop.postgres.database.azure.com", None),
            ("shop:6432", "shop", Some("6432")),
            ("10.0.0.1", "10.0.0.1", None),
            ("10.0.0.1:6432", "10.0.0.1", Some("6432")),
            ("::1", "::1", None),
            ("[::1]:6432", "::1", Some("6432")),
            ("[::1]", "::1", None),
            ("/run/postgresql", "/run/postgresql", None),
        ] {
            let (found, number) = host_and_port(server).expect("readable");
            assert_eq!((found.as_str(), number.as_deref()), (host, port), "{server}");
        }
        for server in ["shop:", "shop:x", ":5432", "shop:99999", "[::1]x", "a b"] {
            assert!(host_and_port(server).is_err(), "{server}");
        }
    }

    #[test]
    fn credential_type_accepts_types_and_class_names() {
        for name in ["managed_identity", "managed-identity", "ManagedIdentityCredential", "MANAGED_IDENTITY"] {
            assert_eq!(credential_type(name).expect("a credential"), "managed_identity", "{name}");
        }
        for name in ["client_secret", "custom_credential", "static_token", "cli", ""] {
            assert_eq!(credential_type(name).expect_err("refused").exit as u8, 2, "{name}");
        }
    }

    #[test]
    fn apply_puts_the_ids_where_the_credential_reads_them() {
        let apply = |credential: Option<&str>| {
            let options = CredentialOptions {
                credential: credential.map(str::to_owned),
                client_id: Some("c".to_owned()),
                ..CredentialOptions::default()
            };
            let mut document = Map::new();
            super::apply(&options, &mut document).map(|()| document["credential"].clone())
        };
        assert_eq!(apply(None).expect("applied")["managed_identity_client_id"], "c");
        assert_eq!(apply(Some("managed_identity")).expect("applied")["client_id"], "c");
        assert!(apply(Some("azure_cli")).is_err());
    }

    #[test]
    fn require_role_refuses_what_a_line_cannot_contain() {
        for role in ["a\0b", "a\nb", "a\rb"] {
            assert_eq!(require_role(role).expect_err("refused").exit as u8, 2, "{role:?}");
        }
        assert!(require_role("'$(x)` \"\\").is_ok());
    }

    #[test]
    fn request_refuses_a_password_without_repeating_it() {
        let mut document = Map::new();
        for server in ["postgresql://u:canary@h/d", "host=h password=canary"] {
            let failure = request(Some(server), &ConnectionOptions::default(), &mut document).expect_err("refused");
            assert!(!failure.to_string().contains("canary"), "{failure}");
        }
    }
}
