//! Connections of tokio-postgres.
//!
//! ```no_run
//! use pgentra_drivers::{EntraDataSource, tokio_postgres::connect};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let source = EntraDataSource::new("postgresql://shop.postgres.database.azure.com/orders")?;
//! let (client, connection) = connect(&source).await?;
//! tokio::spawn(connection);
//! let row = client.query_one("select current_user::text", &[]).await?;
//! # let _: String = row.get(0);
//! # Ok(()) }
//! ```

use std::sync::Arc;

use ::tokio_postgres::{
    Client, Config, Error as DriverFailure, Socket,
    config::SslMode,
    tls::{MakeTlsConnect, TlsConnect},
};
use pgentra::{ErrorKind, bindings::server_roots, postgres::ConnectionSettings};
use rustls::ClientConfig;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    EntraDataSource, Error, Result,
    login::{DriverError, Login},
};

/// The stream of a connection with TLS.
type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The connection that the application must spawn or poll, as tokio-postgres returns it.
pub type Connection = ::tokio_postgres::Connection<Socket, Stream>;

/// Opens a connection. The server's certificate and name are verified with every `sslmode` that uses TLS. If the server
/// rejects the token, one newer token is tried.
///
/// # Errors
/// [`Error::Entra`] if no token was obtained or a setting cannot be used, [`Error::Login`] if the server rejected the
/// login, otherwise [`Error::Driver`] with the error of tokio-postgres.
pub async fn connect(source: &EntraDataSource) -> Result<(Client, Connection)> {
    let settings = source.tokio_postgres()?;
    source.connect_by(|login| settings.connect(login)).await
}

/// A configuration without a login, and the connector for TLS.
pub(crate) struct Settings {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Settings {
    pub(crate) fn new(source: &EntraDataSource) -> Result<Settings> {
        let settings = source.settings();
        let mut config: Config = text_of(settings)
            .parse()
            .map_err(|error: DriverFailure| unusable(&Error::Driver(error.into()).to_string()))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        if let Some(limit) = source.timeout() {
            config.connect_timeout(limit);
        }
        config.ssl_mode(match source.sslmode() {
            Some("disable") => SslMode::Disable,
            None | Some("allow" | "prefer") => SslMode::Prefer,
            Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            Some(_) => return Err(unusable("sslmode has an unknown value")),
        });
        let roots = server_roots(source.environment(), settings.get("sslrootcert"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| pgentra::Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Settings { config, tls: MakeRustlsConnect::new(tls) })
    }

    async fn connect(&self, login: Option<Arc<Login>>) -> Result<(Client, Connection), DriverFailure> {
        let mut config = self.config.clone();
        if let Some(login) = login {
            config.user(&login.user).password(login.token.secret());
        }
        config.connect(self.tls.clone()).await
    }
}

/// Returns the settings that tokio-postgres reads, as a key=value string. It refuses those that it does not have.
fn text_of(settings: &ConnectionSettings) -> String {
    let ours = ["sslmode", "sslrootcert", "connect_timeout", "timeout"];
    let settings = settings.iter().filter(|(keyword, value)| !ours.contains(keyword) && !value.is_empty());
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    settings.map(|(keyword, value)| format!("{keyword}='{}' ", quoted(value))).collect()
}

fn unusable(why: &str) -> Error {
    let message = format!("tokio-postgres cannot use the connection's settings: {why}");
    pgentra::Error::new(ErrorKind::InvalidConnection, message).into()
}

impl DriverError for DriverFailure {
    fn of_server(&self) -> Option<(String, String)> {
        let error = self.as_db_error()?;
        Some((error.code().code().to_owned(), error.message().to_owned()))
    }
}

/// The connector has no state of one connection, so that a pool can share it.
const _: fn() = || {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<MakeRustlsConnect>();
    fn is_sent<T: TlsConnect<Socket>>() {}
    is_sent::<<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect>();
};

#[cfg(test)]
mod tests {
    use pgentra::config::Environment;

    use super::*;

    fn settings(text: &str) -> Result<Settings> {
        Settings::new(&EntraDataSource::builder(text).environment(Environment::new()).build()?)
    }

    #[test]
    fn settings_of_a_connection_become_a_configuration() {
        let made = settings(
            "host=a.example,b.example hostaddr=10.0.0.1,10.0.0.2 port=1,2 dbname='a \\'b\\\\' options='-c geqo=off' \
             connect_timeout=9 keepalives_idle=4 sslmode=verify-ca target_session_attrs=read-write",
        );
        let config = made.unwrap().config;
        assert_eq!((config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports()), (2, 2, &[1, 2][..]));
        assert_eq!((config.get_dbname(), config.get_options()), (Some("a 'b\\"), Some("-c geqo=off")));
        assert_eq!(config.get_connect_timeout(), Some(&std::time::Duration::from_secs(9)));
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!((config.get_user(), config.get_password()), (None, None));
    }

    #[test]
    fn settings_decide_on_the_mode_of_tls() {
        for (text, mode) in [
            ("host=a.example", SslMode::Require),
            ("host=a.example sslmode=prefer", SslMode::Require),
            ("host=a.example user=a password=b", SslMode::Prefer),
            ("", SslMode::Prefer),
            ("sslmode=allow", SslMode::Prefer),
            ("host=::1 sslmode=disable", SslMode::Disable),
        ] {
            assert_eq!(settings(text).unwrap().config.get_ssl_mode(), mode, "{text}");
        }
    }

    #[test]
    fn settings_that_the_driver_does_not_have_are_refused() {
        for text in ["host=a.example sslcert=x", "host=a.example sslmode=other", "host=a.example sslrootcert=/no/such"]
        {
            let Err(error) = settings(text) else { panic!("{text}") };
            assert_eq!(error.entra().map(pgentra::Error::kind), Some(ErrorKind::InvalidConnection), "{text}: {error}");
        }
    }
}
