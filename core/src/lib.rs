//! pgentra logs an application in to PostgreSQL with a Microsoft Entra identity instead of a password.
//!
//! Azure Database for PostgreSQL accepts an Entra access token as the password. [`TokenProvider`] obtains it from a
//! credential, refreshes it in the background, and derives the role name from its claims.

#[cfg(feature = "azure_core")]
mod azure_sdk;
mod byte_order_mark;
pub mod cache;
mod cached_credential;
pub mod cloud;
pub mod config;
pub mod credential;
mod error;
pub mod identity;
pub mod logging;
pub mod postgres;
mod provider;
mod runtime;
mod secret;
pub mod transport;

#[doc(hidden)]
pub use cache::clear_caches;
pub use cache::{application_cache::stats, entry::EntryStats, token::Token};
pub use cached_credential::{CachedCredential, CredentialContext};
pub use config::{Config, CredentialConfig, CredentialKind};
pub use error::{ChainRule, Error, ErrorKind, HostCause, Result, ServiceErrorDetails};
pub use provider::{Builder, Login, Stats, TokenProvider};
pub use runtime::{Pending, PerProcess, shutdown, start_thread, without_fork};
pub use secret::Secret;

/// Compiles the Rust examples of the repository's README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles the Rust examples of the page about credentials.
#[cfg(doctest)]
#[doc = include_str!("../../docs/credentials.md")]
struct Credentials;

/// Compiles the Rust examples of the page about Service Connector.
#[cfg(doctest)]
#[doc = include_str!("../../docs/service-connector.md")]
struct ServiceConnector;
