#![doc = include_str!("../README.md")]

mod data_source;
#[cfg(feature = "deadpool-postgres")]
pub mod deadpool_postgres;
#[cfg(feature = "diesel-async")]
pub mod diesel_async;
mod error;
mod login;
#[cfg(feature = "sqlx")]
pub mod sqlx;
#[cfg(feature = "tokio-postgres")]
pub mod tokio_postgres;
#[cfg(feature = "tokio-postgres")]
mod tokio_postgres_config;

pub use self::{
    data_source::{EntraDataSource, EntraDataSourceBuilder},
    error::{Error, Result, find_entra_error},
};

/// The errors that chain to other errors, as a driver returns them.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Compiles the Rust examples of the page for Rust as doctests.
#[cfg(all(
    doctest,
    feature = "sqlx",
    feature = "deadpool-postgres",
    feature = "diesel-async",
    feature = "tokio-postgres"
))]
#[doc = include_str!("../../docs/rust.md")]
struct Page;
