//! The environment as Python sees it: `os.environ`, whose changes native code is not told of.

use std::{collections::BTreeMap, ptr, sync::Arc};

use arc_swap::ArcSwapOption;
use pgentra::bindings::{CONNECTION_VARIABLES, KNOWN_VARIABLES};
use pyo3::{
    ffi, intern,
    prelude::*,
    sync::{PyOnceLock, critical_section::with_critical_section},
    types::PyDict,
};

use crate::exit::call_method;

/// The variables that the engine knows, as they were at one moment.
#[pyclass(frozen, module = "pgentra._native")]
pub struct Environment {
    known: pgentra::config::Environment,
    /// Those that decide how a connection logs in.
    of_connections: pgentra::config::Environment,
}

#[pymethods]
impl Environment {
    /// The variables that are set. Not their values: some are secrets.
    fn names(&self) -> Vec<&str> {
        self.known.keys().map(String::as_str).collect()
    }

    /// The same with some variables in place of its own.
    fn overlaid(&self, variables: BTreeMap<String, String>) -> Environment {
        let mut known = self.known.clone();
        known.extend(variables.into_iter().map(|(name, value)| (name, value.into())));
        Environment { known, of_connections: self.of_connections.clone() }
    }
}

impl Environment {
    pub fn variables(&self) -> &pgentra::config::Environment {
        &self.known
    }

    pub fn of_connections(&self) -> &pgentra::config::Environment {
        &self.of_connections
    }
}

/// The last environment seen, with the objects that `os.environ` held then: as long as it holds the same ones, nothing
/// changed. They are kept, so no other object can have taken the place of one.
struct Seen {
    environment: Py<Environment>,
    objects: Vec<(Py<PyAny>, Py<PyAny>)>,
}

/// The environment now; the same object as long as nothing changed. Asked for at every connection.
#[pyfunction]
pub fn environment(py: Python<'_>) -> PyResult<Py<Environment>> {
    static SEEN: ArcSwapOption<Seen> = ArcSwapOption::const_empty();
    static OS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let os = OS.get_or_try_init(py, || py.import("os").map(Bound::unbind))?.bind(py);
    let environ = os.getattr(intern!(py, "environ"))?;
    // The dict behind `os.environ`; there is none where somebody put another mapping in its place.
    let data = environ.getattr(intern!(py, "_data")).ok().and_then(|data| data.cast_into::<PyDict>().ok());
    let seen = SEEN.load();
    if let (Some(seen), Some(data)) = (seen.as_deref(), &data)
        && seen.still_holds(data)
    {
        return Ok(seen.environment.clone_ref(py));
    }
    let (known, of_connections) = (read(&environ, KNOWN_VARIABLES)?, read(&environ, CONNECTION_VARIABLES)?);
    let environment = match seen.as_deref().map(|seen| (seen.environment.get(), seen)) {
        Some((last, seen)) if last.known == known && last.of_connections == of_connections => {
            seen.environment.clone_ref(py)
        }
        _ => Py::new(py, Environment { known, of_connections })?,
    };
    let objects = data.iter().flat_map(|data| data.iter()).map(|(key, value)| (key.unbind(), value.unbind())).collect();
    SEEN.store(Some(Arc::new(Seen { environment: environment.clone_ref(py), objects })));
    Ok(environment)
}

impl Seen {
    fn still_holds(&self, data: &Bound<'_, PyDict>) -> bool {
        let mut seen = self.objects.iter();
        let mut position = 0;
        let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
        // Without PyO3's iterator, which counts references: programs in a cluster have hundreds of variables.
        let same = || {
            // SAFETY: `data` is a dict and this thread is attached, in a critical section of the dict where there is no
            // GIL, so nobody changes it meanwhile. The borrowed pointers are compared only.
            while unsafe { ffi::PyDict_Next(data.as_ptr(), &mut position, &mut key, &mut value) } != 0 {
                match seen.next() {
                    Some((seen_key, seen_value)) if seen_value.as_ptr() == value && seen_key.as_ptr() == key => {}
                    _ => return false,
                }
            }
            seen.next().is_none()
        };
        with_critical_section(data, same)
    }
}

/// All variables, for Azure Service Connector: its names begin with what the application chose.
pub fn every_variable(py: Python<'_>) -> PyResult<pgentra::config::Environment> {
    let environ = py.import(intern!(py, "os"))?.getattr(intern!(py, "environ"))?;
    let mut variables = pgentra::config::Environment::new();
    for item in call_method(&environ, intern!(py, "items"), ())?.try_iter()? {
        // Bytes that are no text are no setting of ours.
        if let Ok((name, value)) = item?.extract::<(String, String)>() {
            variables.insert(name, value.into());
        }
    }
    Ok(variables)
}

fn read(environ: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<pgentra::config::Environment> {
    let mut variables = pgentra::config::Environment::new();
    for name in names {
        let value = call_method(environ, intern!(environ.py(), "get"), (*name,))?;
        // Unset, or bytes that are no text, which no setting of ours can be.
        if let Ok(value) = value.extract::<String>() {
            variables.insert((*name).to_owned(), value.into());
        }
    }
    Ok(variables)
}
