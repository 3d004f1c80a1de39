//! Access tokens as the cache returns them.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use once_cell::race::OnceBox;

use super::refresh_state::SameToken;
use crate::{
    postgres::role_name::{Claims, ClaimsError},
    secret::Secret,
};

/// An access token. `Debug` does not show any part of it.
///
/// Aligned so that the reference counts of two handles never share a cache line (processors fetch them in pairs).
#[repr(align(128))]
pub struct Token(Arc<TokenContents>);

struct TokenContents {
    secret: Secret,
    expires_on: i64,
    /// If two threads read the claims at once, both parse them. A lock would block a child that was forked while it was
    /// held.
    claims: OnceBox<Result<Claims, ClaimsError>>,
}

impl Token {
    /// Creates a token that expires at `expires_on`, in seconds since the epoch.
    pub(crate) fn new(secret: Secret, expires_on: i64) -> Self {
        Token(Arc::new(TokenContents { secret, expires_on, claims: OnceBox::new() }))
    }

    /// Returns whether both are the same arrival of the same token.
    pub(crate) fn is(&self, other: &Token) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the token's text: the password to send to the server, over TLS only.
    pub fn secret(&self) -> &str {
        self.0.secret.expose()
    }

    /// Returns the expiry in seconds since the epoch, by this machine's clock.
    pub fn expires_on(&self) -> i64 {
        self.0.expires_on
    }

    /// Returns the token's claims, which are parsed at the first call.
    ///
    /// # Errors
    /// Fails if the token is not a readable JWT.
    pub fn claims(&self) -> Result<&Claims, &ClaimsError> {
        self.0.claims.get_or_init(|| Box::new(Claims::decode(self.secret()))).as_ref()
    }
}

impl SameToken for Arc<Token> {
    fn same_bytes(&self, other: &Self) -> bool {
        self.0.secret == other.0.secret
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_on", &self.expires_on()).finish_non_exhaustive()
    }
}

/// A cheap handle of shared contents, of which there can be several.
pub(crate) trait Handle {
    /// Returns another handle of the same contents, with its own reference count.
    fn another(&self) -> Self;
}

impl Handle for Token {
    fn another(&self) -> Self {
        Token(Arc::clone(&self.0))
    }
}

/// Handles of one value, one for each shard of threads. With a single reference count, threads that read at the same
/// time would spend their time passing its cache line around.
pub(crate) struct Shards<T>([Arc<T>; SHARDS]);

const SHARDS: usize = 8;

impl<T: Handle> Shards<T> {
    pub(crate) fn new(one: &T) -> Self {
        Shards(std::array::from_fn(|_| Arc::new(one.another())))
    }

    /// Uses the same handle for every thread, which takes an eighth of the memory.
    pub(crate) fn of_one(one: &Arc<T>) -> Self {
        Shards(std::array::from_fn(|_| Arc::clone(one)))
    }

    /// Returns the handle of this thread's shard.
    #[inline]
    pub(crate) fn here(&self) -> &Arc<T> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static HERE: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mut here = HERE.get();
        if here == usize::MAX {
            here = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            HERE.set(here);
        }
        &self.0[here % SHARDS]
    }
}
