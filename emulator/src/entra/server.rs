//! Listening, recording and faults, which are the same for every endpoint.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Call, Caller, Endpoint, EndpointError, Listener, Reply, client_assertion};
use crate::fault::{Body, Connection, Fault, Shape};
use crate::request_log::{InFlight, RecordedRequest};
use crate::state::{State, now_with};

/// The maximum size of a request. Token requests are small.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// The size of a body larger than the megabyte at which clients should stop.
const BIG_BODY_BYTES: usize = (1 << 20) + 4096;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const GARBAGE: &[u8] = b"\x15\x03\x01\x00\x02\x02\x28\x00\xff\xfenot HTTP at all\r\n\r\n";

/// Serves a listener until the future is dropped.
pub(crate) async fn serve(socket: TcpListener, tls: Option<TlsAcceptor>, listener: Listener, state: Arc<State>) {
    let listener = Arc::new(listener);
    // Dropping the set ends the connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    let connection = Arc::new(Served {
                        number: state.requests.accept(listener.name),
                        listener: listener.clone(),
                        state: state.clone(),
                        endpoints_seen: Mutex::default(),
                        final_bytes: Mutex::default(),
                    });
                    connections.spawn(connection.accept(stream, tls.clone()));
                }
                // The likely cause is a lack of file descriptors: wait until some are closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Binds a listener and returns its address.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// One connection.
struct Served {
    number: u64,
    listener: Arc<Listener>,
    state: Arc<State>,
    endpoints_seen: Mutex<HashSet<&'static str>>,
    /// Bytes to send before closing, instead of a response.
    final_bytes: Mutex<&'static [u8]>,
}

type ReplyBody = http_body_util::combinators::BoxBody<Bytes, Abort>;

/// Ends a connection without a valid response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
struct Abort;

impl Served {
    async fn accept(self: Arc<Self>, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Nagle's algorithm must not delay a fault that is measured in milliseconds.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.serve(stream).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
                    self.serve(stream).await;
                }
            }
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, stream: S) {
        let service = service_fn(|request| {
            let served = self.clone();
            Box::pin(async move { served.respond(request).await })
        });
        let mut connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        let served = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        let mut stream = connection.into_parts().io.into_inner();
        let final_bytes = *self.final_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if served.is_err() && final_bytes.is_empty() {
            // The connection is dropped without the closing message of TLS.
            return;
        }
        let _ = stream.write_all(final_bytes).await;
        let _ = stream.shutdown().await;
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<ReplyBody>, Abort> {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_REQUEST_BYTES).collect().await else { return Err(Abort) };
        let call = Call::new(parts, &body.to_bytes());
        let Some(endpoint) = self.listener.endpoints.iter().find(|endpoint| endpoint.serves(&call)) else {
            self.begin("other", &call, &Caller::default()).answered(404);
            return Ok(to_response(
                Reply::json(404, &serde_json::json!({"error": "not_found"})),
                &Shape::default(),
                false,
            ));
        };
        let caller = endpoint.caller(&self.state, &call);
        let in_flight = self.begin(endpoint.name(), &call, &caller);
        let settings = self.state.token_settings();
        let principal = caller.principal.as_deref();
        let Some(fault) = self.state.take_fault(endpoint.name(), principal, caller.resource.as_deref()) else {
            let reply = endpoint.respond(&self.state, &call, &settings);
            in_flight.answered(reply.status);
            return Ok(to_response(reply, &settings, false));
        };
        in_flight.hit_by(fault.id);
        self.respond_with_fault(&**endpoint, &call, &caller, &settings, &fault, in_flight).await
    }

    fn begin(&self, endpoint: &'static str, call: &Call, caller: &Caller) -> InFlight {
        let first = self.endpoints_seen.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint);
        self.state.requests.begin(record(endpoint, self.number, call, caller), first)
    }

    async fn respond_with_fault(
        &self,
        endpoint: &dyn Endpoint,
        call: &Call,
        caller: &Caller,
        settings: &Shape,
        fault: &Fault,
        in_flight: InFlight,
    ) -> Result<Response<ReplyBody>, Abort> {
        let shape = fault.shape.over(settings);
        tokio::time::sleep(Duration::from_millis(fault.latency_ms)).await;
        match fault.connection {
            Some(Connection::Drop) => return Err(Abort),
            Some(Connection::BlackHole) => {
                self.until_cleared(fault.id).await;
                return Err(Abort);
            }
            Some(Connection::Garbage) => {
                *self.final_bytes.lock().unwrap_or_else(PoisonError::into_inner) = GARBAGE;
                return Err(Abort);
            }
            Some(Connection::DropMidBody) | None => {}
        }
        if fault.rotate_keys {
            let state = self.state.clone();
            let _ = tokio::task::spawn_blocking(move || state.rotate_keys(false)).await;
        }
        let mut reply = if fault.is_error() {
            endpoint.error_reply(&error_of(fault, caller), call, &shape)
        } else {
            endpoint.respond(&self.state, call, &shape)
        };
        change_reply(&mut reply, fault);
        in_flight.answered(reply.status);
        Ok(to_response(reply, &shape, fault.connection == Some(Connection::DropMidBody)))
    }

    /// Waits until the fault is removed.
    async fn until_cleared(&self, fault: u64) {
        let mut changes = self.state.fault_change();
        while self.state.has_fault(fault) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

fn error_of(fault: &Fault, caller: &Caller) -> EndpointError {
    let endpoint_error = EndpointError {
        status: fault.status,
        aadsts: fault.aadsts,
        error: fault.error.clone(),
        description: fault.description.clone(),
    };
    if !fault.echo_secret {
        let from_retry_after = fault.retry_after.as_ref().filter(|_| fault.aadsts.is_none()).map(|_| 429);
        return EndpointError { status: endpoint_error.status.or(from_retry_after), ..endpoint_error };
    }
    let secret = caller.secret.as_deref().unwrap_or_default();
    let text = endpoint_error.description.as_deref().unwrap_or("Invalid client secret provided.");
    EndpointError {
        status: endpoint_error.status.or(Some(401)),
        aadsts: endpoint_error.aadsts.or(Some(7000215)),
        description: Some(format!("{text} The secret sent was '{secret}'.")),
        ..endpoint_error
    }
}

/// Applies a fault to the finished response.
fn change_reply(reply: &mut Reply, fault: &Fault) {
    match fault.body {
        None => {}
        Some(Body::Html) => {
            reply.status = fault.status.unwrap_or(503);
            reply.content_type = "text/html; charset=us-ascii".into();
            reply.body = format!(
                "<!DOCTYPE HTML><html><head><title>{0}</title></head><body><h2>Our services aren't available right now</h2>\
                 <p>HTTP Error {0}.</p></body></html>",
                reply.status
            )
            .into_bytes();
        }
        Some(Body::Empty) => reply.body.clear(),
        Some(Body::EmptyObject) => reply.body = b"{}".to_vec(),
        Some(Body::Truncated) => reply.body.truncate(reply.body.len() / 2),
        Some(Body::Binary) => reply.body = (0..=255).rev().collect(),
        Some(Body::Big) => {
            reply.status = fault.status.unwrap_or(500);
            let filler = "x".repeat(BIG_BODY_BYTES);
            reply.body =
                serde_json::json!({"error": "server_error", "error_description": filler}).to_string().into_bytes();
        }
    }
    if let Some(content_type) = &fault.content_type {
        reply.content_type.clone_from(content_type);
    }
    if let Some(retry_after) = &fault.retry_after {
        reply.headers.push(("retry-after", retry_after.to_string()));
    }
}

fn to_response(reply: Reply, shape: &Shape, break_off: bool) -> Response<ReplyBody> {
    let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(now_with(shape)).unwrap_or(0));
    let mut response = Response::builder()
        .status(reply.status)
        .header("date", httpdate::fmt_http_date(now))
        .header("content-type", reply.content_type)
        .header("content-length", reply.body.len());
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let body = if break_off {
        let half = Bytes::from(reply.body[..reply.body.len() / 2].to_vec());
        StreamBody::new(stream::iter([Ok(Frame::data(half)), Err(Abort)])).boxed()
    } else {
        whole(reply.body)
    };
    // A fault can have a header value or a status that is not valid in HTTP.
    response.body(body).unwrap_or_else(|_| {
        let mut response = Response::new(whole(b"a fault requires an impossible response".to_vec()));
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("text/plain"));
        response
    })
}

fn whole(body: Vec<u8>) -> ReplyBody {
    Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {}).boxed()
}

/// Parameters whose values are recorded. Others can contain a secret.
const PLAIN_FIELDS: [&str; 19] = [
    "api-version",
    "arguments",
    "authorization_endpoint",
    "claims",
    "client_assertion_type",
    "client_id",
    "client_info",
    "clientid",
    "grant_type",
    "mi_res_id",
    "msi_res_id",
    "object_id",
    "principal_id",
    "requested_token_use",
    "resource",
    "response_type",
    "scope",
    "serviceConnectionId",
    "tenant",
];
const PLAIN_HEADERS: [&str; 15] = [
    "accept",
    "accept-encoding",
    "client-request-id",
    "connection",
    "content-length",
    "content-type",
    "host",
    "metadata",
    "user-agent",
    "x-client-os",
    "x-client-sku",
    "x-client-ver",
    "x-ms-client-request-id",
    "x-ms-lib-capability",
    "x-tfs-fedauthredirect",
];
const HIDDEN: &str = "***";

fn record(endpoint: &str, connection: u64, call: &Call, caller: &Caller) -> RecordedRequest {
    let fields = |fields: &[(String, String)]| -> BTreeMap<String, String> {
        let shown = |name: &str, value: &str| if PLAIN_FIELDS.contains(&name) { value } else { HIDDEN }.to_owned();
        fields.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
    };
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        let is_plain = PLAIN_HEADERS.contains(&name.as_str());
        let value = if is_plain { String::from_utf8_lossy(value.as_bytes()).into_owned() } else { HIDDEN.into() };
        (name.to_string(), value)
    };
    RecordedRequest {
        endpoint: endpoint.into(),
        method: call.method.clone(),
        path: call.path.clone(),
        query: fields(&call.query),
        headers: call.headers.iter().map(header).collect(),
        form: fields(&call.form),
        principal: caller.principal.as_ref().map(|principal| principal.name.clone()),
        resource: caller.resource.clone(),
        client_assertion: call.form("client_assertion").and_then(client_assertion::describe),
        connection,
        ..RecordedRequest::default()
    }
}
