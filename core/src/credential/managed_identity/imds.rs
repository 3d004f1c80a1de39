//! IMDS, the metadata service of virtual machines, at a link-local address.

use std::time::Duration;

use super::{Client, endpoint};
use crate::{
    config::BuildInputs,
    credential::{
        FetchContext, FetchedToken,
        entra::response::{self, ResponseOrigin},
        retry::{self, Tries},
    },
    error::{Error, ErrorKind, Result},
    transport::{Request, Response},
};

const VERSION: &str = "2018-02-01";

/// The default number of retries.
const REPEATS: u32 = 5;

/// The first pause. It doubles with each retry.
const FIRST_PAUSE: Duration = Duration::from_millis(800);

/// The pauses, in seconds, while the service updates itself (410), which takes up to 70 s.
const PAUSES_UPDATING: [u64; 5] = [3, 6, 12, 24, 25];

const LONGEST_PAUSE: Duration = Duration::from_secs(25);

/// The number of retries if no server listens at the address. More retries would not help.
const REPEATS_UNREACHED: u32 = 2;

pub(super) struct Imds {
    endpoint: String,
}

/// Returns the address of IMDS: the same on every machine, unless a variable overrides it.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] for a variable that is not an address.
pub(crate) fn host(inputs: &BuildInputs<'_>) -> Result<String> {
    const HOST: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
    let host = endpoint(HOST, inputs.variable(HOST).unwrap_or("http://169.254.169.254"))?;
    Ok(host.trim_end_matches('/').to_owned())
}

impl Imds {
    pub(super) fn new(inputs: &BuildInputs<'_>) -> Result<Self> {
        Ok(Imds { endpoint: format!("{}/metadata/identity/oauth2/token", host(inputs)?) })
    }

    /// Returns the address of the endpoint.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) async fn fetch(
        &self,
        client: &Client,
        resource: &str,
        context: FetchContext,
        probe: Option<Duration>,
    ) -> Result<FetchedToken> {
        if let Some(limit) = probe {
            self.probe(client, resource, limit).await?;
        }
        let url = client.url(&self.endpoint, VERSION, resource, client.identity.parameter("msi_res_id"));
        let mut tries = Tries::new(super::BOUND, context);
        loop {
            let request = Request::get_local(&url, tries.time()).header("metadata", "true");
            let outcome = match client.send(request).await {
                Ok(response) if !context.has_fallback && is_stranger(&response) => {
                    // A cluster's identity proxy reports in text that there is no identity.
                    let refusal = client.read(&response, "IMDS", &[]).err();
                    let lacks_identity = |error: &Error| error.kind() == ErrorKind::CredentialUnavailable;
                    return Err(refusal.filter(lacks_identity).unwrap_or_else(|| not_imds(&response)));
                }
                Ok(response) => client.read(&response, "IMDS", &[]).map_err(as_updating),
                Err(error) => Err(error),
            };
            let pause = |error: &Error, done| match &client.retry {
                Some(options) => retry::pause(options, error, done),
                None => pause(error, done),
            };
            match outcome {
                Err(error) if tries.again(&error, pause).await => {}
                // A machine without the service has no identity. If the machine has obtained a token before, this is a
                // temporary network failure.
                Err(error) if !context.has_fallback && error.service().status.is_none() && is_unreached(&error) => {
                    return Err(no_imds(format!("IMDS does not respond: {}", error.headline())));
                }
                outcome => return outcome,
            }
        }
    }

    /// Sends a probe without the `Metadata` header, which IMDS refuses with 400 and a JSON body. Any other response is
    /// from another server: another cloud's metadata service, a proxy.
    async fn probe(&self, client: &Client, resource: &str, limit: Duration) -> Result<()> {
        let url = client.url(&self.endpoint, VERSION, resource, client.identity.parameter("msi_res_id"));
        match client.send(Request::get_local(url, limit)).await {
            Ok(response) if response.status == 400 && response::is_object(&response) => Ok(()),
            Ok(response) => Err(not_imds(&response)),
            Err(error) => Err(no_imds(format!("IMDS does not respond: {}", error.headline()))),
        }
    }
}

/// Returns whether the response is from another server. IMDS responds with JSON, except perhaps while it starts,
/// updates or fails.
fn is_stranger(response: &Response) -> bool {
    let may_be_imds = match response.status {
        404 => !response.body.trim_ascii_start().starts_with(b"<"),
        403 => String::from_utf8_lossy(&response.body).contains("unreachable"),
        status => matches!(status, 410 | 429 | 500..),
    };
    !may_be_imds && !response::is_object(response)
}

fn not_imds(response: &Response) -> Error {
    match response::error_response(response, None, &[], ResponseOrigin::Local).service {
        // Another server at the address, such as a cluster's identity proxy, can state the reason.
        service if service.message.is_some() => {
            let why = "the response at the address of IMDS is not from IMDS".to_owned();
            no_imds(why).with_service(service)
        }
        _ => no_imds(format!(
            "the response at the address of IMDS is not from IMDS (HTTP {}, {})",
            response.status,
            response::describe_body(response)
        )),
    }
}

fn no_imds(why: String) -> Error {
    Error::new(ErrorKind::CredentialUnavailable, why)
        .with_advice("On an Azure machine, check that 169.254.169.254 is not blocked. Elsewhere this is expected.")
}

fn is_unreached(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout)
}

/// Classifies 404 and 410 as a temporary failure, because IMDS reports with them that it is starting or updating.
fn as_updating(error: Error) -> Error {
    match error.service().status {
        // A response with a reason does not come from a starting service.
        Some(404) if error.kind() == ErrorKind::AuthenticationFailed && error.service().message.is_some() => {
            error.with_kind(ErrorKind::ServiceUnavailable)
        }
        Some(404 | 410) if error.kind() != ErrorKind::CredentialUnavailable => {
            error.with_kind(ErrorKind::ServiceUnavailable).with_advice(
                "IMDS is starting or updating, which takes up to 70 s. The request is repeated after the back-off.",
            )
        }
        _ => error,
    }
}

fn pause(error: &Error, done: u32) -> Option<Duration> {
    let own = match error.service().status {
        // An identity that is not assigned is not a temporary state.
        Some(_) if error.kind() == ErrorKind::CredentialUnavailable => None,
        // The pauses have no jitter, so that they cover a complete update. The service runs on this machine only.
        Some(410) => PAUSES_UPDATING.get(done as usize - 1).map(|seconds| Duration::from_secs(*seconds)),
        Some(404 | 429 | 500..) if done <= REPEATS => Some(retry::doubling(FIRST_PAUSE, done, LONGEST_PAUSE)),
        None if is_unreached(error) && done <= REPEATS_UNREACHED => {
            Some(retry::doubling(FIRST_PAUSE, done, LONGEST_PAUSE))
        }
        _ => None,
    };
    own.map(|own| own.max(error.service().retry_after.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServiceErrorDetails;

    #[test]
    fn imds_retry_delay_follows_the_response() {
        let with = |status| {
            let service = ServiceErrorDetails { status, ..ServiceErrorDetails::default() };
            Error::new(ErrorKind::Network, "x").with_service(service)
        };
        let total = |status| (1..=5).map(|done| pause(&with(status), done).unwrap().as_secs_f64()).sum::<f64>();
        for status in [404, 429, 500, 503] {
            assert!((19.0..=30.0).contains(&total(Some(status))), "{status}");
            assert_eq!(pause(&with(Some(status)), 6), None);
        }
        assert_eq!(total(Some(410)), 70.0);
        assert_eq!(pause(&with(Some(400)), 1), None);
        assert_eq!(pause(&with(Some(403)), 1), None);
        assert!(pause(&with(None), 2).is_some() && pause(&with(None), 3).is_none());
    }
}
