//! Cloud Shell: the identity of its user.

use super::{Client, Identity, endpoint, takes_no_id};
use crate::{
    credential::{FetchContext, FetchedToken},
    error::Result,
    secret::Secret,
    transport::Request,
};

pub(super) struct CloudShell {
    endpoint: String,
}

impl CloudShell {
    pub(super) fn new(address: &str) -> Result<Self> {
        Ok(CloudShell { endpoint: endpoint("MSI_ENDPOINT", address)? })
    }

    /// Returns the address of the endpoint.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) async fn fetch(&self, client: &Client, resource: &str, context: FetchContext) -> Result<FetchedToken> {
        if !matches!(client.identity, Identity::System) {
            return Err(takes_no_id("Cloud Shell", "id", "Omit the id: the token is for the signed-in user."));
        }
        let send = |time| {
            let form = vec![("resource", Secret::new(resource))];
            Request::post_local(&self.endpoint, form, time).header("metadata", "true")
        };
        client.request_token(context, "Cloud Shell", &[], send).await
    }
}
