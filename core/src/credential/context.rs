//! What a credential is built from in addition to its own settings.

use std::{cell::OnceCell, rc::Rc, sync::Arc};

use super::Credential;
use crate::{
    cloud::{AUTHORITY_VARIABLE, Authority, Cloud},
    config::{CredentialOptions, inputs::BuildInputs},
    error::Result,
    transport::{Transport, Trust},
};

/// What a credential is built from in addition to its own settings.
#[derive(Clone)]
pub struct BuildContext<'a> {
    /// Variables and other settings, which become part of the cache key when they are read.
    pub(crate) inputs: &'a BuildInputs<'a>,
    transports: Transports,
    authority: AuthoritySource,
    pub(super) custom_credentials: Vec<Arc<dyn Credential>>,
}

/// The HTTP transports for the credentials of one document.
#[derive(Clone)]
enum Transports {
    /// Created at the first use, and shared by all of them.
    Network(Rc<OnceCell<Transport>>),
    /// One transport for all, from a test.
    #[cfg(any(test, feature = "testing"))]
    Given(Transport),
}

/// The source of the token endpoints' address.
#[derive(Clone)]
enum AuthoritySource {
    /// `AZURE_AUTHORITY_HOST`, otherwise the cloud of the connection.
    Inputs,
    /// The option `authority_host`.
    Option(Authority),
    /// The option `cloud`.
    Cloud(Cloud),
    /// The cluster's token proxy. Its address can have a path. The second value is how its certificate is verified.
    Proxy(String, Trust),
}

impl<'a> BuildContext<'a> {
    /// Creates a context that uses the network, the authority host from the variables or the cloud of the connection,
    /// and no custom credentials.
    pub fn new(inputs: &'a BuildInputs<'a>) -> Self {
        BuildContext {
            inputs,
            transports: Transports::Network(Rc::default()),
            authority: AuthoritySource::Inputs,
            custom_credentials: Vec::new(),
        }
    }

    /// Uses this transport for every request.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_transport(self, transport: Transport) -> Self {
        BuildContext { transports: Transports::Given(transport), ..self }
    }

    /// Sets the custom credentials that a document refers to by index.
    #[must_use]
    pub fn with_custom_credentials(self, custom_credentials: Vec<Arc<dyn Credential>>) -> Self {
        BuildContext { custom_credentials, ..self }
    }

    /// Uses the authority host or the cloud in a credential's own options.
    pub(super) fn of_options(&self, options: &CredentialOptions) -> Result<Self> {
        let given = |option: &Option<String>| option.clone().filter(|text| !text.trim().is_empty());
        let cloud: Option<Cloud> = given(&options.cloud).map(|name| name.parse()).transpose()?;
        let authority = match (given(&options.authority_host), cloud) {
            (Some(host), _) => AuthoritySource::Option(Authority::of_option(&host)?),
            (None, Some(cloud)) => AuthoritySource::Cloud(cloud),
            (None, None) => return Ok(self.clone()),
        };
        Ok(BuildContext { authority, ..self.clone() })
    }

    /// Uses the cluster's token proxy instead of the authority.
    pub(super) fn at_proxy(&self, address: String, trust: Trust) -> Self {
        BuildContext { authority: AuthoritySource::Proxy(address, trust), ..self.clone() }
    }

    /// Returns the address below which the token endpoints of `tenant` are.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a setting that cannot be used with this tenant.
    pub(super) fn authority(&self, tenant: &str) -> Result<String> {
        Ok(match &self.authority {
            AuthoritySource::Option(authority) => authority.for_tenant(tenant)?.to_owned(),
            AuthoritySource::Cloud(cloud) => cloud.authority_host(),
            AuthoritySource::Proxy(address, _) => address.clone(),
            AuthoritySource::Inputs => match Authority::of_variable(self.inputs.variable(AUTHORITY_VARIABLE))? {
                Some(authority) => authority.for_tenant(tenant)?.to_owned(),
                None => self.inputs.cloud().authority_host(),
            },
        })
    }

    /// Returns the cloud of the authority host.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a setting that cannot be used.
    pub(super) fn authority_cloud(&self) -> Result<Cloud> {
        Ok(match &self.authority {
            AuthoritySource::Option(authority) => authority.cloud(),
            AuthoritySource::Cloud(cloud) => *cloud,
            AuthoritySource::Proxy(..) => Cloud::Custom,
            AuthoritySource::Inputs => match Authority::of_variable(self.inputs.variable(AUTHORITY_VARIABLE))? {
                Some(authority) => authority.cloud(),
                None => self.inputs.cloud(),
            },
        })
    }

    /// Returns whether requests go to the cluster's token proxy.
    pub(super) fn is_at_proxy(&self) -> bool {
        matches!(self.authority, AuthoritySource::Proxy(..))
    }

    /// Returns the HTTP transport for a token endpoint.
    pub(super) fn transport(&self) -> Transport {
        match (&self.authority, &self.transports) {
            (AuthoritySource::Proxy(_, trust), _) => self.transport_trusting(trust.clone()),
            #[cfg(any(test, feature = "testing"))]
            (_, Transports::Given(transport)) => transport.clone(),
            (_, Transports::Network(shared)) => shared.get_or_init(|| Transport::of_inputs(self.inputs)).clone(),
        }
    }

    /// Returns the HTTP transport for an endpoint of this machine or its link, which never goes through a proxy.
    pub(super) fn transport_of_local(&self, uses_tls: bool) -> Transport {
        match &self.transports {
            #[cfg(any(test, feature = "testing"))]
            Transports::Given(transport) => transport.clone(),
            Transports::Network(_) => Transport::local(self.inputs, uses_tls),
        }
    }

    /// Returns the HTTP transport for a server that is verified by `trust`, which never goes through a proxy.
    pub(super) fn transport_trusting(&self, trust: Trust) -> Transport {
        let uses_roots = !trust.has_authorities();
        self.transport_of_local(uses_roots).trusting(trust)
    }
}
