//! Sends one HTTP request of a credential and logs it.

use std::time::Instant;

use super::progress;
use crate::{
    error::Result,
    transport::{Request, Response, Transport, endpoint},
};

/// Sends the request and logs the credential, the address, the duration and the result.
pub(super) async fn exchange(transport: &Transport, credential: &str, request: Request) -> Result<Response> {
    let endpoint = endpoint(&request.url);
    let waiting = progress::wait_for(endpoint.to_string());
    let started = Instant::now();
    let result = transport.send(request).await;
    drop(waiting);
    let elapsed_ms = started.elapsed().as_millis();
    match &result {
        Ok(response) => {
            tracing::debug!(target: "pgentra::credential", credential, %endpoint, status = response.status, elapsed_ms, "answered")
        }
        Err(error) => {
            tracing::debug!(target: "pgentra::credential", credential, %endpoint, outcome = error.code(), elapsed_ms, "no answer")
        }
    }
    result
}
