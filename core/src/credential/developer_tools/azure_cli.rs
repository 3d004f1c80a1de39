//! The account that is signed in to `az`.

use std::{path::PathBuf, time::Duration};

use crate::{
    cloud,
    config::{AzureCliArguments, CredentialOptions},
    credential::{
        BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest, dates,
        developer_tools::process::{self, DeveloperTool, ToolEnvironment, check, check_scope, home},
        developer_tools::tool_text::{self, Complaint},
        entra::response,
        entra::tenant::TenantRule,
    },
    error::{Error, ErrorKind, Result},
    runtime::PerProcess,
};

static AZ: DeveloperTool = DeveloperTool {
    programs: &["az"],
    title: "Azure CLI",
    sign_in: "az login",
    token_command: "az account get-access-token",
    signed_out: &["to setup account", "to set up account", "not logged in"],
    sign_in_commands: &["az login", "az logout", "az account set", "az account clear"],
    turn: {
        static TURN: PerProcess<tokio::sync::Mutex<()>> = PerProcess::new();
        &TURN
    },
};

pub(in crate::credential) struct AzureCliCredential {
    tenants: TenantRule,
    subscription: Option<String>,
    process_timeout: Option<f64>,
    environment: ToolEnvironment,
    /// The profile file, which changes at every sign-in, sign-out and change of subscription.
    profile: Option<PathBuf>,
}

impl AzureCliCredential {
    pub(in crate::credential) fn new(
        arguments: &AzureCliArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Self> {
        let inputs = context.inputs;
        if let Some(subscription) = &arguments.subscription {
            check("subscription", subscription, |b| b.is_ascii_alphanumeric() || b"._ -".contains(&b))?;
        }
        let folder = match inputs.variable("AZURE_CONFIG_DIR") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => home(inputs).map(|home| home.join(".azure")),
        };
        Ok(AzureCliCredential {
            tenants: TenantRule::new(arguments.tenant_id.as_deref(), options, inputs)?,
            subscription: arguments.subscription.clone(),
            process_timeout: arguments.process_timeout,
            environment: ToolEnvironment::new(inputs),
            profile: folder.map(|folder| folder.join("azureProfile.json")),
        })
    }

    async fn request_token(&self, request: &TokenRequest) -> Result<FetchedToken> {
        if request.claims.is_some() {
            return Err(Error::new(ErrorKind::CredentialUnavailable, "Azure CLI cannot respond to a claims challenge")
                .with_advice("Sign in with the challenge: az login --claims-challenge <the challenge in base64>."));
        }
        let scope = check_scope(&request.scope)?;
        let resource = cloud::resource_of(scope);
        let mut arguments: Vec<String> =
            ["account", "get-access-token", "--output", "json", "--resource", resource].map(str::to_owned).into();
        if let Some(tenant) = self.tenants.resolve(request.tenant_id.as_deref())? {
            arguments.extend(["--tenant".to_owned(), tenant.to_owned()]);
        }
        if let Some(subscription) = &self.subscription {
            arguments.extend(["--subscription".to_owned(), subscription.clone()]);
        }
        let output = AZ.run(&arguments, &self.environment, self.process_timeout).await?;
        if !output.success {
            return Err(AZ.failure(&output, &Complaint::of(&output)));
        }
        parse(&output.stdout).ok_or_else(|| AZ.unreadable(&output))
    }
}

fn parse(stdout: &str) -> Option<FetchedToken> {
    let mut printed = tool_text::last_object(stdout, "accessToken")?;
    let token = response::usable(printed.remove("accessToken"))?;
    // `expiresOn` is local time without a zone; `expires_on` (since 2.54) is not. Some sign-ins have neither; then the
    // expiry is read from the token itself.
    let expires_on = printed
        .get("expires_on")
        .and_then(dates::moment)
        .or_else(|| printed.get("expiresOn").and_then(dates::moment_or_local));
    Some(FetchedToken { token, expires_on, expires_in: None, refresh_in: None })
}

impl Credential for AzureCliCredential {
    fn name(&self) -> &str {
        "AzureCliCredential"
    }

    fn bound(&self) -> Duration {
        process::bound(self.process_timeout)
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.request_token(request))
    }

    fn stamp(&self) -> Option<u64> {
        self.profile.as_ref().map(|profile| process::stamp_of(std::slice::from_ref(profile)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_cli_reads_the_output_of_every_version() {
        let expiry = |stdout: &str| parse(stdout).and_then(|token| token.expires_on);
        assert_eq!(
            expiry(r#"{"accessToken":"t","expiresOn":"2030-01-01 09:00:00.000000","expires_on":1893456000}"#),
            Some(1_893_456_000),
            "the zoned one wins"
        );
        assert_eq!(expiry("WARNING: {x\n{}"), None);
        assert_eq!(
            expiry("A new version is there.\n{\"accessToken\":\"t\",\"expires_on\":\"1893456000\"}\n"),
            Some(1_893_456_000)
        );
        assert!(expiry(r#"{"accessToken":"t","expiresOn":"2030-01-01 09:00:00.000000"}"#).is_some());
        assert_eq!(expiry("WARNING: {x} {\n{\"accessToken\":\"t\",\"expires_on\":1893456000}\n}"), Some(1_893_456_000));
        for endless in [r#"{"accessToken":"t"}"#, r#"{"accessToken":"t","expiresOn":"N/A"}"#] {
            assert!(parse(endless).is_some_and(|token| token.expires_on.is_none()), "{endless}");
        }
        for bad in ["", "{}", "}{", r#"{"accessToken":"","expires_on":1}"#, r#"{"accessToken":1}"#] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
