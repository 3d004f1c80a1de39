//! `TokenProvider`: a token, or a login (role name and token), blocking or awaited, for one connection configuration.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use serde_json::Value;

use crate::{
    cache::{
        entry::{CacheEntry, EntryStats, KeptAhead, Warm},
        refresh_state::RefreshMode,
        role_names::{remember_name, remembered_name},
        token::{Handle, Shards, Token},
    },
    cached_credential::{CachedCredential, CredentialContext, LONGEST_WAIT, within},
    cloud::{self, CloudInputs},
    config::{self, Config, Environment, duration},
    credential::{Credential, TokenRequest},
    error::{Error, ErrorKind, Result},
    logging,
    postgres::{
        ConnectionPlan,
        role_name::{self, Claims, Management, Principal},
    },
    runtime::Pending,
    secret::Secret,
};

/// Provides tokens and logins. It is cheap to clone; clones and providers of equal settings share one cached token.
///
/// ```no_run
/// # async fn example() -> pgentra::Result<()> {
/// let provider = pgentra::TokenProvider::builder().host("shop.postgres.database.azure.com").build()?;
/// let login = provider.login().await?;
/// // connect as login.user() with login.password(), over TLS
/// # Ok(()) }
/// ```
///
/// A provider does not handle connections, so it cannot check whether a connection uses TLS. Never pass a login's
/// password to a connection that can fall back to plain text. [`postgres`](crate::postgres) decides on `sslmode`, and
/// reads Azure Service Connector's variables.
#[derive(Clone)]
pub struct TokenProvider(Arc<Inner>);

struct Inner {
    credential: Arc<CachedCredential>,
    request: TokenRequest,
    management: TokenRequest,
    entry: Arc<CacheEntry>,
    mode: RefreshMode,
    _ahead: Option<KeptAhead>,
    cache: bool,
    limit: Duration,
    user: Option<(String, &'static str)>,
    fallback_username: Option<String>,
    management_lookup: bool,
    appid_as_username: bool,
    warm: ArcSwapOption<WarmLogin>,
}

/// The login derived from `token`, which `entry` held at `epoch`.
struct WarmLogin {
    login: Shards<Login>,
    token: Arc<Warm>,
    epoch: u64,
}

/// A role name and the token that is its password.
///
/// A login is not tied to a connection. The caller must make sure that the connection uses TLS.
///
/// Aligned as [`Token`] is.
#[repr(align(128))]
pub struct Login(Arc<LoginContents>);

struct LoginContents {
    user: String,
    user_source: &'static str,
    token: Arc<Token>,
}

impl Handle for Login {
    fn another(&self) -> Self {
        Login(Arc::clone(&self.0))
    }
}

impl Login {
    /// Returns the role to log in as.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// Returns the source of the role name: `user`, `PGUSER`, a claim's name, `management token`, `fallback_username`,
    /// `appid`.
    pub fn user_source(&self) -> &'static str {
        self.0.user_source
    }

    /// Returns the password: an access token, to be sent over TLS only.
    pub fn password(&self) -> &str {
        self.0.token.secret()
    }

    /// Returns the token.
    pub fn token(&self) -> &Arc<Token> {
        &self.0.token
    }

    /// Returns a login of another role with the same token.
    #[cfg(test)]
    pub(crate) fn with_user(&self, user: &str) -> Login {
        let (user_source, token) = (self.0.user_source, Arc::clone(&self.0.token));
        Login(Arc::new(LoginContents { user: user.to_owned(), user_source, token }))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user())
            .field("user_source", &self.user_source())
            .finish_non_exhaustive()
    }
}

/// Builds a [`TokenProvider`].
pub struct Builder {
    config: Config,
    /// Whether the process's environment replaces that of the configuration.
    reads_process: bool,
    custom_credentials: Vec<Arc<dyn Credential>>,
    credential: Option<Arc<CachedCredential>>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder { config: Config::default(), reads_process: true, custom_credentials: Vec::new(), credential: None }
    }
}

impl Builder {
    /// Sets every option at once. The `environment` of the document replaces the process's, even if it is empty.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self.reads_process = false;
        self
    }

    /// Sets a credential that was built before: a class of [`identity`](crate::identity), or a custom credential. The
    /// credential in the document is then not used.
    #[must_use]
    pub fn credential(mut self, credential: impl Into<Arc<CachedCredential>>) -> Self {
        self.credential = Some(credential.into());
        self
    }

    /// Sets the custom credentials that the document refers to by index.
    #[must_use]
    pub fn custom_credentials(mut self, custom_credentials: Vec<Arc<dyn Credential>>) -> Self {
        self.custom_credentials = custom_credentials;
        self
    }

    /// Sets the host name of the PostgreSQL server. The cloud can be derived from it.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.config.host = Some(host.into());
        self
    }

    /// Sets the role to log in as.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.config.user = Some(user.into());
        self
    }

    /// Uses these variables instead of the process's environment.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.config.environment = environment;
        self.reads_process = false;
        self
    }

    /// Uses the process's environment at the time when the provider is built. This is the default. After
    /// [`config`](Self::config) or [`environment`](Self::environment) it replaces their variables.
    #[must_use]
    pub fn environment_of_process(mut self) -> Self {
        self.reads_process = true;
        self
    }

    /// Builds the provider. This does not fetch a token.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`].
    pub fn build(mut self) -> Result<TokenProvider> {
        if self.reads_process {
            self.config.environment = config::environment_of_process();
        }
        self.build_configured()
    }

    fn build_configured(self) -> Result<TokenProvider> {
        let config = self.config;
        let class = self.credential.as_ref().map_or(config.credential.kind.class(), |credential| credential.name());
        let resolved = cloud::resolve(&CloudInputs {
            scope_option: config.scope.as_deref(),
            host: config.host.as_deref(),
            authority_option: config.credential.options.authority_host.as_deref(),
            cloud_option: config.credential.options.cloud.as_deref(),
            env_authority_host: config.variable(cloud::AUTHORITY_VARIABLE),
        })
        .map_err(|error| error.of_credential(class))?;
        if let Some(warning) = resolved.warning {
            logging::warn_once(warning);
        }
        let credential = match self.credential {
            Some(credential) => credential,
            None => CachedCredential::new(
                &config.credential,
                &CredentialContext {
                    environment: config.environment.clone(),
                    ca_file: config.ca_file.clone(),
                    server_host: config.host.clone(),
                    scope: config.scope.clone(),
                    custom_credentials: self.custom_credentials,
                },
            )?,
        };
        let request = TokenRequest::new(resolved.scope);
        let entry = credential.entry(&request);
        let mode = config.effective_mode();
        let user = match (&config.user, config.variable("PGUSER")) {
            (Some(user), _) => Some((user.clone(), "user")),
            (None, Some(user)) => Some((user.to_owned(), "PGUSER")),
            (None, None) => None,
        };
        Ok(TokenProvider(Arc::new(Inner {
            management: TokenRequest::new(resolved.management_scope),
            credential,
            request,
            _ahead: (config.cache && mode == RefreshMode::Ahead).then(|| entry.keep_ahead()),
            entry,
            mode,
            cache: config.cache,
            limit: duration(config.timeout).min(LONGEST_WAIT),
            user,
            fallback_username: config.fallback_username,
            management_lookup: config.management_lookup,
            appid_as_username: config.appid_as_username,
            warm: ArcSwapOption::empty(),
        })))
    }
}

impl ConnectionPlan {
    /// Starts a provider with the plan's configuration document, server, user and credential. It reads the process's
    /// environment; if the request had another one, pass that to [`Builder::environment`]. Pass a custom credential to
    /// [`Builder::credential`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConnection`] if the connection logs in with a password of its own, and
    /// [`ErrorKind::InvalidConfiguration`], naming the key of the configuration document.
    pub fn provider(&self) -> Result<Builder> {
        if !self.uses_entra {
            return Err(Error::new(
                ErrorKind::InvalidConnection,
                "no token is required: the connection has its own user and password",
            )
            .with_advice("Check `uses_entra` of the plan first."));
        }
        let mut document = self.config.clone().unwrap_or_default();
        let has_environment = document.contains_key("environment");
        let filled = [
            ("host", self.host.clone().map(Value::from)),
            ("user", self.user.clone().map(Value::from)),
            ("credential", self.credential.clone()),
        ];
        for (key, value) in filled {
            if let (Some(value), false) = (value, document.contains_key(key)) {
                document.insert(key.to_owned(), value);
            }
        }
        let builder = TokenProvider::builder().config(Config::from_value(Value::Object(document))?);
        Ok(if has_environment { builder } else { builder.environment_of_process() })
    }
}

impl TokenProvider {
    /// Starts with the default chain, the process's environment and all defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Builds a provider from the document. Only the document's `environment` is read, even if it is empty.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`].
    pub fn from_config(config: Config) -> Result<TokenProvider> {
        Self::builder().config(config).build()
    }

    /// Returns the provider's credential.
    pub fn credential(&self) -> &Arc<CachedCredential> {
        &self.0.credential
    }

    /// Returns the scope of the provider's tokens.
    pub fn scope(&self) -> &str {
        &self.0.request.scope
    }

    /// Returns a token at once, if a usable one is cached. Starts a refresh if one is due.
    #[inline]
    pub fn try_get(&self) -> Option<Result<Arc<Token>>> {
        if !self.0.cache {
            return None;
        }
        self.0.entry.try_get(self.0.mode)
    }

    /// Calls `look` as [`try_get`](Self::try_get) would return the token, without taking a handle.
    #[inline]
    pub fn with_token<R>(&self, look: impl Fn(&Arc<Token>) -> R) -> Option<Result<R>> {
        let inner = &*self.0;
        if !inner.cache {
            return None;
        }
        match inner.entry.with_fresh(|warm| look(warm.token())) {
            Some(found) => Some(Ok(found)),
            None => Some(inner.entry.try_get(inner.mode)?.map(|token| look(&token))),
        }
    }

    /// Starts to obtain a token; `limit` shortens the wait set by the `timeout` option.
    pub fn start_get(&self, limit: Option<Duration>) -> Pending<Arc<Token>> {
        if let Some(outcome) = self.try_get() {
            return Pending::ready(outcome);
        }
        let (inner, limit) = (Arc::clone(&self.0), self.limit(limit));
        Pending::start(async move { within(&inner.asked_entry(), inner.mode, limit).await })
    }

    /// Returns a token.
    ///
    /// # Errors
    /// Those of the credential, or [`ErrorKind::Timeout`].
    pub async fn get(&self) -> Result<Arc<Token>> {
        match self.try_get() {
            Some(outcome) => outcome,
            None => self.start_get(None).await,
        }
    }

    /// Waits until another token than the current one is cached, and returns it. For programs that hand each new token
    /// to a component that stores it, such as a connection pool with a fixed password.
    ///
    /// The current token is that at the time of the call. This does not fetch a token itself: use
    /// [`RefreshMode::Ahead`], or request tokens elsewhere. Without a cached token, it returns the first one.
    ///
    /// ```no_run
    /// # async fn example(provider: pgentra::TokenProvider, store: impl Fn(&str)) -> pgentra::Result<()> {
    /// loop {
    ///     // Called before `get`, so that no change is missed.
    ///     let changed = provider.changed();
    ///     store(provider.get().await?.secret());
    ///     changed.await?;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] if the option `cache` is false, because no token is cached then.
    pub fn changed(&self) -> impl Future<Output = Result<Arc<Token>>> + Send + use<> {
        let inner = Arc::clone(&self.0);
        let before = inner.entry.warm().map(|warm| Arc::clone(warm.token()));
        async move {
            if !inner.cache {
                let message = "a new token cannot be awaited: the option `cache` is false";
                return Err(Error::new(ErrorKind::InvalidConfiguration, message));
            }
            inner.entry.changed(before.as_deref()).await
        }
    }

    /// Returns a token; blocks this thread if no usable one is cached.
    ///
    /// # Errors
    /// Those of [`get`](Self::get), or [`ErrorKind::WouldDeadlock`] on the engine's own thread.
    pub fn get_blocking(&self) -> Result<Arc<Token>> {
        match self.try_get() {
            Some(outcome) => outcome,
            None => self.start_get(None).join(),
        }
    }

    /// Returns a login at once, if a usable token is cached and its role name is known.
    #[inline]
    pub fn try_login(&self) -> Option<Result<Arc<Login>>> {
        let inner = &*self.0;
        if !inner.cache {
            return None;
        }
        if let Some(warm) = inner.warm.load().as_deref()
            && warm.epoch == inner.entry.epoch()
            && inner.entry.is_fresh(&warm.token)
        {
            return Some(Ok(Arc::clone(warm.login.here())));
        }
        inner.try_login_cold()
    }

    /// Starts to obtain a login; `limit` shortens the wait set by the `timeout` option.
    pub fn start_login(&self, limit: Option<Duration>) -> Pending<Arc<Login>> {
        if let Some(outcome) = self.try_login() {
            return Pending::ready(outcome);
        }
        let (inner, limit) = (Arc::clone(&self.0), self.limit(limit));
        Pending::start(async move {
            let ends = tokio::time::Instant::now() + limit;
            let token = within(&inner.asked_entry(), inner.mode, limit).await?;
            let left = ends.saturating_duration_since(tokio::time::Instant::now());
            inner.log_in(token, left).await
        })
    }

    /// Returns a role name and a token.
    ///
    /// # Errors
    /// Those of the credential, [`ErrorKind::Timeout`], or [`ErrorKind::UsernameExtraction`] and the other kinds about
    /// the role name.
    pub async fn login(&self) -> Result<Arc<Login>> {
        match self.try_login() {
            Some(outcome) => outcome,
            None => self.start_login(None).await,
        }
    }

    /// Returns a role name and a token; blocks this thread if no usable token is cached.
    ///
    /// # Errors
    /// Those of [`login`](Self::login), or [`ErrorKind::WouldDeadlock`] on the engine's own thread.
    pub fn login_blocking(&self) -> Result<Arc<Login>> {
        match self.try_login() {
            Some(outcome) => outcome,
            None => self.start_login(None).join(),
        }
    }

    /// Reports that a server refused a login with this token. Resolves to the newer token to retry with once, or to
    /// `None`: then the caller raises the server's error.
    pub fn start_invalidate(&self, refused: &str) -> Pending<Option<Arc<Token>>> {
        self.start_invalidate_within(Some(refused), None)
    }

    /// Does the same as [`start_invalidate`](Self::start_invalidate). Without `refused`, the current token is meant;
    /// `limit` shortens the wait set by the `timeout` option.
    pub fn start_invalidate_within(
        &self,
        refused: Option<&str>,
        limit: Option<Duration>,
    ) -> Pending<Option<Arc<Token>>> {
        if !self.0.cache {
            return Pending::ready(Ok(None));
        }
        let (inner, refused, limit) = (Arc::clone(&self.0), refused.map(Secret::new), self.limit(limit));
        Pending::start(async move {
            let refused = refused.as_ref().map(Secret::expose);
            let renewed = tokio::time::timeout(limit, inner.entry.invalidate(refused)).await;
            Ok(renewed.ok().flatten())
        })
    }

    /// Does the same as [`start_invalidate`](Self::start_invalidate), awaited.
    pub async fn invalidate(&self, refused: &str) -> Option<Arc<Token>> {
        self.start_invalidate(refused).await.ok().flatten()
    }

    /// Does the same as [`start_invalidate`](Self::start_invalidate), blocking.
    pub fn invalidate_blocking(&self, refused: &str) -> Option<Arc<Token>> {
        self.start_invalidate(refused).join().ok().flatten()
    }

    /// Returns the provider's statistics. This does not fetch a token.
    pub fn stats(&self) -> Stats {
        let login = self.0.warm.load();
        Stats {
            entry: self.0.entry.stats(),
            mode: self.0.mode,
            role: login.as_ref().map(|warm| warm.login.here().user().to_owned()).or(self
                .0
                .user
                .as_ref()
                .map(|(user, _)| user.clone())),
            role_source: login.as_ref().map(|warm| warm.login.here().user_source()).or(self
                .0
                .user
                .as_ref()
                .map(|(_, source)| *source)),
        }
    }

    fn limit(&self, limit: Option<Duration>) -> Duration {
        limit.unwrap_or(self.0.limit).min(self.0.limit)
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProvider")
            .field("credential", &self.0.credential)
            .field("scope", &self.0.request.scope)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Returns the shared entry; with `cache=False`, a new entry for each request.
    fn asked_entry(&self) -> Arc<CacheEntry> {
        match self.cache {
            true => Arc::clone(&self.entry),
            false => self.entry.unshared(),
        }
    }

    #[cold]
    fn try_login_cold(&self) -> Option<Result<Arc<Login>>> {
        let token = match self.entry.try_get(self.mode)? {
            Ok(token) => token,
            Err(error) => return Some(Err(error)),
        };
        Some(self.name_at_once(&token)?.map(|name| self.remember(name, token)))
    }

    fn remember(&self, (user, user_source): (String, &'static str), token: Arc<Token>) -> Arc<Login> {
        let login = Login(Arc::new(LoginContents { user, user_source, token }));
        // The epoch is read first: if a token arrives in between, the stored login is outdated, not wrong.
        let epoch = self.entry.epoch();
        let held = self.entry.warm().filter(|warm| self.entry.is_fresh(warm) && warm.token().is(login.token()));
        if let Some(token) = held {
            self.warm.store(Some(Arc::new(WarmLogin { login: Shards::new(&login), token, epoch })));
        }
        Arc::new(login)
    }

    async fn log_in(&self, token: Arc<Token>, limit: Duration) -> Result<Arc<Login>> {
        let name = match self.name_at_once(&token) {
            Some(named) => named?,
            None => self.name_by_management(&token, limit).await?,
        };
        Ok(self.remember(name, token))
    }

    /// Returns the role name, if it follows from the token and the settings. `None` means that a management token is
    /// needed.
    fn name_at_once(&self, token: &Token) -> Option<Result<(String, &'static str)>> {
        if let Some((user, source)) = &self.user {
            return Some(Ok((user.clone(), source)));
        }
        let claims = match token.claims() {
            Ok(claims) => claims,
            Err(error) => match &self.fallback_username {
                Some(user) => return Some(Ok((user.clone(), "fallback_username"))),
                None => {
                    let explanation = Error::new(
                        ErrorKind::TokenDecode,
                        format!("the role name cannot be read from the token: {error}"),
                    );
                    return Some(Err(explanation.for_credential(self.credential.name())));
                }
            },
        };
        if let Some(role) = claims.role_name() {
            return Some(Ok((role.name, role.source.as_str())));
        }
        match remembered_name(&claims.principal()) {
            Some(Some(user)) => Some(Ok((user, "management token"))),
            None if self.management_lookup => None,
            Some(None) | None => Some(self.last_resort(claims, None)),
        }
    }

    /// Returns the name from the same claims of a management token, because managed-identity tokens for the database
    /// often carry no name.
    async fn name_by_management(&self, token: &Token, limit: Duration) -> Result<(String, &'static str)> {
        let Ok(claims) = token.claims() else {
            return Err(Error::new(ErrorKind::TokenDecode, "the role name cannot be read from the token"));
        };
        let principal = claims.principal();
        // The token is needed once, so it is not refreshed in advance.
        let requested = within(&self.credential.entry(&self.management), RefreshMode::Lazy, limit).await;
        let found = requested.and_then(|token| match token.claims() {
            Ok(theirs) if !same_principal(&principal, &theirs.principal()) => {
                Err(Error::new(ErrorKind::UsernameExtraction, "the management token is for another principal"))
            }
            Ok(theirs) => Ok(theirs.role_name()),
            Err(error) => {
                Err(Error::new(ErrorKind::TokenDecode, format!("the management token cannot be read: {error}")))
            }
        });
        match found {
            Ok(Some(role)) => {
                remember_name(&principal, Some(&role.name));
                Ok((role.name, "management token"))
            }
            Ok(None) => {
                remember_name(&principal, None);
                self.last_resort(claims, None)
            }
            Err(error) => {
                tracing::debug!(target: "pgentra::provider", "no role name was found with a management token: {}", error.headline());
                self.last_resort(claims, Some(error))
            }
        }
    }

    /// Returns the role name, or the error, for a token without a claim that names the role.
    fn last_resort(&self, claims: &Claims, management: Option<Error>) -> Result<(String, &'static str)> {
        if let Some(user) = &self.fallback_username {
            return Ok((user.clone(), "fallback_username"));
        }
        let principal = claims.principal();
        if let (true, Some(appid)) = (self.appid_as_username, &principal.appid) {
            return Ok((appid.clone(), "appid"));
        }
        let lookup = match &management {
            _ if !self.management_lookup => Management::NotAsked,
            Some(_) => Management::Failed,
            None => Management::Nameless,
        };
        let explanation = role_name::explain_missing_name(&principal, lookup);
        let (kind, attempts) = match management {
            // A later attempt can succeed when the service is available again, so the error is transient.
            Some(error) if error.is_transient() && !error.custom_was_refused() => (error.kind(), vec![error]),
            Some(error) => (ErrorKind::ScopePermission, vec![error]),
            None => (ErrorKind::UsernameExtraction, Vec::new()),
        };
        // The explanation ends with the option to pass.
        Err(Error::new(kind, explanation)
            .with_advice("See https://github.com/pgentra/pgentra/blob/main/docs/troubleshooting.md#no-role-name.")
            .with_attempts(attempts)
            .for_credential(self.credential.name()))
    }
}

/// Returns whether both are the same principal. A management token of another principal must not name the role of this
/// login.
fn same_principal(database: &Principal, management: &Principal) -> bool {
    match (&database.oid, &management.oid) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => true,
    }
}

/// The statistics of a provider.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The figures of the shared entry.
    #[serde(flatten)]
    pub entry: EntryStats,
    /// The refresh mode.
    pub mode: RefreshMode,
    /// The role of the last login.
    pub role: Option<String>,
    /// The source of the role name.
    pub role_source: Option<&'static str>,
}
