//! pgentra logs an application in to PostgreSQL with a Microsoft Entra identity instead of a password.
//!
//! Azure Database for PostgreSQL accepts an Entra access token as the password. [`TokenProvider`] obtains it from a
//! credential, refreshes it in the background, and derives the role name from its claims.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let host = "shop.postgres.database.azure.com";
//! let provider = pgentra::TokenProvider::builder().host(host).build()?;
//!
//! // For each new connection: a role name and a token, which is cached.
//! let login = provider.login().await?;
//! let mut config = tokio_postgres::Config::new();
//! config.host(host).dbname("orders").user(login.user()).password(login.password());
//! // A token is sent over TLS only.
//! config.ssl_mode(tokio_postgres::config::SslMode::Require);
//! # Ok(()) }
//! ```
//!
//! # Contents
//!
//! | to | use |
//! | --- | --- |
//! | get a token or a login for each new connection | [`TokenProvider`], [`Login`], [`Token`] |
//! | choose a credential | [`identity`]: the classes of the Azure Identity libraries; [`Builder::credential`] |
//! | use a credential of your own | the trait [`Credential`], [`CachedCredential::from_credential`] |
//! | use a credential of the Azure SDK for Rust, or use one of pgentra's there | [`Builder::azure_credential`], [`identity`] |
//! | read the configuration from a document | [`Config`], [`CredentialConfig`] |
//! | read connection strings, libpq's variables, Azure Service Connector's variables | [`postgres::ConnectionRequest`] |
//! | decide on role, password and `sslmode` of a connection | [`postgres::ConnectionPlan`] |
//! | explain a login that the server refused | [`postgres::login_error`] |
//! | handle errors | [`Error`], [`ErrorKind`] |
//! | look at the cache | [`TokenProvider::stats`], [`stats()`] |
//!
//! # Environment, logs, threads
//!
//! The environment variables are read when a provider or a credential is built, and not later. Events go to [`tracing`]
//! with the target `pgentra` or one below it. Tokens are fetched on one thread of the library, which starts with the
//! first fetch; blocking and asynchronous functions can be used from any runtime. [`shutdown`] ends the thread.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `azure_core` (default) | the traits of the Azure SDK for Rust, in both directions |
//! | `schema` | the JSON Schema of [`Config`] |

#[cfg(feature = "azure_core")]
mod azure_sdk;
#[doc(hidden)]
pub mod bindings;
mod byte_order_mark;
mod cache;
mod cached_credential;
mod cloud;
pub mod config;
pub mod credential;
mod error;
pub mod identity;
mod logging;
mod percent_encoding;
pub mod postgres;
mod provider;
mod runtime;
mod secret;
mod transport;

pub use cache::{application_cache::stats, entry::EntryStats, token::Token};
pub use cached_credential::{CachedCredential, CredentialContext};
pub use config::{Config, CredentialConfig, CredentialKind, RefreshMode};
pub use credential::{Credential, TokenRequest, TokenSource};
pub use error::{Error, ErrorKind, Result, ServiceErrorDetails};
pub use provider::{Builder, Login, Stats, TokenProvider};
pub use runtime::{Pending, shutdown};
pub use secret::Secret;

/// What tests of this project use in addition: clocks, HTTP requests, and the state machine of the cache.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing {
    pub use crate::{
        cache::refresh_state,
        config::inputs::BuildInputs,
        credential::developer_tools::process::canned::set_tool_output,
        credential::{build::build, context::BuildContext},
        transport::{Authorities, Method, Request, Response, Transport, TransportSettings, Trust},
    };
}

/// Compiles the Rust examples of the repository's README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles the Rust examples of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

/// Compiles the Rust examples of the page about credentials.
#[cfg(doctest)]
#[doc = include_str!("../../docs/credentials.md")]
struct Credentials;

/// Compiles the Rust examples of the page about Service Connector.
#[cfg(doctest)]
#[doc = include_str!("../../docs/service-connector.md")]
struct ServiceConnector;
