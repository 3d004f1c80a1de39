//! Managed identity: the identity of the machine or service that the program runs on. Each source has its own file. The
//! variables that the platform sets decide which source is used.

mod app_service;
mod azure_arc;
mod azure_ml;
mod cloud_shell;
mod imds;
mod service_fabric;

use std::{fmt, sync::Arc, time::Duration};

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest, TokenSource,
    entra::response::{self, ErrorResponse, ResponseOrigin},
    exchange::exchange,
    retry::{self, Tries},
    workload_identity::WorkloadIdentityCredential,
};
use crate::{
    cloud,
    config::{CredentialOptions, ManagedIdentityArguments, RetryOptions, WorkloadIdentityArguments},
    error::{Error, ErrorKind, Result, ServiceErrorDetails},
    secret::Secret,
    transport::{Request, Response, Transport, form_encoded},
};

pub(super) use imds::host as imds_host;

pub(super) const NAME: &str = "ManagedIdentityCredential";

/// The bound of a fetch from IMDS, which can be updating for 70 s.
const BOUND: Duration = Duration::from_secs(75);

/// The bound of a fetch from other endpoints of this machine.
const LOCAL_BOUND: Duration = Duration::from_secs(30);

pub(super) struct ManagedIdentityCredential {
    source: ManagedIdentitySource,
    client: Client,
}

/// What every source needs.
struct Client {
    transport: Transport,
    identity: Identity,
    retry: Option<RetryOptions>,
}

/// The identity of the machine that is requested.
#[derive(Clone, Debug)]
enum Identity {
    System,
    ClientId(String),
    /// The client id from a variable, which can be intended for something else.
    ClientIdOf(&'static str, String),
    ObjectId(String),
    ResourceId(String),
}

/// The source of the identity's tokens.
enum ManagedIdentitySource {
    Imds(imds::Imds),
    AppService(app_service::AppService),
    ServiceFabric(service_fabric::ServiceFabric),
    AzureArc(azure_arc::AzureArc),
    AzureMl(azure_ml::AzureMl),
    CloudShell(cloud_shell::CloudShell),
    /// The federated token of Kubernetes, which the Azure SDKs treat as a managed identity too.
    WorkloadIdentity(Arc<WorkloadIdentityCredential>),
}

impl ManagedIdentityCredential {
    /// Creates the credential.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for an endpoint that is not an address.
    pub(super) fn new(
        arguments: &ManagedIdentityArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Self> {
        Self::with_client_id_of(None, arguments, options, context)
    }

    /// Does the same for a client id from `variable`.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub(super) fn with_client_id_of(
        variable: Option<&'static str>,
        arguments: &ManagedIdentityArguments,
        options: &CredentialOptions,
        context: &BuildContext,
    ) -> Result<Self> {
        let identity = match (&arguments.client_id, &arguments.object_id, &arguments.resource_id) {
            (Some(id), ..) => match variable {
                Some(variable) => Identity::ClientIdOf(variable, id.clone()),
                None => Identity::ClientId(id.clone()),
            },
            (_, Some(id), _) => Identity::ObjectId(id.clone()),
            (.., Some(id)) => Identity::ResourceId(id.clone()),
            _ => Identity::System,
        };
        let source = ManagedIdentitySource::choose(&identity, options, context)?;
        let transport = source.transport(context);
        let client = Client { transport, identity, retry: options.retry.clone() };
        Ok(ManagedIdentityCredential { source, client })
    }

    /// Fetches a token. If the source is IMDS and `probe` is given, IMDS must respond to a probe in that time.
    pub(super) async fn fetch_probed(
        &self,
        request: &TokenRequest,
        context: FetchContext,
        probe: Option<Duration>,
    ) -> Result<FetchedToken> {
        if request.claims.is_some() && !matches!(self.source, ManagedIdentitySource::WorkloadIdentity(_)) {
            return Err(Error::new(
                ErrorKind::CredentialUnavailable,
                "a managed identity cannot respond to a claims challenge",
            )
            .with_advice("Request a token without claims, or use a credential of an application or a user."));
        }
        let resource = cloud::resource_of(&request.scope);
        match &self.source {
            ManagedIdentitySource::WorkloadIdentity(credential) => credential.fetch(request, context).await,
            ManagedIdentitySource::Imds(imds) => imds.fetch(&self.client, resource, context, probe).await,
            ManagedIdentitySource::AppService(service) => service.fetch(&self.client, resource, context).await,
            ManagedIdentitySource::ServiceFabric(fabric) => fabric.fetch(&self.client, resource, context).await,
            ManagedIdentitySource::AzureArc(arc) => arc.fetch(&self.client, resource, context).await,
            ManagedIdentitySource::AzureMl(ml) => ml.fetch(&self.client, resource, context).await,
            ManagedIdentitySource::CloudShell(shell) => shell.fetch(&self.client, resource, context).await,
        }
    }

    /// Returns whether a second request with a longer limit could find the source.
    pub(super) fn is_probed(&self) -> bool {
        matches!(self.source, ManagedIdentitySource::Imds(_))
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

    fn token_source(&self) -> TokenSource {
        TokenSource { environment: Some(self.source.environment()), ..TokenSource::new(NAME) }
    }
}

impl ManagedIdentitySource {
    /// Returns the name of the environment, for messages.
    fn environment(&self) -> &'static str {
        match self {
            ManagedIdentitySource::Imds(_) => "IMDS",
            ManagedIdentitySource::AppService(_) => "App Service",
            ManagedIdentitySource::ServiceFabric(_) => "Service Fabric",
            ManagedIdentitySource::AzureArc(_) => "Azure Arc",
            ManagedIdentitySource::AzureMl(_) => "Azure Machine Learning",
            ManagedIdentitySource::CloudShell(_) => "Cloud Shell",
            ManagedIdentitySource::WorkloadIdentity(_) => "workload identity",
        }
    }

    fn choose(
        identity: &Identity,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<ManagedIdentitySource> {
        let inputs = context.inputs;
        let get = |name: &str| inputs.variable(name);
        let source = match (get("IDENTITY_ENDPOINT"), get("IDENTITY_HEADER"), get("MSI_ENDPOINT")) {
            (Some(endpoint), Some(header), _) => match get("IDENTITY_SERVER_THUMBPRINT") {
                Some(thumbprint) => {
                    let fabric = service_fabric::ServiceFabric::new(endpoint, Secret::new(header), thumbprint)?;
                    ManagedIdentitySource::ServiceFabric(fabric)
                }
                None => ManagedIdentitySource::AppService(app_service::AppService::new(endpoint, Secret::new(header))?),
            },
            (Some(endpoint), None, _) if get("IMDS_ENDPOINT").is_some() => {
                ManagedIdentitySource::AzureArc(azure_arc::AzureArc::new(Some(endpoint), inputs)?)
            }
            (_, _, Some(endpoint)) => match get("MSI_SECRET") {
                Some(secret) => {
                    ManagedIdentitySource::AzureMl(azure_ml::AzureMl::new(endpoint, Secret::new(secret), inputs)?)
                }
                None => ManagedIdentitySource::CloudShell(cloud_shell::CloudShell::new(endpoint)?),
            },
            _ => match federated(identity, options, context)? {
                Some(credential) => ManagedIdentitySource::WorkloadIdentity(Arc::new(credential)),
                None if azure_arc::is_installed(inputs) => {
                    ManagedIdentitySource::AzureArc(azure_arc::AzureArc::new(None, inputs)?)
                }
                None => ManagedIdentitySource::Imds(imds::Imds::new(inputs)?),
            },
        };
        Ok(source)
    }

    /// Returns the HTTP transport for the endpoint: never through a proxy, and without certificate authorities if TLS
    /// is not used.
    fn transport(&self, context: &BuildContext<'_>) -> Transport {
        let endpoint = match self {
            ManagedIdentitySource::ServiceFabric(fabric) => return context.transport_trusting(fabric.trust()),
            // This source has its own transport.
            ManagedIdentitySource::WorkloadIdentity(_) => return context.transport_of_local(false),
            ManagedIdentitySource::Imds(imds) => imds.endpoint(),
            ManagedIdentitySource::AppService(service) => service.endpoint(),
            ManagedIdentitySource::AzureArc(arc) => arc.endpoint(),
            ManagedIdentitySource::AzureMl(ml) => ml.endpoint(),
            ManagedIdentitySource::CloudShell(shell) => shell.endpoint(),
        };
        context.transport_of_local(!endpoint.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:")))
    }
}

/// Builds workload identity, if Kubernetes' webhook has set its variables.
fn federated(
    identity: &Identity,
    options: &CredentialOptions,
    context: &BuildContext<'_>,
) -> Result<Option<WorkloadIdentityCredential>> {
    const VARIABLES: [&str; 3] = ["AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"];
    // The id is left out if it is the variable's, so that messages can name the variable.
    let client_id = match identity {
        Identity::ClientId(id) => Some(id.clone()),
        Identity::System | Identity::ClientIdOf(..) => None,
        Identity::ObjectId(_) | Identity::ResourceId(_) => return Ok(None),
    };
    let is_set = |name: &str| context.inputs.variable(name).is_some();
    if client_id.is_none() && !is_set("AZURE_CLIENT_ID") || !VARIABLES.iter().all(|name| is_set(name)) {
        return Ok(None);
    }
    let arguments = WorkloadIdentityArguments { client_id, ..WorkloadIdentityArguments::default() };
    WorkloadIdentityCredential::new(NAME, &arguments, options, context).map(Some)
}

impl Identity {
    /// Returns the query parameter for the identity. `resource_id` is the source's name for a resource id.
    fn parameter(&self, resource_id: &'static str) -> Option<(&'static str, &str)> {
        match self {
            Identity::System => None,
            Identity::ClientId(id) | Identity::ClientIdOf(_, id) => Some(("client_id", id)),
            Identity::ObjectId(id) => Some(("object_id", id)),
            Identity::ResourceId(id) => Some((resource_id, id)),
        }
    }

    /// Returns the advice for an identity that is not assigned.
    fn advice(&self) -> String {
        match self {
            Identity::ClientIdOf(variable, _) => format!(
                "Assign that identity to this machine or service, set {variable} to the client id of an assigned \
                 identity, or unset it to use the system-assigned identity."
            ),
            _ => "Assign the identity to this machine or service, or pass the id of an assigned identity.".to_owned(),
        }
    }

    /// Returns advice about the origin of an id that the program did not pass.
    fn hint(&self) -> String {
        match self {
            Identity::ClientIdOf(variable, id) => format!(" with the client id {} of {variable}", shown(id)),
            _ => String::new(),
        }
    }
}

/// Formats the identity as the end of "the source has".
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, id) = match self {
            Identity::System => return f.write_str("no system-assigned identity"),
            Identity::ClientId(id) | Identity::ClientIdOf(_, id) => ("client id", id),
            Identity::ObjectId(id) => ("object id", id),
            Identity::ResourceId(id) => ("resource id", id),
        };
        write!(f, "no such user-assigned identity ({what} {}", shown(id))?;
        match self {
            Identity::ClientIdOf(variable, _) => write!(f, " of {variable})"),
            _ => f.write_str(")"),
        }
    }
}

/// Returns an id for messages. Text that cannot be an id is not shown, because it can be a misplaced secret.
fn shown(id: &str) -> &str {
    let is_plain = id.len() <= 512 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./()".contains(&b));
    if is_plain { id } else { "that is not shown" }
}

impl Client {
    /// Returns the endpoint's address with version, resource and the parameter for the identity.
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

    /// Sends a request to an endpoint of this machine. `request` builds it for the time that is left.
    async fn request_token(
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

    /// Runs `once` with a time limit, and repeats it if that can help.
    async fn repeat<F>(&self, context: FetchContext, once: impl Fn(Duration) -> F) -> Result<FetchedToken>
    where
        F: Future<Output = Result<FetchedToken>>,
    {
        let options = self.retry.clone().unwrap_or_default();
        let mut tries = Tries::new(LOCAL_BOUND, context);
        loop {
            match once(tries.time()).await {
                Err(error) if tries.again(&error, |error, done| retry::pause(&options, error, done)).await => {}
                outcome => return outcome,
            }
        }
    }

    /// Returns the token in a response, or the error response.
    fn read(&self, response: &Response, source: &str, secrets: &[&Secret]) -> Result<FetchedToken> {
        let mut object = response::object(response);
        if (200..300).contains(&response.status)
            && let Some(mut token) = object.as_mut().and_then(response::token)
        {
            // `expires_in` counts from when the token was issued, which can be long ago, because sources cache tokens.
            // The service's own clock gives the remaining time.
            if let Some(expires_on) = token.expires_on {
                let left = expires_on.saturating_sub(response.service_time());
                token.expires_in = Some(token.expires_in.map_or(left, |expires_in| expires_in.min(left)));
            }
            return Ok(token);
        }
        let error_response = response::error_response(response, object.as_ref(), secrets, ResponseOrigin::Local);
        let body = String::from_utf8_lossy(&response.body).to_ascii_lowercase();
        if response.status == 403 && body.contains("unreachable") {
            return Err(unavailable(format!("{source} cannot be reached from this machine"), error_response.service)
                .with_advice(
                    "Assign the identity to this machine or service, or pass the id of an assigned identity.",
                ));
        }
        match self.lack(&error_response) {
            Some(Lack::Identity) => Err(unavailable(format!("{source} has {}", self.identity), error_response.service)
                .with_advice(self.identity.advice())),
            Some(Lack::Choice) => Err(unavailable(
                format!("{source} has several identities, and no identity was selected"),
                error_response.service,
            )
            .with_advice(
                "Pass the client id of the identity to use, or set AZURE_CLIENT_ID for the default \
                                  chain.",
            )),
            Some(Lack::Audience) => {
                Err(unavailable(format!("{source} issues no token for this resource"), error_response.service)
                    .with_advice("Use another credential on this machine, such as a developer tool's sign-in."))
            }
            None => Err(self.refused(error_response, response, source)),
        }
    }

    /// Returns the error for a refusal whose cause is not a missing identity.
    fn refused(&self, error_response: ErrorResponse, response: &Response, source: &str) -> Error {
        let known = error_response.service.aadsts.is_some();
        // A refusal without a body is the endpoint's own: there is no portal between the endpoint and the program.
        let is_silent = (400..500).contains(&response.status)
            && (response.body.trim_ascii().is_empty() || response::is_object(response));
        let service = error_response.service.clone();
        let error = match error_response.into_error(response, source) {
            error if is_silent && error.kind() == ErrorKind::BadResponse => {
                let why = format!("{source} rejected the request with {}", response::describe_body(response));
                Error::new(ErrorKind::AuthenticationFailed, why).with_service(service)
            }
            error => error,
        };
        if error.kind() == ErrorKind::AuthenticationFailed && !known {
            // A program that keeps running while its platform restarts still has the old variables.
            return error.with_advice(format!(
                "Check that an identity is assigned to this machine or service{}. Restart the program if the \
                 platform was restarted.",
                self.identity.hint()
            ));
        }
        error
    }

    /// Returns what is missing according to a refusal. Each source has its own code or text for it; a status alone is
    /// not sufficient.
    fn lack(&self, error_response: &ErrorResponse) -> Option<Lack> {
        if error_response.service.aadsts.is_some() {
            return None;
        }
        match error_response.service.error.as_deref() {
            Some("ManagedIdentityNotFound" | "DefaultIdentityNotDefined" | "IdentityNotFound") => {
                return Some(Lack::Identity);
            }
            Some("SecretHeaderNotFound" | "ArgumentNullOrEmpty") => return None,
            Some("AudienceNotSupported") => return Some(Lack::Audience),
            _ => {}
        }
        let text = error_response.service.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        // The response of an overloaded or starting endpoint is temporary.
        if matches!(error_response.service.status, Some(408 | 429 | 500..)) || !says(&["identit"]) {
            return None;
        }
        if says(&["multiple user assigned", "multiple user-assigned", "more than one", "please specify the client"]) {
            return Some(Lack::Choice);
        }
        says(&[
            "not found",
            "not be found",
            "no managed identit",
            "no user assigned",
            "no user-assigned",
            "no system assigned",
            "no system-assigned",
            "no identit",
            "no azure identit",
            "no azureassignedidentit",
            "no default",
            "no matching",
            "not assigned",
            "been assigned",
            "not defined",
            "not enabled",
            "not configured",
            "not exist",
            "n't exist",
            "unable to load the proper",
            "getting assigned identities for pod",
            "failed to get matching identities",
        ])
        .then_some(Lack::Identity)
    }
}

/// Why a source is unavailable.
enum Lack {
    /// The identity is not assigned.
    Identity,
    /// There are several identities, and the request does not select one.
    Choice,
    /// The source does not issue tokens for such a resource.
    Audience,
}

fn unavailable(why: String, service: ServiceErrorDetails) -> Error {
    Error::new(ErrorKind::CredentialUnavailable, why).with_service(service)
}

/// Returns the error for a source that does not let the request select an identity.
fn takes_no_id(source: &str, what: &str, advice: &str) -> Error {
    let why = format!("{source} does not accept the {what} of a user-assigned identity");
    Error::new(ErrorKind::CredentialUnavailable, why).with_advice(advice)
}

fn refused_variable(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, format!("the variable {name} {why}"))
        .for_credential(NAME)
        .with_advice(format!("Correct or unset {name}."))
}

/// Returns an endpoint's address, checked but otherwise unchanged: a router can distinguish `/token` from `/token/`.
/// `name` is the variable that contains it.
fn endpoint(name: &str, value: &str) -> Result<String> {
    let refused = || refused_variable(name, "is not an http address");
    let value = value.trim();
    let spelled_out = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = reqwest::Url::parse(&spelled_out).map_err(|_| refused())?;
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
    if usable { Ok(spelled_out) } else { Err(refused()) }
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
        match ManagedIdentitySource::choose(&Identity::System, &CredentialOptions::default(), &context) {
            Ok(source) => source.environment(),
            Err(_) => "error",
        }
    }

    #[test]
    fn managed_identity_source_follows_the_platforms_variables() {
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
