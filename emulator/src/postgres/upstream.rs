//! The upstream server behind the proxy: its roles, their labels, and sessions as them.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pgentra_proxy::BoxedStream;
use pgentra_proxy::message::error_response;
use pgentra_proxy::startup::{CancelRequest, StartupMessage};
use pgentra_proxy::tokio_rustls::TlsConnector;
use pgentra_proxy::upstream::{self, ServerAddress, ServerTls, UpstreamLogin};
use rustls::{ClientConfig, RootCertStore, crypto};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};

use super::login_error::{INVALID_AUTHORIZATION, INVALID_PASSWORD};
use super::password::PasswordAuthenticator;
use crate::state::State;

/// Microsoft Entra roles are managed in this database, as on Azure.
const DATABASE: &str = "postgres";
const SETUP: &str = include_str!("roles.sql");
const IS_ABLE: &str = "
    SELECT rolsuper AND current_setting('server_version_num')::integer >= 130000 FROM pg_roles WHERE rolname = current_user";
/// Creates all roles in one statement, so that a failure leaves the database unchanged. Its arguments are the tenant;
/// names, oids and types of principals; the same of their roles, and which are administrators.
const MAKE_ROLES: &str = "
    WITH deleted AS (DELETE FROM pgaadauth.principals WHERE oid <> ALL ($3)),
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
    address: ServerAddress,
    administrator: Config,
    client: Mutex<Option<Arc<Client>>>,
    is_ours: bool,
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

/// The upstream server's response to the start of a session.
pub(super) enum Session {
    /// The server accepted the login. The messages, up to and including `AuthenticationOk`, are for the client.
    Started { server: BoxedStream, messages: Vec<u8> },
    /// The server refused the login. The messages are for the client.
    Refused { messages: Vec<u8>, sqlstate: String, message: String },
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
                ServerAddress::Tcp { host: host.clone(), hostaddr: None, port, tls: tls.map(ServerTls::new) }
            }
            [Host::Unix(directory)] => ServerAddress::UnixSocket { directory: directory.clone(), port },
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
        let address = ServerAddress::UnixSocket { directory: directory.to_owned(), port };
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
        let mut client = self.log_in_as_administrator().await?;
        let able = client.query_one(IS_ABLE, &[]).await.map_err(refused("reading its version"))?;
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

    /// Starts a session with the client's own startup message.
    pub(super) async fn start_session(
        &self,
        startup: &StartupMessage,
        role: &RoleRecord,
    ) -> Result<Session, UpstreamError> {
        let mut server = self.connect().await?;
        let mut authenticator = PasswordAuthenticator::new(startup.user(), role.password.as_deref());
        let login = self.within_limit(upstream::log_in(&mut server, startup, &mut authenticator)).await?;
        Ok(match login {
            UpstreamLogin::Accepted { messages } => Session::Started { server, messages },
            UpstreamLogin::Refused { error, .. } if error.sqlstate == INVALID_PASSWORD => {
                wrong_password(startup.user())
            }
            UpstreamLogin::Refused { messages, error } => {
                Session::Refused { messages, sqlstate: error.sqlstate, message: error.message }
            }
            UpstreamLogin::Declined => wrong_password(startup.user()),
        })
    }

    /// Forwards a cancel request and waits until the server has received it.
    pub(super) async fn cancel(&self, request: &CancelRequest) -> Result<(), UpstreamError> {
        let mut server = self.connect().await?;
        self.within_limit(upstream::cancel(&mut server, request)).await
    }

    async fn connect(&self) -> Result<BoxedStream, UpstreamError> {
        let connection = async { Ok(upstream::connect(&self.address).await?.stream) };
        self.within_limit(connection).await
    }

    async fn within_limit<T>(&self, operation: impl Future<Output = io::Result<T>>) -> Result<T, UpstreamError> {
        let result = timeout(TIME_LIMIT, operation).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        result.map_err(|source| self.unreachable(source))
    }

    /// Returns the administrator's connection. It is opened again if the server has closed it.
    async fn client(&self) -> Result<Arc<Client>, UpstreamError> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        Ok(client.insert(Arc::new(self.log_in_as_administrator().await?)).clone())
    }

    async fn log_in_as_administrator(&self) -> Result<Client, UpstreamError> {
        let stream = self.connect().await?;
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

/// Returns the result for a wrong password: the role existed before the emulator, or its password was changed, and the
/// server does not use `trust`. The text differs from the server's, which clients interpret as a refusal of their token.
fn wrong_password(user: &str) -> Session {
    let message = format!(
        "the access token is valid, but the PostgreSQL server behind the emulator requests the password of role \"{user}\""
    );
    let hint = "Drop the role, so that the emulator creates it, or use trust for it in the server's pg_hba.conf.";
    let messages = error_response(INVALID_AUTHORIZATION, &message, Some(hint));
    Session::Refused { messages, sqlstate: INVALID_AUTHORIZATION.into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_parse_reads_object_id_and_type() {
        let label = |oid: &str, kind: &str| Some(Label { oid: oid.into(), kind: kind.into() });
        assert_eq!(Label::parse("aadauth,oid=a-b,type=user"), label("a-b", "user"));
        assert_eq!(Label::parse("aadauth,oid=a-b,type=service,admin,mfa"), label("a-b", "service"));
        assert_eq!(Label::parse("aadauth,type=user"), None);
        assert_eq!(Label::parse("selinux,oid=a,type=user"), None);
        assert_eq!(Label::parse(""), None);
    }

    #[test]
    fn upstream_parse_accepts_urls_and_connection_strings() {
        let address = |url: &str| Upstream::parse(url).map(|upstream| upstream.address.to_string());
        assert_eq!(address("postgres://me:pw@db.local/app").unwrap(), "db.local:5432");
        assert_eq!(address("postgresql://me@[::1]:5433").unwrap(), "::1:5433");
        assert_eq!(address("host=/run/postgresql user=me").unwrap(), "/run/postgresql");
        for bad in [
            "",
            "postgres://db.local",
            "postgres://me@a,b/",
            "http://me:canary-password@db",
            "postgres://me:canary-password@db/?x=canary-password",
        ] {
            let error = address(bad).unwrap_err().to_string();
            assert!(error.starts_with("not a PostgreSQL URL") && !error.contains("canary-password"), "{bad}: {error}");
        }
    }
}
