//! The password authentication of the upstream server, for a role with a password.

use std::io;

use bytes::BytesMut;
use pgentra_proxy::authenticate::{AuthenticationRequest, AuthenticationResponse, Authenticator};
use pgentra_proxy::message::password_message;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

/// Authenticates with a role's password: in clear text, by MD5 or by SCRAM-SHA-256. Without a password, each of these
/// is declined.
pub(super) struct PasswordAuthenticator<'a> {
    user: &'a str,
    password: Option<&'a str>,
    scram: Option<ScramSha256>,
}

impl<'a> PasswordAuthenticator<'a> {
    pub(super) fn new(user: &'a str, password: Option<&'a str>) -> Self {
        Self { user, password, scram: None }
    }
}

impl Authenticator for PasswordAuthenticator<'_> {
    fn respond(&mut self, request: AuthenticationRequest<'_>) -> io::Result<AuthenticationResponse> {
        let mut response = BytesMut::new();
        match (request, self.password) {
            (AuthenticationRequest::SaslContinue { data }, _) => {
                let exchange = self.scram.as_mut().ok_or(io::ErrorKind::InvalidData)?;
                exchange.update(data)?;
                frontend::sasl_response(exchange.message(), &mut response)?;
            }
            (AuthenticationRequest::SaslFinal { data }, _) => {
                self.scram.as_mut().ok_or(io::ErrorKind::InvalidData)?.finish(data)?;
                return Ok(AuthenticationResponse::Wait);
            }
            (request, password) => {
                let is_supported = match request {
                    AuthenticationRequest::CleartextPassword | AuthenticationRequest::Md5Password { .. } => true,
                    request => request.offers(SCRAM_SHA_256),
                };
                if !is_supported {
                    let message = "the server requests a kind of authentication that the emulator does not support";
                    return Err(io::Error::other(message));
                }
                let Some(password) = password else { return Ok(AuthenticationResponse::Decline) };
                match request {
                    AuthenticationRequest::CleartextPassword => {
                        let message = password_message(password.as_bytes()).ok_or(io::ErrorKind::InvalidInput)?;
                        return Ok(AuthenticationResponse::Send(message));
                    }
                    AuthenticationRequest::Md5Password { salt } => {
                        let hash = md5_hash(self.user.as_bytes(), password.as_bytes(), salt);
                        frontend::password_message(hash.as_bytes(), &mut response)?;
                    }
                    _ => {
                        let exchange = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                        let exchange = self.scram.insert(exchange);
                        frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), &mut response)?;
                    }
                }
            }
        }
        Ok(AuthenticationResponse::Send(response.to_vec()))
    }
}
