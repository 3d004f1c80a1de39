//! TLS for clients.
