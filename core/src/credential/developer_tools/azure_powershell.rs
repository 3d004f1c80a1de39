//! The account that is signed in to Azure PowerShell.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    cloud,
    config::{CredentialOptions, DeveloperToolArguments},
    credential::{
        BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
        developer_tools::process::{self, DeveloperTool, Output, ToolEnvironment, check_scope, home},
        developer_tools::tool_text::{self, Complaint},
        entra::response,
        entra::tenant::TenantRule,
    },
    error::{Error, ErrorKind, Result},
    runtime::PerProcess,
};

static POWERSHELL: DeveloperTool = DeveloperTool {
    programs: &["pwsh", "powershell"],
    title: "Azure PowerShell",
    sign_in: "Connect-AzAccount",
    token_command: "Get-AzAccessToken",
    signed_out: &[
        "run connect-azaccount to login",
        "run connect-azaccount to log in",
        "no account found in the context",
    ],
    sign_in_commands: &["Connect-AzAccount"],
    turn: {
        static TURN: PerProcess<tokio::sync::Mutex<()>> = PerProcess::new();
        &TURN
    },
};

/// The output of the script if the module is missing.
const NO_MODULE: &str = "NO_AZ_ACCOUNT_MODULE";

/// The marker before a token and between its parts.
const MARK: &str = "azsdk%";

/// The script after the line that sets the parameters. The token became a `SecureString` on request in 2.17 of the
/// module, and always in 5.0. Its expiry is an offset date in all versions; a cast from a plain date, UTC or local,
/// keeps it correct.
const SCRIPT: &str = r#"
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$module = Import-Module Az.Accounts -MinimumVersion '2.2.0' -PassThru -ErrorAction SilentlyContinue
if (! $module) {
    Write-Output 'NO_AZ_ACCOUNT_MODULE'
    exit
}
if ($tenant.Length -gt 0) {
    $parameters['TenantId'] = $tenant
}
if ($module.Version -ge [version]'2.17.0' -and $module.Version -lt [version]'5.0.0') {
    $parameters['AsSecureString'] = $true
}
$answer = Get-AzAccessToken @parameters
$token = $answer.Token
if ($token -is [System.Security.SecureString]) {
    if ($PSVersionTable.PSVersion.Major -lt 7) {
        $pointer = [System.Runtime.InteropServices.Marshal]::SecureStringToBSTR($token)
        try {
            $token = [System.Runtime.InteropServices.Marshal]::PtrToStringBSTR($pointer)
        }
        finally {
            [System.Runtime.InteropServices.Marshal]::ZeroFreeBSTR($pointer)
        }
    }
    else {
        $token = $token | ConvertFrom-SecureString -AsPlainText
    }
}
$end = ([System.DateTimeOffset]$answer.ExpiresOn).ToUnixTimeSeconds()
Write-Output "`nazsdk%$token%$end`n"
"#;

pub(in crate::credential) struct AzurePowerShellCredential {
    tenants: TenantRule,
    process_timeout: Option<f64>,
    environment: ToolEnvironment,
    /// The file that changes at every sign-in, sign-out and change of context.
    context_file: Option<PathBuf>,
}

impl AzurePowerShellCredential {
    pub(in crate::credential) fn new(
        arguments: &DeveloperToolArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Self> {
        let inputs = context.inputs;
        Ok(AzurePowerShellCredential {
            tenants: TenantRule::new(arguments.tenant_id.as_deref(), options, inputs)?,
            process_timeout: arguments.process_timeout,
            environment: ToolEnvironment::new(inputs),
            context_file: home(inputs).map(|home| home.join(".Azure").join("AzureRmContext.json")),
        })
    }

    async fn request_token(&self, request: &TokenRequest) -> Result<FetchedToken> {
        if request.claims.is_some() {
            return Err(Error::new(
                ErrorKind::CredentialUnavailable,
                "Azure PowerShell cannot respond to a claims challenge",
            )
            .with_advice(
                "Sign in with the challenge (Az.Accounts 5.2.0 or later): Connect-AzAccount -ClaimsChallenge \
                     <the challenge in base64>.",
            ));
        }
        let scope = check_scope(&request.scope)?;
        let resource = cloud::resource_of(scope);
        let tenant = self.tenants.resolve(request.tenant_id.as_deref())?.unwrap_or_default();
        let arguments = [
            "-NoProfile".to_owned(),
            "-NonInteractive".to_owned(),
            "-EncodedCommand".to_owned(),
            encoded(resource, tenant),
        ];
        let output = POWERSHELL.run(&arguments, &self.environment, self.process_timeout).await?;
        if output.success && output.stdout.contains(NO_MODULE) {
            let why = "its module Az.Accounts 2.2.0 or later is not installed";
            return Err(Error::new(ErrorKind::CredentialUnavailable, why)
                .with_advice("Run `Install-Module Az.Accounts -Scope CurrentUser` in PowerShell."));
        }
        match parse(&output.stdout) {
            Some(token) if output.success => Ok(token),
            _ if output.success => Err(POWERSHELL.unreadable(&output)),
            _ => Err(failure(&output)),
        }
    }
}

/// Encodes the script for PowerShell: base64 of UTF-16. Neither text can contain a quotation mark, because both have
/// been checked.
fn encoded(resource: &str, tenant: &str) -> String {
    let parameters =
        format!("$parameters = @{{ ResourceUrl = '{resource}'; WarningAction = 'Ignore' }}; $tenant = '{tenant}'");
    let bytes: Vec<u8> = parameters.encode_utf16().chain(SCRIPT.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    STANDARD.encode(bytes)
}

fn parse(stdout: &str) -> Option<FetchedToken> {
    let (token, end) = stdout.lines().find_map(|line| line.trim().strip_prefix(MARK)?.split_once('%'))?;
    let token = response::usable(Some(Value::from(token)))?;
    Some(FetchedToken { token, expires_on: Some(end.trim().parse().ok()?), expires_in: None, refresh_in: None })
}

fn failure(output: &Output) -> Error {
    let said = words(&output.stderr);
    if said.contains("AuthorizationManager check failed") || said.contains("running scripts is disabled") {
        let why = "the execution policy prevents PowerShell from loading the module Az.Accounts";
        return Error::new(ErrorKind::CredentialUnavailable, why)
            .with_advice("Run `Set-ExecutionPolicy -Scope CurrentUser RemoteSigned` in PowerShell.");
    }
    POWERSHELL.failure(output, &Complaint::read(&without_frames(&said)))
}

/// Returns PowerShell's message without colours and without the XML in which it wraps errors for another PowerShell.
fn words(stderr: &str) -> String {
    let wrapped: Vec<&str> = stderr
        .split("<S S=\"Error\">")
        .skip(1)
        .filter_map(|part| part.split_once("</S>").map(|(text, _)| text))
        .collect();
    match wrapped.is_empty() {
        true => tool_text::without_colours(stderr),
        false => tool_text::without_colours(&unwrapped(&wrapped.concat())),
    }
}

/// Decodes a text from PowerShell's XML: `_x000A_` and similar sequences, and the entities.
fn unwrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("_x") {
        let unit =
            after.get(..5).filter(|code| code.ends_with('_')).and_then(|code| u16::from_str_radix(&code[..4], 16).ok());
        out.push_str(before);
        match unit {
            Some(unit) => {
                out.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = &after[5..];
            }
            None => {
                out.push_str("_x");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// Returns the error itself, without the position in the script that PowerShell adds, and without the command's name
/// before it.
fn without_frames(said: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in said.lines() {
        let line = line.trim();
        // Windows PowerShell prints the position below the error.
        if line.starts_with("At line:") || line.starts_with("+ ") {
            continue;
        }
        let (number, text) = line.split_once('|').unwrap_or(("-", line));
        let text = text.trim();
        let is_frame =
            number.trim() == "Line" || !number.trim().is_empty() && number.trim().bytes().all(|b| b.is_ascii_digit());
        if is_frame || text.chars().all(|c| c == '~') {
            continue;
        }
        lines.push(if number.trim().is_empty() { text } else { line });
    }
    let text = lines.join("\n");
    let text = text.trim_start();
    match text.split_once(':') {
        Some((command, rest)) if command.trim() == "Get-AzAccessToken" && !rest.trim().is_empty() => {
            rest.trim().to_owned()
        }
        _ => text.to_owned(),
    }
}

impl Credential for AzurePowerShellCredential {
    fn name(&self) -> &str {
        "AzurePowerShellCredential"
    }

    fn bound(&self) -> Duration {
        process::bound(self.process_timeout)
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.request_token(request))
    }

    fn stamp(&self) -> Option<u64> {
        self.context_file.as_ref().map(|file| process::stamp_of(std::slice::from_ref(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_powershell_finds_the_token_among_other_lines() {
        let parsed = |stdout: &str| parse(stdout).map(|token| (token.token.expose().to_owned(), token.expires_on));
        let expected = Some(("a.b.c".to_owned(), Some(1_893_456_000)));
        assert_eq!(parsed("\nazsdk%a.b.c%1893456000\n\n"), expected);
        assert_eq!(parsed("WARNING: breaking changes are coming\r\n\r\nazsdk%a.b.c%1893456000\r\n"), expected);
        for bad in
            ["", "azsdk%", "azsdk%%1", "azsdk%a b%1", "azsdk%a%soon", "azsdk%System.Security.SecureString", "%a%1"]
        {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn azure_powershell_text_has_no_colours_and_no_xml() {
        assert_eq!(words("\u{1b}[31;1mGet-AzAccessToken: \u{1b}[0mno\u{1b}[0m"), "Get-AzAccessToken: no");
        let xml = "#< CLIXML\r\n<Objs Version=\"1.1.0.1\"><S S=\"Error\">Run Connect-AzAccount_x000D__x000A_</S>\
                   <S S=\"Error\">to login.</S></Objs>";
        assert_eq!(words(xml), "Run Connect-AzAccount\r\nto login.");
        assert_eq!(words("<S S=\"Error\">_x001B_[31;1mno &lt;b&gt; _xé_x</S>"), "no <b> _xé_x");
    }

    #[test]
    fn azure_powershell_text_has_no_error_frame() {
        let concise = "Get-AzAccessToken: \nLine |\n  25 |  $token = Get-AzAccessToken @params\n     |  ~~~~~~\n     | WAM Error\n     | Error Code: 3399614475";
        assert_eq!(without_frames(concise), "WAM Error\nError Code: 3399614475");
        let windows = "Get-AzAccessToken : It failed.\r\nAt line:13 char:11\r\n+ $a = Get-AzAccessToken\r\n+ ~~~\r\n    + CategoryInfo : x";
        assert_eq!(without_frames(windows), "It failed.");
        assert_eq!(without_frames("a | b"), "a | b");
    }

    proptest::proptest! {
        #[test]
        fn azure_powershell_reads_any_text(parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..30)) {
            let _ = without_frames(&words(&parts.concat()));
        }
    }

    const PARTS: &[&str] = &[
        "<S S=\"Error\">",
        "</S>",
        "_x000D_",
        "_x",
        "_xD8",
        "é",
        "|",
        "\n",
        " ",
        "12",
        "~~",
        "Line",
        "&lt;",
        "\u{1b}[",
        ":",
        "Get-AzAccessToken",
    ];
}
