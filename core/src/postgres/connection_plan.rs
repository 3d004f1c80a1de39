//! Decides how one connection logs in: with its password or with a token, as which role, and with which `sslmode`.
//!
//! A binding describes the connection in a [`ConnectionRequest`] and applies the [`ConnectionPlan`]. The rules are
//! cases of `tests/vectors/connections.json`, which every binding runs.
//!
//! The value of each setting comes from the first source that has one: argument, connection string, Service Connector's
//! variables, service file, `PG*` variables.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tracing::info;

use super::{
    connection_string::{self, Form},
    service_connector::{self, ServiceConnector},
    service_file,
    settings::{self, ConnectionSettings},
    tls_policy::{Server, secure_sslmode},
};
use crate::{
    cloud,
    config::{Environment, read, variable},
    error::{Error, ErrorKind, Result},
    logging,
    secret::Secret,
};

/// libpq's variables for the settings that decide how a connection logs in. `PGPASSWORD` and password files do not
/// count as explicit passwords. Source: libpq, "Environment Variables".
pub const LIBPQ_VARIABLES: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
];

/// The variables that a request's `environment` needs if Service Connector is not used. With Service Connector, pass
/// all variables.
pub const CONNECTION_VARIABLES: &[&str] = &[
    "APPDATA",
    "HOME",
    "PGCONNECT_TIMEOUT",
    "PGDATABASE",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSYSCONFDIR",
    "PGUSER",
];

/// The spelling of option names in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spelling {
    /// `require_entra`
    #[default]
    Snake,
    /// `requireEntra`
    Camel,
    /// `RequireEntra`
    Pascal,
}

impl Spelling {
    fn of(self, name: &str) -> String {
        let mut upper = self == Spelling::Pascal;
        let mut spelled = String::with_capacity(name.len());
        for c in name.chars() {
            match c {
                '_' if self != Spelling::Snake => upper = true,
                c if upper => {
                    spelled.push(c.to_ascii_uppercase());
                    upper = false;
                }
                c => spelled.push(c),
            }
        }
        spelled
    }
}

/// The settings of a connection, and the sources that its driver reads in addition.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionRequest {
    /// Settings by libpq's keywords, as arguments or as the driver's own parser read them: texts, numbers, booleans, or
    /// lists of these. `null` means not given. `timeout` is the driver's own connection time limit in seconds,
    /// `connect_timeout` libpq's.
    pub arguments: Map<String, Value>,
    /// A connection string that the driver does not parse.
    pub text: Option<Secret>,
    /// The form of `text`.
    pub form: Form,
    /// Whether each host in `host` can have its own port, as in Npgsql.
    pub hosts_with_ports: bool,
    /// The variable that the driver reads for each setting. Default: libpq's variables; an empty argument then hides a
    /// variable, as in libpq. `PGUSER` is used for every driver.
    pub variables: Option<BTreeMap<String, String>>,
    /// Whether the driver reads connection service files. Default: true.
    pub service_files: bool,
    /// The process's environment, or the variables of [`CONNECTION_VARIABLES`].
    pub environment: Environment,
    /// Whether the variables of Azure Service Connector are used, and which ones. Default: not used.
    #[serde(deserialize_with = "service_connector::optional")]
    pub service_connector: Option<ServiceConnector>,
    /// Whether the application passed a credential.
    pub has_credential: bool,
    /// Whether a password in the connection's settings is an error. Default: false.
    pub require_entra: bool,
    /// Whether a password in the connection's settings is dropped: the user is kept, and a token is used. For settings
    /// that must contain a placeholder password. It is an error together with `require_entra`. Default: false.
    pub ignore_password: bool,
    /// Whether a token may be sent without TLS. Default: false.
    pub allow_insecure_transport: bool,
    /// Whether a user and a password that are given together are both replaced (the Sequelize hook). Default: false.
    pub replace_login: bool,
    /// Whether the server is unknown if no source has a host, instead of the driver's local default. Default: false.
    pub unknown_server: bool,
    /// Whether the driver can verify the server's certificate without a certificate file of the user. Default: false.
    pub verifies_certificates: bool,
    /// The spelling of option names in messages.
    pub spelling: Spelling,
    /// Whether to return warnings that were returned before in this process.
    pub repeat_warnings: bool,
    /// Whether the plan has a `conninfo`. Default: false.
    pub conninfo: bool,
    /// Whether the plan's `settings` contain the connection's settings from all sources, for a driver that reads neither
    /// service files nor variables. Default: false.
    pub complete_settings: bool,
    /// The provider's configuration document; the plan returns it with server, user and credential filled in.
    pub config: Option<Map<String, Value>>,
}

impl Default for ConnectionRequest {
    fn default() -> Self {
        ConnectionRequest {
            arguments: Map::new(),
            text: None,
            form: Form::Libpq,
            hosts_with_ports: false,
            variables: None,
            service_files: true,
            environment: Environment::new(),
            service_connector: None,
            has_credential: false,
            require_entra: false,
            ignore_password: false,
            allow_insecure_transport: false,
            replace_login: false,
            unknown_server: false,
            verifies_certificates: false,
            spelling: Spelling::Snake,
            repeat_warnings: false,
            conninfo: false,
            complete_settings: false,
            config: None,
        }
    }
}

impl fmt::Debug for ConnectionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments can contain a password.
        f.debug_struct("ConnectionRequest")
            .field("arguments", &self.arguments.keys().collect::<Vec<_>>())
            .field("service_connector", &self.service_connector)
            .finish_non_exhaustive()
    }
}

impl ConnectionRequest {
    /// Returns a request with the process's environment and all defaults.
    pub fn from_process() -> ConnectionRequest {
        ConnectionRequest { environment: super::environment_of_process(), ..ConnectionRequest::default() }
    }

    /// Reads the JSON document.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`], naming the key.
    pub fn from_json(text: &str) -> Result<ConnectionRequest> {
        let value = serde_json::from_str(text).map_err(|e| {
            Error::new(
                ErrorKind::InvalidConfiguration,
                format!("the connection request is not JSON (line {}, column {})", e.line(), e.column()),
            )
        })?;
        Self::from_value(value)
    }

    /// Reads the document as a value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`], naming the key.
    pub fn from_value(value: Value) -> Result<ConnectionRequest> {
        read(value)
    }
}

/// How a connection logs in. `Debug` does not show the values of settings.
#[derive(Clone)]
pub struct ConnectionPlan {
    /// Whether the password is a token. If not, the connection's own user and password are used.
    pub uses_entra: bool,
    /// The role to log in as, if a source specifies one; with `None`, the role is taken from the token.
    pub user: Option<String>,
    /// The source of `user`: `user` (argument or connection string), `service file`, `PGUSER`, or `variable NAME`.
    pub user_source: Option<String>,
    /// Whether to drop the given password.
    pub drops_password: bool,
    /// Whether to drop the given user.
    pub drops_user: bool,
    /// The `sslmode` that replaces the given one.
    pub sslmode: Option<String>,
    /// The server.
    pub server: Server,
    /// The names of the server's hosts, separated by commas. The cloud can be derived from them.
    pub host: Option<String>,
    /// The connection's time limit in seconds.
    pub timeout: Option<f64>,
    /// Settings of the connection string and of Service Connector to pass to the driver in addition to the arguments; if
    /// the request sets `complete_settings`, the settings from all sources. They contain a user and a password only if
    /// `uses_entra` is false.
    pub settings: ConnectionSettings,
    /// The settings of [`LIBPQ_VARIABLES`](crate::postgres::LIBPQ_VARIABLES) that apply, whichever source they are from:
    /// for programs that open the connection without a driver that reads service files and variables itself.
    pub resolved: ConnectionSettings,
    /// The credential's configuration, if Service Connector's variables describe one. It can contain a client secret.
    pub credential: Option<Value>,
    /// Warnings to log, each once per process.
    pub warnings: Vec<String>,
    /// The whole connection as a libpq connection string, if the request sets `conninfo`: arguments, `settings`,
    /// `sslmode` and `user`. If `uses_entra` is true it contains no password, which must be passed to the driver
    /// separately; otherwise it contains the connection's own password.
    pub conninfo: Option<Secret>,
    /// The provider's configuration document, if the request had one.
    pub config: Option<Map<String, Value>>,
}

impl fmt::Debug for ConnectionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPlan")
            .field("uses_entra", &self.uses_entra)
            .field("user", &self.user)
            .field("user_source", &self.user_source)
            .field("sslmode", &self.sslmode)
            .field("server", &self.server)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl ConnectionPlan {
    /// Decides how the connection logs in.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConnection`] for settings that cannot be read or contradict each other, and for a password
    /// if Entra is required; [`ErrorKind::InsecureTransport`] if TLS is switched off for a server that is not local.
    pub fn new(request: &ConnectionRequest) -> Result<ConnectionPlan> {
        let mut plan = decide(request)?;
        if !request.repeat_warnings {
            plan.warnings.retain(|warning| logging::is_first_warning(warning));
        }
        Ok(plan)
    }

    /// Returns the plan as a JSON document. Its `settings`, `credential` and `config` can contain secrets: pass it to a
    /// driver, and never log it.
    pub fn to_json(&self) -> Value {
        let settings: Map<String, Value> =
            self.settings.iter().map(|(keyword, value)| (keyword.to_owned(), Value::from(value))).collect();
        json!({
            "uses_entra": self.uses_entra,
            "user": self.user,
            "user_source": self.user_source,
            "drops_password": self.drops_password,
            "drops_user": self.drops_user,
            "sslmode": self.sslmode,
            "server": Hosts(&self.server),
            "is_local": self.server.is_local(),
            "host": self.host,
            "timeout": self.timeout,
            "settings": settings,
            "credential": self.credential,
            "warnings": self.warnings,
            "conninfo": self.conninfo.as_ref().map(Secret::expose),
            "config": self.config,
        })
    }
}

struct Hosts<'a>(&'a Server);

impl Serialize for Hosts<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Server::Known(hosts) => hosts.serialize(serializer),
            Server::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

/// The settings of one connection by source, in the order of precedence.
struct Sources<'a> {
    request: &'a ConnectionRequest,
    arguments: ConnectionSettings,
    text: ConnectionSettings,
    connector: Option<service_connector::Connection>,
    service: ConnectionSettings,
    is_service_unknown: bool,
}

/// The source of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SettingSource {
    Argument,
    Text,
    Connector,
    Service,
    Variable,
}

impl<'a> Sources<'a> {
    fn read(request: &'a ConnectionRequest) -> Result<Self> {
        let mut arguments = ConnectionSettings::default();
        for (keyword, value) in &request.arguments {
            if let Some(text) = text_of(keyword, value)? {
                arguments.set(keyword.as_str(), text);
            }
        }
        if request.hosts_with_ports
            && let Some(places) = arguments.get("host")
        {
            let (hosts, ports) = connection_string::dotnet_hosts(places)
                .map_err(|why| Error::new(ErrorKind::InvalidConnection, format!("the host cannot be read: {why}")))?;
            arguments.set("host", hosts);
            if !ports.is_empty() {
                arguments.set("port", ports);
            }
        }
        let text = request.text.as_ref().map(|text| connection_string::parse(text.expose(), request.form));
        let connector = match &request.service_connector {
            Some(_) if request.has_credential => {
                let option = request.spelling.of("service_connector");
                return Err(Error::new(
                    ErrorKind::InvalidConnection,
                    format!("a credential is given together with the option {option}, which also selects a credential"),
                )
                .with_advice(format!("Omit the credential or {option}.")));
            }
            Some(choice) => Some(service_connector::read(choice, &request.environment)?),
            None => None,
        };
        let mut sources = Sources {
            request,
            arguments,
            text: text.transpose()?.unwrap_or_default(),
            connector,
            service: ConnectionSettings::default(),
            is_service_unknown: false,
        };
        sources.find_service();
        Ok(sources)
    }

    fn find_service(&mut self) {
        if !self.request.service_files {
            return;
        }
        let Some((service, _)) = self.find("service") else { return };
        let file = self.find("servicefile").map(|(file, _)| file);
        match service_file::find(service, file, &self.request.environment) {
            service_file::ServiceLookup::Found(settings) => self.service = settings,
            service_file::ServiceLookup::Unknown => self.is_service_unknown = true,
        }
    }

    /// Returns the value with the highest precedence, and its source.
    fn find(&self, keyword: &str) -> Option<(&str, SettingSource)> {
        let layers = [
            (Some(&self.arguments), SettingSource::Argument),
            (Some(&self.text), SettingSource::Text),
            (self.connector.as_ref().map(|connector| &connector.settings), SettingSource::Connector),
            (Some(&self.service), SettingSource::Service),
        ];
        for (settings, source) in layers {
            match settings.and_then(|settings| settings.given(keyword)) {
                Some("") if self.hides(keyword) => return None,
                Some("") | None => {}
                Some(value) => return Some((value, source)),
            }
        }
        let value = self.variable_of(keyword).and_then(|name| variable(&self.request.environment, name))?;
        Some((value, SettingSource::Variable))
    }

    /// Returns whether an empty argument hides the other sources. libpq treats an empty value of its own arguments as
    /// the default and reads no other source. An empty user or password counts as not given.
    fn hides(&self, keyword: &str) -> bool {
        self.request.variables.is_none() && !matches!(keyword, "user" | "password")
    }

    fn variable_of(&self, keyword: &str) -> Option<&str> {
        match (&self.request.variables, keyword) {
            (_, "user") => Some("PGUSER"),
            (Some(variables), _) => variables.get(keyword).map(String::as_str),
            (None, _) => LIBPQ_VARIABLES.iter().find(|(known, _)| *known == keyword).map(|(_, variable)| *variable),
        }
    }

    fn value(&self, keyword: &str) -> Option<&str> {
        self.find(keyword).map(|(value, _)| value)
    }

    fn server(&self) -> Server {
        let (host, hostaddr) = (self.value("host"), self.value("hostaddr"));
        // The `hostaddr` in the service file is unknown, unless it is given here.
        if self.is_service_unknown && hostaddr.is_none() {
            return Server::Unknown;
        }
        let hosts = settings::hosts(host, hostaddr, self.value("port"));
        if hosts.is_empty() && self.request.unknown_server {
            return Server::Unknown;
        }
        Server::Known(hosts)
    }

    /// Returns the connection's time limit: the driver's own, or libpq's, which treats 1 second as 2. Zero and negative
    /// values mean no limit. A value that is not a number is left to the driver, which rejects it. Source: libpq,
    /// `connect_timeout`.
    fn timeout(&self) -> Option<f64> {
        let (value, least) = match self.value("timeout") {
            Some(value) => (value, 0.0),
            None => (self.value("connect_timeout")?, 2.0),
        };
        let seconds: f64 = value.trim().parse().ok()?;
        (seconds > 0.0 && seconds < 1e9).then(|| seconds.max(least))
    }

    /// Returns the connection as a libpq connection string. Settings without a libpq keyword are left out.
    fn conninfo(
        &self,
        settings: &ConnectionSettings,
        uses_entra: bool,
        user: Option<&str>,
        mode: Option<&str>,
    ) -> Secret {
        let mut merged = self.arguments.clone();
        settings.iter().for_each(|(keyword, value)| merged.set_default(keyword, value));
        if uses_entra {
            merged.remove("password");
            merged.remove("user");
        }
        for (keyword, value) in [("sslmode", mode), ("user", user.filter(|_| uses_entra))] {
            if let Some(value) = value {
                merged.set(keyword, value);
            }
        }
        Secret::new(connection_string::write_libpq(&merged))
    }

    fn resolved(&self) -> ConnectionSettings {
        let values = LIBPQ_VARIABLES.iter().filter_map(|(keyword, _)| Some((*keyword, self.value(keyword)?)));
        ConnectionSettings::new(values.map(|(keyword, value)| (keyword.to_owned(), value.to_owned())).collect())
    }

    /// Returns the settings that only this library has read.
    fn for_driver(&self, uses_entra: bool) -> ConnectionSettings {
        let mut merged = self.text.clone();
        if let Some(connector) = &self.connector {
            let settings = connector.settings.iter().filter(|(keyword, _)| !self.is_foreign(keyword));
            settings.for_each(|(keyword, value)| merged.set_default(keyword, value));
        }
        for keyword in self.request.arguments.keys() {
            if self.arguments.get(keyword).is_some() {
                merged.remove(keyword);
            }
        }
        if self.request.complete_settings {
            let names = [&self.arguments, &self.service].into_iter().flat_map(ConnectionSettings::iter);
            let names = names.map(|(keyword, _)| keyword).chain(LIBPQ_VARIABLES.iter().map(|(keyword, _)| *keyword));
            for keyword in names.chain(["user"]) {
                if let (Some(value), false) = (self.value(keyword), merged.given(keyword).is_some()) {
                    merged.set(keyword, value);
                }
            }
            // The values in the service file are among the settings.
            merged.remove("service");
            merged.remove("servicefile");
        }
        if uses_entra {
            merged.remove("user");
            merged.remove("password");
        }
        merged
    }
}

impl Sources<'_> {
    /// Returns whether only the client type of Service Connector's connection string has such a setting. Npgsql, whose
    /// hosts can each have a port, has its own keywords.
    fn is_foreign(&self, keyword: &str) -> bool {
        !self.request.hosts_with_ports && !connection_string::is_keyword(keyword)
    }

    /// Returns the settings of Service Connector that are not passed to the driver.
    fn foreign(&self) -> Vec<&str> {
        let settings = self.connector.iter().flat_map(|connector| connector.settings.iter());
        settings.map(|(keyword, _)| keyword).filter(|keyword| self.is_foreign(keyword)).collect()
    }
}

fn text_of(keyword: &str, value: &Value) -> Result<Option<String>> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => {
            let texts: Result<Vec<Option<String>>> = items.iter().map(|item| text_of(keyword, item)).collect();
            let texts: Vec<String> = texts?.into_iter().map(Option::unwrap_or_default).collect();
            texts.join(",")
        }
        Value::Object(_) => {
            return Err(Error::new(
                ErrorKind::InvalidConnection,
                format!("connection setting {keyword}: expected a text, got an object"),
            ));
        }
    }))
}

fn decide(request: &ConnectionRequest) -> Result<ConnectionPlan> {
    if request.ignore_password && request.require_entra {
        let (ignore, require) = (request.spelling.of("ignore_password"), request.spelling.of("require_entra"));
        return Err(Error::new(
            ErrorKind::InvalidConfiguration,
            format!(
                "the options {ignore} and {require} contradict each other: one drops a password, the other rejects it"
            ),
        )
        .with_advice(format!("Omit {ignore} or {require}.")));
    }
    let sources = Sources::read(request)?;
    let server = sources.server();
    let place = place_of(&server);
    let mut warnings = Vec::new();
    if sources.is_service_unknown {
        let service = sources.value("service").unwrap_or_default();
        warnings.push(format!(
            "The connection service {service:?} was found in no service file that pgentra reads, so the server counts as \
             remote and TLS is required. If the service sets sslmode=verify-full, also set it in the connection's own settings, \
             because the required mode replaces it."
        ));
    }

    for keyword in sources.foreign() {
        // A part of a password that is not quoted can look like a keyword.
        let named = if sources.value("password").is_some() { String::new() } else { format!(" ({keyword})") };
        warnings.push(format!(
            "A setting{named} of Azure Service Connector's variables is not used, because libpq has no such setting."
        ));
    }

    let user = sources.find("user");
    let password = sources.find("password").filter(|(_, source)| *source != SettingSource::Variable);
    let ignored = password.filter(|_| request.ignore_password);
    let password = if ignored.is_some() { None } else { password };
    // A login in the application's own settings is replaced; one from Service Connector is not.
    let is_own = |(_, source): (&str, SettingSource)| matches!(source, SettingSource::Argument | SettingSource::Text);
    let replaces = request.replace_login && password.is_some_and(is_own);
    let drops_user = replaces && user.is_some_and(is_own);
    let user = if drops_user { sources.user_behind_own() } else { user };
    if password.is_some() && request.require_entra {
        let role = user.map(|(user, _)| format!(" as {user:?}")).unwrap_or_default();
        return Err(Error::new(
            ErrorKind::InvalidConnection,
            format!(
                "{}: the connection to {place}{role} has a password of its own, so Entra would not be used",
                request.spelling.of("require_entra")
            ),
        )
        .with_advice("Remove the password from the connection's settings."));
    }
    let uses_entra = password.is_none() || user.is_none() || replaces;
    match (password, uses_entra) {
        (Some(_), false) => warnings.push(format!(
            "Entra is not used: the connection to {place} has a user and a password of its own. Remove the password, or \
             set {} to make this an error.",
            request.spelling.of("require_entra")
        )),
        (Some(_), true) if !replaces => warnings.push(format!(
            "The password of the connection to {place} is not used, because no user is given with it: the connection logs in \
             with an Entra token. Remove the password, or also set the user to log in with the password."
        )),
        _ => {}
    }

    if ignored.is_some() {
        let note = format!(
            "The password of the connection to {place} is dropped because of the option {}: the connection logs in with an \
             Entra token.",
            request.spelling.of("ignore_password")
        );
        if request.repeat_warnings || logging::is_first_warning(&note) {
            info!(target: "pgentra::postgres", "{note}");
        }
    }

    let mut sslmode = None;
    if uses_entra {
        let given = sources.find("sslmode");
        let mode = given.map(|(mode, _)| mode);
        sslmode = secure_sslmode(mode, &server, request.allow_insecure_transport)?;
        // With the system's certificate authorities libpq rejects every mode below verify-full; versions before 16 do
        // not have this value.
        if sslmode.is_some() && sources.value("sslrootcert") == Some("system") {
            sslmode = Some("verify-full");
        }
        let is_explicit =
            given.is_some_and(|(_, source)| matches!(source, SettingSource::Argument | SettingSource::Text));
        if sources.connector.is_some() && !is_explicit && is_azure(&server) && mode != Some("verify-full") {
            // With a certificate file of the user every driver can verify.
            if request.verifies_certificates || sources.value("sslrootcert").is_some() {
                sslmode = Some("verify-full");
            } else {
                warnings.push(format!(
                    "The connection to {place} encrypts, but does not verify the server's certificate, because Azure Service \
                     Connector sets sslmode=require and no certificate authorities are configured. Set sslmode=verify-full \
                     and a file of certificate authorities."
                ));
            }
        }
    }

    let settings = sources.for_driver(uses_entra);
    let user_source = user.map(|(_, source)| match source {
        SettingSource::Argument | SettingSource::Text => "user".to_owned(),
        SettingSource::Service => "service file".to_owned(),
        SettingSource::Variable => "PGUSER".to_owned(),
        SettingSource::Connector => {
            let name = sources.connector.as_ref().and_then(|connector| connector.user_variable.as_deref());
            format!("variable {}", name.unwrap_or_default())
        }
    });
    let user = user.map(|(user, _)| user.to_owned());
    let conninfo = request.conninfo.then(|| sources.conninfo(&settings, uses_entra, user.as_deref(), sslmode));
    let names: Vec<&str> = server.hosts().iter().map(|host| host.host.as_str()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty() && !name.starts_with(['/', '@'])).collect();
    let host = (!names.is_empty()).then(|| names.join(","));
    let credential = sources.connector.as_ref().and_then(|connector| connector.credential.clone());
    let config = request.config.clone().map(|mut config| {
        for (key, value) in [("host", host.as_ref()), ("user", user.as_ref())] {
            if let (Some(value), false) = (value, config.contains_key(key)) {
                config.insert(key.to_owned(), Value::from(value.as_str()));
            }
        }
        if let Some(credential) = &credential {
            config.insert("credential".to_owned(), credential.clone());
        }
        config
    });
    Ok(ConnectionPlan {
        uses_entra,
        user,
        user_source,
        drops_password: ignored.is_some() || (password.is_some() && uses_entra),
        drops_user,
        sslmode: sslmode.map(str::to_owned),
        host,
        timeout: sources.timeout(),
        server,
        resolved: sources.resolved(),
        settings,
        credential: if uses_entra { credential } else { None },
        warnings,
        conninfo,
        config,
    })
}

impl Sources<'_> {
    /// Returns the user if the one in the arguments and in the text is ignored.
    fn user_behind_own(&self) -> Option<(&str, SettingSource)> {
        let connector = self.connector.as_ref().and_then(|connector| connector.settings.get("user"));
        let variable = variable(&self.request.environment, "PGUSER");
        connector
            .map(|user| (user, SettingSource::Connector))
            .or_else(|| self.service.get("user").map(|user| (user, SettingSource::Service)))
            .or_else(|| variable.map(|user| (user, SettingSource::Variable)))
    }
}

fn is_azure(server: &Server) -> bool {
    server.hosts().iter().any(|host| cloud::is_azure_server(&host.host))
}

fn place_of(server: &Server) -> String {
    let names: Vec<&str> =
        server.hosts().iter().map(|host| if host.host.is_empty() { host.address() } else { &host.host }).collect();
    match server {
        Server::Unknown => "a server with an unknown address".to_owned(),
        Server::Known(_) if names.iter().all(|name| name.is_empty()) => "the local server".to_owned(),
        Server::Known(_) => names.join(","),
    }
}
