//! App Service, Functions and Container Apps: an endpoint beside the program, with a secret in a header.

use super::{Client, NAME, endpoint};
use crate::{
    credential::{
        FetchContext, FetchedToken,
        exchange::exchange,
        tries::{self, Tries},
    },
    error::Result,
    secret::Secret,
    transport::Request,
};

const VERSION: &str = "2019-08-01";

/// The endpoint answers from this machine: longer than this it does not take.
const BOUND: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) struct AppService {
    endpoint: String,
    header: Secret,
}

impl AppService {
    pub(super) fn new(address: &str, header: Secret) -> Result<Self> {
        Ok(AppService { endpoint: endpoint("IDENTITY_ENDPOINT", address)?, header })
    }

    pub(super) async fn fetch(&self, client: &Client, resource: &str, context: FetchContext) -> Result<FetchedToken> {
        let url = client.url(&self.endpoint, VERSION, resource, "mi_res_id");
        let options = client.retry.clone().unwrap_or_default();
        let mut tries = Tries::new(BOUND, context);
        loop {
            let request = Request::get_local(&url, tries.time()).header("x-identity-header", self.header.expose());
            let outcome = match exchange(&client.transport, NAME, request).await {
                Ok(response) => client.read(&response, "the identity endpoint", &[&self.header]),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if tries.again(&error, |error, done| tries::pause(&options, error, done)).await => {}
                outcome => return outcome,
            }
        }
    }
}
