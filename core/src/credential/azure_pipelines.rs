//! A task of Azure Pipelines: exchanges the federated token of its service connection for a token of the application.

use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
    entra::response,
    entra::token_endpoint::{BOUND, ClientCredential, TokenEndpoint},
    exchange::exchange,
    retry::{self, Tries},
    sanitize,
};
use crate::{
    config::{AzurePipelinesArguments, BuildInputs, CredentialOptions, RetryOptions},
    error::{Error, ErrorKind, Result, ServiceErrorDetails},
    secret::Secret,
    transport::{Request, Response, Transport, endpoint, form_encoded},
};

const NAME: &str = "AzurePipelinesCredential";

const REQUEST_URI: &str = "SYSTEM_OIDCREQUESTURI";

/// The time that remains for the token endpoint when the service was slow.
const FOR_THE_EXCHANGE: Duration = Duration::from_secs(10);

pub(super) struct AzurePipelinesCredential {
    endpoint: TokenEndpoint,
    transport: Transport,
    retry: RetryOptions,
    /// The address that issues federated tokens, or the error about what is missing.
    address: Result<String>,
    access_token: Secret,
}

impl AzurePipelinesCredential {
    /// Creates the credential.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a malformed tenant or address.
    pub(super) fn new(
        arguments: &AzurePipelinesArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Self> {
        let address = match request_address(arguments.organization_url.as_deref(), context.inputs) {
            Err(error) if error.kind() == ErrorKind::InvalidConfiguration => return Err(error),
            address => address.map(|address| {
                let connection = form_encoded(&arguments.service_connection_id);
                format!("{address}?api-version=7.1&serviceConnectionId={connection}")
            }),
        };
        Ok(AzurePipelinesCredential {
            endpoint: TokenEndpoint::new(NAME, &arguments.tenant_id, &arguments.client_id, options, context)?,
            transport: context.transport(),
            retry: options.retry.clone().unwrap_or_default(),
            address,
            access_token: arguments.system_access_token.trimmed(),
        })
    }

    async fn request_token(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let address = self.address.as_ref().map_err(Error::clone)?;
        let ends = Instant::now() + BOUND;
        let mut tries = Tries::new(BOUND - FOR_THE_EXCHANGE, context);
        let assertion = loop {
            match self.assertion(address, tries.time()).await {
                Err(error) if tries.again(&error, |error, done| retry::pause(&self.retry, error, done)).await => {}
                outcome => break outcome?,
            }
        };
        self.endpoint.client_credentials_until(ends, ClientCredential::Assertion(&assertion), request, context).await
    }

    async fn assertion(&self, address: &str, time: Duration) -> Result<Secret> {
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", self.access_token.expose()));
        let request = Request::post_form(address, vec![], time)
            .header("authorization", bearer.as_str())
            .header("content-type", "application/json")
            // Without this header, the service responds to an invalid token with a redirect to a sign-in page.
            .header("x-tfs-fedauthredirect", "Suppress");
        let response = exchange(&self.transport, NAME, request).await?;
        let mut object = response::object(&response);
        if response.status == 200
            && let Some(token) = object.as_mut().and_then(|object| response::usable(object.remove("oidcToken")))
        {
            return Ok(token);
        }
        Err(self.refusal(address, &response, object.as_ref()))
    }

    fn refusal(
        &self,
        address: &str,
        response: &Response,
        object: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Error {
        let secrets = [&self.access_token];
        let source = format!("Azure Pipelines at {}", endpoint(address));
        let error = response::error_response(response, object, &secrets, response::ResponseOrigin::Remote)
            .into_error(response, &source);
        // Azure DevOps needs this id in a support request.
        let id = |name: &str| response.header(name).and_then(|id| sanitize::identifier(id, &secrets));
        let trace_id = id("x-vss-e2eid").or_else(|| id("x-msedge-ref"));
        let service =
            ServiceErrorDetails { trace_id: error.service().trace_id.clone().or(trace_id), ..error.service().clone() };
        let error = error.with_service(service);
        let refused = |why: &str, advice: &str| {
            Error::new(ErrorKind::AuthenticationFailed, format!("{source} {why}"))
                .with_service(error.service().clone())
                .with_advice(advice)
        };
        match response.status {
            302 | 401 | 403 => refused(
                "rejected the access token",
                "Map `System.AccessToken` into the task's environment and pass it unchanged. It expires with the job.",
            ),
            404 => refused(
                "did not find the service connection",
                "Pass the id of the service connection (`resourceId` in its address), and permit the pipeline to use \
                 it.",
            ),
            _ => error,
        }
    }
}

/// Returns the address that issues federated tokens, without its query.
fn request_address(organization_url: Option<&str>, inputs: &BuildInputs<'_>) -> Result<String> {
    let (setting, address) = match (inputs.variable(REQUEST_URI), organization_url) {
        (Some(address), _) => (REQUEST_URI, address.to_owned()),
        (None, Some(organization)) => {
            let part = |name: &str| {
                inputs.variable(name).ok_or_else(|| {
                    let why = format!("neither {REQUEST_URI} nor {name} is set");
                    Error::new(ErrorKind::CredentialUnavailable, why)
                        .with_advice("Run the program in a task of Azure Pipelines, which sets both.")
                })
            };
            let (project, plan, job) = (part("SYSTEM_TEAMPROJECTID")?, part("SYSTEM_PLANID")?, part("SYSTEM_JOBID")?);
            let hub = inputs.variable("SYSTEM_HOSTTYPE").unwrap_or("build");
            let organization = organization.trim_end_matches('/');
            let address =
                format!("{organization}/{project}/_apis/distributedtask/hubs/{hub}/plans/{plan}/jobs/{job}/oidctoken");
            ("organization_url", address)
        }
        (None, None) => {
            return Err(Error::new(ErrorKind::CredentialUnavailable, format!("{REQUEST_URI} is not set"))
                .with_advice("Run the program in a task of Azure Pipelines, which sets it."));
        }
    };
    // The access token must not be sent unencrypted.
    match Url::parse(&address) {
        Ok(url) if url.scheme() == "https" && url.host_str().is_some() && url.query().is_none() => Ok(address),
        _ => Err(Error::new(
            ErrorKind::InvalidConfiguration,
            format!("{setting} is not an https address without a query"),
        )
        .with_advice(format!("Correct {setting}."))),
    }
}

impl Credential for AzurePipelinesCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.request_token(request, context))
    }
}
