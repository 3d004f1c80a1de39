//! A credential with its cached tokens, for `get_token` of every class in `pgentra.identity`.

use std::sync::Arc;

use pgentra::{CachedCredential, CredentialConfig, CredentialContext, Token, credential::TokenRequest};
use pyo3::{IntoPyObjectExt, prelude::*};

use crate::{
    custom_credential::CustomCredential, document::to_value, environment::Environment, error::raised,
    finalize::detached, wait,
};

/// A credential of the engine, built from its document and the custom credentials that the document refers to by index.
#[pyclass(frozen, module = "pgentra._native")]
pub struct Credential(Arc<CachedCredential>);

#[pymethods]
impl Credential {
    #[new]
    #[pyo3(signature = (document, environment, *, custom_credentials=Vec::new(), ca_file=None, host=None, scope=None))]
    fn new(
        py: Python<'_>,
        document: &Bound<'_, PyAny>,
        environment: &Environment,
        custom_credentials: Vec<PyRef<'_, CustomCredential>>,
        ca_file: Option<&Bound<'_, PyAny>>,
        host: Option<&Bound<'_, PyAny>>,
        scope: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        // The provider, which validates all options, refuses a wrong type.
        let text = |option: Option<&Bound<'_, PyAny>>| option.and_then(|option| option.extract::<String>().ok());
        let context = CredentialContext {
            environment: environment.variables().clone(),
            ca_file: ca_file.and_then(|file| to_value(file).ok()?.as_str().map(str::to_owned)),
            server_host: text(host),
            scope: text(scope),
            custom_credentials: custom_credentials.iter().map(|custom| custom.credential()).collect(),
        };
        let document = to_value(document)?;
        detached(py, || CachedCredential::new(&CredentialConfig::from_value(document)?, &context))
            .map(Credential)
            .map_err(|error| raised(py, &error))
    }

    /// Returns the cached token and its expiry in seconds since the epoch, if a usable token is cached.
    fn try_token(
        &self,
        py: Python<'_>,
        scope: &str,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
    ) -> PyResult<Option<(String, i64)>> {
        let outcome = self.0.try_token(&request(scope, tenant_id, claims, enable_cae));
        outcome.map(|token| token.map(pair).map_err(|error| raised(py, &error))).transpose()
    }

    /// Returns a token and its expiry; blocks until one is fetched if no usable token is cached.
    fn token(
        &self,
        py: Python<'_>,
        scope: &str,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
        limit: Option<f64>,
    ) -> PyResult<(String, i64)> {
        let request = request(scope, tenant_id, claims, enable_cae);
        wait::block(py, || self.0.start_token(&request, wait::limit(limit))).map(pair)
    }

    /// Completes `future` with a token and its expiry.
    #[allow(clippy::too_many_arguments, reason = "the arguments are Python's")]
    fn token_into(
        &self,
        py: Python<'_>,
        event_loop: Py<PyAny>,
        future: Py<PyAny>,
        scope: &str,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
        limit: Option<f64>,
    ) {
        let request = request(scope, tenant_id, claims, enable_cae);
        wait::complete(
            py,
            event_loop,
            future,
            || self.0.start_token(&request, wait::limit(limit)),
            |py, token| pair(token.map_err(|error| raised(py, &error))?).into_py_any(py),
        );
    }

    /// Returns the refresh point of the cached token in seconds since the epoch.
    fn refresh_on(
        &self,
        scope: &str,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
    ) -> Option<i64> {
        self.0.refresh_on(&request(scope, tenant_id, claims, enable_cae))
    }
}

impl Credential {
    pub fn inner(&self) -> &Arc<CachedCredential> {
        &self.0
    }
}

/// Validates a credential's document.
///
/// # Errors
/// `CredentialValueError` if it is not valid.
#[pyfunction]
pub fn check_credential(py: Python<'_>, document: &Bound<'_, PyAny>) -> PyResult<()> {
    let checked = CredentialConfig::from_value(to_value(document)?);
    checked.map(drop).map_err(|error| raised(py, &error))
}

fn request(scope: &str, tenant_id: Option<String>, claims: Option<String>, enable_cae: bool) -> TokenRequest {
    TokenRequest { tenant_id, claims, enable_cae, ..TokenRequest::new(scope) }
}

fn pair(token: Arc<Token>) -> (String, i64) {
    (token.secret().to_owned(), token.expires_on())
}
