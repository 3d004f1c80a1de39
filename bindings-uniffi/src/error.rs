//! The errors, as one class for each exception class of `docs/errors.md`.

use pgentra::{Error, ErrorKind};

macro_rules! classes {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $class:literal; )+) => {
        /// An error of pgentra. It contains no token and no secret.
        #[derive(Debug, Clone, thiserror::Error, uniffi::Error)]
        pub enum EntraError {
            $(
                $(#[doc = $doc])+
                #[error("{text}")]
                $variant {
                    /// What failed, the cause, and what to do.
                    text: String,
                    /// The stable code of the kind, such as `service_unavailable`.
                    code: String,
                    /// Whether the same call can succeed later without a change.
                    transient: bool,
                    /// The error as a JSON document: `aadsts`, `status`, `attempts` and so on.
                    detail: String,
                },
            )+
        }

        impl From<Error> for EntraError {
            fn from(error: Error) -> Self {
                let (text, code, transient) = (error.to_string(), error.code().to_owned(), error.is_transient());
                let detail = error.detail().to_string();
                match error.kind().class() {
                    $($class => EntraError::$variant { text, code, transient, detail },)+
                    _ => EntraError::Other { text, code, transient, detail },
                }
            }
        }
    };
}

classes! {
    /// The credential is not set up on this machine.
    CredentialUnavailable = "CredentialUnavailableError";
    /// The credential is set up and failed.
    Authentication = "AuthenticationError";
    /// The token is not a readable JWT.
    TokenDecode = "TokenDecodeError";
    /// The token contains no role name.
    UsernameExtraction = "UsernameExtractionError";
    /// A token for the management scope was refused, so the role name could not be determined.
    ScopePermission = "ScopePermissionError";
    /// An option or a credential is not valid.
    CredentialValue = "CredentialValueError";
    /// The connection's settings cannot be used.
    EntraConnectionValue = "EntraConnectionValueError";
    /// Any other error.
    Other = "PgEntraError";
}

/// Returns the error of an argument.
pub(crate) fn invalid_argument(message: String) -> EntraError {
    Error::new(ErrorKind::InvalidArgument, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entra_error_has_a_variant_for_each_class() {
        for kind in ErrorKind::ALL {
            let error = EntraError::from(Error::new(*kind, "it failed"));
            let is_other = matches!(&error, EntraError::Other { .. });
            assert_eq!(is_other, kind.class() == "PgEntraError", "{kind:?}");
            assert!(error.to_string().starts_with("it failed. "), "{error}");
        }
    }
}
