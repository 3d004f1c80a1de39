//! Cancel requests: the sessions' keys, and where their servers are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pgentra_proxy::{startup::CancelRequest, upstream};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    metrics::CancelOutcome,
    server::{Target, UpstreamServer},
};

/// The time limit for a cancel request, after the connection to the server.
const LIMIT: Duration = Duration::from_secs(10);

/// The number of requests that are forwarded at a time. Others wait.
const MAX_REQUESTS: usize = 16;

/// The lengths of a key with the process's number: from protocol 3.2 on, the secret part has up to 256 bytes.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 8..=260;

/// The keys of all sessions.
pub struct CancelKeys {
    keys: Mutex<HashMap<Box<[u8]>, Target>>,
    requests: Semaphore,
}

/// A session's key. Dropping it removes the key.
pub struct CancelKey {
    keys: Arc<CancelKeys>,
    key: Box<[u8]>,
}

impl CancelKeys {
    /// Creates an empty table.
    pub fn new() -> Arc<CancelKeys> {
        Arc::new(CancelKeys { keys: Mutex::default(), requests: Semaphore::new(MAX_REQUESTS) })
    }

    /// Adds the key of a session, which is the body of its `BackendKeyData`. Returns `None` for a key that no cancel
    /// request can have.
    pub fn add(self: &Arc<Self>, key: &[u8], target: Target) -> Option<CancelKey> {
        if !KEY_LENGTHS.contains(&key.len()) {
            return None;
        }
        self.lock().insert(key.into(), target);
        Some(CancelKey { keys: Arc::clone(self), key: key.into() })
    }

    /// Passes a request to the server of its session. A request with an unknown key is dropped, so that the proxy cannot
    /// be used to send requests to the server.
    pub async fn forward(&self, server: &UpstreamServer, request: &CancelRequest) -> CancelOutcome {
        let Some(target) = self.lock().get(request.key()).cloned() else { return CancelOutcome::UnknownKey };
        // The semaphore is never closed.
        let Ok(_permit) = self.requests.acquire().await else { return CancelOutcome::Failed };
        let forwarding = async {
            let mut stream = server.connect_again(&target).await?;
            timeout(LIMIT, upstream::cancel(&mut stream, request)).await?
        };
        match forwarding.await {
            Ok(()) => CancelOutcome::Forwarded,
            Err(_) => CancelOutcome::Failed,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Box<[u8]>, Target>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancel_keys_have_the_lengths_of_the_protocol() {
        let keys = CancelKeys::new();
        for (length, is_known) in [(0, false), (4, false), (7, false), (8, true), (36, true), (260, true), (261, false)]
        {
            let key = vec![7; length];
            let added = keys.add(&key, Target::default());
            assert_eq!(added.is_some(), is_known, "{length}");
            assert_eq!(keys.lock().contains_key(&key[..]), is_known, "{length}");
            drop(added);
            assert!(keys.lock().is_empty(), "{length}");
        }
    }
}
