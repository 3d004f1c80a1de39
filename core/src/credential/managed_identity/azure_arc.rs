//! Azure Arc: the connected-machine agent of a server outside Azure. Its callers must prove that they can read a file
//! that only administrators and the members of the agent's group can read.

use std::{
    io::ErrorKind as IoErrorKind,
    path::{Path, PathBuf},
};

use super::{Client, Identity, endpoint};
use crate::{
    config::BuildInputs,
    credential::{FetchContext, FetchedToken, entra::response, file},
    error::{Error, ErrorKind, Result},
    secret::Secret,
    transport::{Request, Response},
};

const VERSION: &str = "2020-06-01";

/// The default address of the agent.
const ENDPOINT: &str = "http://localhost:40342/metadata/identity/oauth2/token";

/// The maximum size of a key file. Key files are smaller.
const MAX_KEY: u64 = 4096;

/// The variable with a folder that replaces `/`, so that tests and the emulator do not write to the system.
const ROOT: &str = "PGENTRA_AZCMAGENT_ROOT";

/// The files of the agent.
struct Agent {
    program: PathBuf,
    keys: PathBuf,
}

impl Agent {
    fn new(inputs: &BuildInputs<'_>) -> Agent {
        if cfg!(windows) {
            let folder =
                |name, usual| Path::new(inputs.variable(name).unwrap_or(usual)).join("AzureConnectedMachineAgent");
            return Agent {
                program: folder("ProgramFiles", r"C:\Program Files").join("himds.exe"),
                keys: folder("ProgramData", r"C:\ProgramData").join("Tokens"),
            };
        }
        let root = Path::new(inputs.variable(ROOT).unwrap_or("/"));
        Agent { program: root.join("opt/azcmagent/bin/himds"), keys: root.join("var/opt/azcmagent/tokens") }
    }
}

/// Returns whether the agent is installed.
pub(super) fn is_installed(inputs: &BuildInputs<'_>) -> bool {
    Agent::new(inputs).program.exists()
}

pub(super) struct AzureArc {
    endpoint: String,
    /// Whether the platform's variables specify the agent, and not only the agent's file.
    is_named: bool,
    keys: PathBuf,
}

impl AzureArc {
    /// Creates a client of the agent at `address`, or at its default address.
    pub(super) fn new(address: Option<&str>, inputs: &BuildInputs<'_>) -> Result<Self> {
        Ok(AzureArc {
            endpoint: endpoint("IDENTITY_ENDPOINT", address.unwrap_or(ENDPOINT))?,
            is_named: address.is_some(),
            keys: Agent::new(inputs).keys,
        })
    }

    /// Returns the address of the endpoint.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) async fn fetch(&self, client: &Client, resource: &str, context: FetchContext) -> Result<FetchedToken> {
        let url = client.url(&self.endpoint, VERSION, resource, client.identity.parameter("msi_res_id"));
        let fetched = client.repeat(context, |time| self.once(client, &url, time)).await;
        fetched.map_err(|error| match error.kind() {
            // An agent that is installed but stopped means that this machine has no identity.
            ErrorKind::Network | ErrorKind::Timeout if !self.is_named && !context.has_fallback => {
                let why = format!("the Azure Arc agent does not respond: {}", error.headline());
                Error::new(ErrorKind::CredentialUnavailable, why).with_advice("Check the agent with `azcmagent show`.")
            }
            _ => error,
        })
    }

    async fn once(&self, client: &Client, url: &str, time: std::time::Duration) -> Result<FetchedToken> {
        let asked = client.send(Request::get_local(url, time).header("metadata", "true")).await?;
        if asked.status != 401 {
            return match client.read(&asked, "Azure Arc", &[]) {
                Ok(_) => Err(strange("it returned a token without a challenge".to_owned())),
                Err(error) => Err(error),
            };
        }
        let key = self.key(&asked)?;
        let proof = Secret::new(format!("Basic {}", key.expose()));
        let request = Request::get_local(url, time).header("metadata", "true").header("authorization", proof.expose());
        let response = client.send(request).await?;
        let token = client.read(&response, "Azure Arc", &[&key])?;
        confirm(&client.identity, &response)?;
        Ok(token)
    }

    /// Returns the contents of the file that the challenge names. Another process that listens on the agent's port must
    /// not be able to request the contents of other files.
    fn key(&self, challenge: &Response) -> Result<Secret> {
        let path = challenge.header("www-authenticate").and_then(realm).ok_or_else(|| {
            strange("its challenge contains no file (expected `WWW-Authenticate: Basic realm=…`)".to_owned())
        })?;
        let is_key = path.parent() == Some(&*self.keys) && path.extension().is_some_and(|extension| extension == "key");
        if !is_key {
            return Err(strange(format!(
                "its challenge does not refer to a .key file directly in {}",
                self.keys.display()
            )));
        }
        let text = file::read_text(&path, MAX_KEY).map_err(|error| {
            let why = format!("the key file {} cannot be read: {error}", path.display());
            match error.kind() {
                IoErrorKind::PermissionDenied => Error::new(ErrorKind::CredentialUnavailable, why).with_advice(
                    "Add the program's user to the group `himds` (Windows: `Hybrid agent extension applications`).",
                ),
                _ => Error::new(ErrorKind::AuthenticationFailed, why)
                    .with_advice("Check the agent with `azcmagent show`."),
            }
        })?;
        match text.expose() {
            "" => Err(strange(format!("its key file {} is empty", path.display()))),
            key if key.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => Ok(text),
            _ => Err(strange(format!("its key file {} contains no key", path.display()))),
        }
    }
}

/// Returns the path in `Basic realm=/folder/file.key`.
fn realm(challenge: &str) -> Option<PathBuf> {
    let (scheme, rest) = challenge.trim().split_once(char::is_whitespace)?;
    let (name, value) = rest.trim().split_once('=')?;
    let is_ours = scheme.eq_ignore_ascii_case("basic") && name.trim().eq_ignore_ascii_case("realm");
    let value = value.trim().trim_matches('"');
    (is_ours && !value.is_empty()).then(|| PathBuf::from(value))
}

/// Checks that the response is for the requested identity: some versions of the agent ignore the id and respond for the
/// machine itself.
fn confirm(identity: &Identity, response: &Response) -> Result<()> {
    #[derive(Default, serde::Deserialize)]
    struct Told {
        client_id: Option<String>,
        object_id: Option<String>,
        msi_res_id: Option<String>,
        mi_res_id: Option<String>,
    }
    let told: Told = response::read(response).unwrap_or_default();
    let (wanted, told) = match identity {
        Identity::System => return Ok(()),
        Identity::ClientId(id) | Identity::ClientIdOf(_, id) => (id, told.client_id),
        Identity::ObjectId(id) => (id, told.object_id),
        Identity::ResourceId(id) => (id, told.msi_res_id.or(told.mi_res_id)),
    };
    if told.is_some_and(|told| told.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AuthenticationFailed,
        "the Azure Arc agent did not confirm that the token is for the requested identity",
    )
    .with_advice("Update the Azure Arc agent, or omit the id to use the machine's system-assigned identity."))
}

fn strange(what: String) -> Error {
    Error::new(ErrorKind::AuthenticationFailed, format!("unexpected response from the Azure Arc agent: {what}"))
        .with_advice("Check which program listens at the agent's address, and check the agent with `azcmagent show`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenge_other_than_a_key_file_is_rejected() {
        let cases = [
            ("Basic realm=/k/9f.key", Some("/k/9f.key")),
            ("basic  Realm = \"/k/9f.key\" ", Some("/k/9f.key")),
            ("Basic realm=", None),
            ("Basic realm=\"\"", None),
            ("Bearer realm=/k/9f.key", None),
            ("Basic charset=/k/9f.key", None),
            ("Basic", None),
            ("", None),
        ];
        for (challenge, expected) in cases {
            assert_eq!(realm(challenge), expected.map(PathBuf::from), "{challenge:?}");
        }
    }
}
