//! The environment as Python sees it: `os.environ`. Native code is not notified of changes to it.

use std::{collections::BTreeMap, ptr, sync::Arc};

use arc_swap::ArcSwapOption;
use pgentra::bindings::ProcessVariables;
use pyo3::{
    ffi, intern,
    prelude::*,
    sync::{PyOnceLock, critical_section::with_critical_section},
    types::PyDict,
};

use crate::finalize::call_method;

/// The variables that the engine uses, as they were at one moment.
#[pyclass(frozen, module = "pgentra._native")]
pub struct Environment(ProcessVariables);

#[pymethods]
impl Environment {
    /// Returns the names of the variables that are set. Their values may be secrets.
    fn names(&self) -> Vec<&str> {
        self.0.names().collect()
    }

    /// Returns a copy in which `variables` replace its own.
    fn overlaid(&self, variables: BTreeMap<String, String>) -> Environment {
        Environment(self.0.overlaid(variables))
    }
}

impl Environment {
    pub fn variables(&self) -> &ProcessVariables {
        &self.0
    }
}

/// The last environment that was read, with the objects that `os.environ` held then. As long as it holds the same
/// objects, nothing has changed. The references keep the objects alive, so that no other object can get the address of
/// one.
struct Snapshot {
    environment: Py<Environment>,
    objects: Vec<(Py<PyAny>, Py<PyAny>)>,
}

/// Returns the current environment; the same object as long as nothing has changed. Every connection calls this.
#[pyfunction]
pub fn environment(py: Python<'_>) -> PyResult<Py<Environment>> {
    static LAST: ArcSwapOption<Snapshot> = ArcSwapOption::const_empty();
    static OS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let os = OS.get_or_try_init(py, || py.import("os").map(Bound::unbind))?.bind(py);
    let environ = os.getattr(intern!(py, "environ"))?;
    // The dict behind `os.environ`, if the application has not replaced it by another mapping.
    let data = environ.getattr(intern!(py, "_data")).ok().and_then(|data| data.cast_into::<PyDict>().ok());
    let last = LAST.load();
    if let (Some(last), Some(data)) = (last.as_deref(), &data)
        && last.is_of(data)
    {
        return Ok(last.environment.clone_ref(py));
    }
    let current = ProcessVariables::read(|name| {
        let value = call_method(&environ, intern!(py, "get"), (name,))?;
        // Bytes that are not text cannot be a setting.
        Ok::<_, PyErr>(value.extract::<Option<String>>().unwrap_or_default())
    })?;
    let environment = match last.as_deref() {
        Some(last) if *last.environment.get().variables() == current => last.environment.clone_ref(py),
        _ => Py::new(py, Environment(current))?,
    };
    let objects = data.iter().flat_map(|data| data.iter()).map(|(key, value)| (key.unbind(), value.unbind())).collect();
    LAST.store(Some(Arc::new(Snapshot { environment: environment.clone_ref(py), objects })));
    Ok(environment)
}

impl Snapshot {
    /// Returns whether `data` holds the objects of this snapshot, in the same order.
    fn is_of(&self, data: &Bound<'_, PyDict>) -> bool {
        let mut objects = self.objects.iter();
        let mut position = 0;
        let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
        // PyO3's iterator would count references, which takes long for the hundreds of variables in a cluster.
        let same = || {
            // SAFETY: `data` is a dict, this thread is attached, and without a GIL it is in a critical section of the
            // dict, so that no other thread changes it. The borrowed pointers are only compared.
            while unsafe { ffi::PyDict_Next(data.as_ptr(), &mut position, &mut key, &mut value) } != 0 {
                match objects.next() {
                    Some((name, text)) if text.as_ptr() == value && name.as_ptr() == key => {}
                    _ => return false,
                }
            }
            objects.next().is_none()
        };
        with_critical_section(data, same)
    }
}

/// Returns all variables, for Azure Service Connector, whose variable names begin with a prefix of the user's choice.
pub fn every_variable(py: Python<'_>) -> PyResult<pgentra::config::Environment> {
    let environ = py.import(intern!(py, "os"))?.getattr(intern!(py, "environ"))?;
    let mut variables = pgentra::config::Environment::new();
    for item in call_method(&environ, intern!(py, "items"), ())?.try_iter()? {
        // Values that are not text cannot be settings.
        if let Ok((name, value)) = item?.extract::<(String, String)>() {
            variables.insert(name, value.into());
        }
    }
    Ok(variables)
}
