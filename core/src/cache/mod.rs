//! The token cache: when tokens are fetched and refreshed, and which credentials share them.

pub(crate) mod application_cache;
pub(crate) mod entry;
pub(crate) mod key;
pub(crate) mod log;
pub mod refresh_state;
pub(crate) mod role_names;
pub(crate) mod token;
pub(crate) mod user_cache;
