//! A credential that is not available. Each token request returns the reason.

use crate::{
    credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest},
    error::{Error, ErrorKind, Result},
};

pub(in crate::credential) struct Unavailable {
    name: &'static str,
    error: Error,
}

impl Unavailable {
    pub(in crate::credential) fn new(name: &'static str, why: impl Into<String>, advice: impl Into<String>) -> Self {
        let error = Error::new(ErrorKind::CredentialUnavailable, why).with_advice(advice);
        Unavailable { name, error }
    }
}

impl Credential for Unavailable {
    fn name(&self) -> &str {
        self.name
    }

    fn fetch<'a>(&'a self, _request: &'a TokenRequest, _context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(std::future::ready(Err(self.error.clone())))
    }
}
