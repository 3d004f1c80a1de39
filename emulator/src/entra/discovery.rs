//! OpenID configuration, signing keys and instance discovery, which libraries read before they request a token.

use serde_json::{Value, json};

use super::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::Shape;
use crate::jwt::issuer_of;
use crate::state::State;

pub(super) struct Discovery;

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/discovery/keys";
const V2_KEYS: &str = "/discovery/v2.0/keys";
const INSTANCE: &str = "/common/discovery/instance";

impl Endpoint for Discovery {
    fn name(&self) -> &'static str {
        "discovery"
    }

    fn serves(&self, call: &Call) -> bool {
        call.method == "GET" && [CONFIGURATION, KEYS, V2_KEYS, INSTANCE].iter().any(|tail| call.path.ends_with(tail))
    }

    fn caller(&self, _: &State, _: &Call) -> Caller {
        Caller::default()
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let authority = authority(call);
        if call.path == INSTANCE {
            return self.instance(state, call, &authority);
        }
        let tenant = call.path.split('/').nth(1).unwrap_or_default();
        let shared = matches!(tenant, "common" | "organizations" | "consumers");
        if !shared && !state.knows_tenant(tenant) {
            let endpoint_error = EndpointError { error: Some("invalid_tenant".into()), ..unknown_tenant(tenant) };
            return self.error_reply(&endpoint_error, call, shape);
        }
        let id = if shared { "{tenantid}".to_owned() } else { state.tenant_id() };
        let is_v2 = call.path.contains("/v2.0/");
        let issuer = if is_v2 { format!("{authority}/{id}/v2.0") } else { issuer_of(&id) };
        if call.path.ends_with(CONFIGURATION) {
            Reply::json(200, &configuration(&authority, tenant, &issuer, is_v2))
        } else {
            Reply::json(200, &state.jwks(&issuer))
        }
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        aadsts::reply(endpoint_error, call, shape)
    }
}

impl Discovery {
    /// Responds with the trusted authorities. The emulator responds for itself, so that libraries that are configured
    /// to use it continue.
    fn instance(&self, state: &State, call: &Call, authority: &str) -> Reply {
        let requested = call.query("authorization_endpoint").unwrap_or_default();
        let host = authority.strip_prefix("https://").unwrap_or(authority);
        let requested_host = requested.strip_prefix("https://").and_then(|rest| rest.split('/').next());
        if requested_host != Some(host) {
            let text = "The authority host is not known. Check the authorization_endpoint parameter.";
            let endpoint_error = EndpointError {
                error: Some("invalid_instance".into()),
                aadsts: Some(50049),
                description: Some(text.into()),
                ..EndpointError::default()
            };
            return self.error_reply(&endpoint_error, call, &state.token_settings());
        }
        let tenant = requested.split('/').nth(3).filter(|tenant| !tenant.is_empty()).unwrap_or("common");
        Reply::json(
            200,
            &json!({
                "tenant_discovery_endpoint": format!("{authority}/{tenant}/v2.0{CONFIGURATION}"),
                "api-version": call.query("api-version").unwrap_or("1.1"),
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }),
        )
    }
}

/// Returns the authority under the emulator's name that the client used.
fn authority(call: &Call) -> String {
    format!("https://{}", call.header("host").unwrap_or("localhost"))
}

fn configuration(authority: &str, tenant: &str, issuer: &str, is_v2: bool) -> Value {
    let base = format!("{authority}/{tenant}");
    let (oauth2, keys) = if is_v2 { ("oauth2/v2.0", V2_KEYS) } else { ("oauth2", KEYS) };
    json!({
        "token_endpoint": format!("{base}/{oauth2}/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{base}{keys}"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": false,
        "authorization_endpoint": format!("{base}/{oauth2}/authorize"),
        "device_authorization_endpoint": format!("{base}/{oauth2}/devicecode"),
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "name", "oid", "tid", "upn", "ver"],
        "tenant_region_scope": null,
        "cloud_instance_name": "microsoftonline.com",
    })
}

/// Returns the refusal of a tenant that is not the emulator's.
pub(super) fn unknown_tenant(tenant: &str) -> EndpointError {
    let is_guid = tenant.len() == 36 && tenant.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_guid || tenant.contains('.') {
        aadsts::refuse(
            90002,
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the \
                 correct cloud. Check with your subscription administrator, this may happen if there are no active \
                 subscriptions for the tenant."
            ),
        )
    } else {
        aadsts::refuse(
            900023,
            format!("Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain."),
        )
    }
}
