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
mod error_object;
mod ffi;
mod global;
mod handles;
mod logging;
mod options;
mod provider;
mod request;
mod rules;
mod string;
#[cfg(feature = "testing")]
mod testing;
mod user_data;
mod wait;

// For crates that are linked with this one instead of loading the library, such as a binding in Rust.
#[cfg(feature = "testing")]
pub use crate::testing::pgentra_run_vector;
pub use crate::{
    async_call::{
        pgentra_done_callback, pgentra_operation, pgentra_operation_cancel, pgentra_operation_free, pgentra_outcome,
    },
    connection::{pgentra_connection_plan, pgentra_connection_read, pgentra_connection_variables},
    credential::{
        pgentra_config_check, pgentra_credential, pgentra_credential_callback, pgentra_credential_close,
        pgentra_credential_get_token, pgentra_credential_get_token_async, pgentra_credential_open,
        pgentra_credential_queue, pgentra_credential_try_get_token,
    },
    custom_credential::{pgentra_request_abandon, pgentra_request_fail, pgentra_request_next, pgentra_request_respond},
    error::{
        pgentra_error_cause, pgentra_error_code, pgentra_error_detail_json, pgentra_error_free, pgentra_error_kind,
        pgentra_error_kinds, pgentra_error_message, pgentra_error_new, pgentra_error_retain,
    },
    error_object::pgentra_error,
    global::{
        PGENTRA_ABI_VERSION, pgentra_abi_version, pgentra_shutdown, pgentra_stats, pgentra_string_free,
        pgentra_string_retain, pgentra_version,
    },
    logging::{
        PGENTRA_LOG_DEBUG, PGENTRA_LOG_ERROR, PGENTRA_LOG_INFO, PGENTRA_LOG_OFF, PGENTRA_LOG_WARNING,
        pgentra_log_callback, pgentra_log_next, pgentra_set_log_callback, pgentra_set_log_queue,
    },
    options::pgentra_options_to_json,
    provider::{
        pgentra_provider, pgentra_provider_close, pgentra_provider_get, pgentra_provider_get_async,
        pgentra_provider_invalidate, pgentra_provider_invalidate_async, pgentra_provider_login,
        pgentra_provider_login_async, pgentra_provider_open, pgentra_provider_open_with, pgentra_provider_stats,
        pgentra_provider_try_get, pgentra_provider_try_login,
    },
    request::{pgentra_request, pgentra_token_callback, pgentra_token_request},
    rules::{
        pgentra_decode_jwt, pgentra_describe_token, pgentra_json_get, pgentra_known_variables,
        pgentra_login_error_cause, pgentra_login_error_explain, pgentra_login_error_is_retriable,
        pgentra_parse_principal_name, pgentra_resolve_cloud,
    },
    user_data::pgentra_finalizer,
};
