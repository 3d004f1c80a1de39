//! Custom credentials: the engine requests their tokens through Python.

use std::sync::Arc;

use pgentra::{
    bindings::{self, CustomRequest, means_unavailable},
    credential,
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};

use crate::{
    finalize::call,
    gil_dispatcher::{COMPLETIONS, DeferredDrop},
};

/// The engine's side of a custom credential. `begin` is called on the dispatcher's thread with a [`CustomTokenRequest`]
/// and must not block.
#[pyclass(frozen, module = "pgentra._native")]
pub struct CustomCredential(Arc<dyn credential::Credential>);

#[pymethods]
impl CustomCredential {
    #[new]
    fn new(name: String, begin: Py<PyAny>) -> Self {
        let begin = Arc::new(DeferredDrop::new(begin));
        CustomCredential(Arc::new(bindings::CustomCredential::new(name, move |request| {
            let begin = Arc::clone(&begin);
            COMPLETIONS.send(move |py| {
                let Some(begin) = begin.bind(py) else { return };
                let Ok(request) = Py::new(py, CustomTokenRequest(request)) else { return };
                if let Err(error) = call(begin, (&request,)) {
                    request.get().fail(error.value(py), None);
                }
            });
            Ok(())
        })))
    }
}

impl CustomCredential {
    pub fn credential(&self) -> Arc<dyn credential::Credential> {
        Arc::clone(&self.0)
    }
}

/// A token request to a custom credential. Only the first response counts. If the request is dropped without a
/// response, its waiting callers start another fetch.
#[pyclass(frozen, module = "pgentra._native")]
pub struct CustomTokenRequest(CustomRequest);

#[pymethods]
impl CustomTokenRequest {
    #[getter]
    fn scope(&self) -> &str {
        &self.0.token_request().scope
    }

    /// Returns the keyword arguments for `get_token` that the request sets: not every credential accepts them.
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let request = self.0.token_request();
        let options = PyDict::new(py);
        if let Some(claims) = &request.claims {
            options.set_item(intern!(py, "claims"), claims)?;
        }
        if let Some(tenant_id) = &request.tenant_id {
            options.set_item(intern!(py, "tenant_id"), tenant_id)?;
        }
        if request.enable_cae {
            options.set_item(intern!(py, "enable_cae"), true)?;
        }
        Ok(options)
    }

    /// Responds with a token. Times are in seconds since the epoch.
    fn succeed(&self, token: &Bound<'_, PyString>, expires_on: Option<i64>, refresh_on: Option<i64>) {
        match token.to_str() {
            Ok(token) => self.0.respond(token, expires_on, refresh_on),
            Err(_) => self.0.reject_surrogates(),
        };
    }

    /// Responds with the exception that the credential raised. `advice` replaces the default advice.
    #[pyo3(signature = (error, advice=None))]
    fn fail(&self, error: &Bound<'_, PyAny>, advice: Option<String>) {
        let class = error.get_type();
        let name = class.name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        // `str(exception)` runs the application's code, which may raise an exception too.
        let text = error.py().get_type::<PyString>();
        let text = call(&text, (error,)).and_then(|text| text.extract::<String>()).unwrap_or_default();
        let cause = Arc::new(DeferredDrop::new(error.clone().unbind()));
        self.0.fail(&name, &text, is_unavailable(&class), Some(cause), advice);
    }

    /// Responds that the credential returned an unusable value. `what` completes "the credential returned ...".
    fn reject(&self, what: &str) {
        self.0.reject(what);
    }

    /// Ends the request because the credential or its event loop no longer exists.
    fn abandon(&self) {
        self.0.abandon();
    }
}

/// Compares names, because importing `azure.identity` takes a second.
fn is_unavailable(class: &Bound<'_, PyType>) -> bool {
    let names =
        class.mro().iter().filter_map(|class| class.cast::<PyType>().ok()?.name().ok()?.extract::<String>().ok());
    means_unavailable(names.collect::<Vec<_>>().iter().map(String::as_str))
}
