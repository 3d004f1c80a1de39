//! The functions of `pgentra.h` that the JNI library calls. The header documents them.

#![allow(non_camel_case_types, reason = "the names are those of the C API")]

use std::ffi::{c_char, c_void};

/// An opaque handle of the C API.
#[repr(C)]
pub struct Handle {
    _private: [u8; 0],
}

pub type pgentra_provider = Handle;
pub type pgentra_credential = Handle;
pub type pgentra_operation = Handle;
pub type pgentra_request = Handle;
pub type pgentra_error = Handle;

#[repr(C)]
pub struct pgentra_outcome {
    pub code: i32,
    pub error: *const pgentra_error,
    pub token: *const c_char,
    pub user: *const c_char,
    pub user_source: *const c_char,
    pub expires_on: i64,
    pub refresh_on: i64,
    pub id: u64,
}

#[repr(C)]
pub struct pgentra_token_request {
    pub size: usize,
    pub scope: *const c_char,
    pub tenant_id: *const c_char,
    pub claims: *const c_char,
    pub enable_cae: bool,
}

pub type DoneCallback = unsafe extern "C" fn(*mut c_void, *const pgentra_outcome);
pub type TokenCallback = unsafe extern "C" fn(*mut c_void, *mut pgentra_request, *const pgentra_token_request);
pub type LogCallback = unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char);
pub type Finalizer = unsafe extern "C" fn(*mut c_void);

type Text = *const c_char;
type Error = *mut *mut pgentra_error;

unsafe extern "C" {
    pub fn pgentra_version() -> Text;
    pub fn pgentra_shutdown();
    pub fn pgentra_stats(json: *mut Text, error: Error) -> i32;
    pub fn pgentra_string_free(string: Text);
    pub fn pgentra_set_log_callback(
        level: i32,
        callback: Option<LogCallback>,
        user_data: *mut c_void,
        finalizer: Option<Finalizer>,
        error: Error,
    ) -> i32;
    pub fn pgentra_error_message(error: *const pgentra_error) -> Text;
    pub fn pgentra_error_detail_json(error: *const pgentra_error) -> Text;
    pub fn pgentra_error_cause(error: *const pgentra_error) -> *mut c_void;
    pub fn pgentra_error_free(error: *mut pgentra_error);
    pub fn pgentra_error_new(kind: i32, message: Text, advice: Text, credential: Text, error: Error) -> i32;
    pub fn pgentra_error_kinds(json: *mut Text, error: Error) -> i32;
    pub fn pgentra_provider_open_with(
        config_json: Text,
        credential: *const pgentra_credential,
        provider: *mut *mut pgentra_provider,
        error: Error,
    ) -> i32;
    pub fn pgentra_provider_open(config_json: Text, provider: *mut *mut pgentra_provider, error: Error) -> i32;
    pub fn pgentra_provider_close(provider: *mut pgentra_provider);
    pub fn pgentra_provider_try_get(
        provider: *const pgentra_provider,
        id: *mut u64,
        token: *mut Text,
        expires_on: *mut i64,
        error: Error,
    ) -> i32;
    pub fn pgentra_provider_get_async(
        provider: *const pgentra_provider,
        timeout_ms: i32,
        callback: Option<DoneCallback>,
        user_data: *mut c_void,
        operation: *mut *mut pgentra_operation,
        error: Error,
    ) -> i32;
    pub fn pgentra_provider_try_login(
        provider: *const pgentra_provider,
        id: *mut u64,
        user: *mut Text,
        password: *mut Text,
        user_source: *mut Text,
        expires_on: *mut i64,
        error: Error,
    ) -> i32;
    pub fn pgentra_provider_login_async(
        provider: *const pgentra_provider,
        timeout_ms: i32,
        callback: Option<DoneCallback>,
        user_data: *mut c_void,
        operation: *mut *mut pgentra_operation,
        error: Error,
    ) -> i32;
    pub fn pgentra_provider_invalidate_async(
        provider: *const pgentra_provider,
        refused: Text,
        timeout_ms: i32,
        callback: Option<DoneCallback>,
        user_data: *mut c_void,
        operation: *mut *mut pgentra_operation,
        error: Error,
    ) -> i32;
    pub fn pgentra_provider_stats(provider: *const pgentra_provider, json: *mut Text, error: Error) -> i32;
    pub fn pgentra_operation_cancel(operation: *const pgentra_operation, error: Error) -> i32;
    pub fn pgentra_operation_free(operation: *mut pgentra_operation);
    pub fn pgentra_credential_open(
        config_json: Text,
        members: *const *const pgentra_credential,
        member_count: usize,
        credential: *mut *mut pgentra_credential,
        error: Error,
    ) -> i32;
    pub fn pgentra_credential_callback(
        name: Text,
        callback: Option<TokenCallback>,
        user_data: *mut c_void,
        finalizer: Option<Finalizer>,
        credential: *mut *mut pgentra_credential,
        error: Error,
    ) -> i32;
    pub fn pgentra_credential_close(credential: *mut pgentra_credential);
    pub fn pgentra_credential_try_get_token(
        credential: *const pgentra_credential,
        request: *const pgentra_token_request,
        id: *mut u64,
        token: *mut Text,
        expires_on: *mut i64,
        refresh_on: *mut i64,
        error: Error,
    ) -> i32;
    pub fn pgentra_credential_get_token_async(
        credential: *const pgentra_credential,
        request: *const pgentra_token_request,
        timeout_ms: i32,
        callback: Option<DoneCallback>,
        user_data: *mut c_void,
        operation: *mut *mut pgentra_operation,
        error: Error,
    ) -> i32;
    pub fn pgentra_config_check(config_json: Text, error: Error) -> i32;
    pub fn pgentra_request_respond(
        request: *mut pgentra_request,
        token: Text,
        expires_on: i64,
        refresh_on: i64,
        error: Error,
    ) -> i32;
    pub fn pgentra_request_fail(
        request: *mut pgentra_request,
        class_name: Text,
        message: Text,
        unavailable: bool,
        cause: *mut c_void,
        finalizer: Option<Finalizer>,
        error: Error,
    ) -> i32;
    pub fn pgentra_request_abandon(request: *mut pgentra_request, error: Error) -> i32;
    pub fn pgentra_connection_read(text: Text, form: Text, settings_json: *mut Text, error: Error) -> i32;
    pub fn pgentra_connection_plan(request_json: Text, plan_json: *mut Text, error: Error) -> i32;
    pub fn pgentra_connection_variables(json: *mut Text, error: Error) -> i32;
    pub fn pgentra_known_variables(json: *mut Text, error: Error) -> i32;
    pub fn pgentra_decode_jwt(token: Text, claims_json: *mut Text, error: Error) -> i32;
    pub fn pgentra_parse_principal_name(xms_mirid: Text, name: *mut Text, error: Error) -> i32;
    pub fn pgentra_login_error_cause(sqlstate: Text, message: Text) -> Text;
    pub fn pgentra_login_error_is_retriable(sqlstate: Text, message: Text) -> bool;
    pub fn pgentra_login_error_explain(
        sqlstate: Text,
        message: Text,
        role: Text,
        role_source: Text,
        token: Text,
        host: Text,
        environment_json: Text,
        explanation: *mut Text,
        error: Error,
    ) -> i32;
}

#[cfg(feature = "testing")]
unsafe extern "C" {
    pub fn pgentra_run_vector(group: Text, case: Text, directory: Text, outcome: *mut Text, error: Error) -> i32;
}
