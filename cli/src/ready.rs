//! `pgentra ready`: asks a proxy whether it is ready, for images without a shell.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    child,
    failure::{Exit, Failure, Result},
    options::OutputOptions,
    output,
    text::parse_duration,
};

/// The address of a proxy's endpoints, if none is given.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9090";

/// The time limit of one request: the proxy may log in to the server for it.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(100);

/// The largest response that is read.
const MAX_BODY: usize = 1 << 16;

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Address of the proxy's --http
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADDRESS)]
    pub http: SocketAddr,
    /// Wait for this time at most until the proxy is ready, such as 30s [default: one request]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs the command.
///
/// # Errors
/// Fails if the proxy is not ready, with its reason.
pub fn run(arguments: &Arguments) -> Result<()> {
    child::runtime()?.block_on(wait(arguments))?;
    if arguments.output.json {
        output::print(&json!({ "status": "ok" }).to_string())?;
    }
    Ok(())
}

async fn wait(arguments: &Arguments) -> Result<()> {
    let ends = Instant::now() + arguments.wait.unwrap_or_default();
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        let limit = if arguments.wait.is_some() { left.max(PAUSE) } else { REQUEST_LIMIT };
        let Err(failure) = ask(arguments.http, limit.min(REQUEST_LIMIT)).await else { return Ok(()) };
        if Instant::now() + PAUSE >= ends {
            return Err(failure);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends one request. Fails if the proxy is not ready, with its reason.
pub async fn ask(address: SocketAddr, limit: Duration) -> Result<()> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Unreachable,
            "network",
            format!("no proxy responds at http://{address}/readyz: {error}"),
            "Start pgentra proxy with --http, or pass its address with --http.",
        )
    };
    let response = tokio::time::timeout(limit, request(address)).await;
    let response = response.map_err(|_| unreachable(&"the time limit has passed"))?;
    let (status, body) = response.map_err(|error| unreachable(&error))?;
    if status == StatusCode::OK {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty());
    let reason = text("reason").unwrap_or("the response is not that of a proxy");
    let detail = text("detail").map(|detail| format!(": {detail}")).unwrap_or_default();
    let server = text("server").map(|server| format!(" for {server}")).unwrap_or_default();
    let message = format!("the proxy is not ready{server} ({}, {reason}){detail}", status.as_u16());
    Err(Failure::new(Exit::Failed, "not_ready", message, ""))
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn request(address: SocketAddr) -> Result<(StatusCode, Bytes), AnyError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/readyz").header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await?.to_bytes();
        Ok((status, body))
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        outcome = &mut exchange => outcome,
        // The connection can end before the last bytes of the response are read.
        _ = connection => exchange.await,
    }
}
