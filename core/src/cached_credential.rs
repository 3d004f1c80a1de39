//! A credential with its cache entries, on which `get_token` of every binding is built.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use crate::{
    cache::{application_cache, entry::CacheEntry, key::Key, refresh_state::RefreshMode, token::Token, user_cache},
    cloud::{self, CloudInputs},
    config::{self, BuildInputs, CredentialConfig, CredentialKind, Environment, OnBehalfOfArguments},
    credential::{BuildContext, Credential, TokenRequest, TokenSource, build},
    error::Result,
    runtime::Pending,
    secret::Secret,
};

/// The longest wait of a caller that sets no time limit.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a credential is built from in addition to its own settings.
#[derive(Clone, Default)]
pub struct CredentialContext {
    /// The application's environment variables.
    pub environment: Environment,
    /// A PEM file of certificate authorities to trust in addition to the system's.
    pub ca_file: Option<String>,
    /// The host name of the PostgreSQL server, from which the cloud can be derived.
    pub server_host: Option<String>,
    /// The scope of the later requests, from which the cloud can be derived.
    pub scope: Option<String>,
    /// The custom credentials, which documents refer to by index.
    pub custom_credentials: Vec<Arc<dyn Credential>>,
}

impl CredentialContext {
    /// Returns a context with the current environment of this process and nothing else.
    pub fn of_process() -> CredentialContext {
        CredentialContext { environment: config::environment_of_process(), ..CredentialContext::default() }
    }
}

/// A credential whose tokens are cached and refreshed in advance. Concurrent callers share one fetch.
pub struct CachedCredential {
    credential: Arc<dyn Credential>,
    entries: Entries,
    mode: RefreshMode,
}

/// The maximum number of combinations of scope, tenant and claims for one custom credential.
const MOST_OWN_ENTRIES: usize = 64;

enum Entries {
    /// Shared with every credential of equal settings in the process.
    Shared(Key),
    /// The same, for one of the many users of an application.
    User(Key),
    /// A custom credential: shared by the users of the same object.
    Own(ArcSwap<HashMap<TokenRequest, Arc<CacheEntry>>>),
}

impl CachedCredential {
    /// Builds the credential of a document.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfiguration`] if an option cannot be used. What a credential lacks at run time is reported
    /// by its first token request.
    pub fn new(config: &CredentialConfig, context: &CredentialContext) -> Result<Arc<Self>> {
        let class = config.kind.class();
        // Rejects invalid values even if this credential does not use them, because the variable also decides about the
        // scope.
        cloud::resolve(&CloudInputs {
            scope_option: context.scope.as_deref(),
            host: context.server_host.as_deref(),
            authority_option: config.options.authority_host.as_deref(),
            cloud_option: config.options.cloud.as_deref(),
            env_authority_host: config::variable(&context.environment, cloud::AUTHORITY_VARIABLE),
        })
        .map_err(|error| error.of_credential(class))?;
        let mode = config::usual_mode(&context.environment);
        let inputs = BuildInputs::new(&context.environment)
            .with_ca_file(context.ca_file.as_deref())
            .with_connection(context.scope.as_deref(), context.server_host.as_deref());
        let build_context = BuildContext::new(&inputs).with_custom_credentials(context.custom_credentials.clone());
        if let CredentialKind::OnBehalfOf(arguments) = &config.kind {
            // A custom credential keeps its index while any cached value exists that was built with it.
            let hosts: Vec<usize> =
                context.custom_credentials.iter().map(|host| Arc::as_ptr(host).cast::<()>().addr()).collect();
            let no_user = CredentialConfig::new(CredentialKind::OnBehalfOf(OnBehalfOfArguments {
                user_assertion_token: Secret::new(""),
                ..arguments.clone()
            }));
            let no_user = CredentialConfig { options: config.options.clone(), ..no_user };
            let (key, middle_tier) = user_cache::middle_tier(Key::of_document(&no_user, &hosts), &inputs, || {
                build::build_middle_tier(arguments, &config.options, &build_context)
            })?;
            return Ok(Arc::new(CachedCredential {
                credential: Arc::new(middle_tier.on_behalf_of(arguments)),
                entries: Entries::User(key.of_user(&arguments.user_assertion_token)),
                mode,
            }));
        }
        let credential = build::build(config, &build_context)?;
        let entries = match config.has_custom_credential() {
            true => Entries::Own(ArcSwap::default()),
            false => Entries::Shared(Key::of_document(config, &()).with_inputs(&inputs, &inputs.used())),
        };
        Ok(Arc::new(CachedCredential { credential, entries, mode }))
    }

    /// Takes any credential, such as a binding's wrapper of a custom credential. Its entries are not shared with other
    /// credentials.
    pub fn from_credential(credential: Arc<dyn Credential>) -> Arc<Self> {
        Arc::new(CachedCredential {
            credential,
            entries: Entries::Own(ArcSwap::default()),
            mode: RefreshMode::Background,
        })
    }

    /// Returns the class name.
    pub fn name(&self) -> &str {
        self.credential.name()
    }

    /// Returns whether both use the same cached tokens: their settings, and the variables that they use, are equal.
    pub fn shares_tokens_with(&self, other: &CachedCredential) -> bool {
        match (&self.entries, &other.entries) {
            (Entries::Shared(one), Entries::Shared(other)) | (Entries::User(one), Entries::User(other)) => one == other,
            _ => std::ptr::eq(self, other),
        }
    }

    /// Returns the credential itself, for use as a member of a chain.
    pub fn credential(&self) -> &Arc<dyn Credential> {
        &self.credential
    }

    /// Returns where the last token is from: for a chain, which member returned it, and why the others did not.
    pub fn token_source(&self) -> TokenSource {
        self.credential.token_source()
    }

    /// Returns a token at once, if a usable one is cached.
    pub fn try_token(&self, request: &TokenRequest) -> Option<Result<Arc<Token>>> {
        self.entry(request).try_get(self.mode)
    }

    /// Starts to obtain a token, and waits at most `limit` (by default 30 s).
    pub fn start_token(&self, request: &TokenRequest, limit: Option<Duration>) -> Pending<Arc<Token>> {
        let (entry, mode) = (self.entry(request), self.mode);
        match entry.try_get(mode) {
            Some(outcome) => Pending::ready(outcome),
            None => Pending::start(async move { within(&entry, mode, limit.unwrap_or(LONGEST_WAIT)).await }),
        }
    }

    /// Returns when the cached token will be refreshed, in seconds since the epoch; `None` if no token is cached.
    pub fn refresh_on(&self, request: &TokenRequest) -> Option<i64> {
        self.entry(request).warm().map(|warm| warm.refresh_on())
    }

    pub(crate) fn entry(&self, request: &TokenRequest) -> Arc<CacheEntry> {
        let is_blank = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
        if is_blank(&request.claims) || is_blank(&request.tenant_id) {
            // Bindings pass an empty text for an option that is not set.
            let plain = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
            let (claims, tenant_id) = (plain(&request.claims), plain(&request.tenant_id));
            return self.entry(&TokenRequest { claims, tenant_id, ..request.clone() });
        }
        match &self.entries {
            Entries::Shared(key) => application_cache::entry(*key, request, &self.credential),
            Entries::User(key) => user_cache::entry(*key, request, &self.credential),
            Entries::Own(entries) => {
                if let Some(entry) = entries.load().get(request) {
                    return Arc::clone(entry);
                }
                let made = CacheEntry::new(Arc::clone(&self.credential), request.clone());
                let mut found = Arc::clone(&made);
                entries.rcu(|entries| {
                    let mut next = HashMap::clone(entries);
                    application_cache::make_room(&mut next, MOST_OWN_ENTRIES);
                    found = Arc::clone(next.entry(request.clone()).or_insert_with(|| Arc::clone(&made)));
                    next
                });
                if Arc::ptr_eq(&made, &found) {
                    application_cache::note_own_entry(&found);
                }
                found
            }
        }
    }
}

/// Returns a token of `entry` within `limit`. When the limit passes, returns a token that is not dead yet, if there is
/// one.
pub(crate) async fn within(entry: &Arc<CacheEntry>, mode: RefreshMode, limit: Duration) -> Result<Arc<Token>> {
    match tokio::time::timeout(limit, entry.get(mode)).await {
        Ok(outcome) => outcome,
        Err(_) => entry.fallback().ok_or_else(|| entry.late(limit).for_credential(entry.credential().name())),
    }
}

impl fmt::Debug for CachedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedCredential({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_credential_in_a_lambda_is_lazy() {
        let config = CredentialConfig::from_value(serde_json::json!({"type": "azure_cli"})).expect("a credential");
        let function = CredentialContext {
            environment: [("AWS_LAMBDA_FUNCTION_NAME".to_owned(), "f".into())].into(),
            ..CredentialContext::default()
        };
        assert_eq!(CachedCredential::new(&config, &function).expect("builds").mode, RefreshMode::Lazy);
        assert_eq!(
            CachedCredential::new(&config, &CredentialContext::default()).expect("builds").mode,
            RefreshMode::Background
        );
    }

    #[test]
    fn cached_credential_of_a_custom_credential_limits_its_entries() {
        struct Never;
        impl Credential for Never {
            fn name(&self) -> &str {
                "Never"
            }

            fn fetch<'a>(
                &'a self,
                _: &'a TokenRequest,
                _: crate::credential::FetchContext,
            ) -> crate::credential::BoxFuture<'a, Result<crate::credential::FetchedToken>> {
                Box::pin(std::future::pending())
            }
        }
        let credential = CachedCredential::from_credential(Arc::new(Never));
        for n in 0..3 * MOST_OWN_ENTRIES {
            let request = TokenRequest { claims: Some(n.to_string()), ..TokenRequest::new("s") };
            credential.entry(&request);
        }
        let blank =
            TokenRequest { claims: Some(" ".to_owned()), tenant_id: Some("".to_owned()), ..TokenRequest::new("s") };
        assert!(Arc::ptr_eq(&credential.entry(&blank), &credential.entry(&TokenRequest::new("s"))));
        let Entries::Own(entries) = &credential.entries else { panic!("it is the host's own") };
        assert_eq!(entries.load().len(), MOST_OWN_ENTRIES);
    }
}
