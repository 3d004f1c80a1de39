//! What the process remembers: who shares a cell, the role names that were looked up, and the warnings that were told.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Arc, Weak},
};

use once_cell::race::OnceBox;
use ring::hmac;
use serde::Serialize;
use tracing::warn;

use crate::{
    claims::Principal,
    config::{BuildInputs, CredentialConfig, Input},
    credential::{Credential, TokenRequest},
    runtime::{Inherited, now, random_seed},
    secret::Secret,
    shared_cell::{CellStats, SharedCell},
    users,
};

/// Cells kept for sharing; the least recently used goes first.
const MOST_CELLS: usize = 1024;

/// What makes cells equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// Of a credential's document, with what else identifies it. Secrets go through an HMAC under a key that only this process
    /// knows, so that no digest of one is ever worth anything outside.
    pub(crate) fn of_document(config: &CredentialConfig, beside: &impl Serialize) -> Key {
        // Neither can fail: both are plain data with text keys. Secrets in them are redacted.
        let plain = [serde_json::to_vec(config), serde_json::to_vec(beside)].map(Result::unwrap_or_default);
        let secrets = config.secrets().into_iter().map(|secret| secret.expose().as_bytes());
        Self::of(plain.iter().map(Vec::as_slice).chain(secrets))
    }

    /// Of a document with the inputs that its credential used while it was built. An input that is not set counts too: once it
    /// is set, the credential would be another one.
    pub(crate) fn with_inputs<'a>(&self, inputs: &BuildInputs<'_>, used: impl IntoIterator<Item = &'a Input>) -> Key {
        let used = used.into_iter().flat_map(|input| {
            let value = inputs.value(input);
            let is_set: &[u8] = if value.is_some() { b"set" } else { b"unset" };
            [input.name().as_bytes(), is_set, value.unwrap_or_default().as_bytes()]
        });
        Self::of([self.0.as_slice()].into_iter().chain(used))
    }

    /// Of one user of what this key stands for.
    pub(crate) fn of_user(&self, assertion: &Secret) -> Key {
        Self::of([self.0.as_slice(), assertion.expose().as_bytes()].into_iter())
    }

    fn of<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Key {
        static PROCESS_KEY: OnceBox<hmac::Key> = OnceBox::new();
        let mut context = hmac::Context::with_key(PROCESS_KEY.get_or_init(|| {
            let random = ring::rand::SystemRandom::new();
            let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
            Box::new(key.unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &random_seed().to_ne_bytes())))
        }));
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        Key(digest)
    }
}

type Cells = HashMap<(Key, TokenRequest), Arc<SharedCell>>;

static CELLS: Inherited<Cells> = Inherited::new();

/// The cell of equal settings, made at the first call.
pub(crate) fn cell(key: Key, request: &TokenRequest, credential: &Arc<dyn Credential>) -> Arc<SharedCell> {
    let at = (key, request.clone());
    if let Some(cell) = CELLS.load().get(&at) {
        return Arc::clone(cell);
    }
    let made = SharedCell::new(Arc::clone(credential), request.clone());
    let mut found = Arc::clone(&made);
    CELLS.rcu(|cells| {
        let mut next = Cells::clone(cells);
        make_room(&mut next, MOST_CELLS);
        found = Arc::clone(next.entry(at.clone()).or_insert_with(|| Arc::clone(&made)));
        next
    });
    found
}

/// Drops from a copy of a store whom nobody holds or used for its token's life, and the least recently used ones down to one
/// less than `most`.
pub(crate) fn make_room<K: Clone + Eq + Hash>(cells: &mut HashMap<K, Arc<SharedCell>>, most: usize) {
    let moment = now().mono_ms;
    // The store itself and its copy hold each.
    cells.retain(|_, cell| Arc::strong_count(cell) > 2 || !cell.is_idle(moment));
    while cells.len() >= most {
        let oldest = cells.iter().min_by_key(|(_, cell)| cell.last_used());
        let Some(oldest) = oldest.map(|(at, _)| at.clone()) else { break };
        cells.remove(&oldest);
    }
}

/// The cells of hosts' own credentials, which live as long as these.
static OWN_CELLS: Inherited<Vec<Weak<SharedCell>>> = Inherited::new();

/// Makes a cell of a host's own credential known to [`stats`].
pub(crate) fn note_own_cell(cell: &Arc<SharedCell>) {
    OWN_CELLS.rcu(|cells| {
        let alive = cells.iter().filter(|cell| cell.strong_count() > 0).cloned();
        alive.chain([Arc::downgrade(cell)]).collect::<Vec<_>>()
    });
}

/// Every cell of this process: those shared by equal settings, those of users, and those of hosts' own credentials.
pub fn stats() -> Vec<CellStats> {
    let shared = CELLS.load();
    let own = OWN_CELLS.load();
    let others = users::cells().into_iter().chain(own.iter().filter_map(Weak::upgrade));
    shared.values().map(|cell| cell.stats()).chain(others.map(|cell| cell.stats())).collect()
}

/// Warnings told in this process.
static WARNED: Inherited<HashSet<String>> = Inherited::new();

/// Logs a warning, once in this process.
pub(crate) fn warn_once(warning: String) {
    if is_first_warning(&warning) {
        warn!(target: "pgentra::cloud", "{warning}");
    }
}

/// Whether the warning is new in this process; it is remembered. The number of texts is bounded, since they name hosts.
pub(crate) fn is_first_warning(warning: &str) -> bool {
    let told = WARNED.load();
    if told.contains(warning) || told.len() >= MOST_CELLS {
        return false;
    }
    WARNED.rcu(|told| told.iter().cloned().chain([warning.to_owned()]).collect::<HashSet<_>>());
    true
}

type Names = HashMap<(String, String), Option<String>>;

/// Role names from management tokens by (tenant, object id), for the life of the process. `None`: it names nobody.
static NAMES: Inherited<Names> = Inherited::new();

/// What the management token of a principal was found to say, if it was asked before.
pub(crate) fn remembered_name(principal: &Principal) -> Option<Option<String>> {
    NAMES.load().get(&(principal.tid.clone()?, principal.oid.clone()?)).cloned()
}

/// Remembers what the management token of a principal says.
pub(crate) fn remember_name(principal: &Principal, name: Option<&str>) {
    if let (Some(tid), Some(oid)) = (&principal.tid, &principal.oid) {
        NAMES.rcu(|names| {
            let mut next = Names::clone(names);
            // A name is short, but a service that acts for its users sees many.
            if next.len() >= 100_000 {
                next.clear();
            }
            next.insert((tid.clone(), oid.clone()), name.map(str::to_owned));
            next
        });
    }
}
