//! The endpoint for the `az`, `azd` and `pwsh` of a user: `GET /{tool}/{object id}?resource=…` returns the tool's
//! output and its exit status. The programs themselves are in `crate::developer_tools`.

use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;

use super::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::{ExpiresOn, Shape};
use crate::resource;
use crate::state::State;

/// A tool.
pub(super) struct DeveloperTool {
    pub(super) name: &'static str,
}

/// A tool's own error: the `error` of a fault, the exit status, and the text of each tool.
struct ToolError {
    error: &'static str,
    exit: u8,
    az: &'static str,
    azd: &'static str,
    pwsh: &'static str,
}

const TOOL_ERRORS: [ToolError; 4] = [
    ToolError {
        error: "not_installed",
        exit: 127,
        az: "sh: 1: az: not found",
        azd: "sh: 1: azd: not found",
        pwsh: "sh: 1: pwsh: not found",
    },
    ToolError {
        error: "not_signed_in",
        exit: 1,
        az: "Please run 'az login' to setup account.",
        azd: "not logged in, run `azd auth login` to login",
        pwsh: "Run Connect-AzAccount to login.",
    },
    ToolError {
        error: "execution_policy",
        exit: 1,
        az: "The command is not allowed.",
        azd: "the command is not allowed",
        pwsh: "AuthorizationManager check failed.",
    },
    // The script prints this text to standard output.
    ToolError { error: "no_module", exit: 0, az: "", azd: "", pwsh: "NO_AZ_ACCOUNT_MODULE" },
];

impl DeveloperTool {
    fn user<'c>(&self, call: &'c Call) -> Option<&'c str> {
        call.path.strip_prefix('/')?.strip_prefix(self.name)?.strip_prefix('/')
    }

    /// Formats a text as the tool prints it. azd wraps its text in JSON, since 1.24 in another form than before.
    fn printed(&self, text: &str, shape: &Shape) -> String {
        match self.name {
            "az" => format!("ERROR: {text}\n"),
            "azd" if shape.escaped_errors == Some(true) => {
                format!("{}\n", json!({"type": "consoleMessage", "data": {"message": format!("ERROR: {text}")}}))
            }
            "azd" => format!("{}\n", json!({"error": "auth_failed", "message": text, "suggestion": ""})),
            _ => format!("\u{1b}[31;1mGet-AzAccessToken: \u{1b}[31;1m{text}\u{1b}[0m\n"),
        }
    }
}

impl Endpoint for DeveloperTool {
    fn name(&self) -> &'static str {
        self.name
    }

    fn serves(&self, call: &Call) -> bool {
        self.user(call).is_some()
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        Caller {
            principal: self.user(call).and_then(|user| state.principal(user)),
            resource: call.query("resource").map(str::to_owned),
            secret: None,
        }
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let Caller { principal: Some(principal), resource, .. } = self.caller(state, call) else {
            let endpoint_error = EndpointError { error: Some("not_signed_in".into()), ..EndpointError::default() };
            return self.error_reply(&endpoint_error, call, shape);
        };
        let resource = resource.unwrap_or_else(|| resource::MANAGEMENT.into());
        if !state.knows_resource(&resource) {
            return self.error_reply(&aadsts::unknown_resource(&resource), call, shape);
        }
        let issued = state.issue(&principal, &resource, shape);
        let utc = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let expires_on =
            OffsetDateTime::from_unix_timestamp(issued.expires_on).ok().and_then(|time| time.format(utc).ok());
        let mut body = match self.name {
            // The tool adds `expiresOn` itself, because it is in the tool's time zone.
            "az" => json!({
                "accessToken": issued.access_token,
                "expires_on": issued.expires_on,
                "subscription": "99999999-0000-0000-0000-0000000000a5",
                "tenant": state.tenant_id(),
                "tokenType": "Bearer",
            }),
            "azd" => json!({ "token": issued.access_token, "expiresOn": expires_on }),
            _ => json!({ "Token": issued.access_token, "ExpiresOn": expires_on, "epoch": issued.expires_on }),
        };
        shape.remove_omitted(&mut body);
        let reply = Reply::json(200, &body);
        // Before 2.54, az printed only the local time.
        match shape.expires_on {
            Some(ExpiresOn::Missing) => reply.with_header("x-local-time-only", "true"),
            _ => reply,
        }
    }

    /// Returns the tool's output to standard error.
    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        let known = TOOL_ERRORS.iter().find(|known| endpoint_error.error.as_deref() == Some(known.error));
        let usual = known.map_or("The request was refused.", |known| match self.name {
            "az" => known.az,
            "azd" => known.azd,
            _ => known.pwsh,
        });
        let text = endpoint_error.description.as_deref().unwrap_or(usual);
        let text = match endpoint_error.aadsts {
            Some(code) => aadsts::describe(Some(code), text, call, shape).text,
            None => text.to_owned(),
        };
        let mut reply = Reply::json(endpoint_error.status.unwrap_or(400), &json!({}));
        if let Some(known) = known {
            reply = reply.with_header("x-exit", known.exit.to_string());
        }
        reply.content_type = "text/plain; charset=utf-8".into();
        reply.body = match known.map(|known| known.error) {
            // These texts come from the shell and the script, not from the tool.
            Some("not_installed" | "no_module") => format!("{text}\n"),
            _ => self.printed(&text, shape),
        }
        .into_bytes();
        reply
    }
}
