//! `bindings.json`: responses of custom credentials, and the documents of credentials that are made of others.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pgentra::{
    Error, Result,
    bindings::{self, CredentialHandle, CustomCredential, CustomRequest},
    credential::{Credential, FetchContext, FetchedToken, TokenRequest},
};
use serde_json::{Value, json};

/// Fetches from a custom credential that responds as the case specifies.
///
/// # Errors
/// The error of the fetch.
pub fn fetch(case: &Value) -> Result<FetchedToken> {
    let case = case.clone();
    let is_used = Arc::new(AtomicBool::new(false));
    let used = Arc::clone(&is_used);
    let credential = CustomCredential::new("Custom", move |request| {
        let first = respond(&request, &case);
        if let Some(second) = case.get("then") {
            assert_eq!(respond(&request, second), Some(false), "the second response was used");
        }
        used.store(first != Some(false), Ordering::Relaxed);
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fetched = runtime.block_on(credential.fetch(&TokenRequest::new("scope"), FetchContext::default()));
    assert!(is_used.load(Ordering::Relaxed), "the first response was not used");
    fetched
}

/// Responds; `None` if the case has no response.
fn respond(request: &CustomRequest, response: &Value) -> Option<bool> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    if let Some(given) = response.get("respond") {
        Some(request.respond(&text(&given[0]), given[1].as_i64(), given[2].as_i64()))
    } else if let Some(given) = response.get("fail") {
        let classes: Vec<String> = given["classes"].as_array().expect("classes").iter().map(text).collect();
        let unavailable = bindings::means_unavailable(classes.iter().map(String::as_str));
        Some(request.fail(&classes[0], &text(&given["message"]), unavailable, None, None))
    } else if let Some(what) = response.get("reject") {
        Some(request.reject(&text(what)))
    } else if response.get("reject_surrogates").is_some() {
        Some(request.reject_surrogates())
    } else if response.get("decline").is_some() {
        Some(request.decline())
    } else if response.get("abandon").is_some() {
        Some(request.abandon())
    } else {
        None
    }
}

/// Returns an error as `responses` describe it.
pub fn described(error: &Error) -> Value {
    json!({ "code": error.code(), "headline": error.headline() })
}

/// Returns the document of a handle, and its custom credentials.
///
/// # Errors
/// The error of a document that is not valid.
pub fn handle(recipe: &Value) -> Result<CredentialHandle<String>> {
    if let Some(name) = recipe.as_str() {
        return Ok(CredentialHandle::custom(name.to_owned()));
    }
    let members = recipe["members"].as_array().expect("members").iter().map(handle).collect::<Result<Vec<_>>>()?;
    CredentialHandle::new(recipe["document"].clone(), &members)
}
