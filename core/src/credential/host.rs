//! What a credential object of the host's own answers, made safe to use. For bindings.

use super::{FetchedToken, service_text};
use crate::{
    claims::Claims,
    error::{Error, ErrorKind, HostCause, Result, Service},
    runtime::now,
    secret::Secret,
};

impl FetchedToken {
    /// A token that a host's credential returned, with its end and its refresh point in seconds since the epoch.
    /// Without an end, the token's own `exp` counts.
    ///
    /// # Errors
    /// [`ErrorKind::CredentialValue`] where it cannot be a token: empty, with blanks or control characters, or without
    /// any end.
    pub fn from_host(token: &str, expires_on: Option<i64>, refresh_on: Option<i64>) -> Result<FetchedToken> {
        check("token", token)?;
        let Some(expires_on) = expires_on.or_else(|| Claims::decode(token).ok()?.expires_on()) else {
            return Err(refused("a token without expiry, and the token itself names none"));
        };
        let refresh_in = refresh_on.map(|at| at.saturating_sub(now().wall_ms / 1000));
        Ok(FetchedToken { token: Secret::new(token), expires_on: Some(expires_on), expires_in: None, refresh_in })
    }

    /// An assertion that a host's callback returned: what a document's `get_assertion` of type `host` is answered with.
    /// How long it is good is between the callback and Entra.
    ///
    /// # Errors
    /// [`ErrorKind::CredentialValue`] where it cannot be one: empty, with blanks or control characters.
    pub fn assertion_from_host(assertion: &str) -> Result<FetchedToken> {
        check("assertion", assertion)?;
        Ok(FetchedToken { token: Secret::new(assertion), expires_on: None, expires_in: None, refresh_in: None })
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::CredentialValue, format!("the credential returned {what}"))
}

fn check(what: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(refused(&format!("an empty {what}")));
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(refused(&format!("a {what} with blanks or control characters in it")));
    }
    Ok(())
}

impl Error {
    /// The failure of a host's credential: `class` and `message` of its own error, which is kept as the cause.
    ///
    /// `unavailable` says that it is not set up here, so that a chain goes on past it.
    pub fn from_host(class: &str, message: &str, unavailable: bool, cause: HostCause) -> Error {
        let kind = if unavailable { ErrorKind::CredentialUnavailable } else { ErrorKind::HostCredential };
        let service = Service {
            aadsts: message.split_once("AADSTS").and_then(|(_, rest)| {
                rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
            }),
            message: service_text::sentence(message, &[]),
            ..Service::default()
        };
        Error::new(kind, format!("the credential raised {class}")).with_service(service).with_host_cause(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_token_is_refused_without_being_shown() {
        for bad in ["", "two words", "line\nbreak", "nul\0"] {
            for refused in [FetchedToken::from_host(bad, Some(1), None), FetchedToken::assertion_from_host(bad)] {
                let error = refused.expect_err("refused");
                assert_eq!(error.kind(), ErrorKind::CredentialValue);
                assert!(bad.is_empty() || !error.to_string().contains(bad));
            }
        }
    }

    #[test]
    fn the_tokens_own_expiry_counts_where_none_came() {
        // {"exp":1900000000}
        let token = FetchedToken::from_host("e30.eyJleHAiOjE5MDAwMDAwMDB9.s", None, None).expect("a token");
        assert_eq!(token.expires_on, Some(1_900_000_000));
        assert!(FetchedToken::from_host("opaque", None, None).is_err());
        assert_eq!(FetchedToken::from_host("opaque", Some(7), None).expect("a token").expires_on, Some(7));
    }

    #[test]
    fn a_hosts_failure_shows_its_first_sentence_and_no_token() {
        let message = "AADSTS7000215: bad eyJhbGciOiJub25lIn0.eyJhIjoxfQ.s. Trace ID: 1";
        let error = Error::from_host("ClientAuthenticationError", message, false, std::sync::Arc::new(()));
        assert_eq!(error.aadsts(), Some(7_000_215));
        assert!(
            error.to_string().starts_with("the credential raised ClientAuthenticationError: bad [redacted]"),
            "{error}"
        );
        assert!(Error::from_host("X", "", true, std::sync::Arc::new(())).is_unavailable());
    }
}
