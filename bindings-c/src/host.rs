//! Credentials of the host's own: a function that is asked, and answers once, from any thread.

use std::{
    cell::RefCell,
    ffi::{CString, c_char, c_void},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use pgentra::{
    Error, ErrorKind, Result,
    bindings::PerProcess,
    credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest},
};
use tokio::sync::oneshot;

use crate::{
    error::pgentra_error,
    guard::{canary, caught, optional_text, status, text},
    handles::Table,
    operation::{Finalized, UserData, pgentra_finalizer},
    threads::{COMPLETIONS, QUESTIONS},
};

/// What a token is asked for.
#[repr(C)]
pub struct pgentra_token_request {
    /// The scope, such as https://ossrdbms-aad.database.windows.net/.default
    pub scope: *const c_char,
    /// Another tenant than the credential's own, or NULL.
    pub tenant_id: *const c_char,
    /// A claims challenge (JSON), or NULL.
    pub claims: *const c_char,
    /// Whether the token may be revoked by a claims challenge; such tokens are cached apart.
    pub enable_cae: bool,
}

/// A question to a credential of the host's. Answering it frees it.
pub struct pgentra_request;

/// Asks a credential of the host's for a token. Called on a thread of the library's that may block. To be answered once, at
/// once or later, from any thread, by pgentra_request_respond(), pgentra_request_fail() or pgentra_request_abandon(). Nobody
/// waits for it longer than 30 s, which count as a failure; an answer within 10 minutes more is still taken, and where none
/// comes the question ends then. At most 64 questions are put at once. `wanted` is borrowed until the callback returns.
pub type pgentra_token_callback = Option<
    unsafe extern "C" fn(user_data: *mut c_void, request: *mut pgentra_request, wanted: *const pgentra_token_request),
>;

/// The sender is taken out by the first answer. A forked child has none of its parent's, whose engine it would wake.
type AnswerSender = PerProcess<Mutex<Option<oneshot::Sender<Result<FetchedToken>>>>>;

static REQUESTS: Table<pgentra_request, AnswerSender> = Table::new(3, "request");

/// A credential of the host's.
pub struct Host {
    name: String,
    ask: unsafe extern "C" fn(*mut c_void, *mut pgentra_request, *const pgentra_token_request),
    /// Also finalized by the last question under way.
    user_data: Arc<Finalized>,
}

thread_local! {
    /// The credentials that are being asked on this thread, the innermost last.
    static ASKED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Which credential of the host's it is, for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HostId(usize);

/// Refuses to wait for a token that one of these would have to bring while this very thread is inside of its callback.
pub fn refuse_deadlock(hosts: &[HostId]) -> Result<()> {
    match ASKED.with_borrow(|asked| hosts.iter().any(|host| asked.contains(&host.0))) {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::WouldDeadlock,
            "a blocking call inside of the callback of the credential that would have to answer it",
        )),
    }
}

impl Host {
    pub fn new(
        name: String,
        ask: unsafe extern "C" fn(*mut c_void, *mut pgentra_request, *const pgentra_token_request),
        user_data: *mut c_void,
        finalizer: pgentra_finalizer,
    ) -> Self {
        Host {
            name,
            ask,
            user_data: Arc::new(Finalized { user_data: UserData(user_data), finalizer, on: &COMPLETIONS }),
        }
    }

    pub fn id(&self) -> HostId {
        HostId(Arc::as_ptr(&self.user_data).addr())
    }
}

impl Credential for Host {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(async move {
            canary("fetch");
            let (answer, answered) = oneshot::channel();
            let sender = AnswerSender::new();
            sender.get(|| Mutex::new(Some(answer)));
            let question = Question(REQUESTS.insert(sender)?.addr());
            let (ask, id, user_data, wanted, number) =
                (self.ask, self.id(), Arc::clone(&self.user_data), request.clone(), question.0);
            QUESTIONS.run(move || {
                let asked = caught("question", || put(ask, id, &user_data, number, &wanted));
                if let Err(error) = asked {
                    answer_with(ptr::without_provenance(number), Err(error));
                }
            });
            answered.await.unwrap_or_else(|_| Err(lost()))
        })
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Cancelled, "the credential went away during the fetch")
}

/// A handle that is closed when its fetch is over, answered or not. A number, so that the fetch may go to other threads.
struct Question(usize);

impl Drop for Question {
    fn drop(&mut self) {
        REQUESTS.remove(ptr::without_provenance(self.0));
    }
}

fn put(
    ask: unsafe extern "C" fn(*mut c_void, *mut pgentra_request, *const pgentra_token_request),
    id: HostId,
    user_data: &Finalized,
    request: usize,
    wanted: &TokenRequest,
) -> Result<()> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            ASKED.with_borrow_mut(Vec::pop);
        }
    }
    let text = |text: &str| {
        let told = |_| Error::new(ErrorKind::InvalidArgument, "what is asked of the credential has a NUL in it");
        CString::new(text).map_err(told)
    };
    let scope = text(&wanted.scope)?;
    let tenant_id = wanted.tenant_id.as_deref().map(text).transpose()?;
    let claims = wanted.claims.as_deref().map(text).transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    let wanted = pgentra_token_request {
        scope: scope.as_ptr(),
        tenant_id: pointer(&tenant_id),
        claims: pointer(&claims),
        enable_cae: wanted.enable_cae,
    };
    ASKED.with_borrow_mut(|asked| asked.push(id.0));
    let _leave = Leave;
    // SAFETY: the host promised that it may be called so until its finalizer is, which `user_data` keeps from happening.
    unsafe { ask(user_data.user_data.0, ptr::without_provenance_mut(request), &wanted) };
    Ok(())
}

/// Gives the answer, if none was given and somebody still waits.
fn answer_with(request: *const pgentra_request, outcome: Result<FetchedToken>) -> bool {
    let question = REQUESTS.remove(request);
    let answer = question.and_then(|question| question.peek()?.lock().unwrap_or_else(PoisonError::into_inner).take());
    answer.is_some_and(|answer| answer.send(outcome).is_ok())
}

fn answer(request: *mut pgentra_request, outcome: Result<FetchedToken>) -> Result<()> {
    match answer_with(request, outcome) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::InvalidArgument,
            "the request is not open: it was answered before, or it has ended",
        )),
    }
}

/// What the host's credential failed with.
pub struct Cause(Option<Finalized>);

impl Cause {
    /// The host's pointer.
    pub fn pointer(&self) -> Option<*mut c_void> {
        self.0.as_ref().map(|cause| cause.user_data.0)
    }
}

/// Answers a question with a token, or with the assertion where the question is for a document's `get_assertion`. `expires_on`
/// and `refresh_on` are seconds since 1970; 0 or less: not known, and then the token's own `exp` counts. A `token` that cannot
/// be one (NULL, empty, with blanks) or that has no end and is no assertion fails the fetch with PGENTRA_CREDENTIAL_VALUE, not
/// this call.
///
/// @ownership frees `request`; `token` is copied. @threads any. @errors PGENTRA_INVALID_ARGUMENT where the request is not
/// open: it was answered before, or it has ended.
///
/// # Safety
/// `token` is NULL or a C string; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_request_respond(
    request: *mut pgentra_request,
    token: *const c_char,
    expires_on: i64,
    refresh_on: i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let given = |seconds: i64| Some(seconds).filter(|seconds| *seconds > 0);
    let work = || {
        // SAFETY: as promised by the caller.
        let token = unsafe { optional_text("token", token) };
        let token = token.and_then(|token| {
            FetchedToken::from_custom(token.unwrap_or_default(), given(expires_on), given(refresh_on))
        });
        answer(request, token)
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_request_respond", error, work) }
}

/// Answers a question with a failure: the class and the text of the host's own error. `unavailable` says that the credential
/// is not set up here, so that a chain goes on past it. `cause` is what pgentra_error_cause() gives back; `finalizer` (may be
/// NULL) is called with it when the last error that has it is freed, also where this call fails. A `cause` that is NULL is
/// none, and `finalizer` is not called for it.
///
/// @ownership frees `request`; the texts are copied. @threads any. @errors as pgentra_request_respond().
///
/// # Safety
/// Texts are C strings; `finalizer` may be called once with `cause` on any thread; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_request_fail(
    request: *mut pgentra_request,
    class_name: *const c_char,
    message: *const c_char,
    unavailable: bool,
    cause: *mut c_void,
    finalizer: pgentra_finalizer,
    error: *mut *mut pgentra_error,
) -> i32 {
    let cause = (!cause.is_null()).then(|| Finalized { user_data: UserData(cause), finalizer, on: &COMPLETIONS });
    let work = || {
        let cause = Arc::new(Cause(cause));
        // SAFETY: as promised by the caller.
        let texts = unsafe { text("class_name", class_name).and_then(|class| Ok((class, text("message", message)?))) };
        answer(
            request,
            Err(texts.map_or_else(
                |error| error,
                |(class, message)| Error::from_custom(class, message, unavailable, Some(cause)),
            )),
        )
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_request_fail", error, work) }
}

/// Answers a question by saying that the credential went away (its event loop or its plugin was unloaded): whoever waits asks
/// again.
///
/// @ownership frees `request`. @threads any. @errors as pgentra_request_respond().
///
/// # Safety
/// `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_request_abandon(request: *mut pgentra_request, error: *mut *mut pgentra_error) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_request_abandon", error, || answer(request, Err(lost()))) }
}
