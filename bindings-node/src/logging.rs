//! Passes the engine's log events to the JavaScript threads that subscribe to them.

use std::sync::{Once, PoisonError, RwLock};

use crate::js_channel::{JsChannel, MessageKind};
use napi::bindgen_prelude::Either5;
use napi_derive::napi;
use pgentra::bindings;

static SUBSCRIBERS: RwLock<Vec<(f64, JsChannel)>> = RwLock::new(Vec::new());

/// Sends log events to `channel` from now on. `id` identifies the subscriber.
#[napi(catch_unwind)]
pub fn subscribe(channel: &JsChannel, id: f64) {
    static STARTED: Once = Once::new();
    SUBSCRIBERS.write().unwrap_or_else(PoisonError::into_inner).push((id, channel.clone()));
    STARTED.call_once(|| {
        // This fails if Rust code in the same process has set its own subscriber, which then receives the events.
        bindings::set_log_sink(|event| {
            for (_, channel) in SUBSCRIBERS.read().unwrap_or_else(PoisonError::into_inner).iter() {
                let message = Either5::A(event.message.to_owned());
                channel.send(MessageKind::LogEvent, f64::from(event.level.number()), None, Some(message));
            }
        });
    });
}

/// Ends the subscription.
#[napi(catch_unwind)]
pub fn unsubscribe(id: f64) {
    SUBSCRIBERS.write().unwrap_or_else(PoisonError::into_inner).retain(|(subscriber, _)| *subscriber != id);
}
