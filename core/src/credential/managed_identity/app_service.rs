//! App Service, Functions and Container Apps: a local endpoint, with a secret in a header.

use super::{Client, endpoint};
use crate::{
    credential::{FetchContext, FetchedToken},
    error::Result,
    secret::Secret,
    transport::Request,
};

const VERSION: &str = "2019-08-01";

pub(super) struct AppService {
    endpoint: String,
    header: Secret,
}

impl AppService {
    pub(super) fn new(address: &str, header: Secret) -> Result<Self> {
        Ok(AppService { endpoint: endpoint("IDENTITY_ENDPOINT", address)?, header })
    }

    /// Returns the address of the endpoint.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) async fn fetch(&self, client: &Client, resource: &str, context: FetchContext) -> Result<FetchedToken> {
        let url = client.url(&self.endpoint, VERSION, resource, client.identity.parameter("mi_res_id"));
        // Azure Automation, which has the same endpoint, needs the second header.
        let send = |time| {
            Request::get_local(&url, time).header("x-identity-header", self.header.expose()).header("metadata", "true")
        };
        client.request_token(context, "the identity endpoint", &[&self.header], send).await
    }
}
