//! Follows a provider's logins, for what must be written again at each refresh.

use std::sync::Arc;

use pgentra::{Login, Token, TokenProvider};

use crate::failure::{Failure, Result};

/// The logins of a provider in the order of their tokens.
pub struct Logins<'a> {
    provider: &'a TokenProvider,
    changed: std::pin::Pin<Box<dyn Future<Output = pgentra::Result<Arc<Token>>> + Send>>,
}

impl<'a> Logins<'a> {
    /// Obtains the first login, and returns it with the following ones.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn start(provider: &'a TokenProvider) -> Result<(Arc<Login>, Logins<'a>)> {
        // A change is not missed, because this comes first.
        let changed = Box::pin(provider.changed());
        let login = provider.login().await?;
        let mut logins = Logins { provider, changed };
        // Without a cached token at its beginning, it has already returned the first one.
        logins.skip(login.token()).await;
        Ok((login, logins))
    }

    /// Makes the next change one to another token than this one.
    async fn skip(&mut self, current: &Token) {
        let next = Box::pin(self.provider.changed());
        let is_current = |token: &Arc<Token>| token.secret() == current.secret();
        if self.provider.try_get().and_then(pgentra::Result::ok).as_ref().is_some_and(is_current) {
            self.changed = next;
        }
    }

    /// Waits for another token, and returns its login. After a failure, waits for the next one.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn next(&mut self) -> Result<Arc<Login>> {
        self.changed.as_mut().await.map_err(Failure::from)?;
        self.changed = Box::pin(self.provider.changed());
        Ok(self.provider.login().await?)
    }
}
