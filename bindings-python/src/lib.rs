//! The Python binding: hands documents to the engine, and its tokens, errors and events to Python.
//!
//! Four rules hold everywhere. Nothing that can block runs attached to the interpreter. Threads of ours attach only on
//! a [`dispatcher`], and only while the interpreter is there. Python objects that the engine holds are [`dispatcher::Held`],
//! so that it may drop them on any thread. Python code is run by [`exit::call`].

mod connection;
mod convert;
mod credential;
mod dispatcher;
mod environment;
mod error;
mod exit;
mod helpers;
mod host;
mod logging;
mod provider;
#[cfg(feature = "testing")]
mod testing;
mod wait;

use pyo3::prelude::*;

#[pymodule(name = "_native", gil_used = false)]
mod native {
    #[cfg(feature = "testing")]
    #[pymodule_export]
    use crate::testing::run_vector;
    #[pymodule_export]
    use crate::{
        connection::{Plan, connection_plan, connection_read, explain_refusal},
        credential::{Credential, check_credential},
        environment::{Environment, environment},
        error::error,
        exit::shutdown,
        helpers::{decode_jwt, is_retriable, parse_principal_name, stats},
        host::{CustomCredential, Request},
        provider::{Provider, try_conninfo},
    };
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::exit::refuse_subinterpreters(module.py())?;
        crate::dispatcher::set_up(module.py());
        let public = pgentra::bindings::cloud::Cloud::Public.facts();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("DATABASE_SCOPE", public.scope)?;
        module.add("MANAGEMENT_SCOPE", public.management_scope)?;
        crate::logging::start(module.py())
    }
}
