//! The settings, the credential and the decision how to log in, for all connections to one server.

#[cfg(feature = "tokio-postgres")]
use std::sync::OnceLock;
use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "sqlx")]
use pgentra::RefreshMode;
use pgentra::{
    CachedCredential, Config, CredentialConfig, ErrorKind, TokenProvider,
    config::Environment,
    postgres::{ConnectionPlan, ConnectionRequest, ConnectionSettings, Server, ServiceConnector},
};

use crate::Result;

/// Connection settings, options and the credential, from which a driver's module opens connections. Cheap to clone.
///
/// The settings come from a URL or a key=value string, and from the sources that libpq reads: service files and `PG*`
/// variables. They are read when the data source is built.
///
/// ```no_run
/// use pgentra_drivers::EntraDataSource;
///
/// # fn example() -> pgentra_drivers::Result<()> {
/// let source = EntraDataSource::new("postgresql://shop.postgres.database.azure.com/orders")?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EntraDataSource(Arc<Inner>);

struct Inner {
    plan: ConnectionPlan,
    provider: Option<TokenProvider>,
    /// The provider's configuration.
    #[cfg_attr(not(feature = "sqlx"), expect(dead_code, reason = "only sqlx needs a second provider"))]
    config: Config,
    environment: Environment,
    uses_connector: bool,
    #[cfg(feature = "tokio-postgres")]
    tokio_postgres: OnceLock<crate::tokio_postgres::Settings>,
}

impl EntraDataSource {
    /// Creates a data source with the default chain and all defaults. `text` is a URL, a key=value string of libpq, or
    /// empty, if the settings are in variables.
    ///
    /// # Errors
    /// Those of [`EntraDataSourceBuilder::build`].
    pub fn new(text: impl Into<String>) -> Result<EntraDataSource> {
        Self::builder(text).build()
    }

    /// Starts with these settings; see [`new`](Self::new).
    pub fn builder(text: impl Into<String>) -> EntraDataSourceBuilder {
        let text: String = text.into();
        EntraDataSourceBuilder {
            request: ConnectionRequest {
                text: Some(text.into()),
                complete_settings: true,
                verifies_certificates: true,
                ..ConnectionRequest::default()
            },
            environment: None,
            config: Config::default(),
            credential: None,
        }
    }

    /// Returns the provider of the tokens, or `None` if the connection has a user and a password of its own.
    pub fn provider(&self) -> Option<&TokenProvider> {
        self.0.provider.as_ref()
    }

    /// Returns the decision how the connections log in.
    pub fn plan(&self) -> &ConnectionPlan {
        &self.0.plan
    }

    pub(crate) fn settings(&self) -> &ConnectionSettings {
        &self.0.plan.settings
    }

    /// Returns the `sslmode` by which connections must be opened.
    pub(crate) fn sslmode(&self) -> Option<&str> {
        self.0.plan.sslmode.as_deref().or_else(|| self.settings().get("sslmode"))
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.0.plan.timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Returns the source of an explicit user.
    pub(crate) fn user_source(&self) -> Option<&str> {
        self.0.plan.user_source.as_deref()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    /// Returns the hosts for which unused variables of Service Connector are listed.
    pub(crate) fn unused_host(&self) -> Option<&str> {
        self.0.plan.host.as_deref().filter(|_| !self.0.uses_connector)
    }

    /// Returns the settings of tokio-postgres, which are read at the first connection.
    #[cfg(feature = "tokio-postgres")]
    pub(crate) fn tokio_postgres(&self) -> Result<&crate::tokio_postgres::Settings> {
        if let Some(settings) = self.0.tokio_postgres.get() {
            return Ok(settings);
        }
        let settings = crate::tokio_postgres::Settings::new(self)?;
        Ok(self.0.tokio_postgres.get_or_init(|| settings))
    }

    /// Returns whether tokens are cached.
    #[cfg(feature = "sqlx")]
    pub(crate) fn caches(&self) -> bool {
        self.0.config.cache
    }

    /// Returns the provider for a component that stores the token: it refreshes the token without callers, unless the
    /// options or the environment select another mode.
    #[cfg(feature = "sqlx")]
    pub(crate) fn provider_ahead(&self) -> Result<Option<TokenProvider>> {
        let Some(provider) = self.provider() else { return Ok(None) };
        let mut config = self.0.config.clone();
        if config.mode.is_none() && config.effective_mode() == RefreshMode::Background {
            config.mode = Some(RefreshMode::Ahead);
        }
        Ok(Some(TokenProvider::builder().config(config).credential(Arc::clone(provider.credential())).build()?))
    }
}

impl fmt::Debug for EntraDataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraDataSource").field("plan", &self.0.plan).field("provider", &self.0.provider).finish()
    }
}

/// Builds an [`EntraDataSource`].
pub struct EntraDataSourceBuilder {
    request: ConnectionRequest,
    environment: Option<Environment>,
    config: Config,
    credential: Option<Arc<CachedCredential>>,
}

impl EntraDataSourceBuilder {
    /// Sets the credential: a class of [`pgentra::identity`], or a custom credential. Default: the default chain.
    #[must_use]
    pub fn credential(mut self, credential: impl Into<Arc<CachedCredential>>) -> Self {
        self.credential = Some(credential.into());
        self
    }

    /// Sets the options of the provider: `scope`, `mode`, `timeout` and so on. `host`, `user` and `environment` are not
    /// used, because they are settings of the connection; a `credential` is replaced by [`credential`](Self::credential)
    /// and by [`service_connector`](Self::service_connector).
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Reads the variables of Azure Service Connector, which select the server, the role and the credential.
    #[must_use]
    pub fn service_connector(mut self, connection: ServiceConnector) -> Self {
        self.request.service_connector = Some(connection);
        self
    }

    /// Sets whether a password in the connection's settings is an error. Default: false.
    #[must_use]
    pub fn require_entra(mut self, required: bool) -> Self {
        self.request.require_entra = required;
        self
    }

    /// Sets whether a password in the connection's settings is dropped and a token is used. Default: false.
    #[must_use]
    pub fn ignore_password(mut self, ignored: bool) -> Self {
        self.request.ignore_password = ignored;
        self
    }

    /// Sets whether a token may be sent without TLS to a server that is not local. Default: false.
    #[must_use]
    pub fn allow_insecure_transport(mut self, allowed: bool) -> Self {
        self.request.allow_insecure_transport = allowed;
        self
    }

    /// Uses these variables instead of the process's environment.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Builds the data source. This does not connect and does not fetch a token. Warnings go to `tracing`.
    ///
    /// # Errors
    /// [`Error::Entra`](crate::Error::Entra) with one of these kinds: [`ErrorKind::InvalidConnection`] for settings that
    /// cannot be read or contradict each other, [`ErrorKind::InsecureTransport`] if TLS is switched off for a server that
    /// is not local, [`ErrorKind::InvalidConfiguration`] for options.
    pub fn build(self) -> Result<EntraDataSource> {
        let environment = self.environment.unwrap_or_else(pgentra::postgres::environment_of_process);
        let request = ConnectionRequest {
            environment: environment.clone(),
            has_credential: self.credential.is_some(),
            ..self.request
        };
        let plan = ConnectionPlan::new(&request)?;
        plan.warnings.iter().for_each(|warning| tracing::warn!(target: "pgentra::drivers", "{warning}"));
        if plan.server == Server::Unknown {
            let message = "the connection's server is unknown: its service was found in no service file";
            return Err(pgentra::Error::new(ErrorKind::InvalidConnection, message)
                .with_advice("Correct the service's name, or set PGSERVICEFILE.")
                .into());
        }
        let mut config = Config {
            host: plan.host.clone(),
            user: plan.user.clone(),
            environment: environment.clone(),
            ..self.config
        };
        if let Some(document) = &plan.credential {
            config.credential = CredentialConfig::from_value(document.clone())?;
        }
        let provider = plan.uses_entra.then(|| {
            let builder = TokenProvider::builder().config(config.clone());
            match self.credential {
                Some(credential) => builder.credential(credential),
                None => builder,
            }
            .build()
        });
        let inner = Inner {
            provider: provider.transpose()?,
            config,
            uses_connector: request.service_connector.is_some(),
            plan,
            environment,
            #[cfg(feature = "tokio-postgres")]
            tokio_postgres: OnceLock::new(),
        };
        Ok(EntraDataSource(Arc::new(inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str, variables: &[(&str, &str)]) -> Result<EntraDataSource> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        EntraDataSource::builder(text).environment(environment).build()
    }

    #[test]
    fn data_source_reads_the_settings_of_each_source() {
        let source = build(
            "postgresql://shop.postgres.database.azure.com?application_name=shop",
            &[("PGDATABASE", "orders"), ("PGUSER", "app"), ("PGCONNECT_TIMEOUT", "7")],
        )
        .unwrap();
        let settings: Vec<_> = source.settings().iter().collect();
        let expected = [
            ("application_name", "shop"),
            ("connect_timeout", "7"),
            ("dbname", "orders"),
            ("host", "shop.postgres.database.azure.com"),
        ];
        assert_eq!(settings, expected);
        assert_eq!((source.user_source(), source.sslmode()), (Some("PGUSER"), Some("require")));
        assert_eq!(source.timeout(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn data_source_without_a_usable_server_is_refused() {
        for (text, variables) in [
            ("service=shop", vec![("PGSERVICEFILE", "/no/such/file")]),
            ("host=shop.example sslmode=disable", vec![]),
            ("shop.example", vec![]),
        ] {
            let error = build(text, &variables).unwrap_err();
            assert!(error.entra().is_some_and(|error| !error.is_transient()), "{text}: {error}");
        }
        let refused =
            EntraDataSource::builder("").service_connector(ServiceConnector::Only).environment(Environment::new());
        assert!(refused.build().unwrap_err().to_string().contains("Service Connector"));
    }

    #[test]
    fn data_source_debug_shows_no_password() {
        let source = build("host=shop.example user=app password=pa55word", &[]).unwrap();
        assert!(source.provider().is_none());
        assert!(!format!("{source:?}").contains("pa55word"));
    }
}
