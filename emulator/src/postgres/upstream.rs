//! The upstream server behind the proxy: its roles, their labels, and sessions as them.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message as BackendMessage;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::refusals::{INVALID_AUTHORIZATION, INVALID_PASSWORD};
use super::wire::{self, BoxedStream, Startup};
use crate::state::State;

/// Microsoft Entra roles are managed in this database, as on Azure.
const DATABASE: &str = "postgres";
const SETUP: &str = include_str!("roles.sql");
const IS_ABLE: &str = "
    SELECT rolsuper AND current_setting('server_version_num')::integer >= 130000 FROM pg_roles WHERE rolname = current_user";
/// Creates all roles in one statement, so that a failure leaves the database unchanged. Its arguments are the tenant;
/// names, oids and types of principals; the same of their roles, and which are administrators.
const MAKE_ROLES: &str = "
    WITH gone AS (DELETE FROM pgaadauth.principals WHERE oid <> ALL ($3)),
    stored AS (
        INSERT INTO pgaadauth.principals AS known (tenant, name, oid, type)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])
        ON CONFLICT (oid) DO UPDATE SET tenant = excluded.tenant, name = excluded.name, type = excluded.type
        WHERE known <> excluded
    )
    SELECT pgaadauth.ensure_role(name, oid, type, is_admin)
    FROM unnest($5::text[], $6::text[], $7::text[], $8::boolean[]) AS role (name, oid, type, is_admin)
    WHERE NOT EXISTS (
        SELECT FROM pgaadauth.labels JOIN pg_catalog.pg_roles found ON found.oid = labels.role
        WHERE found.rolname = role.name::name AND NOT found.rolsuper
            AND labels.label = pgaadauth.label_text(role.oid, role.type, role.is_admin, false)
    )";
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why the upstream server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The URL is invalid, or specifies more than one server.
    #[error("not a PostgreSQL URL like postgres://user:password@host:5432/: {0}")]
    Url(String),
    /// The server cannot be reached.
    #[error("the PostgreSQL server at {address} cannot be reached: {source}")]
    Unreachable {
        /// Host and port, or the directory of its socket.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The server refused the administrator, or one of the statements that create the roles.
    #[error("the PostgreSQL server at {address} refused {action}: {message}")]
    Refused {
        /// Host and port, or the directory of its socket.
        address: String,
        /// The operation.
        action: String,
        /// The server's error.
        message: String,
    },
}

/// A PostgreSQL server, and an administrator's connection to it.
pub struct Upstream {
    address: Address,
    administrator: Config,
    client: Mutex<Option<Arc<Client>>>,
    is_ours: bool,
}

enum Address {
    Socket { directory: PathBuf, port: u16 },
    Tcp { host: String, port: u16, tls: Option<TlsConnector> },
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket { directory, .. } => directory.display().fmt(formatter),
            Self::Tcp { host, port, .. } => write!(formatter, "{host}:{port}"),
        }
    }
}

/// The server's record of the role that a client requests.
pub(super) struct RoleRecord {
    pub(super) label: Option<Label>,
    password: Option<String>,
}

/// The parts of a security label.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) oid: String,
    pub(super) kind: String,
}

impl Label {
    /// Parses a label. Returns `None` if it does not have the form `aadauth,oid=...,type=...`.
    fn parse(text: &str) -> Option<Self> {
        let part = |name: &str| text.split(',').find_map(|part| part.trim().strip_prefix(name)).map(str::to_owned);
        text.starts_with("aadauth,").then_some(())?;
        Some(Self { oid: part("oid=")?, kind: part("type=")? })
    }
}

/// The server's response to a session as a role.
pub(super) enum Opened {
    /// The server accepted the login. The bytes, up to and including `AuthenticationOk`, are for the client.
    Session(BoxedStream, Vec<u8>),
    /// The server refused the login. The bytes are for the client.
    Refused { bytes: Vec<u8>, sqlstate: String, message: String },
}

impl Upstream {
    /// Returns an existing server, by a URL or a connection string. This does not connect.
    ///
    /// # Errors
    /// [`UpstreamError::Url`].
    pub fn parse(url: &str) -> Result<Self, UpstreamError> {
        // The parser's errors contain keys and the cause, but not values such as passwords.
        let mut config = Config::from_str(url).map_err(|error| UpstreamError::Url(with_cause(&error)))?;
        let port = match config.get_ports() {
            [] => 5432,
            [port] => *port,
            _ => return Err(UpstreamError::Url("more than one port".into())),
        };
        let address = match config.get_hosts() {
            [Host::Tcp(host)] => {
                let tls = (config.get_ssl_mode() == SslMode::Require).then(tls_connector).transpose()?;
                Address::Tcp { host: host.clone(), port, tls }
            }
            [Host::Unix(directory)] => Address::Socket { directory: directory.clone(), port },
            [] => return Err(UpstreamError::Url("no host".into())),
            _ => return Err(UpstreamError::Url("more than one host".into())),
        };
        if config.get_user().is_none() {
            return Err(UpstreamError::Url("no user".into()));
        }
        // The stream handles encryption.
        config.dbname(DATABASE).application_name("pgentra-emulator").ssl_mode(SslMode::Disable);
        Ok(Self { address, administrator: config, client: Mutex::default(), is_ours: false })
    }

    pub(super) fn local(directory: &Path, port: u16, superuser: &str) -> Self {
        let mut administrator = Config::new();
        administrator.user(superuser).dbname(DATABASE).application_name("pgentra-emulator").ssl_mode(SslMode::Disable);
        let address = Address::Socket { directory: directory.to_owned(), port };
        Self { address, administrator, client: Mutex::default(), is_ours: true }
    }

    /// Checks that the administrator can log in.
    ///
    /// # Errors
    /// Fails if the login fails.
    pub async fn check(&self) -> Result<(), UpstreamError> {
        self.client().await.map(drop)
    }

    /// Creates the schema, the functions, the directory's names and the missing roles of its principals. An existing
    /// role is kept, and gets its principal's label.
    ///
    /// # Errors
    /// Fails if the server cannot be reached, is older than 13, does not accept the user as superuser, or refused a
    /// statement.
    pub async fn provision(&self, state: &State) -> Result<(), UpstreamError> {
        let refused = |action: &'static str| move |error: tokio_postgres::Error| self.refused(action.into(), &error);
        let mut client = self.connect().await?;
        let able = client.query_one(IS_ABLE, &[]).await.map_err(refused("a look at its version"))?;
        if !able.get::<_, bool>(0) {
            let message = "its version must be 13 or newer, and the administrator a superuser".into();
            return Err(UpstreamError::Refused {
                address: self.address.to_string(),
                action: "the set-up".into(),
                message,
            });
        }
        let transaction = client.transaction().await.map_err(refused("a transaction"))?;
        transaction.batch_execute(SETUP).await.map_err(refused("setting up the schema pgaadauth"))?;
        if self.is_ours {
            let grants = "ALTER DATABASE postgres OWNER TO azure_pg_admin; GRANT pg_monitor, pg_signal_backend TO azure_pg_admin";
            transaction.batch_execute(grants).await.map_err(refused("setting up azure_pg_admin"))?;
        }
        transaction.commit().await.map_err(refused("the set-up"))?;
        self.make_roles(state).await
    }

    /// Does the same only for the directory's names and the roles. Call this when principals have changed.
    ///
    /// # Errors
    /// Fails if the server cannot be reached, or refused the statement.
    pub async fn make_roles(&self, state: &State) -> Result<(), UpstreamError> {
        let tenant = state.tenant_id();
        let principals = state.principals();
        let oids: Vec<&str> = principals.iter().map(|principal| principal.oid.as_str()).collect();
        let names: Vec<&str> = principals.iter().map(|principal| principal.name.as_str()).collect();
        let kinds: Vec<&str> = principals.iter().map(|principal| principal.kind.role_kind().as_str()).collect();
        let roles: Vec<_> = principals.iter().filter_map(|principal| principal.role()).collect();
        let role_names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
        let role_oids: Vec<&str> = roles.iter().map(|role| role.oid.as_str()).collect();
        let role_kinds: Vec<&str> = roles.iter().map(|role| role.kind.as_str()).collect();
        let admins: Vec<bool> = roles.iter().map(|role| role.admin).collect();
        self.client()
            .await?
            .execute(MAKE_ROLES, &[&tenant, &names, &oids, &kinds, &role_names, &role_oids, &role_kinds, &admins])
            .await
            .map_err(|error| self.refused("the roles of its principals".into(), &error))?;
        Ok(())
    }

    /// Returns the record of a role, or `None` if it does not exist.
    pub(super) async fn role(&self, name: &str) -> Result<Option<RoleRecord>, UpstreamError> {
        // The name is passed as text: the cast truncates it to 63 bytes, as the server does with the role of a session.
        let query = "SELECT l.label, l.password FROM pg_roles r LEFT JOIN pgaadauth.labels l ON l.role = r.oid \
            WHERE r.rolname = $1::text::name";
        let client = self.client().await?;
        let row = client
            .query_opt(query, &[&name])
            .await
            .map_err(|error| self.refused("looking up a role".into(), &error))?;
        Ok(row.map(|row| RoleRecord {
            label: row.get::<_, Option<String>>(0).and_then(|label| Label::parse(&label)),
            password: row.get(1),
        }))
    }

    /// Starts a session with the client's own startup packet.
    pub(super) async fn open(&self, startup: &Startup, role: &RoleRecord) -> Result<Opened, UpstreamError> {
        let mut stream = self.dial().await?;
        let login = Login { stream: &mut stream, startup, password: role.password.as_deref(), greeting: Vec::new() };
        let outcome = timeout(TIME_LIMIT, login.run()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match outcome.map_err(|source| self.unreachable(source))? {
            LoginOutcome::Accepted(greeting) => Ok(Opened::Session(stream, greeting)),
            LoginOutcome::Refused { bytes, sqlstate, message } => Ok(Opened::Refused { bytes, sqlstate, message }),
        }
    }

    /// Forwards a cancel request and waits until the server has received it.
    pub(super) async fn cancel(&self, packet: &[u8]) -> Result<(), UpstreamError> {
        let mut stream = self.dial().await?;
        let passed = async {
            stream.write_all(packet).await?;
            stream.flush().await?;
            // The server responds by closing the connection.
            stream.read(&mut [0; 1]).await.map(drop)
        };
        let passed = timeout(TIME_LIMIT, passed).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        passed.map_err(|source| self.unreachable(source))
    }

    async fn dial(&self) -> Result<BoxedStream, UpstreamError> {
        let dialed = async {
            let stream: BoxedStream = match &self.address {
                Address::Socket { directory, port } => {
                    Box::new(UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await?)
                }
                Address::Tcp { host, port, tls } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    match tls {
                        Some(tls) => encrypt(stream, tls, host).await?,
                        None => Box::new(stream),
                    }
                }
            };
            Ok(stream)
        };
        let dialed = timeout(TIME_LIMIT, dialed).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        dialed.map_err(|source| self.unreachable(source))
    }

    /// Returns the administrator's connection. It is opened again if the server has closed it.
    async fn client(&self) -> Result<Arc<Client>, UpstreamError> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        Ok(client.insert(Arc::new(self.connect().await?)).clone())
    }

    async fn connect(&self) -> Result<Client, UpstreamError> {
        let stream = self.dial().await?;
        let connected = timeout(TIME_LIMIT, self.administrator.connect_raw(stream, NoTls)).await;
        let connected = connected.map_err(|_| self.unreachable(io::ErrorKind::TimedOut.into()))?;
        let (client, connection) =
            connected.map_err(|error| self.refused("the administrator's login".into(), &error))?;
        // The task ends with the client, or with the server.
        tokio::spawn(connection);
        Ok(client)
    }

    fn unreachable(&self, source: io::Error) -> UpstreamError {
        UpstreamError::Unreachable { address: self.address.to_string(), source }
    }

    fn refused(&self, action: String, error: &tokio_postgres::Error) -> UpstreamError {
        UpstreamError::Refused { address: self.address.to_string(), action, message: with_cause(error) }
    }
}

/// Returns the error with its cause. The text of tokio-postgres is only "db error"; its source has the reason.
fn with_cause(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(database) => database.to_string(),
        None => {
            std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    }
}

fn tls_connector() -> Result<TlsConnector, UpstreamError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| UpstreamError::Url(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn encrypt(mut stream: TcpStream, tls: &TlsConnector, host: &str) -> io::Result<BoxedStream> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    if stream.read_u8().await? != b'S' {
        return Err(io::Error::other("it does not speak TLS"));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// The upstream side of the start of a session: logs in as the role, and keeps the messages for the client.
struct Login<'a> {
    stream: &'a mut BoxedStream,
    startup: &'a Startup,
    password: Option<&'a str>,
    greeting: Vec<u8>,
}

enum LoginOutcome {
    Accepted(Vec<u8>),
    Refused { bytes: Vec<u8>, sqlstate: String, message: String },
}

impl Login<'_> {
    async fn run(mut self) -> io::Result<LoginOutcome> {
        self.send(&self.startup.packet).await?;
        let mut scram = None;
        loop {
            let message = wire::read_message(&mut self.stream).await?;
            match message.kind {
                b'R' => {}
                b'E' => {
                    let (sqlstate, text) = wire::parse_error(message.body());
                    if sqlstate == INVALID_PASSWORD {
                        return Ok(self.with_wrong_password());
                    }
                    self.greeting.extend(message.bytes);
                    return Ok(LoginOutcome::Refused { bytes: self.greeting, sqlstate, message: text });
                }
                // These are notices and the negotiation of the protocol's version.
                _ => {
                    self.greeting.extend(message.bytes);
                    continue;
                }
            }
            let mut answer = BytesMut::new();
            match BackendMessage::parse(&mut BytesMut::from(message.bytes.as_slice()))? {
                Some(BackendMessage::AuthenticationOk) => {
                    self.greeting.extend(message.bytes);
                    return Ok(LoginOutcome::Accepted(self.greeting));
                }
                Some(BackendMessage::AuthenticationCleartextPassword) => {
                    let Some(password) = self.password else { return Ok(self.with_wrong_password()) };
                    frontend::password_message(password.as_bytes(), &mut answer)?;
                }
                Some(BackendMessage::AuthenticationMd5Password(body)) => {
                    let Some(password) = self.password else { return Ok(self.with_wrong_password()) };
                    let hash = md5_hash(self.startup.user.as_bytes(), password.as_bytes(), body.salt());
                    frontend::password_message(hash.as_bytes(), &mut answer)?;
                }
                Some(BackendMessage::AuthenticationSasl(_)) if offers_scram(message.body()) => {
                    let Some(password) = self.password else { return Ok(self.with_wrong_password()) };
                    let exchange = scram.insert(ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported()));
                    frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), &mut answer)?;
                }
                Some(BackendMessage::AuthenticationSaslContinue(body)) => {
                    let exchange = scram.as_mut().ok_or(io::ErrorKind::InvalidData)?;
                    exchange.update(body.data())?;
                    frontend::sasl_response(exchange.message(), &mut answer)?;
                }
                Some(BackendMessage::AuthenticationSaslFinal(body)) => {
                    scram.as_mut().ok_or(io::ErrorKind::InvalidData)?.finish(body.data())?;
                }
                _ => {
                    return Err(io::Error::other(
                        "it asks for a kind of authentication that the emulator does not know",
                    ));
                }
            }
            self.send(&answer).await?;
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Returns the result for a wrong password: the role existed before the emulator, or its password was changed, and
    /// the server does not use `trust`. The text differs from the server's, which clients interpret as a refusal of
    /// their token.
    fn with_wrong_password(self) -> LoginOutcome {
        let message = format!(
            "the access token is good, but the PostgreSQL server behind the emulator asks for the own password of \"{}\"",
            self.startup.user
        );
        let hint = "Drop the role and let the emulator make it, or trust it in the server's pg_hba.conf.";
        let bytes = wire::error_response(INVALID_AUTHORIZATION, &message, Some(hint));
        LoginOutcome::Refused { bytes, sqlstate: INVALID_AUTHORIZATION.into(), message }
    }
}

/// Returns whether the body of an `AuthenticationSASL` contains the supported mechanism.
fn offers_scram(body: &[u8]) -> bool {
    body.get(4..).is_some_and(|names| names.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let label = |oid: &str, kind: &str| Some(Label { oid: oid.into(), kind: kind.into() });
        assert_eq!(Label::parse("aadauth,oid=a-b,type=user"), label("a-b", "user"));
        assert_eq!(Label::parse("aadauth,oid=a-b,type=service,admin,mfa"), label("a-b", "service"));
        assert_eq!(Label::parse("aadauth,type=user"), None);
        assert_eq!(Label::parse("selinux,oid=a,type=user"), None);
        assert_eq!(Label::parse(""), None);
    }

    #[test]
    fn urls() {
        let address = |url: &str| Upstream::parse(url).map(|upstream| upstream.address.to_string());
        assert_eq!(address("postgres://me:pw@db.local/app").unwrap(), "db.local:5432");
        assert_eq!(address("postgresql://me@[::1]:5433").unwrap(), "::1:5433");
        assert_eq!(address("host=/run/postgresql user=me").unwrap(), "/run/postgresql");
        for bad in [
            "",
            "postgres://db.local",
            "postgres://me@a,b/",
            "http://me:hunter2@db",
            "postgres://me:hunter2@db/?x=hunter2",
        ] {
            let error = address(bad).unwrap_err().to_string();
            assert!(error.starts_with("not a PostgreSQL URL") && !error.contains("hunter2"), "{bad}: {error}");
        }
    }
}
