//! The channel from the engine to one JavaScript thread: the main thread or a worker.

use std::sync::Arc;

use napi::{
    Status,
    bindgen_prelude::{Either5, FnArgs, Function, Result},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;
use pgentra::Pending;

use crate::{error::error_document_of, token_request::CustomTokenRequest};

/// The kind of a message: the first argument of the function that receives it.
#[napi(js_name = "MessageKind")]
pub enum MessageKind {
    /// A wait ended; the id is the wait's.
    WaitEnded,
    /// A custom credential is requested for a token; the id is the credential's.
    TokenRequested,
    /// The last error with a cause was dropped; the id is the cause's.
    CauseDropped,
    /// A log event; the id is its level.
    LogEvent,
}

/// A role name and its password.
#[napi(object)]
pub struct Login {
    /// The role.
    pub user: String,
    /// The token.
    pub password: String,
    /// The source of the role name.
    pub source: String,
}

/// A credential's token.
#[napi(object)]
pub struct CredentialToken {
    /// The token.
    pub token: String,
    /// Its expiry in seconds since the epoch.
    pub expires_on: i64,
    /// Its refresh point in seconds since the epoch.
    pub refresh_on: Option<i64>,
}

/// The content of a message.
pub type Content = Either5<String, bool, Login, CredentialToken, CustomTokenRequest>;

/// Kind, id, error document (JSON), content.
type Message = FnArgs<(MessageKind, f64, Option<String>, Option<Content>)>;

/// Sends messages to the thread that created it. Messages are dropped after that thread has ended.
#[napi]
#[derive(Clone)]
pub struct JsChannel(Arc<ThreadsafeFunction<Message, (), Message, Status, false, true>>);

#[napi]
impl JsChannel {
    /// `receive` is called once for each message.
    #[napi(constructor)]
    pub fn new(
        #[napi(
            ts_arg_type = "(kind: MessageKind, id: number, error: string | null, content: string | boolean | Login | CredentialToken | CustomTokenRequest | null) => void"
        )]
        receive: Function<'_, Message, ()>,
    ) -> Result<Self> {
        // A weak reference: the channel does not keep the process running.
        let function = receive.build_threadsafe_function().weak::<true>().build()?;
        Ok(JsChannel(Arc::new(function)))
    }
}

impl JsChannel {
    /// Sends a message from any thread, without blocking.
    pub fn send(&self, kind: MessageKind, id: f64, error: Option<String>, content: Option<Content>) {
        // The call fails if the thread has ended. Then no code waits for the message.
        let _ = self.0.call((kind, id, error, content).into(), ThreadsafeFunctionCallMode::NonBlocking);
    }

    /// Sends the result of `pending` when it is available.
    pub fn send_result<T: Send + 'static>(
        &self,
        id: f64,
        pending: Pending<T>,
        convert: impl FnOnce(T) -> Content + Send + 'static,
    ) {
        let channel = self.clone();
        pending.on_done(move |result| match result {
            Ok(value) => channel.send(MessageKind::WaitEnded, id, None, Some(convert(value))),
            Err(error) => channel.send(MessageKind::WaitEnded, id, Some(error_document_of(&error)), None),
        });
    }
}
