//! The users on whose behalf an application acts: a cell for each, as many as memory allows for.
//!
//! A service sees more users than its other credentials have settings, and each for a while only. So they have a store of
//! their own: least recently used first, and whoever has not asked for a token's lifetime, is dropped.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    num::NonZeroUsize,
    sync::{Arc, Mutex, Weak},
};

use lru::LruCache;

use crate::{
    credential::{Credential, MiddleTier, TokenRequest},
    error::Result,
    registry::{Key, SharedCell},
    runtime::{Inherited, PerProcess, lock, now},
};

/// Users whose tokens are kept. With tokens of 2 KB they take some 80 MB.
pub(crate) const MOST_USERS: usize = 16_384;

/// Scopes, tenants and claims for which one user's tokens are kept.
const MOST_REQUESTS: usize = 8;

type Users = LruCache<Key, Vec<Arc<SharedCell>>, ByKey>;

/// A forked child begins with none: its parent's may be locked.
static USERS: PerProcess<Mutex<Users>> = PerProcess::new();

fn users() -> &'static Mutex<Users> {
    USERS.get(|| {
        let most = NonZeroUsize::new(MOST_USERS).unwrap_or(NonZeroUsize::MIN);
        Mutex::new(LruCache::with_hasher(most, ByKey))
    })
}

/// The cell of a user for a request, made at the first call.
pub(crate) fn cell(key: Key, request: &TokenRequest, credential: &Arc<dyn Credential>) -> Arc<SharedCell> {
    let mut users = lock(users());
    if let Some(cells) = users.get_mut(&key) {
        if let Some(cell) = cells.iter().find(|cell| cell.request() == request) {
            return Arc::clone(cell);
        }
        let made = SharedCell::of_user(Arc::clone(credential), request.clone());
        if cells.len() >= MOST_REQUESTS {
            cells.remove(0);
        }
        cells.push(Arc::clone(&made));
        return made;
    }
    let mut dropped = Vec::new();
    let moment = now().mono_ms;
    while users.peek_lru().is_some_and(|(_, cells)| cells.iter().all(|cell| cell.is_idle(moment))) {
        dropped.extend(users.pop_lru());
    }
    let made = SharedCell::of_user(Arc::clone(credential), request.clone());
    dropped.extend(users.push(key, vec![Arc::clone(&made)]));
    drop(users);
    // What goes may be the last owner of a host's object, whose end is the host's own code.
    drop(dropped);
    made
}

/// Every user's cells, for statistics.
pub(crate) fn cells() -> Vec<Arc<SharedCell>> {
    lock(users()).iter().flat_map(|(_, cells)| cells.iter().cloned()).collect()
}

/// A [`Key`] is a digest already.
#[derive(Clone, Copy)]
struct ByKey;

struct FirstBytes(u64);

impl BuildHasher for ByKey {
    type Hasher = FirstBytes;

    fn build_hasher(&self) -> FirstBytes {
        FirstBytes(0)
    }
}

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8).take(1) {
            let mut first = [0; 8];
            first.copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(first);
        }
    }
}

type MiddleTiers = HashMap<Key, Weak<MiddleTier>>;

/// Applications by their settings without the user.
static MIDDLE_TIERS: Inherited<MiddleTiers> = Inherited::new();

/// The application of these settings: its connections and its certificate serve all its users.
///
/// # Errors
/// Of `build`.
pub(crate) fn middle_tier(key: Key, build: impl FnOnce() -> Result<Arc<MiddleTier>>) -> Result<Arc<MiddleTier>> {
    if let Some(present) = MIDDLE_TIERS.load().get(&key).and_then(Weak::upgrade) {
        return Ok(present);
    }
    let made = build()?;
    let mut found = Arc::clone(&made);
    MIDDLE_TIERS.rcu(|tiers| {
        let mut next: MiddleTiers =
            tiers.iter().filter(|(_, tier)| tier.strong_count() > 0).map(|(key, tier)| (*key, tier.clone())).collect();
        match next.get(&key).and_then(Weak::upgrade) {
            Some(theirs) => found = theirs,
            None => {
                found = Arc::clone(&made);
                next.insert(key, Arc::downgrade(&made));
            }
        }
        next
    });
    Ok(found)
}
