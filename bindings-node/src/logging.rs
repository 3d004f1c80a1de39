//! The engine's events, passed on to each thread of JavaScript's that wants them.

use std::sync::{Once, PoisonError, RwLock};

use napi::bindgen_prelude::Either5;
use napi_derive::napi;

use crate::courier::{Courier, Kind};

static SUBSCRIBERS: RwLock<Vec<(f64, Courier)>> = RwLock::new(Vec::new());

/// Begins to send events to `courier`. `id` tells subscribers apart.
#[napi(catch_unwind)]
pub fn subscribe(courier: &Courier, id: f64) {
    static STARTED: Once = Once::new();
    SUBSCRIBERS.write().unwrap_or_else(PoisonError::into_inner).push((id, courier.clone()));
    STARTED.call_once(|| {
        // It fails where a Rust program in the same process has its own subscriber, which sees the events then.
        let _ = pgentra::bindings::set_log_sink(|event| {
            let (level, message) = (f64::from(4 - event.level.number()), event.message);
            for (_, courier) in SUBSCRIBERS.read().unwrap_or_else(PoisonError::into_inner).iter() {
                courier.send(Kind::Event, level, None, Some(Either5::A(message.to_owned())));
            }
        });
    });
}

/// Ends it.
#[napi(catch_unwind)]
pub fn unsubscribe(id: f64) {
    SUBSCRIBERS.write().unwrap_or_else(PoisonError::into_inner).retain(|(theirs, _)| *theirs != id);
}
