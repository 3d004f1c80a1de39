//! Validates what a custom credential returns. For bindings.

use super::{FetchedToken, entra::error_codes, sanitize};
use crate::{
    error::{CustomCause, Error, ErrorKind, Result, ServiceErrorDetails},
    runtime::now,
    secret::{self, Secret},
};

impl FetchedToken {
    /// Converts a token that a custom credential returned, or an assertion, with its expiry and its refresh point in
    /// seconds since the epoch. Whitespace around the token is removed, because files and command output end with a
    /// line end, and a byte order mark, with which some files begin.
    ///
    /// # Errors
    /// [`ErrorKind::CredentialValue`] if it cannot be a token: empty, or with whitespace or control characters inside.
    #[doc(hidden)]
    pub fn from_custom(token: &str, expires_on: Option<i64>, refresh_on: Option<i64>) -> Result<FetchedToken> {
        let refused =
            |what: &str| Err(Error::new(ErrorKind::CredentialValue, format!("the credential returned {what}")));
        let token = secret::trimmed(token);
        if token.is_empty() {
            return refused("an empty token");
        }
        if token.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return refused("a token with whitespace or control characters");
        }
        let refresh_in = refresh_on.map(|at| at.saturating_sub(now().wall_ms / 1000));
        Ok(FetchedToken { token: Secret::new(token), expires_on, expires_in: None, refresh_in })
    }
}

impl Error {
    /// Converts the failure of a custom credential. `class` and `message` are those of its own error, which is kept as
    /// the cause.
    ///
    /// `unavailable` means that the credential is not set up here, so that a chain continues with its next member. An
    /// Entra error quoted in the message has the same effect as one in a response of Entra: for example, a wrong secret
    /// is a definite refusal.
    #[doc(hidden)]
    pub fn from_custom(class: &str, message: &str, unavailable: bool, cause: Option<CustomCause>) -> Error {
        let aadsts = error_codes::find(message);
        let known = aadsts.and_then(error_codes::lookup);
        let kind = match known {
            _ if unavailable => ErrorKind::CredentialUnavailable,
            Some(entry) => entry.verdict.kind(),
            None => ErrorKind::CustomCredential,
        };
        let service =
            ServiceErrorDetails { aadsts, message: sanitize::sentence(message, &[]), ..ServiceErrorDetails::default() };
        Error::new(kind, format!("the credential raised {class}"))
            .with_service(service)
            .with_known(known)
            .with_custom_cause(class, cause)
    }

    /// Returns whether a custom credential reported that Entra refused it, by the names of the Azure SDKs' errors for
    /// that.
    pub(crate) fn custom_was_refused(&self) -> bool {
        let refusals = ["ClientAuthenticationError", "AuthenticationError", "AuthenticationFailedException"];
        self.custom_class().is_some_and(|class| refusals.contains(&class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_custom_rejects_a_value_that_is_not_a_token_without_showing_it() {
        for bad in ["", " \r\n", "\u{feff}", "two words", "line\nbreak", "nul\0"] {
            let error = FetchedToken::from_custom(bad, Some(1), None).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::CredentialValue);
            assert!(secret::trimmed(bad).is_empty() || !error.to_string().contains(bad));
        }
    }

    #[test]
    fn from_custom_removes_whitespace_around_a_token() {
        for read in ["canary", "canary\n", "canary\r\n", "canary\n\n", " \tcanary ", "\u{feff}canary\r\n"] {
            let fetched = FetchedToken::from_custom(read, Some(1), None).expect("a token");
            assert_eq!(fetched.token.expose(), "canary");
        }
    }

    #[test]
    fn from_custom_error_shows_the_first_sentence_and_no_token() {
        let message = "AADSTS7000215: bad eyJhbGciOiJub25lIn0.eyJhIjoxfQ.s. Trace ID: 1";
        let error = Error::from_custom("ClientAuthenticationError", message, false, None);
        assert_eq!(error.aadsts(), Some(7_000_215));
        assert!(
            error.to_string().starts_with("the credential raised ClientAuthenticationError: bad [redacted]"),
            "{error}"
        );
        assert!(Error::from_custom("X", "", true, None).is_unavailable());
    }

    #[test]
    fn from_custom_error_with_an_entra_code_has_its_kind() {
        let raised = |message: &str| Error::from_custom("X", message, false, None);
        let wrong = raised("X failed: see the log.\nOriginal exception: AADSTS7000215: Invalid secret. Trace ID: 1");
        assert_eq!(wrong.kind(), ErrorKind::AuthenticationFailed);
        assert!(wrong.is_definite() && !wrong.is_transient());
        assert!(wrong.to_string().contains("Pass the secret's value"), "{wrong}");
        assert_eq!(raised("AADSTS50076: act").kind(), ErrorKind::InteractionRequired);
        assert!(raised("AADSTS90033: later").is_transient() && !raised("AADSTS90033: later").is_definite());
        assert!(raised("AADSTS1: unknown").is_transient() && raised("no answer").is_transient());
    }
}
