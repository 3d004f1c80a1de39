//! A small HTTP server, for local endpoints.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, body::Bytes, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore};

/// The number of connections at a time. Others wait.
const MAX_CONNECTIONS: usize = 64;

/// The time limit for the head of a request, also of the next one on an idle connection.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// A response.
pub type Reply = Response<Full<Bytes>>;

/// Returns a response with a JSON document.
pub fn json(status: u16, document: &Value) -> Reply {
    let mut reply = Response::new(Full::from(document.to_string()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    reply
}

/// Accepts connections and responds to their requests, until it is dropped. Request bodies are not read.
pub async fn serve<F, R>(listener: TcpListener, respond: F)
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    let respond = Arc::new(respond);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let respond = Arc::clone(&respond);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let reply = respond(request);
                async move { Ok::<_, Infallible>(reply.await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // The client sees a failed connection itself.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}
