//! What stands behind the `az` and `azd` that `--exec --as USER` puts in the command's way: `GET /{tool}/{object id}?resource=…`
//! answers what the tool prints. The programs themselves are in `crate::developer_tools`.

use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;

use super::{Call, Caller, Endpoint, Failure, Reply, aadsts};
use crate::fault::Shape;
use crate::resource;
use crate::state::State;

/// One tool.
pub(super) struct DeveloperTool {
    pub(super) name: &'static str,
}

impl DeveloperTool {
    fn user<'c>(&self, call: &'c Call) -> Option<&'c str> {
        call.path.strip_prefix('/')?.strip_prefix(self.name)?.strip_prefix('/')
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

    fn answer(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let Caller { principal: Some(principal), resource, .. } = self.caller(state, call) else {
            let text = "Please run 'az login' to setup account.";
            return self.failure(&Failure { description: Some(text.into()), ..Failure::default() }, call, shape);
        };
        let resource = resource.unwrap_or_else(|| resource::MANAGEMENT.into());
        if !state.knows_resource(&resource) {
            return self.failure(&aadsts::unknown_resource(&resource), call, shape);
        }
        let issued = state.issue(&principal, &resource, shape);
        let utc = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let expires_on =
            OffsetDateTime::from_unix_timestamp(issued.expires_on).ok().and_then(|time| time.format(utc).ok());
        let mut body = match self.name {
            // The tool itself adds `expiresOn`, which is in its own time zone.
            "az" => json!({
                "accessToken": issued.access_token,
                "expires_on": issued.expires_on,
                "subscription": "99999999-0000-0000-0000-0000000000a5",
                "tenant": state.tenant_id(),
                "tokenType": "Bearer",
            }),
            _ => json!({ "token": issued.access_token, "expiresOn": expires_on }),
        };
        shape.remove_omitted(&mut body);
        Reply::json(200, &body)
    }

    /// What the tool prints to standard error.
    fn failure(&self, failure: &Failure, call: &Call, shape: &Shape) -> Reply {
        let text = failure.description.as_deref().unwrap_or("The request was refused.");
        let text = match failure.aadsts {
            Some(code) => aadsts::describe(Some(code), text, call, shape).text,
            None => text.to_owned(),
        };
        let mut reply = Reply::json(failure.status.unwrap_or(400), &json!({}));
        reply.content_type = "text/plain; charset=utf-8".into();
        reply.body = match self.name {
            "az" => format!("ERROR: {text}\n"),
            _ => format!("{}\n", json!({"type": "consoleMessage", "data": {"message": format!("ERROR: {text}")}})),
        }
        .into_bytes();
        reply
    }
}
