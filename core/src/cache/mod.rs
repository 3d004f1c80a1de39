//! Tokens in memory: when they are fetched and refreshed, and which credentials share them.

pub mod refresh_state;
