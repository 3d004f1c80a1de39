//! The given credentials in their order; and the walk along them, which the default chain shares.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest},
    error::{Error, ErrorKind, Result},
};

pub(in crate::credential) const NAME: &str = "ChainedTokenCredential";

/// A walk ends this much before its bound, so that its own error is heard and not the bound's.
const MARGIN: Duration = Duration::from_millis(500);

pub(in crate::credential) struct ChainedCredential {
    members: Vec<Arc<dyn Credential>>,
}

impl ChainedCredential {
    pub(in crate::credential) fn new(members: Vec<Arc<dyn Credential>>) -> Self {
        ChainedCredential { members }
    }

    async fn ask(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let mut walk = Walk::new(NAME, self.bound());
        for member in &self.members {
            if let ControlFlow::Break(outcome) = walk.attempt(member.name(), member.fetch(request, context)).await {
                return outcome;
            }
        }
        Err(walk.nothing_available())
    }
}

impl Credential for ChainedCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn bound(&self) -> Duration {
        longest_bound(self.members.iter().map(|member| &**member))
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.ask(request, context))
    }

    fn stamp(&self) -> Option<u64> {
        combined_stamp(self.members.iter().map(|member| &**member))
    }
}

pub(in crate::credential) fn longest_bound<'a>(members: impl Iterator<Item = &'a dyn Credential>) -> Duration {
    members.map(Credential::bound).max().unwrap_or(Duration::from_secs(30))
}

/// The stamps of all members, whichever of them the token is from: a change costs one more fetch.
pub(in crate::credential) fn combined_stamp<'a>(members: impl Iterator<Item = &'a dyn Credential>) -> Option<u64> {
    members.filter_map(Credential::stamp).reduce(|one, other| one.rotate_left(1) ^ other)
}

/// One walk along a chain, with what came of each member so far.
pub(in crate::credential) struct Walk {
    chain: &'static str,
    deadline: Instant,
    attempts: Vec<Error>,
}

impl Walk {
    pub(in crate::credential) fn new(chain: &'static str, bound: Duration) -> Walk {
        Walk { chain, deadline: Instant::now() + bound.saturating_sub(MARGIN), attempts: Vec::new() }
    }

    /// Asks one member. Goes on only past "unavailable"; any other failure ends the walk with that error, which carries
    /// the attempts before it.
    pub(in crate::credential) async fn attempt(
        &mut self,
        member: &str,
        fetch: impl Future<Output = Result<FetchedToken>>,
    ) -> ControlFlow<Result<FetchedToken>> {
        let outcome = timeout_at(self.deadline, fetch).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "it did not answer within the time left for the chain"))
        });
        match outcome.map_err(|error| error.for_credential(member)) {
            Ok(token) => ControlFlow::Break(Ok(token)),
            Err(error) if error.is_unavailable() => {
                tracing::debug!(target: "pgentra::credential", chain = self.chain, member, %error, "unavailable");
                self.attempts.push(error);
                ControlFlow::Continue(())
            }
            Err(error) if self.attempts.is_empty() => ControlFlow::Break(Err(error)),
            Err(error) => {
                let mut attempts = std::mem::take(&mut self.attempts);
                attempts.extend_from_slice(error.attempts());
                ControlFlow::Break(Err(error.with_attempts(attempts)))
            }
        }
    }

    /// Forgets what came of a member that is asked once more.
    pub(in crate::credential) fn forget(&mut self, member: &str) {
        self.attempts.retain(|attempt| attempt.credential() != Some(member));
    }

    /// The error for a walk that found nobody.
    pub(in crate::credential) fn nothing_available(self) -> Error {
        let tried: Vec<&str> = self.attempts.iter().filter_map(Error::credential).collect();
        let message = format!("none of its credentials is available here ({})", tried.join(", "));
        Error::new(ErrorKind::CredentialUnavailable, message)
            .for_credential(self.chain)
            .with_advice("Set up one of them; each says below what it lacks.")
            .with_attempts(self.attempts)
    }
}
