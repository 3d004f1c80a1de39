//! The Node binding: passes JSON documents to the engine, and tokens, errors and log events to JavaScript.
//!
//! Three rules apply to all of it. No function blocks the JavaScript thread. The engine sends messages to a JavaScript
//! thread only through that thread's [`js_channel::JsChannel`], which does not keep the process running; pending waits do,
//! in `lib/waits.js`. The engine holds no JavaScript value, only ids of objects that `lib/` stores.

#![cfg_attr(test, allow(dead_code, reason = "exports are left out of a test build, which has no tests"))]

mod credential;
mod custom_credential;
mod error;
mod helpers;
mod js_channel;
mod logging;
mod provider;
#[cfg(feature = "testing")]
mod testing;
mod token_request;
