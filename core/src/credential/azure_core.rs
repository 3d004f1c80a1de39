//! An adapter for any credential of the Azure SDK for Rust.

use std::{fmt::Write, sync::Arc};

use azure_core::{
    credentials::TokenCredential,
    error::{Error as AzureError, ErrorKind as AzureKind},
};

use super::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest, entra::error_codes, sanitize};
use crate::{
    error::{Error, ErrorKind, Result, ServiceErrorDetails},
    secret::Secret,
};

/// An `azure_core` credential as a [`Credential`].
pub struct AzureCoreCredential {
    name: String,
    inner: Arc<dyn TokenCredential>,
}

impl AzureCoreCredential {
    /// Wraps the credential. Its class name is read from its `Debug` text, if that contains one.
    pub fn new(inner: Arc<dyn TokenCredential>) -> Self {
        AzureCoreCredential { name: class_name(&*inner).unwrap_or_else(|| "TokenCredential".to_owned()), inner }
    }

    async fn request_token(&self, request: &TokenRequest) -> Result<FetchedToken> {
        if request.claims.is_some() || request.tenant_id.is_some() {
            return Err(Error::new(
                ErrorKind::CredentialUnavailable,
                "a tenant or a claims challenge cannot be passed to a credential of the Azure SDK for Rust",
            )
            .with_advice("Create the credential for that tenant, or use a credential of pgentra."));
        }
        let response = self.inner.get_token(&[request.scope.as_str()], None).await;
        let token = response.map_err(|error| translate(&error))?;
        Ok(FetchedToken {
            token: Secret::new(crate::secret::trimmed(token.token.secret())),
            expires_on: Some(token.expires_on.unix_timestamp()),
            expires_in: None,
            refresh_in: None,
        })
    }
}

impl Credential for AzureCoreCredential {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(async move { self.request_token(request).await.map_err(|error| error.for_credential(&self.name)) })
    }
}

/// Returns the leading name of a `Debug` text. Only a name that ends in `Credential` is used, because other text can be
/// a value.
fn class_name(credential: &dyn TokenCredential) -> Option<String> {
    struct Start(String);
    impl Write for Start {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend(text.chars().take(64));
            if self.0.len() > 64 { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut start = Start(String::new());
    let _ = write!(start, "{credential:?}");
    let name: String = start.0.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    (name.len() < 64 && name.ends_with("Credential")).then_some(name)
}

/// Converts an error of the Azure SDK to one of our kinds. The SDK does not distinguish "not set up here" from
/// "refused", so the kind is derived from the causes: no response, no tool, no signed-in user, an identity that is not
/// assigned.
fn translate(error: &AzureError) -> Error {
    let status = chain(error).find_map(|cause| match cause.kind() {
        AzureKind::HttpResponse { status, .. } => Some(u16::from(*status)),
        _ => None,
    });
    let text = error.to_string();
    let lower = text.to_ascii_lowercase();
    let number = error_codes::find(&text).or_else(|| {
        chain(error).find_map(|cause| match cause.kind() {
            AzureKind::HttpResponse { error_code: Some(code), .. } => code.split(',').next()?.trim().parse().ok(),
            _ => None,
        })
    });
    let known = number.and_then(error_codes::lookup);
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let is_io = chain(error).any(|cause| matches!(cause.kind(), AzureKind::Io | AzureKind::Connection));
    let is_data = chain(error).any(|cause| matches!(cause.kind(), AzureKind::DataConversion));

    let kind = match (known, status) {
        (_, Some(429)) => ErrorKind::Throttled,
        (_, Some(408 | 500..)) => ErrorKind::ServiceUnavailable,
        (Some(entry), _) => entry.verdict.kind(),
        _ if has(&["identity has not been assigned", "identity not found", "isn't supported"]) => {
            ErrorKind::CredentialUnavailable
        }
        _ if has(&[
            "not found on path",
            "not found",
            "is not recognized",
            "az login",
            "azd auth login",
            "az account set",
        ]) && status.is_none()
            && number.is_none() =>
        {
            ErrorKind::CredentialUnavailable
        }
        _ if has(&["no tenant id", "no client id", "no token file", "no value for environment variable"]) => {
            ErrorKind::CredentialUnavailable
        }
        (None, Some(403)) if lower.contains("unreachable") => ErrorKind::CredentialUnavailable,
        (None, Some(_)) => ErrorKind::AuthenticationFailed,
        // There was no response from an endpoint that exists only on Azure's machines.
        _ if is_io && lower.contains("managedidentitycredential") => ErrorKind::CredentialUnavailable,
        _ if is_io => ErrorKind::Network,
        _ if is_data => ErrorKind::BadResponse,
        _ => ErrorKind::CustomCredential,
    };
    // "{class} authentication failed. {what}\nTo troubleshoot, visit {link}"
    let reported = text.split_once("authentication failed.").map_or(text.as_str(), |(_, rest)| rest);
    let reported = reported.split("To troubleshoot").next().unwrap_or_default();
    let message = sanitize::sentence(reported, &[]).unwrap_or_else(|| "no reason was given".to_owned());
    let service = ServiceErrorDetails { status, aadsts: number, ..ServiceErrorDetails::default() };
    Error::new(kind, message).with_service(service).with_known(known)
}

/// Returns the error and the errors of the Azure SDK behind it.
fn chain(error: &AzureError) -> impl Iterator<Item = &AzureError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        next = current.source();
        Some(current)
    })
    .filter_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translate_maps_the_sdks_errors_to_kinds() {
        let io = || AzureError::new(AzureKind::Io, std::io::Error::from_raw_os_error(111));
        let data = || AzureError::with_message(AzureKind::DataConversion, "expected a borrowed string");
        let http = |status: u16, code: Option<&str>| {
            let kind = AzureKind::HttpResponse {
                status: status.into(),
                error_code: code.map(str::to_owned),
                raw_response: None,
            };
            AzureError::with_message(kind, "refused")
        };
        let credential =
            |cause: AzureError, text: &'static str| AzureError::with_error(AzureKind::Credential, cause, text);
        let plain = |text: &'static str| AzureError::with_message(AzureKind::Credential, text);
        use ErrorKind::*;
        let cases = [
            (
                credential(io(), "ManagedIdentityCredential authentication failed. connection refused"),
                CredentialUnavailable,
            ),
            (credential(io(), "ClientSecretCredential authentication failed. connection refused"), Network),
            (
                credential(http(401, Some("7000215")), "ClientSecretCredential authentication failed. no"),
                AuthenticationFailed,
            ),
            (credential(http(400, Some("50076")), "OnBehalfOf failed"), InteractionRequired),
            (credential(http(503, None), "ClientSecretCredential authentication failed"), ServiceUnavailable),
            (credential(http(429, None), "ManagedIdentityCredential authentication failed"), Throttled),
            (
                credential(
                    http(400, None),
                    "ManagedIdentityCredential authentication failed. The requested identity has not been assigned to this resource",
                ),
                CredentialUnavailable,
            ),
            (plain("AzureCliCredential authentication failed. Azure CLI not found on path"), CredentialUnavailable),
            (
                plain("AzureCliCredential authentication failed. Please run 'az login' to setup account."),
                CredentialUnavailable,
            ),
            (
                plain("AzureCliCredential authentication failed. AADSTS700082: expired. run az login"),
                InteractionRequired,
            ),
            (plain("azure_arc managed identity isn't supported"), CredentialUnavailable),
            (plain("WorkloadIdentityCredential authentication failed. no token file specified"), CredentialUnavailable),
            (credential(data(), "ClientSecretCredential authentication failed"), BadResponse),
            (plain("something else"), CustomCredential),
        ];
        for (error, expected) in cases {
            let translated = translate(&error);
            assert_eq!(translated.kind(), expected, "{error}");
        }
        let text = "ClientSecretCredential authentication failed. AADSTS7000215: wrong.\nTo troubleshoot, visit x";
        assert!(
            translate(&plain(text)).to_string().starts_with("wrong (AADSTS7000215)"),
            "{}",
            translate(&plain(text))
        );
        assert!(translate(&credential(http(401, Some("7000215")), "x")).is_definite());
    }
}
