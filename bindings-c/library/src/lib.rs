//! libpgentra as a shared and as a static library: the functions of `pgentra-ffi`. The crate is one of its own because
//! cargo would write the `rlib` of a library with this name over that of the engine.

pub use pgentra_ffi::*;
