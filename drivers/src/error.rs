//! The error of all functions, and the way back to it through the errors of drivers and pools.

use std::{error::Error as StdError, fmt};

use crate::BoxError;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a connection was not opened. `Display` includes the text of the source, so that a log line is complete.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No token was obtained, or the connection's settings cannot be used.
    Entra(pgentra::Error),
    /// The server rejected the login.
    Login {
        /// The role and the principal that were used, and what to do; several lines.
        explanation: String,
        /// The driver's error.
        source: BoxError,
    },
    /// Another error of the driver or its pool.
    Driver(BoxError),
}

impl Error {
    /// Returns this crate's error, from an error of a driver or of a pool.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
        chain(error).find_map(|error| error.downcast_ref())
    }

    /// Returns the error of pgentra, which has the kind of failure, Entra's code and the advice.
    pub fn entra(&self) -> Option<&pgentra::Error> {
        match self {
            Error::Entra(error) => Some(error),
            Error::Login { source, .. } | Error::Driver(source) => find_entra_error(&**source),
        }
    }

    /// Returns whether the same connection can succeed later without a change.
    pub fn is_transient(&self) -> bool {
        self.entra().is_some_and(pgentra::Error::is_transient)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Entra(error) => error.fmt(f),
            Error::Login { explanation, source } => write!(f, "{}\n{explanation}", Causes(&**source)),
            Error::Driver(source) => Causes(&**source).fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(match self {
            Error::Entra(error) => error,
            Error::Login { source, .. } | Error::Driver(source) => &**source,
        })
    }
}

impl From<pgentra::Error> for Error {
    fn from(error: pgentra::Error) -> Self {
        Error::Entra(error)
    }
}

/// Returns the error of pgentra, from an error of a driver or of a pool. Some of them have a cause that their `source()`
/// does not return.
pub fn find_entra_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a pgentra::Error> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Writes an error with those causes whose text it does not repeat itself: tokio-postgres writes `db error`.
struct Causes<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        for cause in chain(self.0).skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        f.write_str(&text)
    }
}

/// Returns the error and its causes.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return error.get_ref().map(|inner| inner as _);
    }
    #[cfg(feature = "diesel-async")]
    if let Some(cause) = crate::diesel_async::cause(error) {
        return Some(cause);
    }
    error.source()
}
