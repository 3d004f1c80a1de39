//! The engine's `TokenProvider`: tokens and logins, blocking and through futures.

use std::sync::Arc;

use pgentra::{Config, Login, Token, TokenProvider, bindings::TokenStringCache};
use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyDict, PyString, PyTuple},
};

use crate::{
    convert::to_python,
    credential::Credential,
    document::to_value,
    environment::{Environment, environment},
    error::raised,
    finalize::detached,
    wait,
};

/// A token provider. Time limits are in seconds.
#[pyclass(frozen, module = "pgentra._native")]
pub struct Provider {
    inner: TokenProvider,
    /// The last login as Python strings, so that a call that is answered from the cache copies nothing.
    strings: TokenStringCache<Arc<Py<PyString>>>,
}

#[pymethods]
impl Provider {
    #[new]
    fn new(
        py: Python<'_>,
        config: &Bound<'_, PyAny>,
        environment: &Environment,
        credential: Option<&Credential>,
    ) -> PyResult<Self> {
        let config = to_value(config)?;
        let credential = credential.map(|credential| Arc::clone(credential.inner()));
        let built = detached(py, || {
            let mut config = Config::from_value(config)?;
            config.environment = environment.variables().known().clone();
            let builder = TokenProvider::builder().config(config);
            match credential {
                Some(credential) => builder.credential(credential),
                None => builder,
            }
            .build()
        });
        let inner = built.map_err(|error| raised(py, &error))?;
        Ok(Provider { inner, strings: TokenStringCache::default() })
    }

    /// Returns a token, if a usable one is cached.
    fn try_token(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
        match self.inner.try_get() {
            None => Ok(None),
            Some(Ok(token)) => Ok(Some(self.token_string(py, &token))),
            Some(Err(error)) => Err(raised(py, &error)),
        }
    }

    /// Returns a token; blocks until one is fetched if no usable token is cached.
    fn token(&self, py: Python<'_>, limit: Option<f64>) -> PyResult<Py<PyString>> {
        let token = wait::block(py, || self.inner.start_get(wait::limit(limit)))?;
        Ok(self.token_string(py, &token))
    }

    /// Completes `future` with a token.
    fn token_into(&self, py: Python<'_>, event_loop: Py<PyAny>, future: Py<PyAny>, limit: Option<f64>) {
        let start = || self.inner.start_get(wait::limit(limit));
        wait::complete(py, event_loop, future, start, |py, token| {
            token.map_err(|error| raised(py, &error))?.secret().into_py_any(py)
        });
    }

    /// Returns role name, token and the source of the name, if a usable token is cached.
    #[allow(clippy::type_complexity, reason = "the tuple is Python's")]
    fn try_login(&self, py: Python<'_>) -> PyResult<Option<(Py<PyString>, Py<PyString>, &'static str)>> {
        match self.inner.try_login() {
            None => Ok(None),
            Some(Ok(login)) => Ok(Some(self.with_strings(py, &login, |user, token, source| (user, token, source)))),
            Some(Err(error)) => Err(raised(py, &error)),
        }
    }

    /// Returns role name, token and the source of the name; blocks until a token is fetched if no usable one is cached.
    fn login(&self, py: Python<'_>, limit: Option<f64>) -> PyResult<(String, String, &'static str)> {
        let login = wait::block(py, || self.inner.start_login(wait::limit(limit)))?;
        Ok(triple(&login))
    }

    /// Completes `future` with role name, token and the source of the name.
    fn login_into(&self, py: Python<'_>, event_loop: Py<PyAny>, future: Py<PyAny>, limit: Option<f64>) {
        let start = || self.inner.start_login(wait::limit(limit));
        wait::complete(py, event_loop, future, start, |py, login| {
            triple(&*login.map_err(|error| raised(py, &error))?).into_py_any(py)
        });
    }

    /// Returns `{"user": ..., "password": ...}`, if a usable token is cached.
    fn try_conninfo<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let login = match self.inner.try_login() {
            None => return Ok(None),
            Some(Ok(login)) => login,
            Some(Err(error)) => return Err(raised(py, &error)),
        };
        let conninfo = PyDict::new(py);
        self.with_strings(py, &login, |user, token, _| {
            conninfo.set_item(intern!(py, "user"), user)?;
            conninfo.set_item(intern!(py, "password"), token)
        })?;
        Ok(Some(conninfo))
    }

    /// Reports that a server refused a token (`None`: the current one). Returns whether a newer token is available,
    /// after blocking until it is fetched.
    fn invalidate(&self, py: Python<'_>, token: Option<&str>, limit: Option<f64>) -> PyResult<bool> {
        let newer = wait::outcome(py, || self.inner.start_invalidate_within(token, wait::limit(limit)))?;
        Ok(newer.is_ok_and(|newer| newer.is_some()))
    }

    /// As `invalidate`, through a future.
    fn invalidate_into(
        &self,
        py: Python<'_>,
        event_loop: Py<PyAny>,
        future: Py<PyAny>,
        token: Option<&str>,
        limit: Option<f64>,
    ) {
        let start = || self.inner.start_invalidate_within(token, wait::limit(limit));
        wait::complete(py, event_loop, future, start, |py, newer| {
            newer.is_ok_and(|newer| newer.is_some()).into_py_any(py)
        });
    }

    /// Returns the provider's statistics. Fetches no token.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stats = detached(py, || serde_json::to_value(self.inner.stats()).unwrap_or_default());
        to_python(py, &stats)
    }
}

/// As [`Provider::try_conninfo`], for a credential without options. `clients` maps the `id` of a credential to a tuple
/// that begins with its provider and its environment. In Python these steps would take longer than the login.
#[pyfunction]
pub fn try_conninfo<'py>(
    clients: &Bound<'py, PyDict>,
    credential: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = credential.py();
    let Some(found) = clients.get_item(credential.as_ptr().addr())? else { return Ok(None) };
    let found = found.cast::<PyTuple>()?;
    match found.get_item(0)?.cast::<Provider>() {
        Ok(provider) if found.get_item(1)?.is(&environment(py)?) => provider.get().try_conninfo(py),
        _ => Ok(None),
    }
}

impl Provider {
    fn token_string(&self, py: Python<'_>, token: &Arc<Token>) -> Py<PyString> {
        self.strings.with_token(token, |text| string(py, text), |strings| strings.password().clone_ref(py))
    }

    /// Calls `work` with role name, token and the source of the name.
    fn with_strings<R>(
        &self,
        py: Python<'_>,
        login: &Arc<Login>,
        work: impl FnOnce(Py<PyString>, Py<PyString>, &'static str) -> R,
    ) -> R {
        self.strings.with_login(
            login,
            |text| string(py, text),
            |strings, user| work(user.clone_ref(py), strings.password().clone_ref(py), strings.user_source()),
        )
    }
}

fn string(py: Python<'_>, text: &str) -> Arc<Py<PyString>> {
    Arc::new(PyString::new(py, text).unbind())
}

fn triple(login: &Login) -> (String, String, &'static str) {
    (login.user().to_owned(), login.password().to_owned(), login.user_source())
}
