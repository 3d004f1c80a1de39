//! Cancel requests: the sessions' keys, and where their servers are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use pgentra_proxy::startup::{CancelRequest, SessionKey};
use tokio::sync::Semaphore;

use super::{
    metrics::CancelOutcome,
    server::{Target, UpstreamServer},
};

/// The number of requests that are forwarded at a time. Others wait.
const MAX_REQUESTS: usize = 16;

/// The keys of all sessions.
pub struct CancelKeys {
    keys: Mutex<HashMap<SessionKey, Target>>,
    requests: Semaphore,
}

/// A session's key. Dropping it removes the key.
pub struct CancelKey {
    keys: Arc<CancelKeys>,
    key: SessionKey,
}

impl CancelKeys {
    /// Creates an empty table.
    pub fn new() -> Arc<CancelKeys> {
        Arc::new(CancelKeys { keys: Mutex::default(), requests: Semaphore::new(MAX_REQUESTS) })
    }

    /// Adds the key of a session.
    pub fn add(self: &Arc<Self>, key: SessionKey, target: Target) -> CancelKey {
        self.lock().insert(key.clone(), target);
        CancelKey { keys: Arc::clone(self), key }
    }

    /// Passes a request to the server of its session. A request with an unknown key is dropped, so that the proxy cannot
    /// be used to send requests to the server.
    pub async fn forward(&self, server: &UpstreamServer, request: &CancelRequest) -> CancelOutcome {
        let target = request.session_key().and_then(|key| self.lock().get(&key).cloned());
        let Some(target) = target else { return CancelOutcome::UnknownKey };
        // The semaphore is never closed.
        let Ok(_permit) = self.requests.acquire().await else { return CancelOutcome::Failed };
        match server.cancel(&target, request).await {
            Ok(()) => CancelOutcome::Forwarded,
            Err(_) => CancelOutcome::Failed,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionKey, Target>> {
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
    fn cancel_keys_end_with_their_sessions() {
        let keys = CancelKeys::new();
        for length in [8, 36, 260] {
            let key = SessionKey::parse(&vec![7; length]).expect("a key");
            let added = keys.add(key.clone(), Target::default());
            assert!(keys.lock().contains_key(&key), "{length}");
            drop(added);
            assert!(keys.lock().is_empty(), "{length}");
        }
    }
}
