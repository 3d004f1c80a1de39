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
//! | the server | [`upstream::connect`], [`upstream::log_in`], [`upstream::cancel`] | [`upstream`] |
//! | the session | [`relay()`] | [`mod@relay`] |
//! | the end | [`Listener::shutdown`] | [`listener`] |
//!
//! All openings of the protocol are supported: `SSLRequest`, direct TLS with [`ALPN`], `GSSENCRequest` (which is
//! declined), `CancelRequest` in plain text and in TLS, and the startup message of protocol 3.0 and later. Messages
//! before the first query have the limits that PostgreSQL has. After the login no message is parsed.
//!
//! # Example
//! A proxy that logs each client in to a server with a password of its own, and keeps the role and the database that
//! the client requests:
//!
//! ```no_run
//! use std::io;
//! use std::sync::Arc;
//!
//! use pgentra_proxy::authenticate::{AuthenticationRequest, AuthenticationResponse, Authenticator};
//! use pgentra_proxy::message::{error_response, password_message};
//! use pgentra_proxy::startup::Opening;
//! use pgentra_proxy::upstream::{self, ServerAddress, UpstreamLogin};
//! use pgentra_proxy::{Handshake, Listener, reject, relay};
//! use tokio::io::AsyncWriteExt;
//! use tokio::net::TcpStream;
//!
//! /// Sends the password if the server requests it in clear text, and nothing otherwise.
//! struct Password(Vec<u8>);
//!
//! impl Authenticator for Password {
//!     fn respond(&mut self, request: AuthenticationRequest<'_>) -> io::Result<AuthenticationResponse> {
//!         Ok(match request {
//!             AuthenticationRequest::CleartextPassword => match password_message(&self.0) {
//!                 Some(message) => AuthenticationResponse::Send(message),
//!                 None => AuthenticationResponse::Decline,
//!             },
//!             _ => AuthenticationResponse::Decline,
//!         })
//!     }
//! }
//!
//! async fn serve(client: TcpStream, server: &ServerAddress) -> io::Result<()> {
//!     let Ok((mut client, opening)) = Handshake::new(None).accept(client).await else { return Ok(()) };
//!     let startup = match opening {
//!         Opening::Startup(startup) => startup,
//!         Opening::Cancel(request) => {
//!             upstream::cancel(&mut upstream::connect(server).await?, &request).await?;
//!             reject(client, &[]).await;
//!             return Ok(());
//!         }
//!         _ => return Ok(()),
//!     };
//!     let mut session = upstream::connect(server).await?;
//!     match upstream::log_in(&mut session, &startup, &mut Password(b"secret".to_vec())).await? {
//!         UpstreamLogin::Accepted { messages } => {
//!             client.write_all(&messages).await?;
//!             client.flush().await?;
//!             relay(client, session).await;
//!         }
//!         UpstreamLogin::Refused { messages, .. } => reject(client, &messages).await,
//!         UpstreamLogin::Declined => {
//!             reject(client, &error_response("28000", "the server does not request a password", None)).await;
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # async fn run() -> io::Result<()> {
//! let server = Arc::new(ServerAddress::Tcp { host: "db.example".into(), port: 5432, tls: None });
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
pub mod startup;
pub mod stream;
pub mod upstream;

pub use handshake::{Handshake, HandshakeError};
pub use listener::Listener;
pub use message::{ProtocolError, ReadError};
pub use reject::reject;
pub use relay::relay;
pub use stream::{BoxedStream, Stream};
/// The TLS types in this crate's signatures.
pub use tokio_rustls;

/// The name of PostgreSQL's protocol in TLS protocol negotiation.
pub const ALPN: &str = "postgresql";
