//! Credentials of the program itself, asked by the engine through Python.

use std::sync::{Arc, Mutex, PoisonError};

use pgentra::{
    Error, ErrorKind, Result,
    bindings::PerProcess,
    credential::{BoxFuture, FetchContext, FetchedToken, TokenRequest},
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};
use tokio::sync::oneshot;

use crate::{
    dispatcher::{COMPLETIONS, Held},
    exit::call,
};

/// A foreign credential. `begin` is called on the dispatcher's thread with a [`Request`] and must not block.
#[pyclass(frozen, module = "pgentra._native")]
pub struct CustomCredential(Arc<Host>);

struct Host {
    name: String,
    begin: Arc<Held>,
}

#[pymethods]
impl CustomCredential {
    #[new]
    fn new(name: String, begin: Py<PyAny>) -> Self {
        CustomCredential(Arc::new(Host { name, begin: Arc::new(Held::new(begin)) }))
    }
}

impl CustomCredential {
    pub fn credential(&self) -> Arc<dyn pgentra::credential::Credential> {
        self.0.clone()
    }
}

impl pgentra::credential::Credential for Host {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let request = Request { request: request.clone(), answer: PerProcess::new() };
            request.answer.get(|| Mutex::new(Some(answer)));
            let begin = Arc::clone(&self.begin);
            COMPLETIONS.send(move |py| {
                let Some(begin) = begin.bind(py) else { return };
                let Ok(request) = Py::new(py, request) else { return };
                if let Err(error) = call(begin, (&request,)) {
                    request.get().fail(error.value(py), None);
                }
            });
            answered.await.unwrap_or_else(|_| Err(lost()))
        })
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Cancelled, "the credential or its event loop went away during the fetch")
}

/// What is asked of a foreign credential. Answered once; dropped unanswered, whoever waits asks again.
#[pyclass(frozen, module = "pgentra._native")]
pub struct Request {
    request: TokenRequest,
    /// A forked child has none of its parent's, whose engine it would wake.
    answer: PerProcess<Mutex<Option<oneshot::Sender<Result<FetchedToken>>>>>,
}

#[pymethods]
impl Request {
    #[getter]
    fn scope(&self) -> &str {
        &self.request.scope
    }

    /// Keyword arguments for `get_token`, where they are asked for: not every credential takes them.
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

    /// With a token; seconds since the epoch.
    fn succeed(&self, token: &Bound<'_, PyString>, expires_on: Option<i64>, refresh_on: Option<i64>) {
        match token.to_str() {
            Ok(token) => self.give(FetchedToken::from_custom(token, expires_on, refresh_on)),
            Err(_) => self.refuse("returned a token with surrogates, which cannot be sent"),
        }
    }

    /// With what the credential raised; `advice` where there is better than to look at the credential's own error.
    #[pyo3(signature = (error, advice=None))]
    fn fail(&self, error: &Bound<'_, PyAny>, advice: Option<String>) {
        let class = error.get_type();
        let name = class.name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        // An exception's text is the program's own code, which may raise too.
        let text = error.py().get_type::<PyString>();
        let text = call(&text, (error,)).and_then(|text| text.extract::<String>()).unwrap_or_default();
        let cause = Arc::new(Held::new(error.clone().unbind()));
        let error = Error::from_custom(&name, &text, is_unavailable(&class), Some(cause));
        self.give(Err(advice.into_iter().fold(error, Error::with_advice)));
    }

    /// With nothing usable: `message` goes on after "the credential".
    fn refuse(&self, message: &str) {
        self.give(Err(Error::new(ErrorKind::CredentialValue, format!("the credential {message}"))));
    }

    /// Not at all: its owner or its event loop is gone.
    fn lose(&self) {
        self.give(Err(lost()));
    }
}

impl Request {
    fn give(&self, outcome: Result<FetchedToken>) {
        let answer = self.answer.peek().map(|answer| answer.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(answer) = answer.and_then(|mut answer| answer.take()) {
            // Nobody listens where the fetch ended by its time limit, long ago.
            let _ = answer.send(outcome);
        }
    }
}

/// Whether an exception says what `azure.identity.CredentialUnavailableError` says. By name: importing it costs a second.
fn is_unavailable(class: &Bound<'_, PyType>) -> bool {
    class.mro().iter().any(|class| {
        class.cast::<PyType>().is_ok_and(|class| class.name().is_ok_and(|name| name == "CredentialUnavailableError"))
    })
}
