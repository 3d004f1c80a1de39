//! The token responses of every token source.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use pgentra::config::Environment;
use pgentra::credential::{Credential, FetchContext, FetchedToken, TokenRequest};
use pgentra::testing::{BuildContext, BuildInputs, Response, Transport, build};
use pgentra::{CredentialConfig, Result};
use serde_json::{Value, json};

use crate::{SECRET, block_on, check_error, check_token, environment, select};

/// The token sources.
const SOURCES: [&str; 9] = [
    "entra",
    "imds",
    "app_service",
    "azure_arc",
    "azure_ml",
    "cloud_shell",
    "service_fabric",
    "azure_pipelines",
    "on_behalf_of",
];

/// The status of a response; the first one is the most frequent.
const STATUSES: [u16; 12] = [200, 400, 401, 403, 404, 405, 410, 429, 500, 503, 302, 201];

/// Azure Arc's folder, with a key file.
static ARC_ROOT: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let keys = directory.path().join("var/opt/azcmagent/tokens");
    std::fs::create_dir_all(&keys).expect("the folder is created");
    std::fs::write(keys.join("1.key"), SECRET).expect("the file is written");
    directory
});

/// Requests a token from a source that responds with the input: a byte for the source, one for the status, lines of
/// headers, an empty line, the body.
pub fn run(data: &[u8]) {
    let Some((source, rest)) = select(data, &SOURCES) else { return };
    let Some((status, rest)) = select(rest, &STATUSES) else { return };
    match fetch(source, status, rest) {
        Ok(token) => check_token(&token),
        Err(error) => check_error(&error),
    }
}

/// Requests a token. The first response of a source that sends two is the input, and the second one too.
pub(crate) fn fetch(source: &str, status: u16, message: &[u8]) -> Result<FetchedToken> {
    let split = message.windows(2).position(|window| window == b"\n\n");
    let (head, body) = split.map_or((&b""[..], message), |at| (&message[..at], &message[at + 2..]));
    let head = String::from_utf8_lossy(head).replace("{root}", &ARC_ROOT.path().display().to_string());
    let headers: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let mut body = body.to_vec();
    // A source without a secret cannot mask it.
    while matches!(source, "imds" | "cloud_shell")
        && let Some(at) = body.windows(SECRET.len()).position(|window| window == SECRET.as_bytes())
    {
        body[at] = b'F';
    }
    let transport = Transport::canned(move |_| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Box::pin(std::future::ready(Ok(Response::new(status, &headers, body.clone()))))
    });
    let credential = credential(source, transport)?;
    let request = TokenRequest::new("https://ossrdbms-aad.database.windows.net/.default");
    let context = FetchContext { has_fallback: status == 404, ..FetchContext::default() };
    block_on(credential.fetch(&request, context)).map_err(|error| error.for_credential(credential.name()))
}

fn credential(source: &str, transport: Transport) -> Result<Arc<dyn Credential>> {
    let application = |kind: &str| json!({"type": kind, "tenant_id": "contoso.com", "client_id": "c1"});
    let with = |mut document: Value, name: &str, value: &str| {
        document[name] = value.into();
        document
    };
    let secret = |kind: &str| with(application(kind), "client_secret", SECRET);
    let managed_identity = json!({"type": "managed_identity"});
    let local = "http://localhost:40342/metadata/identity/oauth2/token";
    let arc_root = ARC_ROOT.path().to_path_buf();
    let arc = |root: &Path| root.display().to_string();
    let (document, variables) = match source {
        "entra" => (secret("client_secret"), environment(&[])),
        "on_behalf_of" => (with(secret("on_behalf_of"), "user_assertion_token", "e30.e30.sig"), environment(&[])),
        "azure_pipelines" => {
            let document = with(application(source), "service_connection_id", "s1");
            let uri = "https://dev.azure.com/contoso/p1/oidctoken";
            (with(document, "system_access_token", SECRET), environment(&[("SYSTEM_OIDCREQUESTURI", uri)]))
        }
        "imds" => (managed_identity, environment(&[])),
        "app_service" => (managed_identity, environment(&[("IDENTITY_ENDPOINT", local), ("IDENTITY_HEADER", SECRET)])),
        "azure_arc" => {
            let root = arc(&arc_root);
            let variables = [
                ("IDENTITY_ENDPOINT", local),
                ("IMDS_ENDPOINT", "http://localhost:40342"),
                ("PGENTRA_AZCMAGENT_ROOT", root.as_str()),
            ];
            (managed_identity, environment(&variables))
        }
        "azure_ml" => (managed_identity, environment(&[("MSI_ENDPOINT", local), ("MSI_SECRET", SECRET)])),
        "cloud_shell" => (managed_identity, environment(&[("MSI_ENDPOINT", local)])),
        _ => {
            let variables = [
                ("IDENTITY_ENDPOINT", "https://10.0.0.4:2377/metadata/identity/oauth2/token"),
                ("IDENTITY_HEADER", SECRET),
                ("IDENTITY_SERVER_THUMBPRINT", "0A1B2C3D4E5F60718293A4B5C6D7E8F901234567"),
            ];
            (managed_identity, environment(&variables))
        }
    };
    build_with(&document, &variables, transport)
}

fn build_with(document: &Value, variables: &Environment, transport: Transport) -> Result<Arc<dyn Credential>> {
    let config = CredentialConfig::from_value(document.clone()).expect("the document is valid");
    let inputs = BuildInputs::new(variables);
    build(&config, &BuildContext::new(&inputs).with_transport(transport))
}
