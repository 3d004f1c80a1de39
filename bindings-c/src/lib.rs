//! libpgentra: the engine behind a C ABI. `include/pgentra.h` is generated from the exports of this crate; `README.md`
//! describes the conventions.
//!
//! Three rules apply to the whole crate. Every export runs inside a function of [`ffi`], which catches panics and checks
//! arguments. A handle is looked up in a table and never dereferenced ([`handles`]). The application's functions are called
//! on threads of [`callback_pool`], never on the engine's thread, and never while a lock is held.

#![allow(non_camel_case_types, reason = "the names are those of the C API")]

mod async_call;
mod callback_pool;
mod connection;
mod credential;
mod custom_credential;
mod error;
mod ffi;
mod global;
mod handles;
mod logging;
mod options;
mod provider;
mod rules;
mod string;
#[cfg(feature = "testing")]
mod testing;
