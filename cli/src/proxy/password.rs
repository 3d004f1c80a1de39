//! Passwords of clients.
