//! The Python binding: passes configuration documents to the engine, and its tokens, errors and log events to Python.
//!
//! Four rules hold in every module. Code that can block runs detached from the interpreter. The library's threads
//! attach only in a [`gil_dispatcher`], and only while the interpreter exists. Python objects that the engine holds are
//! wrapped in [`gil_dispatcher::DeferredDrop`], so that any thread may drop them. Python code is called through
//! [`finalize::call`].

mod connection;
mod convert;
mod credential;
mod custom_credential;
mod document;
mod environment;
mod error;
mod finalize;
mod gil_dispatcher;
mod helpers;
mod logging;
mod provider;
mod shutdown;
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
        connection::{
            ConnectionPlan, UrlSettings, connection_plan, explain_login_error, read_connection_string, untrusted_error,
            untrusted_login,
        },
        credential::{Credential, CredentialHandle},
        custom_credential::{CustomCredential, CustomTokenRequest},
        environment::{Environment, environment},
        error::error,
        helpers::{decode_jwt, is_retriable, parse_principal_name, stats},
        provider::{Provider, try_conninfo},
        shutdown::shutdown,
    };
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::finalize::refuse_subinterpreters(module.py())?;
        crate::gil_dispatcher::set_up(module.py());
        let public = pgentra::bindings::cloud::Cloud::Public.facts();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("DATABASE_SCOPE", public.scope)?;
        module.add("MANAGEMENT_SCOPE", public.management_scope)?;
        module.add("UNTRUSTED_SETTINGS", pgentra::bindings::untrusted::SETTINGS.to_vec())?;
        crate::logging::start(module.py())
    }
}
