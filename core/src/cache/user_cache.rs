//! The user cache: an entry for each user on whose behalf an application acts, up to a limit set by memory.
//!
//! A service has more users than settings of other credentials, and each user only for a while. So users have a
//! separate store. It drops the least recently used ones first, and those that were unused for the lifetime of their
//! token.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hasher},
    num::NonZeroUsize,
    sync::{Arc, Mutex, Weak},
};

use lru::LruCache;

use super::{entry::CacheEntry, key::Key};
use crate::{
    config::{BuildInputs, Input},
    credential::{Credential, MiddleTier, TokenRequest},
    error::Result,
    runtime::{ForkShared, PerProcess, lock, now},
};

/// The maximum number of users whose tokens are kept. With tokens of 2 KB, the user's and the fetched one, they take
/// about 80 MB.
pub(crate) const MOST_USERS: usize = 12_288;

/// The maximum number of combinations of scope, tenant and claims kept for one user.
const MOST_REQUESTS: usize = 8;

type Users = LruCache<Key, Vec<Arc<CacheEntry>>, ByKey>;

/// A forked child starts with an empty store, because its parent's can be locked.
static USERS: PerProcess<Mutex<Users>> = PerProcess::new();

fn users() -> &'static Mutex<Users> {
    USERS.get(|| {
        let most = NonZeroUsize::new(MOST_USERS).unwrap_or(NonZeroUsize::MIN);
        Mutex::new(LruCache::with_hasher(most, ByKey))
    })
}

/// Drops the entries of all users.
pub(super) fn clear() {
    MIDDLE_TIERS.clear();
    let Some(users) = USERS.peek() else { return };
    // Without a capacity, so that nothing is allocated.
    let mut empty = LruCache::unbounded_with_hasher(ByKey);
    empty.resize(NonZeroUsize::new(MOST_USERS).unwrap_or(NonZeroUsize::MIN));
    let dropped = std::mem::replace(&mut *lock(users), empty);
    drop(dropped);
}

/// Returns the entry of a user for a request, and creates it at the first call.
pub(crate) fn entry(key: Key, request: &TokenRequest, credential: &Arc<dyn Credential>) -> Arc<CacheEntry> {
    let mut users = lock(users());
    if let Some(entries) = users.get_mut(&key) {
        if let Some(entry) = entries.iter().find(|entry| entry.request() == request) {
            return Arc::clone(entry);
        }
        let made = CacheEntry::of_user(Arc::clone(credential), request.clone());
        if entries.len() >= MOST_REQUESTS {
            entries.remove(0);
        }
        entries.push(Arc::clone(&made));
        return made;
    }
    let mut dropped = without_idle(&mut users, now().mono_ms);
    let made = CacheEntry::of_user(Arc::clone(credential), request.clone());
    dropped.extend(users.push(key, vec![Arc::clone(&made)]));
    drop(users);
    // A dropped entry can be the last owner of an object of the application, whose destructor runs the application's
    // code.
    drop(dropped);
    made
}

/// Takes out the users that were idle for the lifetime of their token. They are the least recently used ones.
fn without_idle(users: &mut Users, mono_ms: i64) -> Vec<(Key, Vec<Arc<CacheEntry>>)> {
    let mut idle = Vec::new();
    while users.peek_lru().is_some_and(|(_, entries)| entries.iter().all(|entry| entry.is_idle(mono_ms))) {
        idle.extend(users.pop_lru());
    }
    idle
}

/// Returns the entries of all users, for statistics.
pub(crate) fn entries() -> Vec<Arc<CacheEntry>> {
    lock(users()).iter().flat_map(|(_, entries)| entries.iter().cloned()).collect()
}

/// Uses the [`Key`] as it is, because it is already a digest.
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

type MiddleTiers = HashMap<Key, Vec<Built>>;

/// Confidential clients by their documents without the user.
static MIDDLE_TIERS: ForkShared<MiddleTiers> = ForkShared::new();

/// A confidential client that was built.
#[derive(Clone)]
struct Built {
    /// The inputs that its key was made of. While their values are unchanged, building it again would give the same
    /// client.
    used: BTreeSet<Input>,
    key: Key,
    middle_tier: Weak<MiddleTier>,
}

/// Returns the confidential client of a document, and its key. All its users share its connections and its certificate.
/// `build` reads `inputs`.
///
/// # Errors
/// Fails as `build` does.
pub(crate) fn middle_tier(
    document: Key,
    inputs: &BuildInputs<'_>,
    build: impl FnOnce() -> Result<Arc<MiddleTier>>,
) -> Result<(Key, Arc<MiddleTier>)> {
    let present = |built: &Built| {
        let is_same = document.with_inputs(inputs, &built.used) == built.key;
        is_same.then(|| built.middle_tier.upgrade()).flatten().map(|middle_tier| (built.key, middle_tier))
    };
    if let Some(found) = MIDDLE_TIERS.load().get(&document).and_then(|all| all.iter().find_map(present)) {
        return Ok(found);
    }
    let made = build()?;
    let used = inputs.used();
    let key = document.with_inputs(inputs, &used);
    let mut found = Arc::clone(&made);
    MIDDLE_TIERS.rcu(|tiers| {
        let mut next = MiddleTiers::new();
        for (document, all) in tiers.iter() {
            let alive: Vec<Built> = all.iter().filter(|built| built.middle_tier.strong_count() > 0).cloned().collect();
            if !alive.is_empty() {
                next.insert(*document, alive);
            }
        }
        let all = next.entry(document).or_default();
        match all.iter().filter(|built| built.key == key).find_map(|built| built.middle_tier.upgrade()) {
            Some(theirs) => found = theirs,
            None => {
                found = Arc::clone(&made);
                all.push(Built { used: used.clone(), key, middle_tier: Arc::downgrade(&made) });
            }
        }
        next
    });
    Ok((key, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CredentialConfig, Secret,
        cache::refresh_state::RefreshMode,
        config::{BuildInputs, CredentialOptions, Environment, OnBehalfOfArguments},
        credential::{BuildContext, build},
        runtime::Pending,
        transport::{Response, Transport},
    };

    /// The users that stay have tokens of the usual size, the others short ones, because this build is not optimised.
    const MANY: usize = 100_000;

    /// A middle tier.
    struct Application {
        key: Key,
        middle_tier: Arc<MiddleTier>,
        arguments: OnBehalfOfArguments,
    }

    impl Application {
        fn new() -> Application {
            let arguments = OnBehalfOfArguments {
                tenant_id: "t".to_owned(),
                client_id: "c".to_owned(),
                user_assertion_token: Secret::new(""),
                client_secret: Some(Secret::new("s")),
                certificate_path: None,
                certificate: None,
                certificate_password: None,
                send_certificate_chain: false,
                get_assertion: None,
            };
            let transport = Transport::canned(|request| {
                let asserted = request.form.iter().find(|(name, _)| *name == "assertion");
                let token = "t".repeat(asserted.map_or(0, |(_, assertion)| assertion.expose().len()));
                let answer = format!(r#"{{"access_token":"{token}","expires_in":3600}}"#);
                Box::pin(std::future::ready(Ok(Response::new(200, &[], answer))))
            });
            let environment = Environment::new();
            let inputs = BuildInputs::new(&environment);
            let context = BuildContext::new(&inputs).with_transport(transport);
            let middle_tier = build::build_middle_tier(&arguments, &CredentialOptions::default(), &context)
                .expect("the arguments are in order");
            let key = Key::of_document(&CredentialConfig::default(), &"tests of users");
            Application { key, middle_tier, arguments }
        }

        fn of(&self, user: usize) -> Arc<CacheEntry> {
            let size = if user + MOST_USERS < MANY { 16 } else { 2048 };
            let user_assertion_token = Secret::new(format!("{user:0>size$}"));
            let key = self.key.of_user(&user_assertion_token);
            let arguments = OnBehalfOfArguments { user_assertion_token, ..self.arguments.clone() };
            let credential: Arc<dyn Credential> = Arc::new(self.middle_tier.on_behalf_of(&arguments));
            entry(key, &TokenRequest::new("https://ossrdbms-aad.database.windows.net/.default"), &credential)
        }
    }

    /// Returns the memory of this process in bytes.
    #[cfg(target_os = "linux")]
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
        pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
    }

    #[test]
    fn user_cache_of_100000_users_stays_within_its_memory_limit() {
        // The test measures the memory of the whole process, so no other test can run at the same time.
        const IS_ALONE: &str = "PGENTRA_TEST_IS_ALONE";
        if std::env::var_os(IS_ALONE).is_none() {
            let path = concat!(module_path!(), "::user_cache_of_100000_users_stays_within_its_memory_limit");
            let (_, name) = path.split_once("::").expect("the crate's name comes first");
            let program = std::env::current_exe().expect("a program");
            let mut command = std::process::Command::new(program);
            let ended = command.args(["--exact", name, "--nocapture"]).env(IS_ALONE, "1").output().expect("it starts");
            let output = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
            println!("{output}");
            assert!(ended.status.success() && output.contains("1 passed"), "{output}");
            return;
        }
        let count = MANY;
        let application = Arc::new(Application::new());
        let of = |user: usize| application.of(user);
        #[cfg(target_os = "linux")]
        let before = resident();
        let middle_tier = Arc::clone(&application);
        let asked = Pending::start(async move {
            for user in 0..count {
                middle_tier.of(user).get(RefreshMode::Background).await?;
            }
            Ok(())
        });
        asked.join().expect("everybody has a token");
        #[cfg(target_os = "linux")]
        {
            let taken = resident().saturating_sub(before);
            println!("{count} users took {} MB", taken >> 20);
            assert!(taken < 100 << 20, "{count} users took {} MB", taken >> 20);
        }
        assert_eq!(lock(users()).len(), MOST_USERS);
        let is_kept = |user: usize| of(user).warm().is_some();
        assert!(is_kept(count - 1) && is_kept(count - MOST_USERS), "the last ones are kept");
        assert!(!is_kept(0), "the first one went");

        // A user that keeps requesting tokens stays, even if others are added.
        let faithful = count - MOST_USERS + 2;
        for user in count..count + MOST_USERS {
            of(faithful);
            of(user);
        }
        assert!(is_kept(faithful));

        // Users without a token are dropped after a minute, the others after the lifetime of their token.
        let mut users = lock(users());
        assert!(without_idle(&mut users, now().mono_ms).is_empty());
        let left = users.len();
        assert_eq!(without_idle(&mut users, now().mono_ms + 7_200_000).len(), left);
    }
}
