//! The way from the engine to one thread of JavaScript's: the main one or a worker.

use std::sync::Arc;

use napi::{
    Status,
    bindgen_prelude::{Either5, FnArgs, Function, Result},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;
use pgentra::Pending;

use crate::{error::failure, host::Request};

/// What a message is about: the first argument of the function that receives it.
#[napi(js_name = "Kind")]
pub enum Kind {
    /// A wait is over; the id is the wait's.
    Settled,
    /// A credential of the program is asked; the id is the credential's.
    Asked,
    /// Nobody needs a cause any more; the id is the cause's.
    Forgotten,
    /// An event; the id is its level.
    Event,
}

/// A role name and its password.
#[napi(object)]
pub struct Login {
    /// The role.
    pub user: String,
    /// The token.
    pub password: String,
    /// Where the role name came from.
    pub source: String,
}

/// A token on its own.
#[napi(object)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// Its end in seconds since the epoch.
    pub expires_on: i64,
    /// When it will be refreshed, in seconds since the epoch.
    pub refresh_on: Option<i64>,
}

/// What a message brings.
pub type Content = Either5<String, bool, Login, Issued, Request>;

/// Kind, id, failure (JSON), content.
type Message = FnArgs<(Kind, f64, Option<String>, Option<Content>)>;

/// Brings messages to the thread it was made on. After that thread's end they go nowhere.
#[napi]
#[derive(Clone)]
pub struct Courier(Arc<ThreadsafeFunction<Message, (), Message, Status, false, true>>);

#[napi]
impl Courier {
    /// `receive` is called with each message, one after the other.
    #[napi(constructor)]
    pub fn new(
        #[napi(
            ts_arg_type = "(kind: Kind, id: number, failure: string | null, content: string | boolean | Login | Issued | Request | null) => void"
        )]
        receive: Function<'_, Message, ()>,
    ) -> Result<Self> {
        let function = receive.build_threadsafe_function().weak::<true>().build()?;
        Ok(Courier(Arc::new(function)))
    }
}

impl Courier {
    /// Sends from any thread; never blocks.
    pub fn send(&self, kind: Kind, id: f64, failure: Option<String>, content: Option<Content>) {
        // It fails where the thread has ended: nobody waits there any more.
        let _ = self.0.call((kind, id, failure, content).into(), ThreadsafeFunctionCallMode::NonBlocking);
    }

    /// Sends the result of `pending` when it is there.
    pub fn send_result<T: Send + 'static>(
        &self,
        id: f64,
        pending: Pending<T>,
        convert: impl FnOnce(T) -> Content + Send + 'static,
    ) {
        let courier = self.clone();
        pending.on_done(move |outcome| match outcome {
            Ok(value) => courier.send(Kind::Settled, id, None, Some(convert(value))),
            Err(error) => courier.send(Kind::Settled, id, Some(failure(&error)), None),
        });
    }
}
