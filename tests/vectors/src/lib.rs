//! Runs the test vectors, the cases in the files of this folder, against the engine.
//!
//! Core's tests use the modules. A binding that is built with its feature `testing` offers [`run`] to its own tests,
//! for what the public API does not show: requests and clocks.

#![allow(missing_docs, reason = "the files say what their members are")]

pub mod credentials;
pub mod custom;
pub mod documents;
pub mod timing;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use pgentra::{
    Error, ErrorKind, Result,
    bindings::cloud,
    postgres::{
        login_error,
        role_name::{self, Claims, RoleType},
    },
};
use serde_json::{Value, json};

/// Returns the folder of the files.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a case of a group and returns its result as JSON, to be compared with its `expect` or similar member.
///
/// `case` is its text in the file. `directory` is an empty folder for the files of a credential's case; the text
/// contains its path for `{dir}`.
///
/// # Errors
/// The error that the case ends in. The kind is `internal` if the case cannot be run, or if the credential sends, runs
/// or awaits anything that the case does not specify.
pub fn run(group: &str, case: &str, directory: &Path) -> Result<String> {
    let ran = AssertUnwindSafe(|| outcome(group, case, directory).map(|outcome| outcome.to_string()));
    catch_unwind(ran).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Error::new(ErrorKind::Internal, text.unwrap_or_default()))
    })
}

fn outcome(group: &str, case: &str, directory: &Path) -> Result<Value> {
    match group {
        "credentials" => return credentials::fetch(case, directory).map(|token| credentials::shown(&token)),
        "entra-errors" => return Err(credentials::refuse(case)),
        "timing" => return Ok(timing::answers(case)),
        "refresh_points" => return Ok(timing::refresh_points(case)),
        _ => {}
    }
    let case: Value = serde_json::from_str(case).expect("JSON");
    let text = |key: &str| case[key].as_str().unwrap_or_else(|| panic!("{key}: no text"));
    Ok(match group {
        "tokens" => match Claims::decode(&documents::token(&case["token"])) {
            Ok(claims) => documents::described(&claims),
            Err(error) => json!({ "error": error.as_str() }),
        },
        "missing_names" => {
            let claims = Claims::decode(&documents::token_of(&case["claims"])).expect("claims");
            json!(role_name::explain_missing_name(&claims.principal(), documents::management(&case)))
        }
        "resource_ids" => json!(role_name::identity_name(text("xms_mirid"))),
        "create_role" => {
            let types = [RoleType::User, RoleType::Group, RoleType::Service];
            let role_type = types.into_iter().find(|one| one.as_str() == text("type")).expect("a type of role");
            json!(role_name::create_role_statement(text("role"), text("oid"), role_type))
        }
        "clouds" => match cloud::resolve(&documents::cloud_inputs(&case)) {
            Ok(resolved) => documents::resolved(&resolved),
            Err(error) => json!({ "setting": error.setting(), "message": error.to_string() }),
        },
        "responses" => credentials::shown(&custom::fetch(&case)?),
        "handles" => {
            let handle = custom::handle(&case["handle"])?;
            json!({ "document": handle.document(), "custom_credentials": handle.custom_credentials() })
        }
        "resources" => json!(cloud::resource_of(text("scope"))),
        "explanations" => {
            let login_error = documents::login_error(&case["cause"]);
            let principal = documents::principal(&case["principal"]);
            json!(login_error::explain(
                &login_error,
                text("role"),
                text("role_source"),
                principal.as_ref(),
                case["unused_connector"].as_str()
            ))
        }
        other => panic!("no group of vectors is called {other}"),
    })
}
