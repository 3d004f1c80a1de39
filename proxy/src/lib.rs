//! The protocol of a PostgreSQL proxy: what a program needs that stands between clients and a server, handles the start
//! of each session itself, and then forwards bytes.
//!
//! The crate decides nothing. A program calls these steps for each connection, and adds its own rules between them:
//!
//! | step | function | module |
//! | --- | --- | --- |
//! | accept connections | [`Listener::bind`] | [`listener`] |
//! | encryption, first message | [`Handshake::accept`] | [`handshake`], [`startup`] |
//! | the client's password | [`authenticate::request_password`] | [`mod@authenticate`] |
//! | the error for a refused client | [`message::error_response`], [`reject()`] | [`message`], [`mod@reject`] |
//! | the server | [`upstream::connect`], [`upstream::log_in`], [`upstream::read_session_start`] | [`upstream`] |
//! | cancel requests | [`upstream::cancel_session`] | [`upstream`] |
//! | the session | [`relay_session`], with [`SessionState`] | [`relay`], [`session`], [`tracker`] |
//! | the end | [`SessionState::end_when_idle`], [`Listener::shutdown`] | [`session`], [`listener`] |
//!
//! All openings of the protocol are supported: `SSLRequest`, direct TLS with [`ALPN`], `GSSENCRequest` (which is
//! declined), `CancelRequest` in plain text and in TLS, and the startup message of protocol 3.0 and later. Messages
//! before the first query have the limits that PostgreSQL has. After the login, only the headers of messages are read, to
//! find out when a session is idle.
//!
//! # Example
//! A proxy that logs each client in to a server with a password of its own, and keeps the role and the database that
//! the client requests:
//!
//! ```no_run
//! use std::io;
//! use std::sync::Arc;
//!
//! use pgentra_proxy::authenticate::CleartextPassword;
//! use pgentra_proxy::message::error_response;
//! use pgentra_proxy::startup::Opening;
//! use pgentra_proxy::upstream::{self, ServerAddress, SessionStart, UpstreamLogin};
//! use pgentra_proxy::{Handshake, Listener, SessionState, reject, relay_session};
//! use tokio::net::TcpStream;
//!
//! async fn serve(client: TcpStream, server: &ServerAddress) -> io::Result<()> {
//!     let Ok((client, opening)) = Handshake::new(None).accept(client).await else { return Ok(()) };
//!     let startup = match opening {
//!         Opening::Startup(startup) => startup,
//!         Opening::Cancel(request) => {
//!             upstream::cancel_session(server, None, &request).await?;
//!             reject(client, &[]).await;
//!             return Ok(());
//!         }
//!         _ => return Ok(()),
//!     };
//!     let mut session = upstream::connect(server).await?.stream;
//!     let mut password = CleartextPassword::new(b"secret");
//!     let mut messages = match upstream::log_in(&mut session, &startup, &mut password).await? {
//!         UpstreamLogin::Accepted { messages } => messages,
//!         UpstreamLogin::Refused { messages, .. } => {
//!             reject(client, &messages).await;
//!             return Ok(());
//!         }
//!         UpstreamLogin::Declined => {
//!             reject(client, &error_response("28000", "the server does not request a password", None)).await;
//!             return Ok(());
//!         }
//!     };
//!     match upstream::read_session_start(&mut session).await? {
//!         SessionStart::Ready { messages: further, .. } => {
//!             messages.extend(further);
//!             let state = SessionState::new();
//!             let end = relay_session(client, session, messages, &state).await;
//!             println!("{} bytes for the client, {end:?}", state.bytes_to_client());
//!         }
//!         SessionStart::Refused { messages: further, .. } => {
//!             messages.extend(further);
//!             reject(client, &messages).await;
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # async fn run() -> io::Result<()> {
//! let host = "db.example".to_owned();
//! let server = Arc::new(ServerAddress::Tcp { host, hostaddr: None, port: 5432, tls: None });
//! let listener = Listener::bind(([127, 0, 0, 1], 15432).into(), 100, move |client, _| {
//!     let server = server.clone();
//!     async move {
//!         if let Err(error) = serve(client, &server).await {
//!             eprintln!("connection failed: {error}");
//!         }
//!     }
//! })
//! .await?;
//! println!("listening at {}", listener.address());
//! # Ok(())
//! # }
//! ```

pub mod authenticate;
pub mod handshake;
pub mod listener;
pub mod message;
pub mod reject;
pub mod relay;
pub mod session;
pub mod socket;
pub mod startup;
pub mod stream;
pub mod tracker;
pub mod upstream;

mod buffers;

pub use handshake::{Handshake, HandshakeError};
pub use listener::Listener;
pub use message::{ProtocolError, ReadError};
pub use reject::reject;
pub use relay::relay_session;
pub use session::{SessionEnd, SessionState, Side};
pub use stream::{BoxedStream, Stream};
/// The TLS types in this crate's signatures.
pub use tokio_rustls;

/// The name of PostgreSQL's protocol in TLS protocol negotiation.
pub const ALPN: &str = "postgresql";
