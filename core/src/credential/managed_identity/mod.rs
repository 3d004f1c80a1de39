//! The identity of the machine or service that the program runs on. One file a source; which source it is follows from
//! the variables that the platform sets.

mod app_service;
mod azure_arc;
mod azure_ml;
mod cloud_shell;
mod imds;
mod service_fabric;

use std::{sync::Arc, time::Duration};

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest, answer,
    exchange::exchange,
    tries::{self, Tries},
    workload_identity::WorkloadIdentityCredential,
};
use crate::{
    cloud,
    config::{CredentialOptions, ManagedIdentityArguments, RetryOptions, WorkloadIdentityArguments},
    error::{Error, ErrorKind, Result},
    secret::Secret,
    transport::{Request, Response, Transport, form_encoded},
};

pub(super) use imds::host as imds_host;

pub(super) const NAME: &str = "ManagedIdentityCredential";

/// The longest a fetch takes: IMDS may be updating for 70 s.
const BOUND: Duration = Duration::from_secs(75);

/// The longest a fetch from an endpoint takes that answers from this machine.
const LOCAL_BOUND: Duration = Duration::from_secs(30);

pub(super) struct ManagedIdentityCredential {
    source: Source,
    client: Client,
}

/// What every source needs.
struct Client {
    transport: Transport,
    identity: Identity,
    retry: Option<RetryOptions>,
}

/// Which of the machine's identities is meant.
#[derive(Clone, Debug)]
enum Identity {
    System,
    ClientId(String),
    ObjectId(String),
    ResourceId(String),
}

/// Where the identity's tokens come from.
enum Source {
    Imds(imds::Imds),
    AppService(app_service::AppService),
    ServiceFabric(service_fabric::ServiceFabric),
    AzureArc(azure_arc::AzureArc),
    AzureMl(azure_ml::AzureMl),
    CloudShell(cloud_shell::CloudShell),
    /// Kubernetes' federated token, which the Azure SDKs take for a managed identity too.
    WorkloadIdentity(Arc<WorkloadIdentityCredential>),
}

impl ManagedIdentityCredential {
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for an endpoint that is no address.
    pub(super) fn new(
        arguments: &ManagedIdentityArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Self> {
        let identity = match (&arguments.client_id, &arguments.object_id, &arguments.resource_id) {
            (Some(id), ..) => Identity::ClientId(id.clone()),
            (_, Some(id), _) => Identity::ObjectId(id.clone()),
            (.., Some(id)) => Identity::ResourceId(id.clone()),
            _ => Identity::System,
        };
        let source = Source::choose(&identity, options, context)?;
        let transport = source.transport(context);
        let client = Client { transport, identity, retry: options.retry.clone() };
        Ok(ManagedIdentityCredential { source, client })
    }

    /// Fetches a token; where the source is IMDS and `probe` is given, only if it answers a probe in that time.
    pub(super) async fn fetch_probed(
        &self,
        request: &TokenRequest,
        context: FetchContext,
        probe: Option<Duration>,
    ) -> Result<FetchedToken> {
        if request.claims.is_some() && !matches!(self.source, Source::WorkloadIdentity(_)) {
            return Err(Error::new(
                ErrorKind::CredentialUnavailable,
                "a managed identity cannot answer a claims challenge",
            )
            .with_advice("Ask without claims, or use a credential of an application or a user."));
        }
        let resource = cloud::resource_of(&request.scope);
        match &self.source {
            Source::WorkloadIdentity(credential) => credential.fetch(request, context).await,
            Source::Imds(imds) => imds.fetch(&self.client, resource, context, probe).await,
            Source::AppService(service) => service.fetch(&self.client, resource, context).await,
            Source::ServiceFabric(fabric) => fabric.fetch(&self.client, resource, context).await,
            Source::AzureArc(arc) => arc.fetch(&self.client, resource, context).await,
            Source::AzureMl(ml) => ml.fetch(&self.client, resource, context).await,
            Source::CloudShell(shell) => shell.fetch(&self.client, resource, context).await,
        }
    }

    /// Whether asking again with more patience could find the source.
    pub(super) fn is_probed(&self) -> bool {
        matches!(self.source, Source::Imds(_))
    }
}

impl Credential for ManagedIdentityCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn bound(&self) -> Duration {
        BOUND
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.fetch_probed(request, context, None))
    }
}

impl Source {
    fn choose(identity: &Identity, options: &CredentialOptions, context: &BuildContext<'_>) -> Result<Source> {
        let inputs = context.inputs;
        let get = |name: &str| inputs.variable(name);
        let source = match (get("IDENTITY_ENDPOINT"), get("IDENTITY_HEADER"), get("MSI_ENDPOINT")) {
            (Some(endpoint), Some(header), _) => match get("IDENTITY_SERVER_THUMBPRINT") {
                Some(thumbprint) => {
                    let fabric = service_fabric::ServiceFabric::new(endpoint, Secret::new(header), thumbprint)?;
                    Source::ServiceFabric(fabric)
                }
                None => Source::AppService(app_service::AppService::new(endpoint, Secret::new(header))?),
            },
            (Some(endpoint), None, _) if get("IMDS_ENDPOINT").is_some() => {
                Source::AzureArc(azure_arc::AzureArc::new(Some(endpoint), inputs)?)
            }
            (_, _, Some(endpoint)) => match get("MSI_SECRET") {
                Some(secret) => Source::AzureMl(azure_ml::AzureMl::new(endpoint, Secret::new(secret), inputs)?),
                None => Source::CloudShell(cloud_shell::CloudShell::new(endpoint)?),
            },
            _ => match federated(identity, options, context)? {
                Some(credential) => Source::WorkloadIdentity(Arc::new(credential)),
                None if azure_arc::is_installed(inputs) => Source::AzureArc(azure_arc::AzureArc::new(None, inputs)?),
                None => Source::Imds(imds::Imds::new(inputs)?),
            },
        };
        Ok(source)
    }

    /// HTTP for the endpoint: never through a proxy, and without certificate authorities where it has no use for them.
    fn transport(&self, context: &BuildContext<'_>) -> Transport {
        let endpoint = match self {
            Source::ServiceFabric(fabric) => return context.transport_trusting(fabric.trust()),
            // It has its own.
            Source::WorkloadIdentity(_) => return context.transport_of_local(false),
            Source::Imds(imds) => imds.endpoint(),
            Source::AppService(service) => service.endpoint(),
            Source::AzureArc(arc) => arc.endpoint(),
            Source::AzureMl(ml) => ml.endpoint(),
            Source::CloudShell(shell) => shell.endpoint(),
        };
        context.transport_of_local(!endpoint.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:")))
    }
}

/// Workload identity, where Kubernetes' webhook has set its variables.
fn federated(
    identity: &Identity,
    options: &CredentialOptions,
    context: &BuildContext<'_>,
) -> Result<Option<WorkloadIdentityCredential>> {
    const VARIABLES: [&str; 3] = ["AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"];
    let client_id = match identity {
        Identity::ClientId(id) => Some(id.clone()),
        Identity::System => context.inputs.variable("AZURE_CLIENT_ID").map(str::to_owned),
        Identity::ObjectId(_) | Identity::ResourceId(_) => None,
    };
    if client_id.is_none() || VARIABLES.iter().any(|name| context.inputs.variable(name).is_none()) {
        return Ok(None);
    }
    let arguments = WorkloadIdentityArguments { client_id, ..WorkloadIdentityArguments::default() };
    WorkloadIdentityCredential::new(NAME, &arguments, options, context).map(Some)
}

impl Identity {
    /// The query parameter that names it, with the source's spelling for a resource id.
    fn parameter(&self, resource_id: &'static str) -> Option<(&'static str, &str)> {
        match self {
            Identity::System => None,
            Identity::ClientId(id) => Some(("client_id", id)),
            Identity::ObjectId(id) => Some(("object_id", id)),
            Identity::ResourceId(id) => Some((resource_id, id)),
        }
    }

    /// For messages.
    fn describe(&self) -> &'static str {
        match self {
            Identity::System => "no system-assigned identity",
            _ => "no such user-assigned identity",
        }
    }
}

impl Client {
    /// The endpoint's address with version, resource and the parameter that names the identity.
    fn url(&self, endpoint: &str, version: &str, resource: &str, identity: Option<(&'static str, &str)>) -> String {
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        let mut url = format!("{endpoint}{separator}api-version={version}&resource={}", form_encoded(resource));
        if let Some((name, id)) = identity {
            url.push_str(&format!("&{name}={}", form_encoded(id)));
        }
        url
    }

    async fn send(&self, request: Request) -> Result<Response> {
        exchange(&self.transport, NAME, request).await
    }

    /// Asks an endpoint of this machine with what `request` makes in the time given.
    async fn ask(
        &self,
        context: FetchContext,
        source: &str,
        secrets: &[&Secret],
        request: impl Fn(Duration) -> Request,
    ) -> Result<FetchedToken> {
        let once = |time| {
            let request = request(time);
            async move { self.read(&self.send(request).await?, source, secrets) }
        };
        self.repeat(context, once).await
    }

    /// Does `once` in the time given, and again where that may help.
    async fn repeat<F>(&self, context: FetchContext, once: impl Fn(Duration) -> F) -> Result<FetchedToken>
    where
        F: Future<Output = Result<FetchedToken>>,
    {
        let options = self.retry.clone().unwrap_or_default();
        let mut tries = Tries::new(LOCAL_BOUND, context);
        loop {
            match once(tries.time()).await {
                Err(error) if tries.again(&error, |error, done| tries::pause(&options, error, done)).await => {}
                outcome => return outcome,
            }
        }
    }

    /// The token in an answer, or the refusal.
    fn read(&self, response: &Response, source: &str, secrets: &[&Secret]) -> Result<FetchedToken> {
        let mut object = answer::object(response);
        if (200..300).contains(&response.status)
            && let Some(mut token) = object.as_mut().and_then(answer::token)
        {
            // `expires_in` counts from when the token was made, which may be long ago: sources keep tokens. The service's
            // own clock says what is left.
            if let Some(expires_on) = token.expires_on {
                let left = expires_on.saturating_sub(response.service_time());
                token.expires_in = Some(token.expires_in.map_or(left, |expires_in| expires_in.min(left)));
            }
            return Ok(token);
        }
        let refusal = answer::refusal(response, object.as_ref(), secrets);
        let unreachable = response.status == 403 && String::from_utf8_lossy(&response.body).contains("unreachable");
        // Service Fabric has codes for it; the others say nothing else by 400.
        let not_assigned = match refusal.service.error.as_deref() {
            Some("ManagedIdentityNotFound") => true,
            Some("SecretHeaderNotFound" | "ArgumentNullOrEmpty") => false,
            _ => response.status == 400 && object.is_some() && refusal.service.aadsts.is_none(),
        };
        if unreachable || not_assigned {
            let why = match unreachable {
                true => format!("{source} is not reachable from here"),
                false => format!("{source} has {}", self.identity.describe()),
            };
            return Err(Error::new(ErrorKind::CredentialUnavailable, why)
                .with_service(refusal.service)
                .with_advice("Assign the identity to this machine or service, or pass the id of one that is."));
        }
        let known = refusal.service.aadsts.is_some();
        let error = refusal.into_error(response, source);
        if error.kind() == ErrorKind::AuthenticationFailed && !known {
            // A program that outlives its platform's restart goes on with the old one's variables.
            return Err(
                error.with_advice("Check that an identity is assigned here; restart the program if its platform was.")
            );
        }
        Err(error)
    }
}

/// A source that cannot be told which identity is meant.
fn takes_no_id(source: &str, what: &str, advice: &str) -> Error {
    let why = format!("{source} takes no {what} of a user-assigned identity");
    Error::new(ErrorKind::CredentialUnavailable, why).with_advice(advice)
}

fn refused_variable(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, format!("the variable {name} {why}"))
        .for_credential(NAME)
        .with_advice(format!("Correct or unset {name}."))
}

/// An endpoint's address, checked and without a slash at its end. `name` is the variable that holds it.
fn endpoint(name: &str, value: &str) -> Result<String> {
    let refused = || refused_variable(name, "is not an http address");
    let value = value.trim();
    let spelled_out = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = reqwest::Url::parse(&spelled_out).map_err(|_| refused())?;
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
    if usable { Ok(spelled_out.trim_end_matches('/').to_owned()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BuildInputs, Environment};

    fn chosen(variables: &[&str]) -> &'static str {
        let environment: Environment = variables
            .iter()
            .map(|variable| {
                let (name, value) = variable.split_once('=').unwrap_or((variable, "http://127.0.0.1:1/x"));
                (name.to_owned(), value.into())
            })
            .collect();
        let inputs = BuildInputs::new(&environment);
        let context = BuildContext::new(&inputs);
        match Source::choose(&Identity::System, &CredentialOptions::default(), &context) {
            Ok(Source::Imds(_)) => "IMDS",
            Ok(Source::AppService(_)) => "App Service",
            Ok(Source::WorkloadIdentity(_)) => "workload identity",
            Ok(Source::ServiceFabric(_)) => "Service Fabric",
            Ok(Source::AzureArc(_)) => "Azure Arc",
            Ok(Source::AzureMl(_)) => "Azure Machine Learning",
            Ok(Source::CloudShell(_)) => "Cloud Shell",
            Err(_) => "error",
        }
    }

    #[test]
    fn the_platforms_variables_choose_the_source() {
        let federated = [
            "AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/",
            "AZURE_TENANT_ID=t",
            "AZURE_FEDERATED_TOKEN_FILE=/f",
            "AZURE_CLIENT_ID=c",
        ];
        let thumbprint = format!("IDENTITY_SERVER_THUMBPRINT={}", "0a".repeat(20));
        let cases: &[(&[&str], &str)] = &[
            (&[], "IMDS"),
            (&["IDENTITY_ENDPOINT", "IDENTITY_HEADER"], "App Service"),
            (&["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"], "App Service"),
            (&["IDENTITY_ENDPOINT=https://h/", "IDENTITY_HEADER", &thumbprint], "Service Fabric"),
            (&["IDENTITY_ENDPOINT", "IDENTITY_HEADER", &thumbprint], "error"),
            (&["IDENTITY_ENDPOINT=https://h/", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT=ab"], "error"),
            (&["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT="], "App Service"),
            (&["IDENTITY_ENDPOINT", "IMDS_ENDPOINT"], "Azure Arc"),
            (&["IDENTITY_ENDPOINT", "IDENTITY_HEADER=", "IMDS_ENDPOINT"], "Azure Arc"),
            (&["IDENTITY_ENDPOINT"], "IMDS"),
            (&["IDENTITY_ENDPOINT=", "IDENTITY_HEADER"], "IMDS"),
            (&["MSI_ENDPOINT", "MSI_SECRET"], "Azure Machine Learning"),
            (&["MSI_ENDPOINT"], "Cloud Shell"),
            (&["MSI_ENDPOINT="], "IMDS"),
            (&federated, "workload identity"),
            (&federated[..3], "IMDS"),
            (&["IDENTITY_ENDPOINT=ftp://x", "IDENTITY_HEADER"], "error"),
        ];
        for (variables, expected) in cases {
            assert_eq!(chosen(variables), *expected, "{variables:?}");
        }
    }
}
