//! The account that is signed in to `azd`.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    config::{CredentialOptions, DeveloperToolArguments},
    credential::{
        BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest, dates,
        developer_tools::process::{self, DeveloperTool, Output, ToolEnvironment, check_scope, home},
        developer_tools::tool_text::{self, Complaint},
        entra::response,
        entra::tenant::TenantRule,
    },
    error::Result,
    runtime::PerProcess,
};

static AZD: DeveloperTool = DeveloperTool {
    programs: &["azd"],
    title: "Azure Developer CLI",
    sign_in: "azd auth login",
    token_command: "azd auth token",
    signed_out: &["not logged in", "no current user"],
    sign_in_commands: &["azd auth login", "azd auth logout", "azd login"],
    turn: {
        static TURN: PerProcess<tokio::sync::Mutex<()>> = PerProcess::new();
        &TURN
    },
};

pub(in crate::credential) struct AzureDeveloperCliCredential {
    tenants: TenantRule,
    process_timeout: Option<f64>,
    environment: ToolEnvironment,
    /// The file that changes at every sign-in and sign-out.
    config: Option<PathBuf>,
}

impl AzureDeveloperCliCredential {
    pub(in crate::credential) fn new(
        arguments: &DeveloperToolArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Self> {
        let inputs = context.inputs;
        let folder = match inputs.variable("AZD_CONFIG_DIR") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => home(inputs).map(|home| home.join(".azd")),
        };
        Ok(AzureDeveloperCliCredential {
            tenants: TenantRule::new(arguments.tenant_id.as_deref(), options, inputs)?,
            process_timeout: arguments.process_timeout,
            environment: ToolEnvironment::new(inputs),
            config: folder.map(|folder| folder.join("config.json")),
        })
    }

    async fn request_token(&self, request: &TokenRequest) -> Result<FetchedToken> {
        let scope = check_scope(&request.scope)?;
        let mut arguments: Vec<String> =
            ["auth", "token", "--output", "json", "--no-prompt", "--scope", scope].map(str::to_owned).into();
        if let Some(tenant) = self.tenants.resolve(request.tenant_id.as_deref())? {
            arguments.extend(["--tenant-id".to_owned(), tenant.to_owned()]);
        }
        if let Some(claims) = &request.claims {
            arguments.extend(["--claims".to_owned(), STANDARD.encode(claims)]);
        }
        let output = AZD.run(&arguments, &self.environment, self.process_timeout).await?;
        match parse(&output.stdout) {
            Some(token) if output.success => Ok(token),
            _ if output.success => Err(AZD.unreadable(&output)),
            _ => Err(AZD.failure(&output, &complaint(&output))),
        }
    }
}

fn parse(stdout: &str) -> Option<FetchedToken> {
    let mut printed = tool_text::last_object(stdout, "token")?;
    let token = response::usable(printed.remove("token"))?;
    let expires_on = printed.get("expiresOn").and_then(dates::moment_or_local);
    Some(FetchedToken { token, expires_on, expires_in: None, refresh_in: None })
}

/// Reads the error from JSON lines on either stream, otherwise from plain text. Since 1.23.7 the cause is in `error`,
/// next to a `message` that is the same for every failure; a line in the older form (`consoleMessage`) can come before
/// it. The older form alone has the cause in `data.message`.
fn complaint(output: &Output) -> Complaint {
    let lines: Vec<Value> = output
        .stderr
        .lines()
        .chain(output.stdout.lines())
        .filter_map(|line| serde_json::from_str(line.trim()).ok())
        .chain(tool_text::last_object(&output.stderr, "error").map(Value::Object))
        .chain(tool_text::last_object(&output.stdout, "error").map(Value::Object))
        .collect();
    let text = |value: Option<&Value>| Some(value?.as_str()?.trim().to_owned()).filter(|text| !text.is_empty());
    let message = |line: &Value| {
        text(line.get("data").and_then(|data| data.get("message"))).or_else(|| text(line.get("message")))
    };
    let cause = |line: &Value| {
        let error = line.get("error")?;
        text(Some(error)).or_else(|| text(error.get("message"))).or_else(|| text(error.get("code")))
    };
    let causes: Vec<String> = lines.iter().filter_map(cause).collect();
    // `error` can be only a code; then the message is more specific.
    let reported = match causes.iter().find(|cause| cause.contains(char::is_whitespace)) {
        Some(cause) => cause.clone(),
        None => {
            let messages: Vec<String> = lines.iter().filter_map(message).collect();
            if messages.is_empty() { causes.join("\n") } else { messages.join("\n") }
        }
    };
    let suggestion = lines.iter().find_map(|line| text(line.get("suggestion")));
    let complaint = if reported.is_empty() { Complaint::of(output) } else { Complaint::read(&reported) };
    Complaint { suggestion, ..complaint }
}

impl Credential for AzureDeveloperCliCredential {
    fn name(&self) -> &str {
        "AzureDeveloperCliCredential"
    }

    fn bound(&self) -> Duration {
        process::bound(self.process_timeout)
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.request_token(request))
    }

    fn stamp(&self) -> Option<u64> {
        self.config.as_ref().map(|config| process::stamp_of(std::slice::from_ref(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_developer_cli_reads_times_with_and_without_zone() {
        let expiry = |stdout: &str| parse(stdout).and_then(|token| token.expires_on);
        assert_eq!(expiry(r#"{"token":"t","expiresOn":"2030-01-01T00:00:00Z"}"#), Some(1_893_456_000));
        assert_eq!(expiry("{\n  \"token\": \"t\",\n  \"expiresOn\": \"2030-01-01T00:00:00Z\"\n}"), Some(1_893_456_000));
        assert!(expiry(r#"{"token":"t","expiresOn":"2030-01-01T00:00:00"}"#).is_some(), "local time");
        assert_eq!(
            expiry("WARNING: {old}\n{\n  \"token\": \"t\",\n  \"expiresOn\": \"2030-01-01T00:00:00Z\"\n}"),
            Some(1_893_456_000)
        );
        for endless in [r#"{"token":"t"}"#, r#"{"token":"t","expiresOn":"soon"}"#] {
            assert!(parse(endless).is_some_and(|token| token.expires_on.is_none()), "{endless}");
        }
        for bad in ["", "[]", r#"{"token":""}"#, r#"{"token":1}"#] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
