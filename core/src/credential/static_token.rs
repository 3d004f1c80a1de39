//! A credential that returns a given token.

use super::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest};
use crate::{config::StaticTokenArguments, error::Result, postgres::role_name::Claims, secret::Secret};

/// The assumed lifetime of a token that does not state its expiry.
const ASSUMED_LIFETIME: i64 = 3600;

pub(super) struct StaticTokenCredential {
    token: Secret,
    expires_on: Option<i64>,
}

impl StaticTokenCredential {
    pub(super) fn new(arguments: &StaticTokenArguments) -> Self {
        let token = arguments.token.trimmed();
        let claimed = || Claims::decode(token.expose()).ok().and_then(|claims| claims.expires_on());
        let expires_on = arguments.expires_on.or_else(claimed);
        StaticTokenCredential { token, expires_on }
    }
}

impl Credential for StaticTokenCredential {
    fn name(&self) -> &str {
        "StaticTokenCredential"
    }

    fn fetch<'a>(&'a self, _request: &'a TokenRequest, _context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(std::future::ready(Ok(FetchedToken {
            token: self.token.clone(),
            expires_on: self.expires_on,
            expires_in: self.expires_on.is_none().then_some(ASSUMED_LIFETIME),
            refresh_in: None,
        })))
    }
}
