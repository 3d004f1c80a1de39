//! libpgentra: the engine behind a C ABI. What C sees of it is `include/pgentra.h`, generated from the exports here; the
//! conventions are in `README.md`.
//!
//! Three rules hold everywhere. Every export runs inside of [`guard`], which lets no panic and no unchecked argument
//! through. A handle is looked up in a table, never followed ([`handles`]). The host's functions are called on threads of
//! [`threads`], never on the engine's own, and never with a lock held.

#![allow(non_camel_case_types, reason = "the names are C's")]

mod connection;
mod credential;
mod error;
mod guard;
mod handles;
mod helpers;
mod host;
mod library;
mod logging;
mod operation;
mod provider;
#[cfg(feature = "testing")]
mod testing;
mod text;
mod threads;
