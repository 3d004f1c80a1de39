//! Connections and pools of sqlx.
//!
//! ```no_run
//! use pgentra_drivers::{EntraDataSource, sqlx::EntraPool};
//! use sqlx::postgres::PgPoolOptions;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let source = EntraDataSource::new("postgresql://shop.postgres.database.azure.com/orders")?;
//! let pool = EntraPool::connect(&source, PgPoolOptions::new().max_connections(16)).await?;
//! let mut connection = pool.acquire().await?;
//! let role: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut *connection).await?;
//! # let _ = role;
//! # Ok(()) }
//! ```
//!
//! # What a pool of sqlx cannot do
//!
//! sqlx 0.9 has no function that is called for each new connection. [`EntraPool`] therefore stores each new token in the
//! options of the pool, before the former one expires:
//!
//! - A `PgPool` that is used itself (`fetch_one(&*pool)`, migrations) opens new connections with the stored token. If the
//!   server rejects it, sqlx's own error is returned, without a retry; [`EntraPool::explain`] explains it. During an
//!   outage that lasts longer than the token, that error is the server's. [`EntraPool::acquire`] and
//!   [`EntraPool::begin`] retry once, explain, and return the error of the token source.
//! - The token is refreshed by a timer ([`RefreshMode::Ahead`](pgentra::RefreshMode::Ahead)), unless the options or the
//!   platform select another mode. In the modes `background` and `lazy` only `acquire` and `begin` store new tokens.
//! - The option `cache` must not be false.
//! - `Debug` of sqlx's `PgConnectOptions` shows the password. This crate does not return such options, and the pool's own
//!   `connect_options()` must not be logged.
//! - sqlx connects to one host, by its name: several hosts and `hostaddr` are refused.
//! - `sslrootcert` is used in addition to the system's certificate authorities. In an image without these, set it.

use std::{
    ops::Deref,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use ::sqlx::{
    Connection, Error as DriverFailure, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use pgentra::{ErrorKind, RefreshMode, TokenProvider};
use tokio::task::AbortHandle;

use crate::{
    EntraDataSource, Error, Result,
    login::{DriverError, Login},
};

/// The pause before the next request for a pool's first token after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Opens a connection. If the server rejects the token, one newer token is tried.
///
/// # Errors
/// [`Error::Entra`] if no token was obtained or a setting cannot be used, [`Error::Login`] if the server rejected the
/// login, otherwise [`Error::Driver`] with the error of sqlx.
pub async fn connect(source: &EntraDataSource) -> Result<PgConnection> {
    let options = options_of(source)?;
    source.connect_by(|login| open(source, with_login(&options, login.as_deref()))).await
}

/// Opens a connection within the connection's time limit, which sqlx does not have.
async fn open(source: &EntraDataSource, options: PgConnectOptions) -> Result<PgConnection, DriverFailure> {
    let opening = PgConnection::connect_with(&options);
    let Some(limit) = source.timeout() else { return opening.await };
    tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| {
        let message = format!("the connection was not opened within {} s", limit.as_secs_f64());
        Err(DriverFailure::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message)))
    })
}

/// A `PgPool` whose new connections log in with a token. Cheap to clone. The stored token is replaced until the last
/// clone is dropped; after [`into_pool`](Self::into_pool) until the pool is closed.
#[derive(Clone, Debug)]
pub struct EntraPool {
    pool: PgPool,
    shared: Arc<Shared>,
}

struct Shared {
    source: EntraDataSource,
    /// `None` if the connection has a user and a password of its own.
    provider: Option<TokenProvider>,
    /// The options of the pool without a login. Their `Debug` would show a password.
    options: PgConnectOptions,
    /// The login that the pool's options have.
    login: Mutex<Option<Arc<Login>>>,
    task: Mutex<Option<AbortHandle>>,
}

impl EntraPool {
    /// Creates a pool and opens its first connection.
    ///
    /// # Errors
    /// Those of [`connect_lazy`](Self::connect_lazy) and [`acquire`](Self::acquire).
    pub async fn connect(source: &EntraDataSource, options: PgPoolOptions) -> Result<EntraPool> {
        let pool = Self::connect_lazy(source, options)?;
        drop(pool.acquire().await?);
        Ok(pool)
    }

    /// Creates a pool without a connection. Until the first token has arrived, only [`acquire`](Self::acquire) and
    /// [`begin`](Self::begin) can be used, which wait for it.
    ///
    /// # Errors
    /// [`Error::Entra`] for settings and options that a pool of sqlx cannot use.
    ///
    /// # Panics
    /// As sqlx does, outside of a runtime of tokio.
    pub fn connect_lazy(source: &EntraDataSource, options: PgPoolOptions) -> Result<EntraPool> {
        let provider = source.provider_ahead()?;
        if provider.is_some() && !source.caches() {
            return Err(unusable("the option `cache` is false, but a pool stores the token"));
        }
        let without_login = options_of(source)?;
        let pool = options.connect_lazy_with(without_login.clone());
        let shared = Arc::new(Shared {
            source: source.clone(),
            provider: provider.clone(),
            options: without_login,
            login: Mutex::default(),
            task: Mutex::default(),
        });
        if let Some(provider) = provider {
            let task = tokio::spawn(keep_fresh(Arc::downgrade(&shared), pool.clone(), provider));
            *shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        }
        Ok(EntraPool { pool, shared })
    }

    /// Returns a connection of the pool. A token is requested only if a new connection may be needed. If the server
    /// rejects the token, one newer token is tried.
    ///
    /// # Errors
    /// [`Error::Entra`] if no token was obtained, [`Error::Login`] if the server rejected the login, otherwise
    /// [`Error::Driver`] with the error of sqlx.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>> {
        self.log_in(|| self.pool.acquire()).await
    }

    /// Returns a connection of the pool with a transaction; as [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire).
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        self.log_in(|| self.pool.begin()).await
    }

    /// Returns the pool, whose token is then replaced until it is closed. For programs that pass a `PgPool` on. They must
    /// call `PgPool::close` at their end.
    pub fn into_pool(self) -> PgPool {
        let EntraPool { pool, shared } = self;
        let closed = pool.close_event();
        tokio::spawn(async move {
            closed.await;
            drop(shared);
        });
        pool
    }

    /// Returns the explanation of a login error that the `PgPool` itself returned: the role and the principal that were
    /// used, and what to do. `None` means that the error is another one.
    pub fn explain(&self, error: &DriverFailure) -> Option<String> {
        self.shared.source.explanation(self.shared.login().as_deref(), error)
    }

    async fn log_in<T, F>(&self, attempt: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, DriverFailure>>,
    {
        let source = &self.shared.source;
        if let Some(provider) = &self.shared.provider {
            self.store_login(provider).await?;
        }
        let login = self.shared.login();
        let error = match attempt().await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let newer = match &login {
            Some(login) => source.renewed(login, &error).await,
            None => None,
        };
        let Some(newer) = newer else { return Err(source.explained(login.as_deref(), error)) };
        let newer = self.shared.store(&self.pool, newer);
        attempt().await.map_err(|error| source.explained(Some(&newer), error))
    }

    /// Stores the current login in the options of the pool. Waits for a token, and fails without one, only if the pool
    /// needs a new connection.
    async fn store_login(&self, provider: &TokenProvider) -> Result<()> {
        let source = &self.shared.source;
        let needs_connection =
            self.pool.num_idle() == 0 && self.pool.size() < self.pool.options().get_max_connections();
        let login = match provider.try_login() {
            Some(Ok(login)) => source.named(&login),
            Some(Err(error)) if needs_connection => return Err(error.into()),
            None if needs_connection => match source.login(Some(self.pool.options().get_acquire_timeout())).await? {
                Some(login) => login,
                None => return Ok(()),
            },
            Some(Err(_)) | None => return Ok(()),
        };
        self.shared.store(&self.pool, login);
        Ok(())
    }
}

impl Deref for EntraPool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl Shared {
    fn login(&self) -> Option<Arc<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores a login in the options of the pool, unless they have it.
    fn store(&self, pool: &PgPool, login: Login) -> Arc<Login> {
        let mut stored = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stored) = &*stored
            && stored.is(&login)
        {
            return Arc::clone(stored);
        }
        let login = Arc::new(login);
        pool.set_connect_options(with_login(&self.options, Some(&login)));
        *stored = Some(Arc::clone(&login));
        login
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

/// Stores each new token in the options of the pool.
async fn keep_fresh(shared: Weak<Shared>, pool: PgPool, provider: TokenProvider) {
    loop {
        // Before the request, so that no change is missed.
        let changed = provider.changed();
        let has_token = match provider.login().await {
            Ok(login) => {
                let Some(shared) = shared.upgrade() else { return };
                let login = shared.source.named(&login);
                shared.store(&pool, login);
                true
            }
            Err(_) => false,
        };
        if has_token || provider.stats().mode != RefreshMode::Ahead {
            // It fails at the end of the process.
            if changed.await.is_err() {
                return;
            }
        } else {
            // The timer of the engine starts with the first token.
            let _ = tokio::time::timeout(PAUSE, changed).await;
        }
    }
}

/// Returns the options of sqlx. They have a login only if it is the connection's own.
fn options_of(source: &EntraDataSource) -> Result<PgConnectOptions> {
    let settings = source.settings();
    // sqlx reads the process's variables here. Those that decide on the login and on TLS are replaced.
    let mut options = match settings.get("options") {
        Some(text) => PgConnectOptions::from_str(&format!("postgres://localhost?options={}", percent_encoded(text)))
            .map_err(|error| unusable(&error.to_string()))?,
        None => PgConnectOptions::new_without_pgpass(),
    };
    options = options.password("").ssl_root_cert_from_pem(Vec::new()).ssl_mode(ssl_mode(source)?);
    for (keyword, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
        options = match keyword {
            "host" if value.contains(',') => return Err(unusable("it connects to one host")),
            "host" => options.host(value),
            "hostaddr" => return Err(unusable("it connects to the host's name, not to hostaddr")),
            "port" => options.port(value.parse().map_err(|_| unusable("the port is not a number"))?),
            "dbname" => options.database(value),
            "user" => options.username(value),
            "password" => options.password(value),
            "application_name" => options.application_name(value),
            "sslrootcert" if value != "system" => options.ssl_root_cert(value),
            "sslcert" => options.ssl_client_cert(value),
            "sslkey" => options.ssl_client_key(value),
            "sslrootcert" | "sslmode" | "options" | "connect_timeout" | "timeout" => options,
            other => return Err(unusable(&format!("it has no setting {other}"))),
        };
    }
    Ok(options)
}

/// Returns the mode of sqlx, whose `require` and `verify-ca` verify less than the other drivers of this crate.
fn ssl_mode(source: &EntraDataSource) -> Result<PgSslMode> {
    match source.sslmode() {
        Some("disable") => Ok(PgSslMode::Disable),
        None | Some("allow" | "prefer") => Ok(PgSslMode::Prefer),
        Some("require" | "verify-ca" | "verify-full") => Ok(PgSslMode::VerifyFull),
        Some(_) => Err(unusable("sslmode has an unknown value")),
    }
}

fn with_login(options: &PgConnectOptions, login: Option<&Login>) -> PgConnectOptions {
    match login {
        Some(login) => options.clone().username(&login.user).password(login.token.secret()),
        None => options.clone(),
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn unusable(why: &str) -> Error {
    let message = format!("sqlx cannot use the connection's settings: {why}");
    pgentra::Error::new(ErrorKind::InvalidConnection, message).into()
}

impl DriverError for DriverFailure {
    fn of_server(&self) -> Option<(String, String)> {
        let error = self.as_database_error()?;
        Some((error.code()?.into_owned(), error.message().to_owned()))
    }
}

/// Other errors than those of sqlx itself become `Configuration`, which keeps them as its source.
impl From<Error> for DriverFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::Driver(source) => match source.downcast() {
                Ok(driver) => *driver,
                Err(source) => DriverFailure::Configuration(source),
            },
            error => DriverFailure::Configuration(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use pgentra::{Config, config::Environment};

    use super::*;

    fn source(text: &str) -> EntraDataSource {
        EntraDataSource::builder(text).environment(Environment::new()).build().expect("valid")
    }

    #[test]
    fn options_have_the_settings_of_a_connection() {
        let text = "host=a.example port=5433 dbname=shop application_name=x options='-c geqo=off -c a=b\\\\ c'";
        let options = options_of(&source(text)).unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("a.example", 5433));
        assert_eq!((options.get_database(), options.get_application_name()), (Some("shop"), Some("x")));
        assert_eq!(options.get_options(), Some("-c geqo=off -c a=b\\ c"));
    }

    #[test]
    fn options_verify_whenever_tls_is_required() {
        for (text, mode) in [
            ("host=a.example", PgSslMode::VerifyFull),
            ("host=a.example sslmode=prefer", PgSslMode::VerifyFull),
            ("host=a.example sslmode=require", PgSslMode::VerifyFull),
            ("host=localhost sslmode=require", PgSslMode::VerifyFull),
            ("host=localhost sslmode=allow", PgSslMode::Prefer),
            ("host=localhost sslmode=disable", PgSslMode::Disable),
            ("host=a.example user=a password=b sslmode=verify-ca", PgSslMode::VerifyFull),
        ] {
            let options = options_of(&source(text)).unwrap();
            assert_eq!(options.get_ssl_mode() as u8, mode as u8, "{text}");
        }
    }

    #[test]
    fn options_that_sqlx_does_not_have_are_refused() {
        for text in ["host=a,b", "host=a hostaddr=10.0.0.1", "host=a keepalives=0", "host=a port=x", "host=a sslmode=y"]
        {
            let error = options_of(&source(text)).unwrap_err();
            assert_eq!(error.entra().map(pgentra::Error::kind), Some(ErrorKind::InvalidConnection), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn pool_without_a_cache_is_refused() {
        let config = Config { cache: false, ..Config::default() };
        let source = EntraDataSource::builder("host=a").config(config).environment(Environment::new()).build().unwrap();
        let refused = EntraPool::connect_lazy(&source, PgPoolOptions::new()).unwrap_err();
        assert!(refused.to_string().contains("`cache`"), "{refused}");
    }

    #[test]
    fn error_becomes_one_of_sqlx_that_carries_it() {
        let ours: Error = pgentra::Error::new(ErrorKind::Throttled, "slow down").into();
        let theirs: DriverFailure = ours.into();
        assert_eq!(crate::find_entra_error(&theirs).map(pgentra::Error::kind), Some(ErrorKind::Throttled));
        let back: DriverFailure = Error::Driver(Box::new(DriverFailure::RowNotFound)).into();
        assert!(matches!(back, DriverFailure::RowNotFound));
    }
}
