//! The list of error kinds, and the error type of all functions.
//!
//! The error kinds of other places (C codes, exception classes, `.code` strings, `docs/errors.md`) are generated from
//! [`ErrorKind::ALL`], or checked against it.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};

/// What a credential chain does after an error of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainRule {
    /// The credential is not set up here: a chain continues with its next member.
    Unavailable,
    /// The credential is set up and failed: a chain stops.
    Failed,
    /// Not an error of a credential.
    NotACredential,
}

macro_rules! error_kinds {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $number:literal, $code:literal, $chain:ident, $transient:literal, $class:literal, $advice:literal; )+) => {
        /// The kinds of error. Numbers are stable and append-only; a retired number is never used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $( $(#[doc = $doc])+ $variant = $number, )+
        }

        impl ErrorKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant,)+];

            /// Returns the stable string of the kind: `.code` in every language.
            pub const fn code(self) -> &'static str {
                match self { $(ErrorKind::$variant => $code,)+ }
            }

            /// Returns what a chain does after an error of this kind.
            #[doc(hidden)]
            pub const fn chain_rule(self) -> ChainRule {
                match self { $(ErrorKind::$variant => ChainRule::$chain,)+ }
            }

            /// Returns whether the same call can succeed later without a change by the caller.
            pub const fn is_transient(self) -> bool {
                match self { $(ErrorKind::$variant => $transient,)+ }
            }

            /// Returns the name of the exception class in languages with exceptions.
            #[doc(hidden)]
            pub const fn class(self) -> &'static str {
                match self { $(ErrorKind::$variant => $class,)+ }
            }

            /// Returns what to do, for errors without more specific advice.
            pub const fn advice(self) -> &'static str {
                match self { $(ErrorKind::$variant => $advice,)+ }
            }

            /// Returns the meaning of the kind in one sentence.
            #[doc(hidden)]
            pub fn summary(self) -> String {
                match self { $(ErrorKind::$variant => [$($doc),+].map(str::trim).join(" "),)+ }
            }
        }
    };
}

error_kinds! {
    /// The credential is not set up on this machine: no variable, no file, no endpoint, no tool.
    CredentialUnavailable = 1, "credential_unavailable", Unavailable, false, "CredentialUnavailableError",
        "Set up the credential, or use another one.";
    /// Entra refused the credential, or a developer tool reported a failed sign-in.
    AuthenticationFailed = 2, "authentication_failed", Failed, false, "AuthenticationError",
        "Check tenant and client id, and the secret, certificate or federated credential that belongs to them.";
    /// Entra requires an action of the user: multi-factor sign-in, consent, a new password.
    InteractionRequired = 3, "interaction_required", Failed, false, "AuthenticationError",
        "Let the user sign in again, with the `claims` of the error's detail.";
    /// The token service returned HTTP 5xx, or is overloaded.
    ServiceUnavailable = 4, "service_unavailable", Failed, true, "AuthenticationError",
        "No action is required. The request is repeated after the back-off.";
    /// The token service limits the number of requests (HTTP 429).
    Throttled = 5, "throttled", Failed, true, "AuthenticationError",
        "Share one provider among pools. The request is repeated when the service permits it.";
    /// The token service could not be reached: name resolution failed, no connection, or an interrupted connection.
    Network = 6, "network", Failed, true, "AuthenticationError",
        "Check DNS, firewall and proxy variables for this host.";
    /// The certificate of the token service is not trusted.
    UntrustedCertificate = 7, "untrusted_certificate", Failed, false, "AuthenticationError",
        "Add the issuer's certificate with the option for a PEM file of authorities, or with SSL_CERT_FILE.";
    /// A time limit passed: the caller's wait or the credential's own.
    Timeout = 8, "timeout", Failed, true, "AuthenticationError",
        "The fetch continues: request the token again.";
    /// The response of the token service or developer tool cannot be read.
    BadResponse = 9, "bad_response", Failed, true, "AuthenticationError",
        "Check whether a proxy or portal responds instead of the token service.";
    /// The token in the response has already expired.
    DeadOnArrival = 10, "dead_on_arrival", Failed, true, "AuthenticationError",
        "Check this machine's clock, and the token cache of the credential.";
    /// The token is not a readable JWT.
    TokenDecode = 11, "token_decode", NotACredential, false, "TokenDecodeError",
        "Pass the user name explicitly, or check the token that the credential returns.";
    /// The token contains no role name.
    UsernameExtraction = 12, "username_extraction", NotACredential, false, "UsernameExtractionError",
        "Pass the user name to the connection, in PGUSER or as the fallback user name.";
    /// A token for the management scope was refused, so the role name could not be determined.
    ScopePermission = 13, "scope_permission", NotACredential, false, "ScopePermissionError",
        "Pass the user name to the connection, in PGUSER or as the fallback user name.";
    /// The credential argument is not a credential, or the credential returned a value that is not a token.
    CredentialValue = 14, "credential_value", Failed, false, "CredentialValueError",
        "Pass a credential object, or a callable that returns a token and its expiry.";
    /// A configuration key is unknown, missing, empty or of the wrong type.
    InvalidConfiguration = 15, "invalid_configuration", Failed, false, "CredentialValueError",
        "Correct this option.";
    /// The connection's settings contradict each other or the options.
    InvalidConnection = 16, "invalid_connection", NotACredential, false, "EntraConnectionValueError",
        "Correct this connection setting.";
    /// A token would have been sent over a connection without TLS.
    InsecureTransport = 17, "insecure_transport", NotACredential, false, "EntraConnectionValueError",
        "Use sslmode=verify-full. For a trusted server on a trusted network, allow insecure transport explicitly.";
    /// A blocking call was made on a thread that the fetch needs.
    WouldDeadlock = 18, "would_deadlock", NotACredential, false, "PgEntraError",
        "Use the asynchronous function, or call from another thread.";
    /// The process is ending and fetches no new tokens.
    ShuttingDown = 19, "shutting_down", NotACredential, false, "PgEntraError",
        "Open connections before the process begins to exit.";
    /// The caller cancelled its wait.
    Cancelled = 20, "cancelled", NotACredential, false, "PgEntraError",
        "No action is required. The fetch continues for other callers.";
    /// A custom credential failed.
    CustomCredential = 21, "custom_credential", Failed, true, "AuthenticationError",
        "See the cause, which is the credential's own error.";
    /// A defect of pgentra: a panic was caught.
    Internal = 22, "internal", Failed, true, "PgEntraError",
        "Report it with the log of target `pgentra`.";
    /// A function of the C library was called with an invalid argument: NULL, a closed handle, text that is not UTF-8.
    InvalidArgument = 23, "invalid_argument", NotACredential, false, "PgEntraError",
        "Correct the call.";
}

impl ErrorKind {
    /// Returns the kind with a stable number.
    pub fn from_number(number: i32) -> Option<ErrorKind> {
        Self::ALL.iter().copied().find(|kind| *kind as i32 == number)
    }

    /// Returns the kind with a stable code.
    pub fn from_code(code: &str) -> Option<ErrorKind> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The error object of a custom credential (an exception, a JavaScript value), which becomes the cause of the error.
pub type CustomCause = Arc<dyn Any + Send + Sync>;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. Clones share their contents.
///
/// `Display` writes one line: what failed, for which credential, the service's message and what to do. The attempts of
/// a chain follow on separate lines. An error never contains a token, a secret or a raw response body.
#[derive(Clone)]
pub struct Error(Arc<ErrorContents>);

#[derive(Clone)]
struct ErrorContents {
    kind: ErrorKind,
    message: String,
    advice: Option<String>,
    credential: Option<String>,
    service: ServiceErrorDetails,
    attempts: Vec<Error>,
    definite: bool,
    custom_cause: Option<CustomCause>,
    custom_class: Option<String>,
}

/// What a token service returned about a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceErrorDetails {
    /// HTTP status.
    pub status: Option<u16>,
    /// The OAuth `error` code, such as `invalid_client`.
    pub error: Option<String>,
    /// The number after `AADSTS`.
    pub aadsts: Option<u32>,
    /// The service's message, shortened and masked.
    pub message: Option<String>,
    /// Entra's trace id, for a support request.
    pub trace_id: Option<String>,
    /// Entra's correlation id.
    pub correlation_id: Option<String>,
    /// The time after which the service accepts the next request.
    pub retry_after: Option<Duration>,
    /// The claims challenge to pass to an interactive sign-in.
    pub claims: Option<String>,
}

impl Error {
    /// Creates an error. `message` states what failed and why, without a full stop, and begins the first line.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Arc::new(ErrorContents {
            kind,
            message: message.into(),
            advice: None,
            credential: None,
            service: ServiceErrorDetails::default(),
            attempts: Vec::new(),
            definite: false,
            custom_cause: None,
            custom_class: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut ErrorContents)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Sets the class name of the credential, unless it is already set.
    #[must_use]
    pub fn for_credential(self, name: impl Into<String>) -> Self {
        if self.0.credential.is_some() {
            return self;
        }
        self.with(|e| e.credential = Some(name.into()))
    }

    /// Converts the error of a part into that of the whole: `what` and the part's credential begin the first line, and
    /// the credential of the whole can be set.
    #[must_use]
    pub(crate) fn of_part(self, what: &str) -> Self {
        let part = self.0.credential.as_deref().map(|name| format!(" from {name}")).unwrap_or_default();
        self.with(|e| {
            e.message = format!("{what}{part}: {}", e.message);
            e.credential = None;
        })
    }

    /// Sets the kind: a developer tool's failure is "unavailable" inside the default chain.
    #[must_use]
    pub(crate) fn with_kind(self, kind: ErrorKind) -> Self {
        self.with(|e| e.kind = kind)
    }

    /// Sets advice that replaces the kind's.
    #[must_use]
    pub fn with_advice(self, advice: impl Into<String>) -> Self {
        self.with(|e| e.advice = Some(advice.into()))
    }

    /// Prefixes the message with its subject: `what: message`.
    #[must_use]
    pub(crate) fn about(self, what: &str) -> Self {
        self.with(|e| e.message = format!("{what}: {}", e.message))
    }

    /// Sets what the service returned.
    #[must_use]
    pub fn with_service(self, service: ServiceErrorDetails) -> Self {
        self.with(|e| e.service = service)
    }

    /// Sets the attempts of a chain, in their order.
    #[must_use]
    pub(crate) fn with_attempts(self, attempts: Vec<Error>) -> Self {
        self.with(|e| e.attempts = attempts)
    }

    /// Marks a refusal that a retry does not change (`invalid_client`, unknown tenant). It is remembered longer.
    #[must_use]
    pub fn definite(self) -> Self {
        self.with(|e| e.definite = true)
    }

    /// Keeps the class name of a custom credential's own error, and the error object itself.
    #[must_use]
    pub(crate) fn with_custom_cause(self, class: &str, cause: Option<CustomCause>) -> Self {
        self.with(|e| {
            e.custom_class = Some(class.to_owned());
            e.custom_cause = cause;
        })
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the stable string of the kind.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Returns the number after `AADSTS`, if Entra returned one.
    pub fn aadsts(&self) -> Option<u32> {
        self.0.service.aadsts
    }

    /// Returns the class name of the credential that failed.
    pub fn credential(&self) -> Option<&str> {
        self.0.credential.as_deref()
    }

    /// Returns what the service returned.
    pub fn service(&self) -> &ServiceErrorDetails {
        &self.0.service
    }

    /// Returns the message alone, without the credential, the service's own text and the advice.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the attempts of a chain.
    pub fn attempts(&self) -> &[Error] {
        &self.0.attempts
    }

    /// Returns whether the error was marked [`definite`](Self::definite).
    pub fn is_definite(&self) -> bool {
        self.0.definite
    }

    /// Returns whether the same call can succeed later without a change.
    pub fn is_transient(&self) -> bool {
        self.0.kind.is_transient() && !self.0.definite
    }

    /// Returns whether a chain continues after it.
    pub fn is_unavailable(&self) -> bool {
        self.0.kind.chain_rule() == ChainRule::Unavailable
    }

    /// Returns whether the error, or an attempt of its chain, has the error object of a custom credential.
    pub(crate) fn has_custom_cause(&self) -> bool {
        self.0.custom_cause.is_some() || self.0.attempts.iter().any(Error::has_custom_cause)
    }

    /// Returns the error object of a custom credential.
    #[doc(hidden)]
    pub fn custom_cause(&self) -> Option<&CustomCause> {
        self.0.custom_cause.as_ref()
    }

    /// Returns the class name of a custom credential's error.
    #[doc(hidden)]
    pub fn custom_class(&self) -> Option<&str> {
        self.0.custom_class.as_deref()
    }

    /// Returns what to do next.
    pub fn advice(&self) -> &str {
        self.0.advice.as_deref().unwrap_or(self.0.kind.advice())
    }

    /// Returns the error as data: `.detail` in every language.
    pub fn detail(&self) -> Value {
        let service = &self.0.service;
        let mut detail = json!({
            "code": self.code(),
            "kind": self.0.kind as i32,
            "message": self.headline(),
            "advice": self.advice(),
            "transient": self.is_transient(),
        });
        let mut put = |key: &str, value: Option<Value>| {
            if let (Some(value), Some(object)) = (value, detail.as_object_mut()) {
                object.insert(key.to_owned(), value);
            }
        };
        put("credential", self.0.credential.clone().map(Value::from));
        put("class", self.0.custom_class.clone().map(Value::from));
        put("status", service.status.map(Value::from));
        put("error", service.error.clone().map(Value::from));
        put("aadsts", service.aadsts.map(Value::from));
        put("service_message", service.message.clone().map(Value::from));
        put("trace_id", service.trace_id.clone().map(Value::from));
        put("correlation_id", service.correlation_id.clone().map(Value::from));
        put("retry_after", service.retry_after.map(|d| Value::from(d.as_secs_f64())));
        put("claims", service.claims.clone().map(Value::from));
        if !self.0.attempts.is_empty() {
            put("attempts", Some(self.0.attempts.iter().map(Error::detail).collect()));
        }
        detail
    }

    /// Returns the first line without the advice.
    pub fn headline(&self) -> String {
        let mut line = String::new();
        if let Some(credential) = &self.0.credential {
            line.push_str(credential);
            line.push_str(": ");
        }
        line.push_str(if self.0.message.is_empty() { self.0.kind.code() } else { &self.0.message });
        let service = &self.0.service;
        if let Some(message) = &service.message {
            line.push_str(": ");
            line.push_str(message);
        }
        let mut facts = Vec::new();
        if let Some(number) = service.aadsts
            && !line.contains(&format!("AADSTS{number}"))
        {
            facts.push(format!("AADSTS{number}"));
        }
        facts.extend(service.status.map(|status| format!("HTTP {status}")));
        facts.extend(service.error.clone());
        facts.extend(service.retry_after.map(|d| format!("retry after {} s", d.as_secs())));
        facts.extend(service.trace_id.as_ref().map(|id| format!("trace id {id}")));
        if !facts.is_empty() {
            line.push_str(" (");
            line.push_str(&facts.join(", "));
            line.push(')');
        }
        line.replace(['\r', '\n'], " ")
    }
}

impl Error {
    /// Returns whether `pgentra doctor` can find the cause: the set-up of this machine or of the credential is wrong.
    fn doctor_helps(&self) -> bool {
        use ErrorKind::{
            AuthenticationFailed, BadResponse, CredentialUnavailable, DeadOnArrival, Network, UntrustedCertificate,
        };
        matches!(
            self.0.kind,
            CredentialUnavailable | AuthenticationFailed | Network | UntrustedCertificate | BadResponse | DeadOnArrival
        ) && self.0.credential.is_some()
            && self.0.custom_class.is_none()
            && !self.advice().contains("pgentra doctor")
    }

    /// Writes the first line with the advice, and the attempts.
    fn write(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let headline = self.headline();
        write!(f, "{}. {}", headline.trim_end_matches(['.', ' ']), self.advice())?;
        for attempt in &self.0.attempts {
            let mut text = String::new();
            attempt.write(&mut text)?;
            write!(f, "\n  - {}", text.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)?;
        // Not for each attempt of a chain.
        if self.doctor_helps() {
            let end = if self.0.attempts.is_empty() { " " } else { "\n" };
            write!(f, "{end}{CHECK_EACH_STEP}")?;
        }
        Ok(())
    }
}

/// The end of the message about a credential that `pgentra doctor` can check.
const CHECK_EACH_STEP: &str = "pgentra doctor checks each step.";

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {self})", self.code())
    }
}

impl std::error::Error for Error {}

impl crate::cloud::CloudError {
    /// Converts to an error, with the class of the credential if the setting belongs to it.
    pub(crate) fn of_credential(self, class: &str) -> Error {
        let is_of_credential = self.is_of_credential();
        let error = Error::from(self);
        if is_of_credential { error.for_credential(class) } else { error }
    }
}

#[doc(hidden)]
impl From<crate::cloud::CloudError> for Error {
    fn from(refused: crate::cloud::CloudError) -> Self {
        Error::new(ErrorKind::InvalidConfiguration, format!("setting {refused}"))
            .with_advice(refused.advice())
            .definite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_a_credential_points_to_doctor_once() {
        let of = |kind| Error::new(kind, "it failed").with_advice("Do this.").for_credential("C");
        let points = |error: &Error| error.to_string().matches("pgentra doctor").count();
        assert_eq!(
            of(ErrorKind::CredentialUnavailable).to_string(),
            "C: it failed. Do this. pgentra doctor checks each step."
        );
        assert_eq!(points(&of(ErrorKind::Throttled)), 0);
        assert_eq!(points(&Error::new(ErrorKind::Network, "no credential is involved")), 0);
        assert_eq!(points(&of(ErrorKind::Network).with_advice("Run pgentra doctor.")), 1);
        assert_eq!(points(&of(ErrorKind::AuthenticationFailed).with_custom_cause("TheirError", None)), 0);
        let chain = of(ErrorKind::AuthenticationFailed).with_attempts(vec![of(ErrorKind::CredentialUnavailable); 2]);
        assert_eq!(
            chain.to_string(),
            "C: it failed. Do this.\n  - C: it failed. Do this.\n  - C: it failed. Do this.\npgentra doctor checks each step."
        );
    }
}
