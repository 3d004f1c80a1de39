//! Errors of the program, and its exit codes.

use std::fmt;

use pgentra::{Error, ErrorKind};
use serde_json::{Value, json};

/// The exit codes. Those of `exec` and `psql` are the child's; see [`crate::exec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// A check or a login failed.
    Failed = 1,
    /// The arguments or the configuration cannot be used.
    Usage = 2,
    /// No credential is set up here.
    NoCredential = 3,
    /// Entra refused the credential.
    Refused = 4,
    /// The token service cannot respond at present.
    Transient = 5,
    /// The server cannot be reached, or not by TLS.
    #[allow(dead_code, reason = "only commands that connect to the server by themselves end with it")]
    Unreachable = 6,
    /// The server refused the login.
    #[allow(dead_code, reason = "only commands that connect to the server by themselves end with it")]
    LoginRefused = 7,
}

impl Exit {
    /// Returns the exit code for an error of the engine.
    pub fn of(error: &Error) -> Exit {
        use ErrorKind::{
            AuthenticationFailed, CredentialUnavailable, CredentialValue, InsecureTransport, InteractionRequired,
            InvalidArgument, InvalidConfiguration, InvalidConnection, ScopePermission, UntrustedCertificate,
            UsernameExtraction,
        };
        match error.kind() {
            _ if error.is_transient() => Exit::Transient,
            CredentialUnavailable => Exit::NoCredential,
            AuthenticationFailed | InteractionRequired => Exit::Refused,
            // These are corrected by an option or a variable.
            InvalidConfiguration | InvalidConnection | InsecureTransport | CredentialValue | InvalidArgument
            | UntrustedCertificate | UsernameExtraction | ScopePermission => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// An error that ends the program.
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    contents: Box<Contents>,
}

struct Contents {
    code: &'static str,
    headline: String,
    advice: String,
    detail: Value,
    attempts: Vec<Error>,
}

/// The result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Creates an error. `message` has no full stop; `advice` is one or more sentences.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Failure {
        let (headline, advice) = (message.into(), advice.into());
        let detail = json!({ "code": code, "message": headline, "advice": advice });
        Failure { exit, contents: Box::new(Contents { code, headline, advice, detail, attempts: Vec::new() }) }
    }

    /// Creates an error about the arguments, the configuration or a file.
    pub fn usage(message: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, "invalid_configuration", message, advice)
    }

    /// Creates an error about a file or a process.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Failure {
        Failure::new(Exit::Failed, "io", format!("{what}: {error}"), "")
    }

    /// Prefixes the message with its subject: `what: message`.
    #[must_use]
    pub fn about(mut self, what: &str) -> Failure {
        let contents = &mut self.contents;
        contents.headline = format!("{what}: {}", contents.headline);
        contents.detail["message"] = Value::from(contents.headline.as_str());
        self
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        self.contents.code
    }

    /// Returns the first line without the code.
    pub fn headline(&self) -> &str {
        &self.contents.headline
    }

    /// Returns what to do.
    pub fn advice(&self) -> &str {
        &self.contents.advice
    }

    /// Returns the document for `--json`.
    pub fn document(&self) -> Value {
        json!({ "error": self.contents.detail })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let contents = Contents {
            code: error.code(),
            headline: error.headline(),
            advice: error.advice().to_owned(),
            detail: error.detail(),
            attempts: error.attempts().to_vec(),
        };
        Failure { exit: Exit::of(&error), contents: Box::new(contents) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = &self.contents;
        write!(f, "{}: {}", contents.code, contents.headline)?;
        if !contents.advice.is_empty() {
            write!(f, "\n{}", contents.advice)?;
        }
        for attempt in &contents.attempts {
            write!(f, "\n  - {}", attempt.to_string().replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_of_each_error_kind_is_in_the_table() {
        let exit = |kind| Exit::of(&Error::new(kind, "x")) as u8;
        let table = [
            (ErrorKind::CredentialUnavailable, 3),
            (ErrorKind::AuthenticationFailed, 4),
            (ErrorKind::InteractionRequired, 4),
            (ErrorKind::ServiceUnavailable, 5),
            (ErrorKind::Throttled, 5),
            (ErrorKind::Network, 5),
            (ErrorKind::Timeout, 5),
            (ErrorKind::BadResponse, 5),
            (ErrorKind::DeadOnArrival, 5),
            (ErrorKind::UntrustedCertificate, 2),
            (ErrorKind::InvalidConfiguration, 2),
            (ErrorKind::InvalidConnection, 2),
            (ErrorKind::InsecureTransport, 2),
            (ErrorKind::UsernameExtraction, 2),
            (ErrorKind::TokenDecode, 1),
        ];
        for (kind, number) in table {
            assert_eq!(exit(kind), number, "{kind}");
        }
        assert_eq!(Exit::of(&Error::new(ErrorKind::BadResponse, "x").definite()) as u8, 1);
    }
}
