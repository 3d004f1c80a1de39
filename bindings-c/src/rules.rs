//! Rules of the engine that drivers in other languages use.

use std::ffi::c_char;

use pgentra::{
    Error, ErrorKind, Result,
    bindings::{
        FailedLogin, KNOWN_VARIABLES,
        cloud::{self, CloudInputs},
        decode_claims, environment_from_json,
    },
    postgres::{
        environment_of_process,
        login_error::LoginError,
        role_name::{self, Claims},
    },
};
use serde_json::{Map, Value, json};

use crate::{
    error_object::pgentra_error,
    ffi::{invalid_argument, optional_str, required_str, string_status, value},
    string::static_string,
};

/// Returns all claims of a token as a JSON object, without verifying them.
///
/// @ownership `*claims_json` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_TOKEN_DECODE, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `token` is a C string; `claims_json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_decode_jwt(
    token: *const c_char,
    claims_json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let token = unsafe { required_str("token", token) }?;
        let claims = decode_claims(token)?;
        Ok(Some(Value::Object(claims).to_string()))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_decode_jwt", "claims_json", claims_json, error, work) }
}

/// Describes a token as JSON: role ({name, source} or null), principal ({kind, oid, tid, appid, idtyp, present}), audience,
/// expires_on, not_before, issued_at.
///
/// @ownership `*description_json` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_TOKEN_DECODE, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `token` is a C string; `description_json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_describe_token(
    token: *const c_char,
    description_json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let token = unsafe { required_str("token", token) }?;
        let claims = Claims::decode(token).map_err(|error| Error::new(ErrorKind::TokenDecode, error.to_string()))?;
        let description = json!({
            "role": claims.role_name(),
            "principal": claims.principal(),
            "audience": claims.audience(),
            "expires_on": claims.expires_on(),
            "not_before": claims.not_before(),
            "issued_at": claims.issued_at(),
        });
        Ok(Some(description.to_string()))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_describe_token", "description_json", description_json, error, work) }
}

/// Returns the name of the user-assigned identity in an `xms_mirid` claim. `*name` becomes NULL for any other text.
///
/// @ownership `*name` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `xms_mirid` is a C string; `name` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_parse_principal_name(
    xms_mirid: *const c_char,
    name: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    // SAFETY: guaranteed by the caller.
    let work = || Ok(role_name::parse_principal_name(unsafe { required_str("xms_mirid", xms_mirid) }?));
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_parse_principal_name", "name", name, error, work) }
}

/// Returns cloud, scope, management_scope, authority_host and warning, as JSON, for these settings, each of which may be NULL:
/// the option `scope`, the server's host name or names (separated by commas), the credential's `authority_host` and `cloud`,
/// and AZURE_AUTHORITY_HOST. The result does not contain the path of an authority host: a credential accepts only its tenant
/// there.
///
/// @ownership `*resolved_json` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_INVALID_CONFIGURATION, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// Strings are NULL or C strings; `resolved_json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_resolve_cloud(
    scope: *const c_char,
    host: *const c_char,
    authority_host: *const c_char,
    cloud: *const c_char,
    env_authority_host: *const c_char,
    resolved_json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let inputs = unsafe {
            CloudInputs {
                scope_option: optional_str("scope", scope)?,
                host: optional_str("host", host)?,
                authority_option: optional_str("authority_host", authority_host)?,
                cloud_option: optional_str("cloud", cloud)?,
                env_authority_host: optional_str("env_authority_host", env_authority_host)?,
            }
        };
        Ok(Some(json!(cloud::resolve(&inputs)?).to_string()))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_resolve_cloud", "resolved_json", resolved_json, error, work) }
}

/// # Safety
/// Strings are NULL or C strings.
unsafe fn classify(sqlstate: *const c_char, message: *const c_char) -> Result<LoginError> {
    // SAFETY: guaranteed by the caller.
    let (sqlstate, message) = unsafe { (optional_str("sqlstate", sqlstate)?, optional_str("message", message)?) };
    Ok(FailedLogin { sqlstate, message: message.unwrap_or_default(), ..FailedLogin::default() }.classify())
}

/// Returns the cause of a login error, from its SQLSTATE (may be NULL) and message: "token_expired",
/// "wrong_audience", "token_rejected", "not_in_group", "bad_password", "role_missing", "principal_mismatch",
/// "wrong_token_type", "no_tls", "not_allowed", "other", "not_a_login". Never NULL.
///
/// @ownership static: it is never freed. @threads any. @errors cannot fail: the cause of invalid UTF-8 is "not_a_login".
///
/// # Safety
/// Strings are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_login_error_cause(sqlstate: *const c_char, message: *const c_char) -> *const c_char {
    let other = c"not_a_login".as_ptr();
    value("pgentra_login_error_cause", other, || {
        // SAFETY: guaranteed by the caller.
        unsafe { classify(sqlstate, message) }.map_or(other, |found| static_string(found.cause.as_str()).as_ptr())
    })
}

/// Returns whether a login may succeed with a newer token (pgentra_provider_invalidate()) after this login error.
///
/// @ownership nothing is kept. @threads any. @errors cannot fail: invalid UTF-8 is not a login error.
///
/// # Safety
/// Strings are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_login_error_is_retriable(sqlstate: *const c_char, message: *const c_char) -> bool {
    value("pgentra_login_error_is_retriable", false, || {
        // SAFETY: guaranteed by the caller.
        unsafe { classify(sqlstate, message) }.is_ok_and(|found| found.retry)
    })
}

/// Returns lines to add to the server's message: the principal and the role of the login, and what to do. Empty for the cause
/// "not_a_login".
///
/// `role_source` is the `user_source` of pgentra_provider_login() or of a plan (NULL: "user"); `token` is the rejected token (may
/// be NULL). `host` lists the server's names, separated by commas, as the `host` of a plan does. Pass it only if the connection
/// did not use the variables of Azure Service Connector: the lines then name such variables for that server that were not used.
/// `environment_json` is a JSON object of environment variables; NULL: the environment of this process is read during the call,
/// so no other thread may call setenv() meanwhile. It is not used if `host` is NULL.
///
/// @ownership `*explanation` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_INVALID_CONFIGURATION if `environment_json` is not an object of texts, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// Strings are NULL or C strings; `explanation` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_login_error_explain(
    sqlstate: *const c_char,
    message: *const c_char,
    role: *const c_char,
    role_source: *const c_char,
    token: *const c_char,
    host: *const c_char,
    environment_json: *const c_char,
    explanation: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (login, environment) = unsafe {
            let login = FailedLogin {
                sqlstate: optional_str("sqlstate", sqlstate)?,
                message: optional_str("message", message)?.unwrap_or_default(),
                role: required_str("role", role)?,
                role_source: optional_str("role_source", role_source)?,
                token: optional_str("token", token)?,
                unused_host: optional_str("host", host)?,
            };
            (login, optional_str("environment_json", environment_json)?)
        };
        let environment = || environment.map_or_else(|| Ok(environment_of_process()), environment_from_json);
        login.explain(environment).map(Some)
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_login_error_explain", "explanation", explanation, error, work) }
}

/// Returns the environment variables that a document's `environment` can contain, as a JSON array.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_known_variables(json: *mut *const c_char, error: *mut *mut pgentra_error) -> i32 {
    let work = || Ok(Some(json!(KNOWN_VARIABLES).to_string()));
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_known_variables", "json", json, error, work) }
}

/// Reads a member of a JSON object, or with a number from "0" an element of a JSON array, for programs without a JSON library:
/// a text without quotes, anything else as JSON. `*value` becomes NULL if the member is missing or null. It reads all documents
/// of this library.
///
/// @ownership `*value` is the caller's: pgentra_string_free(), which overwrites it. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT if `json` is not a JSON object or array.
///
/// # Safety
/// `json` and `name` are C strings; `value` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_json_get(
    json: *const c_char,
    name: *const c_char,
    value: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (json, name) = unsafe { (required_str("json", json)?, required_str("name", name)?) };
        let member = match serde_json::from_str::<Value>(json) {
            Ok(Value::Object(mut object)) => Map::remove(&mut object, name),
            Ok(Value::Array(mut array)) => {
                let index = name.parse::<usize>().ok().filter(|index| *index < array.len());
                index.map(|index| array.swap_remove(index))
            }
            _ => return Err(invalid_argument("json", "is not a JSON object or array")),
        };
        Ok(match member {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        })
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_json_get", "value", value, error, work) }
}
