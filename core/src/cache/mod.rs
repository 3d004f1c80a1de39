//! The token cache: when tokens are fetched and refreshed, and which credentials share them.

pub(crate) mod application_cache;
pub(crate) mod entry;
pub(crate) mod key;
pub(crate) mod log;
pub mod refresh_state;
pub(crate) mod role_names;
pub(crate) mod token;
pub(crate) mod user_cache;

/// Frees the cached tokens that are shared in this process and everything that was remembered with them. A binding calls
/// this after [`shutdown`](crate::shutdown). Providers that are still open keep their own tokens.
pub fn clear_caches() {
    application_cache::clear();
    user_cache::clear();
    role_names::clear();
    crate::logging::clear();
}
