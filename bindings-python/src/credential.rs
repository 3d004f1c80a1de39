//! Credentials with their cached tokens, for `get_token` of every class in `pgentra.identity`.

use std::{collections::BTreeMap, sync::Arc};

use pgentra::{CachedCredential, CredentialContext, Error, ErrorKind, Token, bindings, credential::TokenRequest};
use pyo3::{IntoPyObjectExt, prelude::*};

use crate::{
    convert::to_python, custom_credential::CustomCredential, document::to_value, environment::Environment,
    error::raised, finalize::detached, wait,
};

/// The description of a credential: a document with the number of its custom credentials, whose objects Python keeps.
#[pyclass(frozen, module = "pgentra._native")]
pub struct CredentialHandle(bindings::CredentialHandle<()>);

#[pymethods]
impl CredentialHandle {
    /// In the document, `{"type": "custom_credential", "index": n}` refers to the n-th of `members`.
    #[new]
    #[pyo3(signature = (document, members=Vec::new(), variables=None, ca_file=None))]
    fn new(
        document: &Bound<'_, PyAny>,
        members: Vec<PyRef<'_, CredentialHandle>>,
        variables: Option<BTreeMap<String, String>>,
        ca_file: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let members: Vec<_> = members.iter().map(|member| member.0.clone()).collect();
        let handle = bindings::CredentialHandle::new(to_value(document)?, &members)
            .map_err(|error| raised(document.py(), &error))?;
        let variables = variables.unwrap_or_default().into_iter().map(|(name, value)| (name, value.into())).collect();
        Ok(CredentialHandle(handle.with_variables(variables).with_ca_file(ca_file.and_then(text_of))))
    }

    /// Returns the handle of a custom credential.
    #[staticmethod]
    fn custom() -> Self {
        CredentialHandle(bindings::CredentialHandle::custom(()))
    }

    #[getter]
    fn document<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, self.0.document())
    }

    /// The credential's own environment variables: its proxies.
    #[getter]
    fn variables(&self) -> BTreeMap<&str, &str> {
        self.0.variables().iter().map(|(name, value)| (name.as_str(), value.expose())).collect()
    }

    #[getter]
    fn ca_file(&self) -> Option<&str> {
        self.0.ca_file()
    }

    #[getter]
    fn is_custom(&self) -> bool {
        self.0.is_custom()
    }

    /// Builds the credential. `custom_credentials` are in the order of `index` in the document.
    #[pyo3(signature = (environment, custom_credentials, *, ca_file=None, host=None, scope=None))]
    fn build(
        &self,
        py: Python<'_>,
        environment: &Environment,
        custom_credentials: Vec<PyRef<'_, CustomCredential>>,
        ca_file: Option<&Bound<'_, PyAny>>,
        host: Option<&Bound<'_, PyAny>>,
        scope: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Credential> {
        // The provider, which validates all options, refuses a wrong type.
        let context = CredentialContext {
            environment: environment.variables().known().clone(),
            ca_file: ca_file.and_then(text_of),
            server_host: host.and_then(text_of),
            scope: scope.and_then(text_of),
            ..CredentialContext::default()
        };
        if custom_credentials.len() != self.0.custom_credentials().len() {
            let message = format!("expected {} custom credentials", self.0.custom_credentials().len());
            return Err(raised(py, &Error::new(ErrorKind::Internal, message)));
        }
        let customs: Vec<_> = custom_credentials.iter().map(|custom| custom.credential()).collect();
        detached(py, || {
            let mut customs = customs.into_iter();
            self.0.build(context, |()| customs.next().expect("counted above"))
        })
        .map(Credential)
        .map_err(|error| raised(py, &error))
    }
}

fn text_of(option: &Bound<'_, PyAny>) -> Option<String> {
    to_value(option).ok()?.as_str().map(str::to_owned)
}

/// A credential with its cache entries.
#[pyclass(frozen, module = "pgentra._native")]
pub struct Credential(Arc<CachedCredential>);

#[pymethods]
impl Credential {
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

fn request(scope: &str, tenant_id: Option<String>, claims: Option<String>, enable_cae: bool) -> TokenRequest {
    TokenRequest { tenant_id, claims, enable_cae, ..TokenRequest::new(scope) }
}

fn pair(token: Arc<Token>) -> (String, i64) {
    (token.secret().to_owned(), token.expires_on())
}
