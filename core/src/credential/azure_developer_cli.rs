//! Whoever is signed in to `azd`.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest, answer, dates,
    developer_tool::{self, DeveloperTool, Output, ToolEnvironment, check_scope, home},
    tenant::TenantRule,
};
use crate::{
    config::{CredentialOptions, DeveloperToolArguments},
    error::Result,
    runtime::PerProcess,
};

static AZD: DeveloperTool = DeveloperTool {
    programs: &["azd"],
    title: "Azure Developer CLI",
    sign_in: "azd auth login",
    signed_out_hints: &["azd auth login"],
    turn: {
        static TURN: PerProcess<tokio::sync::Mutex<()>> = PerProcess::new();
        &TURN
    },
};

pub(super) struct AzureDeveloperCliCredential {
    tenants: TenantRule,
    process_timeout: Option<f64>,
    environment: ToolEnvironment,
    /// Changes at every sign-in and sign-out.
    config: Option<PathBuf>,
}

impl AzureDeveloperCliCredential {
    pub(super) fn new(
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

    async fn ask(&self, request: &TokenRequest) -> Result<FetchedToken> {
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
            _ if output.success => Err(AZD.unreadable()),
            _ => Err(AZD.failure(&output, &complaint(&output))),
        }
    }
}

fn parse(stdout: &str) -> Option<FetchedToken> {
    let mut printed = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok())
        .chain(serde_json::from_str(stdout).ok())
        .find(|printed| printed.get("token").is_some())?;
    let token = answer::usable(printed.get_mut("token").map(Value::take))?;
    let expires_on = printed.get("expiresOn").and_then(dates::moment_or_local)?;
    Some(FetchedToken { token, expires_on: Some(expires_on), expires_in: None, refresh_in: None })
}

/// What it complains of: JSON lines on either stream, in the form since 1.24 (`error`, `message`) or the older one
/// (`consoleMessage`), else its plain words.
fn complaint(output: &Output) -> String {
    let lines = || output.stderr.lines().chain(output.stdout.lines());
    let told = lines().filter_map(|line| {
        let value: Value = serde_json::from_str(line.trim()).ok()?;
        let text = |value: Option<&Value>| Some(value?.as_str()?.trim().trim_start_matches("ERROR:").trim().to_owned());
        text(value.get("data").and_then(|data| data.get("message")))
            .or_else(|| text(value.get("message")))
            .or_else(|| text(value.get("error")))
            .filter(|text| !text.is_empty())
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { output.stderr.trim().trim_start_matches("ERROR:").trim().to_owned() } else { told.join(". ") }
}

impl Credential for AzureDeveloperCliCredential {
    fn name(&self) -> &str {
        "AzureDeveloperCliCredential"
    }

    fn bound(&self) -> Duration {
        developer_tool::bound(self.process_timeout)
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.ask(request))
    }

    fn stamp(&self) -> Option<u64> {
        self.config.as_ref().map(|config| developer_tool::stamp_of(std::slice::from_ref(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_zone() {
        let expiry = |stdout: &str| parse(stdout).and_then(|token| token.expires_on);
        assert_eq!(expiry(r#"{"token":"t","expiresOn":"2030-01-01T00:00:00Z"}"#), Some(1_893_456_000));
        assert_eq!(expiry("{\n  \"token\": \"t\",\n  \"expiresOn\": \"2030-01-01T00:00:00Z\"\n}"), Some(1_893_456_000));
        assert!(expiry(r#"{"token":"t","expiresOn":"2030-01-01T00:00:00"}"#).is_some(), "local time");
        for bad in ["", "[]", r#"{"token":""}"#, r#"{"token":"t"}"#, r#"{"token":"t","expiresOn":"soon"}"#] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
