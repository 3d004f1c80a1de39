//! The application cache: credentials with equal settings share one cache entry in this process.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
};

use super::{
    entry::{CacheEntry, EntryStats},
    key::Key,
    user_cache,
};
use crate::{
    credential::{Credential, TokenRequest},
    runtime::{ForkShared, now},
};

/// The maximum number of shared entries. The least recently used entry is dropped first.
const MOST_ENTRIES: usize = 1024;

type Entries = HashMap<(Key, TokenRequest), Arc<CacheEntry>>;

static ENTRIES: ForkShared<Entries> = ForkShared::new();

/// Returns the entry for these settings, and creates it at the first call.
pub(crate) fn entry(key: Key, request: &TokenRequest, credential: &Arc<dyn Credential>) -> Arc<CacheEntry> {
    let at = (key, request.clone());
    if let Some(entry) = ENTRIES.load().get(&at) {
        return Arc::clone(entry);
    }
    let made = CacheEntry::new(Arc::clone(credential), request.clone());
    let mut found = Arc::clone(&made);
    ENTRIES.rcu(|entries| {
        let mut next = Entries::clone(entries);
        make_room(&mut next, MOST_ENTRIES);
        found = Arc::clone(next.entry(at.clone()).or_insert_with(|| Arc::clone(&made)));
        next
    });
    found
}

/// Drops entries from a copy of a store: those that only the cache holds and that were unused for the lifetime of their
/// token, then the least recently used ones, until one less than `most` remain.
pub(crate) fn make_room<K: Clone + Eq + Hash>(entries: &mut HashMap<K, Arc<CacheEntry>>, most: usize) {
    let moment = now().mono_ms;
    // The store and its copy each hold one reference.
    entries.retain(|_, entry| Arc::strong_count(entry) > 2 || !entry.is_idle(moment));
    while entries.len() >= most {
        let oldest = entries.iter().min_by_key(|(_, entry)| entry.last_used());
        let Some(oldest) = oldest.map(|(at, _)| at.clone()) else { break };
        entries.remove(&oldest);
    }
}

/// The entries of custom credentials. The references are weak, so an entry ends with its credential.
static OWN_ENTRIES: ForkShared<Vec<Weak<CacheEntry>>> = ForkShared::new();

/// Adds an entry of a custom credential to those that [`stats`] returns.
pub(crate) fn note_own_entry(entry: &Arc<CacheEntry>) {
    OWN_ENTRIES.rcu(|entries| {
        let alive = entries.iter().filter(|entry| entry.strong_count() > 0).cloned();
        alive.chain([Arc::downgrade(entry)]).collect::<Vec<_>>()
    });
}

/// Drops all entries.
pub(super) fn clear() {
    ENTRIES.clear();
    OWN_ENTRIES.clear();
}

/// Returns the statistics of every entry in this process: those shared by equal settings, those of users, and those of
/// custom credentials.
pub fn stats() -> Vec<EntryStats> {
    let shared = ENTRIES.load();
    let own = OWN_ENTRIES.load();
    let others = user_cache::entries().into_iter().chain(own.iter().filter_map(Weak::upgrade));
    shared.values().map(|entry| entry.stats()).chain(others.map(|entry| entry.stats())).collect()
}
