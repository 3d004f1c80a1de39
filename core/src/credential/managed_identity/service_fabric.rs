//! Service Fabric: an endpoint of the node over TLS, verified by the thumbprint of its certificate, with a secret in a
//! header.

use super::{Client, Identity, endpoint, refused_variable, takes_no_id};
use crate::{
    credential::{FetchContext, FetchedToken},
    error::Result,
    secret::Secret,
    transport::{Request, Trust},
};

const VERSION: &str = "2019-07-01-preview";

pub(super) struct ServiceFabric {
    endpoint: String,
    header: Secret,
    trust: Trust,
}

impl ServiceFabric {
    pub(super) fn new(address: &str, header: Secret, thumbprint: &str) -> Result<Self> {
        let endpoint = endpoint("IDENTITY_ENDPOINT", address)?;
        if !endpoint.to_ascii_lowercase().starts_with("https:") {
            return Err(refused_variable("IDENTITY_ENDPOINT", "is not an https address"));
        }
        let thumbprint = parse(thumbprint).ok_or_else(|| {
            refused_variable("IDENTITY_SERVER_THUMBPRINT", "is not a SHA-1 thumbprint (40 hexadecimal digits)")
        })?;
        Ok(ServiceFabric { endpoint, header, trust: Trust::Thumbprint(thumbprint) })
    }

    /// Returns how the endpoint is verified: by its certificate.
    pub(super) fn trust(&self) -> Trust {
        self.trust.clone()
    }

    pub(super) async fn fetch(&self, client: &Client, resource: &str, context: FetchContext) -> Result<FetchedToken> {
        if !matches!(client.identity, Identity::System) {
            let advice = "Omit the id: the cluster's configuration determines the identity of an application.";
            return Err(takes_no_id("Service Fabric", "id", advice));
        }
        let url = client.url(&self.endpoint, VERSION, resource, None);
        let send = |time| Request::get_local(&url, time).header("secret", self.header.expose());
        client.request_token(context, "Service Fabric", &[&self.header], send).await
    }
}

/// Reads forty hex digits in any grouping.
fn parse(text: &str) -> Option<[u8; 20]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 40 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprint_is_read_in_every_grouping() {
        let expected: Vec<u8> = (0..20).map(|n| n * 12).collect();
        let plain: String = expected.iter().map(|byte| format!("{byte:02X}")).collect();
        let colons = expected.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
        for text in [plain.clone(), plain.to_lowercase(), colons, format!(" {} {}\n", &plain[..8], &plain[8..])] {
            assert_eq!(parse(&text).map(Vec::from), Some(expected.clone()), "{text:?}");
        }
        for text in ["", &plain[1..], &format!("{plain}0"), &plain.replace('C', "g"), "ü"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
