//! Rules of the engine that a driver's module in another language asks for.

use std::ffi::c_char;

use pgentra::{
    Error, ErrorKind, Result,
    bindings::{
        KNOWN_VARIABLES,
        cloud::{self, CloudInputs},
    },
    config::Environment,
    postgres::{
        self, login_error,
        role_name::{self, Claims},
    },
};
use serde_json::{Map, Value, json};

use crate::{
    error::pgentra_error,
    guard::{optional_text, text, to_text, value},
    text::interned,
};

fn undecodable(error: &role_name::ClaimsError) -> Error {
    Error::new(ErrorKind::TokenDecode, error.to_string())
}

/// All claims of a token, unverified, as a JSON object.
///
/// @ownership `*claims_json` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_TOKEN_DECODE, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `token` is a C string; `claims_json` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_decode_jwt(
    token: *const c_char,
    claims_json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let claims = role_name::decode_jwt(unsafe { text("token", token) }?).map_err(|error| undecodable(&error))?;
        Ok(Some(Value::Object(claims).to_string()))
    };
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_decode_jwt", "claims_json", claims_json, error, work) }
}

/// Whom a token is of, as JSON: role ({name, source} or null), principal ({kind, oid, tid, appid, idtyp, present}), audience,
/// expires_on, not_before, issued_at.
///
/// @ownership `*description_json` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_TOKEN_DECODE, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `token` is a C string; `description_json` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_describe_token(
    token: *const c_char,
    description_json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let claims = Claims::decode(unsafe { text("token", token) }?).map_err(|error| undecodable(&error))?;
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
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_describe_token", "description_json", description_json, error, work) }
}

/// The name of the user-assigned identity that an `xms_mirid` claim stands for; `*name` becomes NULL for anything else.
///
/// @ownership `*name` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `xms_mirid` is a C string; `name` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_parse_principal_name(
    xms_mirid: *const c_char,
    name: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    // SAFETY: as promised by the caller.
    let work = || Ok(role_name::parse_principal_name(unsafe { text("xms_mirid", xms_mirid) }?));
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_parse_principal_name", "name", name, error, work) }
}

/// Cloud, scope, management_scope, authority_host and warning, as JSON, of these settings, each of which may be NULL: the
/// option `scope`, the server's host name or names (separated by commas), the credential's `authority_host` and `cloud`, and
/// AZURE_AUTHORITY_HOST. The path of an authority host is not part of the outcome: a credential accepts none but its tenant.
///
/// @ownership `*resolved_json` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_INVALID_CONFIGURATION, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// Texts are NULL or C strings; `resolved_json` and `error` are NULL or may be written to.
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
        // SAFETY: as promised by the caller.
        let inputs = unsafe {
            CloudInputs {
                scope_option: optional_text("scope", scope)?,
                host: optional_text("host", host)?,
                authority_option: optional_text("authority_host", authority_host)?,
                cloud_option: optional_text("cloud", cloud)?,
                env_authority_host: optional_text("env_authority_host", env_authority_host)?,
            }
        };
        Ok(Some(json!(cloud::resolve(&inputs)?).to_string()))
    };
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_resolve_cloud", "resolved_json", resolved_json, error, work) }
}

/// # Safety
/// Texts are NULL or C strings.
unsafe fn classify(sqlstate: *const c_char, message: *const c_char) -> Result<login_error::LoginError> {
    // SAFETY: as promised by the caller.
    let (sqlstate, message) = unsafe { (optional_text("sqlstate", sqlstate)?, optional_text("message", message)?) };
    Ok(login_error::classify(sqlstate, message.unwrap_or_default()))
}

/// Why a server refused a login, by its SQLSTATE (NULL where the driver gives none) and message: "token_expired",
/// "wrong_audience", "token_rejected", "not_in_group", "bad_password", "role_missing", "principal_mismatch",
/// "wrong_token_type", "no_tls", "not_allowed", "other", "not_a_login". Never NULL.
///
/// @ownership static, never to be freed. @threads any. @errors none: what is no text is "not_a_login".
///
/// # Safety
/// Texts are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_refusal_cause(sqlstate: *const c_char, message: *const c_char) -> *const c_char {
    let none = c"not_a_login".as_ptr();
    value("pgentra_refusal_cause", none, || {
        // SAFETY: as promised by the caller.
        unsafe { classify(sqlstate, message) }.map_or(none, |refusal| interned(refusal.cause.as_str()))
    })
}

/// Whether a newer token (pgentra_provider_invalidate()) may succeed where a server refused a login so.
///
/// @ownership nothing is kept. @threads any. @errors none: what is no text is no refusal.
///
/// # Safety
/// Texts are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_refusal_is_retriable(sqlstate: *const c_char, message: *const c_char) -> bool {
    value("pgentra_refusal_is_retriable", false, || {
        // SAFETY: as promised by the caller.
        unsafe { classify(sqlstate, message) }.is_ok_and(|refusal| refusal.retry)
    })
}

/// Lines to add to the server's message: which principal tried to log in as which role, and what to do. Empty for "not_a_login".
///
/// `role_source` is the `user_source` of pgentra_provider_login() or of a plan (NULL: "user"), `token` the one that was refused
/// (may be NULL). `host` lists the server's names, separated by commas, as a plan's `host` does, and is passed only where the
/// connection did not use Azure Service Connector's variables: the lines then name variables for that server which were not
/// used. `environment_json` is a JSON object of the variables to look in; NULL: this process's environment, read now, so no
/// other thread may call setenv() meanwhile. It is not used where `host` is NULL.
///
/// @ownership `*explanation` is the caller's: pgentra_string_free(). @threads any.
/// @errors PGENTRA_INVALID_CONFIGURATION where `environment_json` is not an object of texts, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// Texts are NULL or C strings; `explanation` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_refusal_explain(
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
        // SAFETY: as promised by the caller.
        let (sqlstate, message, role, source, token, host, environment) = unsafe {
            (
                optional_text("sqlstate", sqlstate)?,
                optional_text("message", message)?.unwrap_or_default(),
                text("role", role)?,
                optional_text("role_source", role_source)?.unwrap_or("user"),
                optional_text("token", token)?,
                optional_text("host", host)?,
                optional_text("environment_json", environment_json)?,
            )
        };
        let environment = match (host, environment) {
            (None, _) => Environment::new(),
            (Some(_), Some(json)) => environment_from_json(json)?,
            (Some(_), None) => postgres::environment_of_process(),
        };
        let unused = host.map(|host| (host, &environment));
        Ok(Some(login_error::explain_login(sqlstate, message, role, source, token, unused)))
    };
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_refusal_explain", "explanation", explanation, error, work) }
}

fn environment_from_json(text: &str) -> Result<Environment> {
    serde_json::from_str(text).map_err(|_| {
        Error::new(ErrorKind::InvalidConfiguration, "`environment_json` is not a JSON object of texts")
            .with_advice("Pass an object such as {\"NAME\": \"value\"}, or NULL for the process's environment.")
    })
}

/// The environment variables that belong into a document's `environment`, as a JSON array.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_known_variables(json: *mut *const c_char, error: *mut *mut pgentra_error) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_known_variables", "json", json, error, || Ok(Some(json!(KNOWN_VARIABLES).to_string()))) }
}

/// A member of a JSON object, for programs without a JSON library: a text as it is, anything else as JSON. `*value` becomes NULL
/// where the member is missing or null. All documents of this library can be read so.
///
/// @ownership `*value` is the caller's: pgentra_string_free(), which wipes it. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT where `json` is not a JSON object.
///
/// # Safety
/// `json` and `name` are C strings; `value` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_json_get(
    json: *const c_char,
    name: *const c_char,
    value: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let (json, name) = unsafe { (text("json", json)?, text("name", name)?) };
        let mut object: Map<String, Value> = serde_json::from_str(json)
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, "argument `json` is not a JSON object"))?;
        Ok(match object.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        })
    };
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_json_get", "value", value, error, work) }
}
