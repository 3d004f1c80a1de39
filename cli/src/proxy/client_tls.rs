//! TLS for clients.
use pgentra_proxy::tokio_rustls::TlsAcceptor;

use super::guard::AccessOptions;
use crate::failure::Result;

pub struct ClientTls;

impl ClientTls {
    pub fn new(_options: &AccessOptions) -> Result<Option<ClientTls>> {
        Ok(None)
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        unimplemented!()
    }
}
