//! The engine's events, passed on to each thread of JavaScript's that wants them.

use std::sync::{Once, PoisonError, RwLock};

use napi::bindgen_prelude::Either5;
use napi_derive::napi;
use tracing::Level;

use crate::courier::{Courier, Kind};

static SUBSCRIBERS: RwLock<Vec<(f64, Courier)>> = RwLock::new(Vec::new());

/// Begins to send events to `courier`. `id` tells subscribers apart.
#[napi(catch_unwind)]
pub fn subscribe(courier: &Courier, id: f64) {
    static STARTED: Once = Once::new();
    SUBSCRIBERS.write().unwrap_or_else(PoisonError::into_inner).push((id, courier.clone()));
    STARTED.call_once(|| {
        // It fails where a Rust program in the same process has its own subscriber, which sees the events then.
        let _ = pgentra::logging::set_sink(Box::new(|level, _, message| {
            let level = match level {
                Level::ERROR => 3.0,
                Level::WARN => 2.0,
                Level::INFO => 1.0,
                _ => 0.0,
            };
            for (_, courier) in SUBSCRIBERS.read().unwrap_or_else(PoisonError::into_inner).iter() {
                courier.send(Kind::Event, level, None, Some(Either5::A(message.to_owned())));
            }
        }));
    });
}

/// Ends it.
#[napi(catch_unwind)]
pub fn unsubscribe(id: f64) {
    SUBSCRIBERS.write().unwrap_or_else(PoisonError::into_inner).retain(|(theirs, _)| *theirs != id);
}
