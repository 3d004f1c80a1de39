//! Connections and pools of diesel-async.
//!
//! ```no_run
//! use diesel_async::{AsyncPgConnection, pooled_connection::bb8::Pool};
//! use pgentra_drivers::{EntraDataSource, diesel_async::manager};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let source = EntraDataSource::new("postgresql://shop.postgres.database.azure.com/orders")?;
//! let pool: Pool<AsyncPgConnection> = Pool::builder().build(manager(source)).await?;
//! let connection = pool.get().await?;
//! # Ok(()) }
//! ```
//!
//! The pools of bb8, deadpool and mobc take the same [`manager`]. Diesel's `ConnectionError` carries this crate's error
//! as `CouldntSetupConfiguration(QueryBuilderError(...))`, because `BadConnection` has only a text; diesel's errors do
//! not return it by `source()`. [`find_entra_error`](crate::find_entra_error) and [`Error::find`] find it.

use std::error::Error as StdError;

use ::diesel_async::{
    AsyncPgConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolError, SetupCallback},
};
use diesel::{ConnectionError, ConnectionResult, result::Error as QueryError};
use futures_util::FutureExt;

use crate::{EntraDataSource, Error, tokio_postgres};

/// Opens a connection with a login of the data source.
///
/// # Errors
/// This crate's error inside diesel's, or diesel's own.
pub async fn connect(source: &EntraDataSource) -> ConnectionResult<AsyncPgConnection> {
    let (client, connection) = tokio_postgres::connect(source).await?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// Returns the function for [`ManagerConfig::custom_setup`]. It ignores the pool's URL.
pub fn setup(source: EntraDataSource) -> SetupCallback<AsyncPgConnection> {
    Box::new(move |_| {
        let source = source.clone();
        async move { connect(&source).await }.boxed()
    })
}

/// Returns a connection manager for a pool, with diesel-async's defaults.
pub fn manager(source: EntraDataSource) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    config.custom_setup = setup(source);
    AsyncDieselConnectionManager::new_with_config("", config)
}

impl From<Error> for ConnectionError {
    fn from(error: Error) -> Self {
        ConnectionError::CouldntSetupConfiguration(QueryError::QueryBuilderError(Box::new(error)))
    }
}

/// Returns the cause that diesel's errors contain but do not return by `source()`.
pub(crate) fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(error) = error.downcast_ref::<PoolError>() {
        return Some(match error {
            PoolError::ConnectionError(error) => error,
            PoolError::QueryError(error) => error,
        });
    }
    if let Some(ConnectionError::CouldntSetupConfiguration(error)) = error.downcast_ref() {
        return Some(error);
    }
    match error.downcast_ref()? {
        QueryError::QueryBuilderError(error) => Some(&**error),
        _ => None,
    }
}
