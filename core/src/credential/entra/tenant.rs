//! Tenants: their syntax, and which ones a request can specify.

use crate::{
    config::{BuildInputs, CredentialOptions},
    error::{Error, ErrorKind, Result},
};

/// The tenants that requests can go to.
#[derive(Clone, Debug)]
pub(in crate::credential) struct TenantRule {
    own: Option<String>,
    also_allowed: Vec<String>,
    fixed: bool,
}

impl TenantRule {
    /// Creates the value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a tenant that is neither an id nor a domain name.
    pub(in crate::credential) fn new(
        own: Option<&str>,
        options: &CredentialOptions,
        inputs: &BuildInputs<'_>,
    ) -> Result<TenantRule> {
        if let Some(own) = own {
            check(own)?;
        }
        Ok(TenantRule {
            own: own.map(str::to_owned),
            also_allowed: options.additionally_allowed_tenants.iter().map(|tenant| tenant.trim().to_owned()).collect(),
            fixed: inputs.variable("AZURE_IDENTITY_DISABLE_MULTITENANTAUTH").is_some(),
        })
    }

    /// Returns the tenant for a request: the credential's own one, unless the request specifies another one that is
    /// allowed. Returns `None` if neither specifies one.
    ///
    /// # Errors
    /// [`ErrorKind::AuthenticationFailed`] for a tenant that is not allowed.
    pub(in crate::credential) fn resolve<'a>(&'a self, requested: Option<&'a str>) -> Result<Option<&'a str>> {
        let Some(requested) = requested.map(str::trim).filter(|tenant| !tenant.is_empty()) else {
            return Ok(self.own.as_deref());
        };
        let same = |tenant: &str| tenant.eq_ignore_ascii_case(requested);
        match self.own.as_deref() {
            Some(own) if self.fixed || same(own) || own.eq_ignore_ascii_case("adfs") => Ok(Some(own)),
            Some(_) if !self.also_allowed.iter().any(|allowed| allowed == "*" || same(allowed)) => Err(Error::new(
                ErrorKind::AuthenticationFailed,
                "the request is for another tenant than the credential's own",
            )
            .with_advice("Add the tenant to the additionally allowed tenants, or add `*` to allow all tenants.")),
            _ if self.own.is_none() && self.fixed => Ok(None),
            _ => check(requested).map(|()| Some(requested)),
        }
    }
}

/// Uses the environment's list of tenants if the options have no list.
pub(in crate::credential) fn with_environment(
    options: &CredentialOptions,
    inputs: &BuildInputs<'_>,
) -> CredentialOptions {
    let mut options = options.clone();
    if options.additionally_allowed_tenants.is_empty() {
        let listed = inputs.variable("AZURE_ADDITIONALLY_ALLOWED_TENANTS").unwrap_or_default();
        options.additionally_allowed_tenants =
            listed.split(';').map(str::trim).filter(|tenant| !tenant.is_empty()).map(str::to_owned).collect();
    }
    options
}

fn check(tenant: &str) -> Result<()> {
    let is_one = !tenant.is_empty()
        && tenant.len() <= 256
        && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && tenant.bytes().any(|b| b.is_ascii_alphanumeric());
    if is_one {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidConfiguration,
        "the tenant is neither an id nor a domain name: it can contain only letters, digits, dots and hyphens",
    )
    .with_advice("Correct the tenant id, or AZURE_TENANT_ID."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn rule(own: Option<&str>, allowed: &[&str], variables: &[&str]) -> TenantRule {
        let options = CredentialOptions {
            additionally_allowed_tenants: allowed.iter().map(|tenant| (*tenant).to_owned()).collect(),
            ..CredentialOptions::default()
        };
        let environment = variables.iter().map(|name| ((*name).to_owned(), "1".into())).collect();
        TenantRule::new(own, &options, &BuildInputs::new(&environment)).unwrap()
    }

    #[test]
    fn tenant_of_a_request_must_be_allowed() {
        let disabled: &[&str] = &["AZURE_IDENTITY_DISABLE_MULTITENANTAUTH"];
        type Case<'a> = (Option<&'a str>, &'a [&'a str], &'a [&'a str], Option<&'a str>, Result<Option<&'a str>, ()>);
        let cases: &[Case] = &[
            (Some("t1"), &[], &[], None, Ok(Some("t1"))),
            (Some("t1"), &[], &[], Some(""), Ok(Some("t1"))),
            (Some("t1"), &[], &[], Some("T1"), Ok(Some("t1"))),
            (Some("t1"), &[], &[], Some("t2"), Err(())),
            (Some("t1"), &["t2"], &[], Some("T2"), Ok(Some("T2"))),
            (Some("t1"), &["*"], &[], Some("t3"), Ok(Some("t3"))),
            (Some("t1"), &["*"], &[], Some("t3/../x"), Err(())),
            (Some("t1"), &["*"], disabled, Some("t3"), Ok(Some("t1"))),
            (Some("adfs"), &[], &[], Some("t3"), Ok(Some("adfs"))),
            (None, &[], &[], None, Ok(None)),
            (None, &[], &[], Some("t2"), Ok(Some("t2"))),
            (None, &[], disabled, Some("t2"), Ok(None)),
            (None, &[], &[], Some("t2; rm -rf"), Err(())),
        ];
        for (own, allowed, variables, requested, expected) in cases {
            let rule = rule(*own, allowed, variables);
            let resolved = rule.resolve(*requested).map_err(|_| ());
            assert_eq!(resolved, *expected, "{own:?} {allowed:?} {requested:?}");
        }
        for bad in ["a b", ".."] {
            let environment = Environment::new();
            let rule = TenantRule::new(Some(bad), &CredentialOptions::default(), &BuildInputs::new(&environment));
            assert!(rule.is_err(), "{bad}");
        }
    }
}
