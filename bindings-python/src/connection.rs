//! Connection settings and the plan of a login, which the core decides.

use pgentra::{
    Error, ErrorKind,
    postgres::{ConnectionPlan, ConnectionRequest, Form, connection_string, login_error},
};
use pyo3::{intern, prelude::*, types::PyDict};
use serde_json::Value;

use crate::{
    convert::{to_python, to_value},
    environment::{Environment, every_variable},
    error::raised,
    exit::detached,
};

/// The settings of a connection string by libpq's keywords.
#[pyfunction]
pub fn connection_read<'py>(py: Python<'py>, text: &str, form: &str) -> PyResult<Bound<'py, PyDict>> {
    let form: Form = serde_json::from_value(Value::from(form)).map_err(|_| {
        raised(
            py,
            &Error::new(ErrorKind::InvalidConfiguration, "option `form`: expected the form of a connection string"),
        )
    })?;
    let settings = connection_string::parse(text, form).map_err(|error| raised(py, &error))?;
    let read = PyDict::new(py);
    settings.iter().try_for_each(|(keyword, value)| read.set_item(keyword, value))?;
    Ok(read)
}

/// How a connection logs in.
#[pyclass(frozen, module = "pgentra._native")]
pub struct Plan(ConnectionPlan);

#[pymethods]
impl Plan {
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

    /// The whole plan. It may hold secrets: it is never for a log.
    fn document<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.to_json())
    }
}

/// Decides how a connection logs in. `environment` is what the request's own `environment` would be: with a key
/// `service_connector` all variables of the process are read.
#[pyfunction]
pub fn connection_plan(
    py: Python<'_>,
    request: &Bound<'_, PyDict>,
    environment: Option<&Environment>,
) -> PyResult<Plan> {
    let uses_connector = request.get_item(intern!(py, "service_connector"))?.is_some();
    let value = to_value(request)?;
    let mut request = ConnectionRequest::from_value(value).map_err(|error| raised(py, &error))?;
    match environment {
        Some(_) if uses_connector => request.environment = every_variable(py)?,
        Some(environment) => request.environment = environment.of_connections().clone(),
        None => {}
    }
    // Service files are read.
    let planned = detached(py, || ConnectionPlan::new(&request));
    planned.map(Plan).map_err(|error| raised(py, &error))
}

/// Lines to add to the server's message. `host`: the names of the servers of a connection that does not use the
/// variables of Azure Service Connector.
#[pyfunction]
#[pyo3(signature = (sqlstate, message, role, role_source, token, host=None))]
pub fn explain_refusal(
    py: Python<'_>,
    sqlstate: Option<&str>,
    message: &str,
    role: &str,
    role_source: &str,
    token: &str,
    host: Option<&str>,
) -> String {
    let unused = host.map(|host| (host, every_variable(py).unwrap_or_default()));
    let unused = unused.as_ref().map(|(host, environment)| (*host, environment));
    login_error::explain_login(sqlstate, message, role, role_source, Some(token), unused)
}
