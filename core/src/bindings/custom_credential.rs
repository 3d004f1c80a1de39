//! The request to a custom credential, to which the application responds once.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{
    credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest, progress},
    error::{CustomCause, Error, ErrorKind, Result},
    runtime::PerProcess,
};

/// A custom credential: a function that passes each [`CustomRequest`] to the application.
pub struct CustomCredential<F> {
    name: String,
    begin: F,
}

impl<F, G> CustomCredential<F>
where
    F: Fn(CustomRequest) -> Result<G> + Send + Sync + 'static,
    G: Send + 'static,
{
    /// Creates a credential with a name for errors and logs.
    ///
    /// `begin` runs on the engine's thread, so it must not block or call the application. It passes the request on, and
    /// returns a value that is kept until the fetch has ended, for example a guard that closes a handle.
    pub fn new(name: impl Into<String>, begin: F) -> Self {
        CustomCredential { name: name.into(), begin }
    }
}

impl<F, G> Credential for CustomCredential<F>
where
    F: Fn(CustomRequest) -> Result<G> + Send + Sync + 'static,
    G: Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(async move {
            let (request, response) = CustomRequest::new(request.clone());
            let _kept_until_the_end = (self.begin)(request)?;
            let _waiting = progress::wait_for("the credential's own code");
            response.await
        })
    }
}

/// A token request to a custom credential. Only the first response counts. If the request is dropped without a
/// response, the callers that wait request the token again.
pub struct CustomRequest {
    request: TokenRequest,
    /// A forked child has none, because a response would wake the engine of the parent.
    sender: PerProcess<Mutex<Option<oneshot::Sender<Result<FetchedToken>>>>>,
}

impl CustomRequest {
    fn new(request: TokenRequest) -> (CustomRequest, CustomResponse) {
        let (sender, receiver) = oneshot::channel();
        let request = CustomRequest { request, sender: PerProcess::new() };
        request.sender.get(|| Mutex::new(Some(sender)));
        (request, CustomResponse(receiver))
    }

    /// Returns what is requested.
    pub fn token_request(&self) -> &TokenRequest {
        &self.request
    }

    /// Responds with a token, or with an assertion. Times are in seconds since the epoch; `None` means that the token's
    /// own `exp` claim counts. A text that cannot be a token fails the fetch with
    /// [`CredentialValue`](ErrorKind::CredentialValue).
    ///
    /// Returns, like all responses, whether the response was used: false if there was an earlier one, if the fetch has
    /// ended, or in a forked child.
    pub fn respond(&self, token: &str, expires_on: Option<i64>, refresh_on: Option<i64>) -> bool {
        self.respond_with(FetchedToken::from_custom(token, expires_on, refresh_on))
    }

    /// Responds with the credential's own error: the name of its class, its text, and the object itself as `cause`.
    /// `unavailable` means that the credential is not set up here, so that a chain continues (see
    /// [`means_unavailable`]). `advice` replaces the advice to look at the cause.
    pub fn fail(
        &self,
        class: &str,
        message: &str,
        unavailable: bool,
        cause: Option<CustomCause>,
        advice: Option<String>,
    ) -> bool {
        let error = Error::from_custom(class, message, unavailable, cause);
        self.respond_with(Err(advice.into_iter().fold(error, Error::with_advice)))
    }

    /// Responds that the credential returned something unusable. `what` completes "the credential returned ...".
    pub fn reject(&self, what: &str) -> bool {
        self.respond_with(Err(Error::new(ErrorKind::CredentialValue, format!("the credential returned {what}"))))
    }

    /// Responds that the token has unpaired surrogates, which a string of JavaScript or Python can contain.
    pub fn reject_surrogates(&self) -> bool {
        self.reject("a token with unpaired surrogates, which cannot be sent")
    }

    /// Responds with `null`: the credential has no token here, so a chain continues with its next member.
    pub fn decline(&self) -> bool {
        self.respond_with(Err(Error::new(ErrorKind::CredentialUnavailable, "the credential returned null")))
    }

    /// Responds that the credential, its event loop or its worker is gone. The callers that wait request the token
    /// again.
    pub fn abandon(&self) -> bool {
        self.respond_with(Err(abandoned()))
    }

    /// Responds with a result.
    pub fn respond_with(&self, outcome: Result<FetchedToken>) -> bool {
        let sender = self.sender.peek().map(|sender| sender.lock().unwrap_or_else(PoisonError::into_inner));
        // The receiver is dropped when the fetch ended by its time limit.
        sender.and_then(|mut sender| sender.take()).is_some_and(|sender| sender.send(outcome).is_ok())
    }
}

fn abandoned() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the fetch was interrupted: the credential, or the event loop or worker that ran it, no longer exists",
    )
}

/// The response, which is complete when the application has responded or has dropped the request.
struct CustomResponse(oneshot::Receiver<Result<FetchedToken>>);

impl Future for CustomResponse {
    type Output = Result<FetchedToken>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<FetchedToken>> {
        Pin::new(&mut self.0).poll(context).map(|received| received.unwrap_or_else(|_| Err(abandoned())))
    }
}

/// Returns whether an error of these classes (its own and those that it derives from) means that the credential is not
/// set up, by the names of the Azure SDKs.
pub fn means_unavailable<'a>(classes: impl IntoIterator<Item = &'a str>) -> bool {
    classes.into_iter().any(|class| matches!(class, "CredentialUnavailableError" | "CredentialUnavailableException"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bindings;

    fn outcome(respond: impl FnOnce(CustomRequest)) -> Result<FetchedToken> {
        let (request, mut response) = CustomRequest::new(TokenRequest::new("scope"));
        respond(request);
        match Pin::new(&mut response).poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("no response"),
        }
    }

    #[test]
    fn custom_request_with_two_responses_uses_the_first() {
        let fetched = outcome(|request| {
            assert!(request.respond("canary\n", Some(9), Some(1)));
            assert!(!request.reject("nothing"));
        });
        assert_eq!(fetched.expect("a token").token.expose(), "canary");
    }

    #[test]
    fn custom_request_after_the_end_of_its_fetch_reports_that_the_response_is_unused() {
        let (request, response) = CustomRequest::new(TokenRequest::new("scope"));
        drop(response);
        assert!(!request.respond("canary", None, None));
    }

    #[test]
    fn custom_request_without_a_response_cancels_the_fetch() {
        assert_eq!(outcome(drop).expect_err("fails").kind(), ErrorKind::Cancelled);
        assert_eq!(outcome(|request| assert!(request.abandon())).expect_err("fails").kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn custom_request_that_fails_keeps_cause_and_advice() {
        let error = outcome(|request| {
            let cause: CustomCause = Arc::new(7_u32);
            request.fail("ValueError", "no", false, Some(cause), Some("Sign in.".to_owned()));
        });
        let error = error.expect_err("fails");
        assert_eq!((error.kind(), error.advice()), (ErrorKind::CustomCredential, "Sign in."));
        assert_eq!(bindings::cause(&error, |cause: &u32| Some(*cause)), Some(7));
    }

    #[tokio::test]
    async fn custom_credential_keeps_the_value_of_begin_until_the_fetch_ends() {
        struct Guard(Arc<Mutex<Vec<&'static str>>>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.lock().expect("no panic").push("closed");
            }
        }
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let credential = CustomCredential::new("Mine", move |request| {
            let events = Arc::clone(&seen);
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                events.lock().expect("no panic").push("responds");
                request.respond("canary", Some(1), None);
            });
            Ok(Guard(Arc::clone(&seen)))
        });
        let fetched = credential.fetch(&TokenRequest::new("scope"), FetchContext::default()).await;
        assert_eq!(fetched.expect("a token").expires_on, Some(1));
        assert_eq!(*events.lock().expect("no panic"), ["responds", "closed"]);
    }
}
