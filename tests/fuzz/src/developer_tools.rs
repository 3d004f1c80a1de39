//! The output of developer tools.

use pgentra::CredentialConfig;
use pgentra::credential::{FetchContext, TokenRequest};
use pgentra::testing::{BuildContext, BuildInputs, build, set_tool_output};
use serde_json::json;

use crate::{block_on, check_error, check_token, select};

/// Requests a token from a tool with this output: a byte for the tool, one for its success, standard output, a NUL
/// byte, standard error.
pub fn run(data: &[u8]) {
    let Some((tool, rest)) = select(data, &["azure_cli", "azure_developer_cli", "azure_powershell"]) else { return };
    let Some((success, rest)) = select(rest, &[true, false]) else { return };
    let (stdout, stderr) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    set_tool_output(success, text(stdout), text(stderr.get(1..).unwrap_or_default()));
    let config = CredentialConfig::from_value(json!({ "type": tool })).expect("the document is valid");
    let variables = Default::default();
    let inputs = BuildInputs::new(&variables);
    let credential = build(&config, &BuildContext::new(&inputs)).expect("the credential is built");
    let request = TokenRequest::new("https://ossrdbms-aad.database.windows.net/.default");
    match block_on(credential.fetch(&request, FetchContext::default())) {
        Ok(token) => check_token(&token),
        Err(error) => check_error(&error),
    }
}
