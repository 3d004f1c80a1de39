//! The progress of a fetch, which a time limit's error reports: what the fetch waits for, and its last failed attempt.

use std::{
    fmt::Write,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    error::{Error, ErrorKind},
    runtime::lock,
};

tokio::task_local! {
    static CURRENT: Arc<FetchProgress>;
}

/// What is known about a fetch before it ends.
#[derive(Default)]
pub(crate) struct FetchProgress(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Option<(String, Instant)>,
    last_error: Option<Error>,
}

impl FetchProgress {
    /// Runs a fetch that reports its progress here.
    pub(crate) async fn observe<F: Future>(self: Arc<Self>, fetch: F) -> F::Output {
        CURRENT.scope(self, fetch).await
    }

    /// Returns the error of a caller whose time limit ended before the fetch.
    pub(crate) fn late(&self, limit: Duration) -> Error {
        let state = lock(&self.0);
        let mut message = no_token(limit);
        if let Some((source, since)) = &state.waiting {
            let _ = write!(message, "; no response from {source} for {:.1} s", since.elapsed().as_secs_f64());
        }
        match &state.last_error {
            Some(last) => {
                let _ = write!(message, "; the last attempt failed: {}", last.message());
                Error::new(ErrorKind::Timeout, message).with_service(last.service().clone())
            }
            None => Error::new(ErrorKind::Timeout, message),
        }
    }
}

/// Returns the message of a wait that ended.
pub(crate) fn no_token(limit: Duration) -> String {
    format!("no token was received within {} s", limit.as_secs_f64())
}

/// The wait for a token source. Dropping it ends the wait.
pub struct Waiting(Option<Arc<FetchProgress>>);

/// Reports that the fetch waits for a response of `source`.
pub fn wait_for(source: impl Into<String>) -> Waiting {
    let progress = CURRENT.try_with(Arc::clone).ok();
    if let Some(progress) = &progress {
        lock(&progress.0).waiting = Some((source.into(), Instant::now()));
    }
    Waiting(progress)
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            lock(&progress.0).waiting = None;
        }
    }
}

/// Reports that an attempt failed and that another one may follow.
pub(super) fn attempt_failed(error: &Error) {
    let _ = CURRENT.try_with(|progress| lock(&progress.0).last_error = Some(error.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServiceErrorDetails;

    #[test]
    fn fetch_progress_late_names_the_source_and_the_last_failure() {
        let limit = Duration::from_millis(2400);
        let progress = Arc::new(FetchProgress::default());
        assert_eq!(progress.late(limit).headline(), "no token was received within 2.4 s");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(Arc::clone(&progress).observe(async {
            let service = ServiceErrorDetails { status: Some(503), ..ServiceErrorDetails::default() };
            attempt_failed(&Error::new(ErrorKind::ServiceUnavailable, "the service is down").with_service(service));
            let waiting = wait_for("https://login.example");
            let late = progress.late(limit);
            assert_eq!(late.kind(), ErrorKind::Timeout);
            assert_eq!(
                late.headline(),
                "no token was received within 2.4 s; no response from https://login.example for 0.0 s; the last attempt failed: the service \
                 is down (HTTP 503)"
            );
            drop(waiting);
            assert!(!progress.late(limit).headline().contains("login.example"));
        }));
    }
}
