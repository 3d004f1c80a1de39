//! Azure Machine Learning: App Service's endpoint of 2017, with a secret in a header.

use super::{Client, Identity, endpoint, takes_no_id};
use crate::{
    config::BuildInputs,
    credential::{FetchContext, FetchedToken},
    error::Result,
    secret::Secret,
    transport::Request,
};

const VERSION: &str = "2017-09-01";

pub(super) struct AzureMl {
    endpoint: String,
    secret: Secret,
    /// The identity of the compute, used if the program does not specify one.
    default_client_id: Option<String>,
}

impl AzureMl {
    pub(super) fn new(address: &str, secret: Secret, inputs: &BuildInputs<'_>) -> Result<Self> {
        Ok(AzureMl {
            endpoint: endpoint("MSI_ENDPOINT", address)?,
            secret,
            default_client_id: inputs.variable("DEFAULT_IDENTITY_CLIENT_ID").map(str::to_owned),
        })
    }

    /// Returns the address of the endpoint.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) async fn fetch(&self, client: &Client, resource: &str, context: FetchContext) -> Result<FetchedToken> {
        let client_id = match &client.identity {
            Identity::System => self.default_client_id.as_deref(),
            Identity::ClientId(id) | Identity::ClientIdOf(_, id) => Some(id.as_str()),
            Identity::ObjectId(_) | Identity::ResourceId(_) => {
                return Err(takes_no_id("Azure Machine Learning", "object id or resource id", "Pass the client id."));
            }
        };
        let url = client.url(&self.endpoint, VERSION, resource, client_id.map(|id| ("clientid", id)));
        let send = |time| Request::get_local(&url, time).header("secret", self.secret.expose());
        client.request_token(context, "the identity endpoint of Azure Machine Learning", &[&self.secret], send).await
    }
}
