//! The Node binding: hands documents to the engine, and its tokens, errors and events to JavaScript.
//!
//! Three rules hold everywhere. Nothing here blocks JavaScript's thread. The engine reaches a thread of JavaScript's only
//! through that thread's [`courier::Courier`], which does not keep the process alive; who waits does, in `lib/native.js`.
//! No JavaScript value is held by the engine: what stays behind is a number that `lib/` knows.

#![cfg_attr(test, allow(dead_code, reason = "exports are left out of a test build, which has no tests"))]

mod courier;
mod credential;
mod error;
mod helpers;
mod host;
mod logging;
mod provider;
#[cfg(feature = "testing")]
mod testing;
