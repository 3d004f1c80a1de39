//! Azure Arc: the agent's endpoint, which requires its callers to prove that they can read a key file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{caller, imds, select, success_body};
use crate::entra::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::Shape;
use crate::ids;
use crate::state::State;

/// The folder of the key files, below the folder that replaces `/`.
pub(crate) const KEYS: &str = "var/opt/azcmagent/tokens";
/// The path of the endpoint.
pub(crate) const PATH: &str = "/metadata/identity/oauth2/token";
const SELECTORS: [&str; 3] = ["client_id", "object_id", "msi_res_id"];
const OLDEST_VERSION: &str = "2019-11-01";

pub(in crate::entra) struct AzureArc {
    folder: PathBuf,
    /// The keys that were not used yet, with their files.
    keys: Mutex<HashMap<String, PathBuf>>,
}

impl AzureArc {
    /// Creates the agent with key files in this folder, which is created if it does not exist.
    pub(in crate::entra) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), keys: Mutex::default() }
    }

    /// Creates a key in a new file, and returns the path.
    fn challenge(&self) -> std::io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(format!("{}.key", ids::random()));
        let key = ids::secret();
        fs::write(&path, &key)?;
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key, path.clone());
        Ok(path)
    }

    /// Returns whether the key is valid. Each key can be used once.
    fn redeem(&self, authorization: &str) -> bool {
        let key = authorization.strip_prefix("Basic ").unwrap_or_default();
        let path = self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        path.map(fs::remove_file).is_some()
    }
}

impl Drop for AzureArc {
    fn drop(&mut self) {
        for path in self.keys.get_mut().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = fs::remove_file(path);
        }
    }
}

impl Endpoint for AzureArc {
    fn name(&self) -> &'static str {
        "azure_arc"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.trim_end_matches('/') == PATH
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        let secret = call.header("authorization").and_then(|value| value.strip_prefix("Basic "));
        caller(state, call, &state.identities(|config| &config.azure_arc), &SELECTORS, secret)
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let refuse = |status: u16, error: &str, description: &str| {
            let (error, description) = (Some(error.into()), Some(description.into()));
            self.error_reply(&EndpointError { status: Some(status), error, description, aadsts: None }, call, shape)
        };
        if !call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return refuse(400, "bad_request_102", "Required metadata header not specified");
        }
        if call.method != "GET" {
            return refuse(405, "method_not_allowed", "The method is not allowed");
        }
        if call.query("api-version").is_none_or(|version| version < OLDEST_VERSION) {
            return refuse(400, "bad_request_101", "The requested api-version is not supported");
        }
        let Some(resource) = call.query("resource") else {
            return refuse(400, "invalid_request", "Required query variable 'resource' is missing");
        };
        let Some(authorization) = call.header("authorization") else {
            return match self.challenge() {
                Ok(path) => refuse(401, "unauthorized_client", "Missing Basic Authorization header")
                    .with_header("www-authenticate", format!("Basic realm={}", path.display())),
                Err(error) => refuse(500, "unknown", &format!("The key file cannot be written: {error}")),
            };
        };
        if !self.redeem(authorization) {
            return refuse(401, "unauthorized_client", "The key in the Authorization header is not valid");
        }
        let Some(principal) = select(state, call, &state.identities(|config| &config.azure_arc), &SELECTORS) else {
            return refuse(400, "invalid_request", "Identity not found");
        };
        if !state.knows_resource(resource) {
            return self.error_reply(&aadsts::unknown_resource(resource), call, shape);
        }
        let mut body = success_body(&principal, resource, &state.issue(&principal, resource, shape), shape);
        // With these ids a caller checks that the response is for the requested identity.
        for name in ["object_id", "msi_res_id"] {
            if let Some(id) = call.query(name) {
                body[name] = Value::from(id);
            }
        }
        shape.remove_omitted(&mut body);
        Reply::json(200, &body)
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        imds::Imds.error_reply(endpoint_error, call, shape)
    }
}
