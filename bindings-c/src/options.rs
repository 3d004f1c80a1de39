//! Documents from names and texts, for programs without a JSON library.

use std::ffi::c_char;

use pgentra::{Error, ErrorKind, Result};
use serde_json::{Map, Number, Value};

use crate::{
    error_object::pgentra_error,
    ffi::{invalid_argument, optional_str, required_str, string_status},
};

/// How the text of an option becomes JSON.
#[derive(Clone, Copy)]
enum Kind {
    Boolean,
    BooleanOrText,
    Number,
    /// Separated by commas.
    List,
    /// An object or an array, written as JSON.
    Json,
}

/// The options that are not texts, by the last part of their name. The tests compare this list with the schema of the
/// configuration.
const KINDS: &[(&str, Kind)] = &[
    // The configuration.
    ("additionally_allowed_tenants", Kind::List),
    ("appid_as_username", Kind::Boolean),
    ("cache", Kind::Boolean),
    ("credentials", Kind::Json),
    ("delay", Kind::Number),
    ("disable_instance_discovery", Kind::Boolean),
    ("enable_azure_proxy", Kind::Boolean),
    ("exclude", Kind::List),
    ("expires_on", Kind::Number),
    ("get_assertion", Kind::Json),
    ("include", Kind::List),
    ("index", Kind::Number),
    ("management_lookup", Kind::Boolean),
    ("max_delay", Kind::Number),
    ("max_retries", Kind::Number),
    ("process_timeout", Kind::Number),
    ("required_env_vars", Kind::List),
    ("retry", Kind::Json),
    ("send_certificate_chain", Kind::Boolean),
    ("timeout", Kind::Number),
    // The request for a connection plan.
    ("allow_insecure_transport", Kind::Boolean),
    ("arguments", Kind::Json),
    ("config", Kind::Json),
    ("conninfo", Kind::Boolean),
    ("has_credential", Kind::Boolean),
    ("hosts_with_ports", Kind::Boolean),
    ("ignore_password", Kind::Boolean),
    ("repeat_warnings", Kind::Boolean),
    ("replace_login", Kind::Boolean),
    ("require_entra", Kind::Boolean),
    ("service_connector", Kind::BooleanOrText),
    ("service_files", Kind::Boolean),
    ("unknown_server", Kind::Boolean),
    ("variables", Kind::Json),
    ("verifies_certificates", Kind::Boolean),
    // Of both, and of the settings in a request.
    ("credential", Kind::Json),
    ("environment", Kind::Json),
];

/// Objects that contain only texts.
const TEXT_MEMBERS: &[&str] = &["arguments", "environment", "variables"];

/// Writes a JSON document from names and texts: a configuration for pgentra_provider_open() or pgentra_credential_open(), or a
/// request for pgentra_connection_plan(). Both arrays end with NULL, as those of PQconnectdbParams() do; an option with the
/// value NULL is left out. A name with dots is a member of an object: "credential.type", "credential.retry.max_retries",
/// "config.host", "environment.PGUSER".
///
/// The text becomes the type that the option has: "true" or "false" for switches, a number for times and counts in the unit of
/// the option, texts separated by commas for lists, and JSON for options that are objects, such as "credential.credentials".
/// All other options are texts. Unknown names are not detected here but by the function that reads the document.
///
/// @ownership `*json` is the caller's: pgentra_string_free(), which overwrites it. It may contain a secret. @threads any.
/// @errors PGENTRA_INVALID_CONFIGURATION naming an option that is given twice or has a text of another type,
/// PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `names` and `values` are NULL or arrays of C strings, `names` ended by NULL and `values` at least as long; `json` and `error`
/// are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_options_to_json(
    names: *const *const c_char,
    values: *const *const c_char,
    json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        let mut document = Map::new();
        if names.is_null() || !names.is_aligned() {
            return Err(invalid_argument("names", "is not an array"));
        }
        if values.is_null() || !values.is_aligned() {
            return Err(invalid_argument("values", "is not an array"));
        }
        for at in 0.. {
            // SAFETY: guaranteed by the caller: the loop ends at the NULL of `names`, and `values` is as long.
            let (name, value) = unsafe { (*names.add(at), *values.add(at)) };
            if name.is_null() {
                break;
            }
            // SAFETY: guaranteed by the caller.
            let (name, value) = unsafe { (required_str("names", name)?, optional_str("values", value)?) };
            if let Some(value) = value {
                insert(&mut document, name, value)?;
            }
        }
        Ok(Some(Value::Object(document).to_string()))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_options_to_json", "json", json, error, work) }
}

fn insert(document: &mut Map<String, Value>, name: &str, text: &str) -> Result<()> {
    let invalid = |problem: String| Error::new(ErrorKind::InvalidConfiguration, format!("option `{name}`: {problem}"));
    let parts: Vec<&str> = name.split('.').collect();
    let (Some((last, parents)), false) = (parts.split_last(), parts.contains(&"")) else {
        return Err(invalid("the name has an empty part".to_owned()));
    };
    let is_text = parents.iter().any(|parent| TEXT_MEMBERS.contains(parent));
    let kind = KINDS.iter().find(|(known, _)| known == last).map(|(_, kind)| *kind).filter(|_| !is_text);
    let value = convert(kind, text).ok_or_else(|| invalid(format!("expected {}", expected(kind))))?;
    let mut object = document;
    for parent in parents {
        let member = object.entry(*parent).or_insert_with(|| Value::Object(Map::new()));
        object = member.as_object_mut().ok_or_else(|| invalid(format!("`{parent}` is given as a value as well")))?;
    }
    match object.insert((*last).to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(invalid("it is given twice".to_owned())),
    }
}

fn convert(kind: Option<Kind>, text: &str) -> Option<Value> {
    let boolean = |text: &str| match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    };
    match kind {
        None => Some(text.into()),
        Some(Kind::Boolean) => boolean(text),
        Some(Kind::BooleanOrText) => Some(boolean(text).unwrap_or_else(|| text.into())),
        Some(Kind::Number) => serde_json::from_str::<Number>(text).ok().map(Value::Number),
        Some(Kind::List) => {
            Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect())
        }
        Some(Kind::Json) => {
            serde_json::from_str::<Value>(text).ok().filter(|value| value.is_object() || value.is_array())
        }
    }
}

fn expected(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Boolean) => "true or false",
        Some(Kind::Number) => "a number",
        Some(Kind::Json) => "a JSON object or array",
        Some(Kind::BooleanOrText | Kind::List) | None => "a text",
    }
}
