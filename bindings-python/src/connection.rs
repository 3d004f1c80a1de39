//! Connection strings, connection plans and explanations of login errors: the core's rules, for Python.

use std::collections::BTreeMap;

use pgentra::{
    Secret,
    bindings::{
        self, FailedLogin,
        untrusted::{self, UntrustedLogin},
    },
    postgres::{self, ConnectionRequest},
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PyString},
};
use serde_json::Value;

use crate::{
    convert::to_python,
    document::to_value,
    environment::{Environment, every_variable},
    error::raised,
    finalize::detached,
};

/// Returns the settings of a connection string by libpq's keywords.
#[pyfunction]
pub fn read_connection_string<'py>(py: Python<'py>, text: &str, form: &str) -> PyResult<Bound<'py, PyAny>> {
    let settings = bindings::connection_settings(text, Some(form)).map_err(|error| raised(py, &error))?;
    to_python(py, &Value::Object(settings))
}

/// The core's decision how a connection logs in.
#[pyclass(frozen, module = "pgentra._native")]
pub struct ConnectionPlan(postgres::ConnectionPlan);

#[pymethods]
impl ConnectionPlan {
    #[getter]
    fn uses_entra(&self) -> bool {
        self.0.uses_entra
    }

    #[getter]
    fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    #[getter]
    fn user_source(&self) -> Option<&str> {
        self.0.user_source.as_deref()
    }

    #[getter]
    fn sslmode(&self) -> Option<&str> {
        self.0.sslmode.as_deref()
    }

    #[getter]
    fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.0.timeout
    }

    #[getter]
    fn warnings(&self) -> Vec<&str> {
        self.0.warnings.iter().map(String::as_str).collect()
    }

    #[getter]
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let settings = PyDict::new(py);
        self.0.settings.iter().try_for_each(|(keyword, value)| settings.set_item(keyword, value))?;
        Ok(settings)
    }

    #[getter]
    fn credential<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, self.0.credential.as_ref().unwrap_or(&Value::Null))
    }

    /// Returns the whole plan. It may contain secrets and must not be logged.
    fn document<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.to_json())
    }
}

/// Decides how a connection logs in. `environment` takes the place of the request's own `environment`. If the request
/// has a key `service_connector`, all variables of the process are read.
#[pyfunction]
pub fn connection_plan(
    py: Python<'_>,
    request: &Bound<'_, PyDict>,
    environment: Option<&Environment>,
) -> PyResult<ConnectionPlan> {
    let uses_connector = request.get_item(intern!(py, "service_connector"))?.is_some();
    let value = to_value(request)?;
    let mut request = ConnectionRequest::from_value(value).map_err(|error| raised(py, &error))?;
    match environment {
        Some(_) if uses_connector => request.environment = every_variable(py)?,
        Some(environment) => request.environment = environment.variables().of_connections().clone(),
        None => {}
    }
    // Detached, because service files are read.
    let planned = detached(py, || postgres::ConnectionPlan::new(&request));
    planned.map(ConnectionPlan).map_err(|error| raised(py, &error))
}

/// Decides whether a connection whose settings do not come from the application may use a token: `("token", "")`,
/// `("password", "")` or `("host_not_allowed", cause)`. With `from_process`, the process's variables take the place of the
/// request's `environment`.
#[pyfunction]
pub fn untrusted_login(
    py: Python<'_>,
    request: &Bound<'_, PyDict>,
    from_process: bool,
) -> PyResult<(&'static str, String)> {
    let value = to_value(request)?;
    let mut request = ConnectionRequest::from_value(value).map_err(|error| raised(py, &error))?;
    if from_process {
        request.environment = every_variable(py)?;
    }
    // Detached, because service files are read.
    match detached(py, || untrusted::untrusted_login(&request)).map_err(|error| raised(py, &error))? {
        UntrustedLogin::Token => Ok(("token", String::new())),
        UntrustedLogin::Password => Ok(("password", String::new())),
        UntrustedLogin::HostNotAllowed(cause) => Ok(("host_not_allowed", cause)),
    }
}

/// Returns the error of an untrusted connection that must not use a token.
#[pyfunction]
pub fn untrusted_error(py: Python<'_>, cause: &str) -> Py<PyAny> {
    raised(py, &untrusted::refused(cause)).into_value(py).into_any()
}

/// The settings of a connection URL with a token.
#[pyclass(frozen, module = "pgentra._native")]
pub struct UrlSettings(bindings::UrlSettings);

#[pymethods]
impl UrlSettings {
    /// Completes the settings from the environment, and refuses those that the URL must not have.
    #[new]
    fn new(py: Python<'_>, given: BTreeMap<String, String>, environment: &Environment) -> PyResult<UrlSettings> {
        bindings::UrlSettings::new(given, environment.variables().of_connections())
            .map(UrlSettings)
            .map_err(|error| raised(py, &error))
    }

    /// Returns the URL, which is a secret.
    fn write(&self, py: Python<'_>, scheme: &str, user: &str, password: &str) -> PyResult<Py<PyString>> {
        let url = self.0.write(scheme, user, &Secret::new(password)).map_err(|error| raised(py, &error))?;
        Ok(PyString::new(py, url.expose()).unbind())
    }
}

/// Returns lines to add to the server's message; empty if it is not a login error. `host` names the servers of a
/// connection that does not use the variables of Azure Service Connector.
#[pyfunction]
#[pyo3(signature = (sqlstate, message, role, role_source, token, host=None))]
pub fn explain_login_error(
    py: Python<'_>,
    sqlstate: Option<&str>,
    message: &str,
    role: &str,
    role_source: &str,
    token: &str,
    host: Option<&str>,
) -> PyResult<String> {
    let login =
        FailedLogin { sqlstate, message, role, role_source: Some(role_source), token: Some(token), unused_host: host };
    login.explain(|| every_variable(py))
}
