//! Credentials that the application supplies. The engine requests their tokens through Python.

use std::sync::{Arc, Mutex, PoisonError};

use pgentra::{
    Error, ErrorKind, PerProcess, Result,
    credential::{self, BoxFuture, FetchContext, FetchedToken, TokenRequest},
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};
use tokio::sync::oneshot;

use crate::{
    finalize::call,
    gil_dispatcher::{COMPLETIONS, DeferredDrop},
};

/// A custom credential. `begin` is called on the dispatcher's thread with a [`CustomTokenRequest`] and must not block.
#[pyclass(frozen, module = "pgentra._native")]
pub struct CustomCredential(Arc<Callback>);

struct Callback {
    name: String,
    begin: Arc<DeferredDrop>,
}

#[pymethods]
impl CustomCredential {
    #[new]
    fn new(name: String, begin: Py<PyAny>) -> Self {
        CustomCredential(Arc::new(Callback { name, begin: Arc::new(DeferredDrop::new(begin)) }))
    }
}

impl CustomCredential {
    pub fn credential(&self) -> Arc<dyn credential::Credential> {
        self.0.clone()
    }
}

impl credential::Credential for Callback {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let request = CustomTokenRequest { request: request.clone(), sender: PerProcess::new() };
            request.sender.get(|| Mutex::new(Some(sender)));
            let begin = Arc::clone(&self.begin);
            COMPLETIONS.send(move |py| {
                let Some(begin) = begin.bind(py) else { return };
                let Ok(request) = Py::new(py, request) else { return };
                if let Err(error) = call(begin, (&request,)) {
                    request.get().fail(error.value(py), None);
                }
            });
            receiver.await.unwrap_or_else(|_| Err(cancelled()))
        })
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the credential or its event loop went away during the fetch")
}

/// A token request to a custom credential. The first response counts. If the request is dropped without a response, its
/// waiting callers start another fetch.
#[pyclass(frozen, module = "pgentra._native")]
pub struct CustomTokenRequest {
    request: TokenRequest,
    /// A forked child has no access to its parent's sender, which would wake the parent's engine.
    sender: PerProcess<Mutex<Option<oneshot::Sender<Result<FetchedToken>>>>>,
}

#[pymethods]
impl CustomTokenRequest {
    #[getter]
    fn scope(&self) -> &str {
        &self.request.scope
    }

    /// Returns the keyword arguments for `get_token` that the request sets: not every credential accepts them.
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let options = PyDict::new(py);
        if let Some(claims) = &self.request.claims {
            options.set_item(intern!(py, "claims"), claims)?;
        }
        if let Some(tenant_id) = &self.request.tenant_id {
            options.set_item(intern!(py, "tenant_id"), tenant_id)?;
        }
        if self.request.enable_cae {
            options.set_item(intern!(py, "enable_cae"), true)?;
        }
        Ok(options)
    }

    /// Responds with a token. Times are in seconds since the epoch.
    fn succeed(&self, token: &Bound<'_, PyString>, expires_on: Option<i64>, refresh_on: Option<i64>) {
        match token.to_str() {
            Ok(token) => self.respond(FetchedToken::from_host(token, expires_on, refresh_on)),
            Err(_) => self.reject("returned a token that contains surrogates"),
        }
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
        let error = Error::from_host(&name, &text, is_unavailable(&class), cause);
        self.respond(Err(advice.into_iter().fold(error, Error::with_advice)));
    }

    /// Responds that the credential returned an unusable value. `message` continues the words "the credential".
    fn reject(&self, message: &str) {
        self.respond(Err(Error::new(ErrorKind::CredentialValue, format!("the credential {message}"))));
    }

    /// Ends the request because the credential or its event loop no longer exists.
    fn cancel(&self) {
        self.respond(Err(cancelled()));
    }
}

impl CustomTokenRequest {
    fn respond(&self, result: Result<FetchedToken>) {
        let sender = self.sender.peek().map(|sender| sender.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(sender) = sender.and_then(|mut sender| sender.take()) {
            // It fails if the fetch has ended by its time limit.
            let _ = sender.send(result);
        }
    }
}

/// Returns whether an exception's class is the Azure SDK's or this library's `CredentialUnavailableError`. It compares
/// names, because importing `azure.identity` takes a second.
fn is_unavailable(class: &Bound<'_, PyType>) -> bool {
    class.mro().iter().any(|class| {
        class.cast::<PyType>().is_ok_and(|class| class.name().is_ok_and(|name| name == "CredentialUnavailableError"))
    })
}
