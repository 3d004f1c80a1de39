//! A manager for the pools of deadpool-postgres.
//!
//! ```no_run
//! use pgentra_drivers::{EntraDataSource, deadpool_postgres::{Manager, Pool}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let source = EntraDataSource::new("postgresql://shop.postgres.database.azure.com/orders")?;
//! let pool = Pool::builder(Manager::new(source)).max_size(16).build()?;
//! let client = pool.get().await?;
//! let row = client.query_one("select current_user::text", &[]).await?;
//! # let _: String = row.get(0);
//! # Ok(()) }
//! ```
//!
//! A connection of the pool is a [`ClientWrapper`] of deadpool-postgres, with its cache of prepared statements. The pool
//! is not the type `deadpool_postgres::Pool`, whose errors cannot contain another error than that of tokio-postgres.

use ::deadpool_postgres::{ClientWrapper, RecyclingMethod};
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};

use crate::{EntraDataSource, Error, tokio_postgres::connect};

/// A pool of connections.
pub type Pool = managed::Pool<Manager>;

/// A connection, which returns to its pool when it is dropped.
pub type Object = managed::Object<Manager>;

/// The error of a pool.
pub type PoolError = managed::PoolError<Error>;

/// Opens the connections of a pool with a login of the data source, and recycles them as deadpool-postgres does.
#[derive(Debug)]
pub struct Manager {
    source: EntraDataSource,
    recycling_method: RecyclingMethod,
}

impl Manager {
    /// Creates a manager.
    pub fn new(source: EntraDataSource) -> Manager {
        Manager { source, recycling_method: RecyclingMethod::default() }
    }

    /// Sets the check of a connection before it is used again. Default: `Fast`, which is whether it is closed.
    #[must_use]
    pub fn recycling_method(mut self, method: RecyclingMethod) -> Manager {
        self.recycling_method = method;
        self
    }
}

impl managed::Manager for Manager {
    type Type = ClientWrapper;
    type Error = Error;

    async fn create(&self) -> Result<ClientWrapper, Error> {
        let (client, connection) = connect(&self.source).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(target: "pgentra::drivers", "a connection of a pool failed: {}", Error::Driver(error.into()));
            }
        });
        Ok(ClientWrapper::new(client, task))
    }

    async fn recycle(&self, client: &mut ClientWrapper, _: &Metrics) -> RecycleResult<Error> {
        if client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        match self.recycling_method.query() {
            Some(query) => {
                client.simple_query(query).await.map(drop).map_err(|error| Error::Driver(error.into()).into())
            }
            None => Ok(()),
        }
    }
}
