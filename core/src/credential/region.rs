//! The token service of an Azure region, where `AZURE_REGIONAL_AUTHORITY_NAME` asks for one.

use std::{borrow::Cow, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;

use super::{exchange::exchange, managed_identity};
use crate::{
    cloud::{self, Cloud},
    config::{Environment, variable},
    error::{Error, ErrorKind, Result},
    transport::{Request, Transport},
};

const VARIABLE: &str = "AZURE_REGIONAL_AUTHORITY_NAME";

/// Where a virtual machine is told its region, below the host of IMDS.
const LOCATION: &str = "/metadata/instance/compute/location?format=text&api-version=2021-01-01";

const PATIENCE: Duration = Duration::from_secs(1);

/// Which region's token service is asked.
pub(super) enum Region {
    /// The global one.
    None,
    Named(String),
    /// The region of this machine, by IMDS; kept once it is known.
    Detected {
        imds_host: String,
        found: ArcSwapOption<String>,
    },
}

impl Region {
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for what cannot be a region's name.
    pub(super) fn new(environment: &Environment) -> Result<Region> {
        let Some(wanted) = variable(environment, VARIABLE).map(str::trim).filter(|wanted| !wanted.is_empty()) else {
            return Ok(Region::None);
        };
        let is_detected = wanted.eq_ignore_ascii_case("true") || wanted.eq_ignore_ascii_case("tryautodetect");
        let (setting, name) = match variable(environment, "REGION_NAME") {
            _ if !is_detected => (VARIABLE, wanted),
            Some(name) => ("REGION_NAME", name),
            None => {
                let imds_host = managed_identity::imds_host(environment)?;
                return Ok(Region::Detected { imds_host, found: ArcSwapOption::empty() });
            }
        };
        match region_of(name) {
            Some(name) => Ok(Region::Named(name)),
            None => Err(Error::new(ErrorKind::InvalidConfiguration, format!("{setting} is no name of a region"))
                .with_advice(format!("Write {setting} as westeurope is written, or unset it."))),
        }
    }

    /// The authority to ask for an application's token: the region's, else the global one.
    pub(super) async fn authority<'a>(&self, global: &'a str, transport: &Transport, credential: &str) -> Cow<'a, str> {
        match self {
            Region::None => Cow::Borrowed(global),
            Region::Named(region) => Cow::Owned(regional(region, global)),
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
                        Cow::Owned(regional(&region, global))
                    }
                }
            }
        }
    }
}

async fn detect(imds_host: &str, transport: &Transport, credential: &str) -> Option<String> {
    let request = Request::get_local(format!("{imds_host}{LOCATION}"), PATIENCE).header("metadata", "true");
    let response = exchange(transport, credential, request).await.ok().filter(|response| response.status == 200)?;
    region_of(std::str::from_utf8(&response.body).ok()?)
}

/// `West Europe` is `westeurope`.
fn region_of(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let is_one = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_one.then_some(name)
}

fn regional(region: &str, global: &str) -> String {
    match cloud::of_authority(global) {
        Cloud::Public => format!("https://{region}.login.microsoft.com"),
        _ => format!("https://{region}.{}", global.trim_start_matches("https://")),
    }
}
