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

use ::tokio_postgres::{Client, Error as DriverFailure, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

#[cfg(doc)]
use crate::Error;
use crate::{
    EntraDataSource, Result,
    login::{DriverError, Login},
    tokio_postgres_config::TokioPostgresConfig,
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
    source.connect_by(|login| open(settings, login)).await
}

async fn open(
    settings: &TokioPostgresConfig,
    login: Option<Arc<Login>>,
) -> Result<(Client, Connection), DriverFailure> {
    let mut config = settings.config.clone();
    if let Some(login) = login {
        config.user(&login.user).password(login.token.secret());
    }
    config.connect(settings.tls.clone()).await
}

impl DriverError for DriverFailure {
    fn of_server(&self) -> Option<(String, String)> {
        let error = self.as_db_error()?;
        Some((error.code().code().to_owned(), error.message().to_owned()))
    }
}
