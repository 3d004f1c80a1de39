//! Connection settings and connection plans.

use std::ffi::c_char;

use pgentra::{
    bindings::{CONNECTION_VARIABLES, connection_request_from_json, connection_settings, connection_url_from_json},
    postgres::ConnectionPlan,
};
use serde_json::{Value, json};

use crate::{
    error_object::pgentra_error,
    ffi::{optional_str, required_str, string_status},
};

/// Reads a connection string. `*settings_json` becomes an object of its settings by libpq's keywords, which can be the
/// `arguments` of pgentra_connection_plan(). `form` is "libpq" (also for NULL), "libpq_with_parameters",
/// "url", "url_authority_first", "dotnet" or "jdbc".
///
/// @ownership `*settings_json` is the caller's: pgentra_string_free(), which overwrites it. It may contain a password.
/// @threads any. @errors PGENTRA_INVALID_CONNECTION if the text is not a connection string of that form,
/// PGENTRA_INVALID_CONFIGURATION for an unknown form, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `text` is a C string, `form` is NULL or one; `settings_json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_connection_read(
    text: *const c_char,
    form: *const c_char,
    settings_json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (text, form) = unsafe { (required_str("text", text)?, optional_str("form", form)?) };
        Ok(Some(Value::Object(connection_settings(text, form)?).to_string()))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_connection_read", "settings_json", settings_json, error, work) }
}

/// Decides how a connection logs in: with its own password or with a token, with which role, and with which sslmode.
///
/// The request is an object. All its keys are optional: arguments, text and form, hosts_with_ports, variables, service_files,
/// environment, service_connector, has_credential, require_entra, ignore_password, allow_insecure_transport, replace_login,
/// unknown_server, verifies_certificates, spelling, repeat_warnings, conninfo, config. The plan is an object with uses_entra,
/// user, user_source, drops_password, drops_user, sslmode, server, is_local, host, timeout, settings, credential, warnings,
/// conninfo, config. docs/c.md describes both. pgentra_options_to_json() writes a request, and pgentra_json_get()
/// reads the plan.
///
/// Without the key `environment`, the variables of this process are read during the call: no other thread may call setenv()
/// meanwhile. An object of variables replaces them; pgentra_connection_variables() lists the required ones.
///
/// @ownership `*plan_json` is the caller's: pgentra_string_free(), which overwrites it. It may contain a password or a client
/// secret. @threads any. @errors PGENTRA_INVALID_CONFIGURATION naming the key of the request, PGENTRA_INVALID_CONNECTION if the
/// settings cannot be read or contradict each other, PGENTRA_INSECURE_TRANSPORT if TLS is disabled for a server that is not
/// local, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `request_json` is a C string; `plan_json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_connection_plan(
    request_json: *const c_char,
    plan_json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let request = connection_request_from_json(unsafe { required_str("request_json", request_json) }?)?;
        Ok(Some(ConnectionPlan::new(&request)?.to_json().to_string()))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_connection_plan", "plan_json", plan_json, error, work) }
}

/// Returns a connection URL with a token as its password, for tools that accept only a URL. `*url` becomes NULL if
/// `password` is NULL: the request is then only checked, for example before the token is fetched.
///
/// The request is an object with the keys settings (an object by libpq's keywords), user (required with a password), scheme
/// (default: "postgresql"; "postgresql+psycopg" for SQLAlchemy) and environment (default: the variables of this process,
/// which are read during the call). Host, port and database that are not given come from PGHOST, PGPORT and PGDATABASE. The
/// URL has sslmode=verify-full, and every part is percent-encoded as libpq reads it.
///
/// @ownership `*url` is the caller's: pgentra_string_free(), which overwrites it. It is a secret until the token expires: do
/// not log or store it. @threads any. @errors PGENTRA_INVALID_CONNECTION for a password, a service or another sslmode among
/// the settings, and without a host; PGENTRA_INVALID_CONFIGURATION for another request; PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `request_json` is a C string, `password` is NULL or one; `url` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_connection_url(
    request_json: *const c_char,
    password: *const c_char,
    url: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (request, password) =
            unsafe { (required_str("request_json", request_json)?, optional_str("password", password)?) };
        Ok(connection_url_from_json(request, password)?.map(|url| url.expose().to_owned()))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_connection_url", "url", url, error, work) }
}

/// Returns the environment variables that the `environment` of a request to pgentra_connection_plan() needs, as a JSON array. A
/// request with `service_connector` needs all variables of the process.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_connection_variables(json: *mut *const c_char, error: *mut *mut pgentra_error) -> i32 {
    let work = || Ok(Some(json!(CONNECTION_VARIABLES).to_string()));
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_connection_variables", "json", json, error, work) }
}
