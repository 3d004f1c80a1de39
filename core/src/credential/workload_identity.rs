//! Workload identity: a federated token in a file, as Kubernetes' webhook mounts it.

use std::path::PathBuf;

use reqwest::Url;
use rustls::pki_types::DnsName;

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
    entra::token_endpoint::{ClientCredential, TokenEndpoint},
    file,
};
use crate::{
    config::{BuildInputs, CredentialOptions, WorkloadIdentityArguments},
    error::{Error, ErrorKind, Result},
    secret::Secret,
    transport::{Authorities, Trust},
};

/// The maximum size of the file. Federated tokens are smaller.
const MAX_FILE: u64 = 64 * 1024;

pub(super) struct WorkloadIdentityCredential {
    name: &'static str,
    setup: Result<Setup>,
}

struct Setup {
    endpoint: TokenEndpoint,
    file: PathBuf,
}

impl WorkloadIdentityCredential {
    /// Creates the credential. If a setting is missing, each token request reports the credential as unavailable, so
    /// that a chain continues with its next member.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a malformed tenant.
    pub(super) fn new(
        name: &'static str,
        arguments: &WorkloadIdentityArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Self> {
        let setting = |argument: &'static str, given: &Option<String>, variable_name: &'static str| match given {
            Some(value) => Ok(value.clone()),
            None => context.inputs.variable(variable_name).map(str::to_owned).ok_or_else(|| {
                Error::new(ErrorKind::CredentialUnavailable, format!("{variable_name} is not set")).with_advice(
                    format!(
                        "Set {variable_name} (the Kubernetes webhook sets it in pods with the label \
                         `azure.workload.identity/use: \"true\"` and an annotated service account), or pass \
                         {argument}."
                    ),
                )
            }),
        };
        let file = setting("the path of the token's file", &arguments.token_file_path, "AZURE_FEDERATED_TOKEN_FILE");
        let tenant = setting("the tenant", &arguments.tenant_id, "AZURE_TENANT_ID");
        let client = setting("the client id", &arguments.client_id, "AZURE_CLIENT_ID");
        let proxy = arguments.enable_azure_proxy.then(|| token_proxy(context.inputs)).transpose()?.flatten();
        let endpoint = |tenant: &str, client: &str| match proxy {
            None => TokenEndpoint::new(name, tenant, client, options, context),
            Some((authority_host, trust)) => {
                let proxied = context.at_proxy(authority_host, trust);
                TokenEndpoint::new(name, tenant, client, options, &proxied).map(TokenEndpoint::of_token_proxy)
            }
        };
        let setup = match (file, tenant, client) {
            (Ok(file), Ok(tenant), Ok(client)) => {
                let variable = arguments.client_id.is_none().then_some("AZURE_CLIENT_ID");
                let endpoint = endpoint(&tenant, &client)?.with_client_id_of(variable);
                Ok(Setup { endpoint, file: PathBuf::from(file) })
            }
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Err(error),
        };
        Ok(WorkloadIdentityCredential { name, setup })
    }

    async fn request_token(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let setup = self.setup.as_ref().map_err(Error::clone)?;
        let assertion = setup.read()?;
        setup.endpoint.client_credentials(ClientCredential::Assertion(&assertion), request, context).await
    }
}

impl Setup {
    /// Reads the current contents of the file. Kubernetes replaces it long before its token expires, and fetches are
    /// rare.
    fn read(&self) -> Result<Secret> {
        let unavailable = |why: String| {
            Error::new(
                ErrorKind::CredentialUnavailable,
                format!("the federated token file {} {why}", self.file.display()),
            )
            .with_advice("Check that the token is mounted at that path and readable for this user.")
        };
        let text =
            file::read_text(&self.file, MAX_FILE).map_err(|error| unavailable(format!("cannot be read: {error}")))?;
        match text.expose() {
            "" => Err(unavailable("is empty".to_owned())),
            _ => Ok(text),
        }
    }
}

/// Returns the address of the cluster's own token proxy (AKS identity bindings), which replaces the authority, and how
/// its certificate is verified.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] for variables that contradict each other or cannot be used.
fn token_proxy(inputs: &BuildInputs<'_>) -> Result<Option<(String, Trust)>> {
    const PROXY: &str = "AZURE_KUBERNETES_TOKEN_PROXY";
    const SNI_NAME: &str = "AZURE_KUBERNETES_SNI_NAME";
    const CA_FILE: &str = "AZURE_KUBERNETES_CA_FILE";
    const CA_DATA: &str = "AZURE_KUBERNETES_CA_DATA";
    let refused = |why: String| Err(Error::new(ErrorKind::InvalidConfiguration, why));
    let (server_name, file, text) = (inputs.variable(SNI_NAME), inputs.variable(CA_FILE), inputs.variable(CA_DATA));
    let Some(address) = inputs.variable(PROXY) else {
        return match [(SNI_NAME, server_name), (CA_FILE, file), (CA_DATA, text)].iter().find(|(_, set)| set.is_some()) {
            Some((name, _)) => refused(format!("{name} is set, but {PROXY} is not")),
            None => Ok(None),
        };
    };
    let authorities = match (file, text) {
        (Some(_), Some(_)) => return refused(format!("{CA_FILE} and {CA_DATA} are both set")),
        (Some(path), None) => Some(Authorities::File(PathBuf::from(path))),
        (None, Some(text)) => Some(Authorities::Pem(text.to_owned())),
        (None, None) => None,
    };
    if server_name.is_some_and(|name| DnsName::try_from(name).is_err()) {
        return refused(format!("{SNI_NAME} is not a host name"));
    }
    let is_plain = |url: &Url| {
        url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    match Url::parse(address).ok().filter(is_plain).and_then(|url| url.host_str().map(str::to_owned)) {
        Some(host) => {
            let trust = Trust::Private { authorities, server_name: server_name.map(str::to_owned), host };
            Ok(Some((address.trim_end_matches('/').to_owned(), trust)))
        }
        None => refused(format!(
            "{PROXY} is not a plain https address: it must not contain a user, a query or a \
                                 fragment"
        )),
    }
}

impl Credential for WorkloadIdentityCredential {
    fn name(&self) -> &str {
        self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.request_token(request, context))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        config::Environment,
        transport::{Response, Transport},
    };

    #[tokio::test]
    async fn token_file_that_changed_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sent);
        let transport = Transport::canned(move |request| {
            let assertion = request.form.iter().find(|(name, _)| *name == "client_assertion");
            seen.lock().expect("not poisoned").extend(assertion.map(|(_, value)| value.expose().to_owned()));
            Box::pin(std::future::ready(Ok(Response::new(200, &[], r#"{"access_token":"t","expires_in":3600}"#))))
        });
        let environment = Environment::new();
        let inputs = BuildInputs::new(&environment);
        let context = BuildContext::new(&inputs).with_transport(transport);
        let arguments = WorkloadIdentityArguments {
            tenant_id: Some("t".to_owned()),
            client_id: Some("c".to_owned()),
            token_file_path: Some(file.path().display().to_string()),
            ..WorkloadIdentityArguments::default()
        };
        let credential = WorkloadIdentityCredential::new("", &arguments, &CredentialOptions::default(), &context);
        let credential = credential.expect("builds");
        for assertion in ["canary.1", "canary.2"] {
            std::fs::write(file.path(), assertion).expect("written");
            credential.request_token(&TokenRequest::new("s/.default"), FetchContext::default()).await.expect("a token");
        }
        assert_eq!(*sent.lock().expect("not poisoned"), ["canary.1", "canary.2"]);
    }
}
