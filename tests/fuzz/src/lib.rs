//! The fuzz targets. Each module has a function `run`, which one target calls with each input.
//!
//! Besides panics and hangs, a target reports a violated rule: an error that contains a secret or is too long, a token
//! with whitespace, or a token that a connection plan would send without TLS.

pub mod certificates;
pub mod claims;
pub mod configuration_documents;
pub mod connection_settings;
pub mod developer_tools;
pub mod error_bodies;
pub mod error_fields;
pub mod login_errors;
pub mod message_tracker;
pub mod startup_packets;
pub mod token_responses;

use std::cell::OnceCell;

use pgentra::Error;
use pgentra::config::Environment;
use pgentra::credential::FetchedToken;
use tokio::runtime::{Builder, Runtime};

/// The secret of every credential.
pub(crate) const SECRET: &str = "fuzz-canary-secret-1";

/// The longest text of an error.
const LONGEST_ERROR: usize = 8_192;

/// Runs a future with a paused clock: a wait ends at once.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let start = || Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.get_or_init(start).block_on(future)
    })
}

/// Splits the first byte, which selects a variant, from the input.
pub(crate) fn select<'a, T: Copy>(data: &'a [u8], variants: &[T]) -> Option<(T, &'a [u8])> {
    let (first, rest) = data.split_first()?;
    Some((variants[usize::from(*first) % variants.len()], rest))
}

pub(crate) fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

/// Checks the texts of an error.
pub(crate) fn check_error(error: &Error) {
    let shown =
        [error.to_string(), format!("{error:?}"), error.detail().to_string(), format!("{:?}", error.attempts())];
    for text in shown {
        assert!(!text.contains(SECRET), "an error contains a secret");
        assert!(text.len() <= 4 * LONGEST_ERROR, "an error of {} bytes", text.len());
    }
    let text = error.to_string();
    assert!(text.len() <= LONGEST_ERROR, "an error text of {} bytes", text.len());
    assert!(!text.trim().is_empty(), "an error without a text");
}

/// Checks a token that was read from a response.
pub(crate) fn check_token(token: &FetchedToken) {
    let text = token.token.expose();
    assert!(!text.is_empty(), "an empty token");
    assert!(!text.contains(|c: char| c.is_whitespace() || c.is_control()), "a token with whitespace: {text:?}");
    assert!(text.len() < 16 || !format!("{token:?}").contains(text), "Debug contains the token");
}
