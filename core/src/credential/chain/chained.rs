//! A chain of given credentials in their order, and the loop over the members, which the default chain also uses.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::time::{Instant, timeout_at};

use crate::{
    credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest, TokenSource},
    error::{Error, ErrorKind, Result},
};

pub(in crate::credential) const NAME: &str = "ChainedTokenCredential";

/// A chain ends this much before its bound, so that callers get its own error and not the one about the bound.
const MARGIN: Duration = Duration::from_millis(500);

pub(in crate::credential) struct ChainedCredential {
    members: Vec<Arc<dyn Credential>>,
    selection: ArcSwapOption<Selection>,
}

/// The member of a chain that returned a token, and the errors of the members before it.
pub(in crate::credential) struct Selection {
    pub(in crate::credential) index: usize,
    pub(in crate::credential) unavailable: Vec<Error>,
}

impl Selection {
    /// Returns the source of a chain's tokens.
    pub(in crate::credential) fn token_source<'a>(
        selection: Option<&Selection>,
        chain: &str,
        member: impl Fn(usize) -> &'a dyn Credential,
    ) -> TokenSource {
        TokenSource {
            member: selection.map(|selection| Box::new(member(selection.index).token_source())),
            unavailable: selection.map(|selection| selection.unavailable.clone()).unwrap_or_default(),
            ..TokenSource::new(chain)
        }
    }
}

impl ChainedCredential {
    pub(in crate::credential) fn new(members: Vec<Arc<dyn Credential>>) -> Self {
        ChainedCredential { members, selection: ArcSwapOption::empty() }
    }

    async fn request_token(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let mut walk = Walk::new(NAME, self.bound());
        for (index, member) in self.members.iter().enumerate() {
            if let ControlFlow::Break(outcome) = walk.attempt(member.name(), member.fetch(request, context)).await {
                if outcome.is_ok() {
                    self.selection.store(Some(Arc::new(walk.selection(index))));
                }
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
        Box::pin(self.request_token(request, context))
    }

    fn token_source(&self) -> TokenSource {
        Selection::token_source(self.selection.load().as_deref(), NAME, |index| &*self.members[index])
    }

    fn stamp(&self) -> Option<u64> {
        combined_stamp(self.members.iter().map(|member| &**member))
    }
}

pub(in crate::credential) fn longest_bound<'a>(members: impl Iterator<Item = &'a dyn Credential>) -> Duration {
    members.map(Credential::bound).max().unwrap_or(Duration::from_secs(30))
}

/// Combines the stamps of all members, regardless of which member the token is from. A change costs one more fetch.
pub(in crate::credential) fn combined_stamp<'a>(members: impl Iterator<Item = &'a dyn Credential>) -> Option<u64> {
    members.filter_map(Credential::stamp).reduce(|one, other| one.rotate_left(1) ^ other)
}

/// One pass along a chain, with the results of its members so far.
pub(in crate::credential) struct Walk {
    chain: &'static str,
    deadline: Instant,
    attempts: Vec<Error>,
}

impl Walk {
    pub(in crate::credential) fn new(chain: &'static str, bound: Duration) -> Walk {
        Walk { chain, deadline: Instant::now() + bound.saturating_sub(MARGIN), attempts: Vec::new() }
    }

    /// Requests a token from one member. The chain continues only after "unavailable". Any other failure ends the pass
    /// with that error, which carries the earlier attempts.
    pub(in crate::credential) async fn attempt(
        &mut self,
        member: &str,
        fetch: impl Future<Output = Result<FetchedToken>>,
    ) -> ControlFlow<Result<FetchedToken>> {
        let outcome = timeout_at(self.deadline, fetch).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "it did not respond within the remaining time of the chain"))
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

    /// Returns the selection of a member, with the errors of the others so far.
    pub(in crate::credential) fn selection(self, index: usize) -> Selection {
        Selection { index, unavailable: self.attempts }
    }

    /// Removes the result of a member that is tried once more.
    pub(in crate::credential) fn forget(&mut self, member: &str) {
        self.attempts.retain(|attempt| attempt.credential() != Some(member));
    }

    /// Returns the error for a chain in which every member was unavailable.
    pub(in crate::credential) fn nothing_available(self) -> Error {
        let tried: Vec<&str> = self.attempts.iter().filter_map(Error::credential).collect();
        let message = format!("no credential of the chain is available ({})", tried.join(", "));
        Error::new(ErrorKind::CredentialUnavailable, message)
            .for_credential(self.chain)
            .with_advice(
                "Set up one of them. The lines below state what each one lacks; pgentra doctor checks each step.",
            )
            .with_attempts(self.attempts)
    }
}
