//! The token service of an Azure region, selected by `AZURE_REGIONAL_AUTHORITY_NAME`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;

use crate::{
    cloud::{self, Cloud},
    config::BuildInputs,
    credential::{exchange::exchange, managed_identity},
    error::{Error, ErrorKind, Result},
    transport::{Request, Transport},
};

const VARIABLE: &str = "AZURE_REGIONAL_AUTHORITY_NAME";

/// The path below the IMDS host that returns the region of a virtual machine.
const LOCATION: &str = "/metadata/instance/compute/location?format=text&api-version=2021-01-01";

const PATIENCE: Duration = Duration::from_secs(1);

/// The region whose token service is used.
pub(in crate::credential) enum Region {
    /// The global token service.
    None,
    Named(String),
    /// The region of this machine, from IMDS. It is stored once it is known.
    Detected {
        imds_host: String,
        found: ArcSwapOption<String>,
    },
}

impl Region {
    /// Reads the region from the inputs.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for text that cannot be a region's name, and for an authority host that
    /// cannot have a region's name in front, such as an IP address.
    pub(in crate::credential) fn new(inputs: &BuildInputs<'_>, global: &str) -> Result<Region> {
        let Some(wanted) = inputs.variable(VARIABLE).map(str::trim).filter(|wanted| !wanted.is_empty()) else {
            return Ok(Region::None);
        };
        let is_detected = wanted.eq_ignore_ascii_case("true") || wanted.eq_ignore_ascii_case("tryautodetect");
        let (setting, name) = match inputs.variable("REGION_NAME") {
            _ if !is_detected => (VARIABLE, wanted),
            Some(name) => ("REGION_NAME", name),
            None => {
                let imds_host = managed_identity::imds_host(inputs)?;
                return Ok(Region::Detected { imds_host, found: ArcSwapOption::empty() });
            }
        };
        match region_of(name) {
            Some(name) if regional(&name, global).is_none() => Err(Error::new(
                ErrorKind::InvalidConfiguration,
                format!("{VARIABLE} is set, but the authority host is an IP address, which has no regional hosts"),
            )
            .with_advice(format!("Unset {VARIABLE}."))),
            Some(name) => Ok(Region::Named(name)),
            None => Err(Error::new(ErrorKind::InvalidConfiguration, format!("{setting} is not the name of a region"))
                .with_advice(format!("Write the region in the form westeurope, or unset {setting}."))),
        }
    }

    /// Returns the authority for a token of the application: the region's, otherwise the global one.
    pub(in crate::credential) async fn authority<'a>(
        &self,
        global: &'a str,
        transport: &Transport,
        credential: &str,
    ) -> Cow<'a, str> {
        match self {
            Region::None => Cow::Borrowed(global),
            Region::Named(region) => regional(region, global).map_or(Cow::Borrowed(global), Cow::Owned),
            Region::Detected { imds_host, found } => {
                let known = found.load_full();
                let region = match known {
                    Some(region) => Some(region),
                    None => detect(imds_host, transport, credential).await.map(Arc::new),
                };
                match region {
                    None => Cow::Borrowed(global),
                    Some(region) => {
                        found.store(Some(Arc::clone(&region)));
                        regional(&region, global).map_or(Cow::Borrowed(global), Cow::Owned)
                    }
                }
            }
        }
    }
}

/// Adds the source of an address that could not be reached. The region's name is a part of it, and not every authority
/// has hosts for regions.
pub(in crate::credential) fn explain(error: Error) -> Error {
    use ErrorKind::{Network, Timeout, UntrustedCertificate};
    if !matches!(error.kind(), Network | Timeout | UntrustedCertificate) {
        return error;
    }
    let advice = format!(
        "{} {VARIABLE} adds the region to the authority's host name: unset it if there is no such host.",
        error.advice()
    );
    error.with_advice(advice)
}

async fn detect(imds_host: &str, transport: &Transport, credential: &str) -> Option<String> {
    let request = Request::get_local(format!("{imds_host}{LOCATION}"), PATIENCE).header("metadata", "true");
    let response = exchange(transport, credential, request).await.ok().filter(|response| response.status == 200)?;
    region_of(std::str::from_utf8(&response.body).ok()?)
}

/// Returns the name of a region in its short form: `West Europe` becomes `westeurope`.
fn region_of(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let is_one = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_one.then_some(name)
}

/// Returns the region's authority, or `None` if the global one is an IP address.
fn regional(region: &str, global: &str) -> Option<String> {
    let regional = match cloud::of_authority(global) {
        Cloud::Public => format!("https://{region}.login.microsoft.com"),
        _ => format!("https://{region}.{}", global.trim_start_matches("https://")),
    };
    reqwest::Url::parse(&regional).is_ok().then_some(regional)
}
