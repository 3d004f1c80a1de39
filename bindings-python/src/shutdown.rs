//! The end of the engine at the exit of the process.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::{
    finalize,
    gil_dispatcher::{COMPLETIONS, EVENTS},
};

/// The longest that [`shutdown`] waits.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// Ends the engine and all threads of the library, within 1 s. Returns whether all log events were delivered.
#[pyfunction]
pub fn shutdown(py: Python<'_>) -> bool {
    finalize::begin();
    py.detach(|| {
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        // Fails every wait.
        pgentra::shutdown();
        COMPLETIONS.stop(deadline);
        let delivered = EVENTS.stop(deadline);
        finalize::finish(deadline);
        delivered
    })
}
