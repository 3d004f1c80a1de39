//! Requests for tokens to the application: their handles, and the callbacks and queues that receive them.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CString, c_char, c_void},
    ptr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pgentra::{
    Credential, Error, ErrorKind, Result, TokenRequest,
    bindings::{CustomCredential, CustomRequest, PerProcess},
};

use crate::{
    callback_pool::{COMPLETIONS, REQUESTS as REQUEST_POOL},
    ffi::{catch_panic, failpoint},
    handles::{Entry, Table},
    user_data::{Finalized, UserData, pgentra_finalizer},
    wait::{CallbackId, RunningCallback},
};

/// A request for a token. Initialize it with PGENTRA_TOKEN_REQUEST_INIT, or set `size` and clear the rest.
#[repr(C)]
pub struct pgentra_token_request {
    /// The size of this structure in the program: sizeof(pgentra_token_request). Later versions of the library append members
    /// and do not read those beyond this size.
    pub size: usize,
    /// The scope, such as `https://ossrdbms-aad.database.windows.net/.default`
    pub scope: *const c_char,
    /// A tenant in place of the credential's own, or NULL.
    pub tenant_id: *const c_char,
    /// A claims challenge (JSON), or NULL.
    pub claims: *const c_char,
    /// Whether the token may be revoked by a claims challenge. Such tokens are cached separately.
    pub enable_cae: bool,
}

/// A request to a custom credential. Completing it frees it.
pub struct pgentra_request;

/// Requests a token from a custom credential. It is called on a thread of the library, which it may block. The request must be
/// completed once, at once or later, from any thread, by pgentra_request_respond(), pgentra_request_fail() or
/// pgentra_request_abandon(). Callers wait at most 30 s for a response; a response within 10 more minutes is still used, and
/// without one the request ends. At most 64 callbacks run at once. `wanted` is borrowed until the callback returns.
pub type pgentra_token_callback = Option<
    unsafe extern "C" fn(user_data: *mut c_void, request: *mut pgentra_request, wanted: *const pgentra_token_request),
>;

type TokenCallback = unsafe extern "C" fn(*mut c_void, *mut pgentra_request, *const pgentra_token_request);

/// A token request with the C strings to which it points.
struct Wanted {
    request: pgentra_token_request,
    _strings: [Option<CString>; 3],
}

// SAFETY: the pointers are to the strings of the same value, which never change.
unsafe impl Send for Wanted {}
// SAFETY: as above.
unsafe impl Sync for Wanted {}

impl Wanted {
    fn new(wanted: &TokenRequest) -> Result<Wanted> {
        let c_string = |text: &str| {
            CString::new(text).map_err(|_| {
                Error::new(ErrorKind::InvalidArgument, "the token request contains a NUL character")
                    .with_advice("Remove it from the scope, the tenant or the claims.")
            })
        };
        let strings = [
            Some(c_string(&wanted.scope)?),
            wanted.tenant_id.as_deref().map(c_string).transpose()?,
            wanted.claims.as_deref().map(c_string).transpose()?,
        ];
        // A CString's buffer stays in place when the value is moved.
        let [scope, tenant_id, claims] =
            [0, 1, 2].map(|at: usize| strings[at].as_ref().map_or(ptr::null(), |text| text.as_ptr()));
        let size = size_of::<pgentra_token_request>();
        let request = pgentra_token_request { size, scope, tenant_id, claims, enable_cae: wanted.enable_cae };
        Ok(Wanted { request, _strings: strings })
    }
}

/// A request that waits for its response.
pub struct PendingRequest {
    wanted: Wanted,
    request: CustomRequest,
}

impl PendingRequest {
    /// Returns the request as C reads it.
    pub fn wanted(&self) -> &pgentra_token_request {
        &self.wanted.request
    }
}

static REQUESTS: Table<pgentra_request, PendingRequest> = Table::new(3, "request");

/// Creates a credential with a callback.
pub fn with_callback(
    name: &str,
    callback: TokenCallback,
    user_data: *mut c_void,
    finalizer: pgentra_finalizer,
) -> (Arc<dyn Credential>, CallbackId) {
    // The last request finalizes the user data.
    let user_data = Arc::new(Finalized { user_data: UserData(user_data), finalizer, pool: &COMPLETIONS });
    let id = CallbackId::of(&user_data);
    let credential = CustomCredential::new(name, move |request| {
        let number = insert(request)?;
        let user_data = Arc::clone(&user_data);
        REQUEST_POOL.run(move || {
            let called = catch_panic("request", || call(callback, &user_data, number));
            if let Err(error) = called {
                complete(ptr::without_provenance(number), |request| request.respond_with(Err(error)));
            }
        });
        Ok(FetchGuard { number, queue: None })
    });
    (Arc::new(credential), id)
}

/// Creates a credential with a queue.
pub fn with_queue(name: &str, queue: &Arc<RequestQueue>) -> Arc<dyn Credential> {
    let queue = Arc::clone(queue);
    Arc::new(CustomCredential::new(name, move |request| {
        let number = insert(request)?;
        queue.push(number);
        Ok(FetchGuard { number, queue: Some(Arc::clone(&queue)) })
    }))
}

/// Creates the handle of a request, as a number.
fn insert(request: CustomRequest) -> Result<usize> {
    failpoint("fetch");
    let wanted = Wanted::new(request.token_request())?;
    REQUESTS.insert(PendingRequest { wanted, request }).map(<*mut _>::addr)
}

/// Frees the request when its fetch ends with or without a response, unless the application has taken it from a queue and
/// owns it.
struct FetchGuard {
    number: usize,
    queue: Option<Arc<RequestQueue>>,
}

impl Drop for FetchGuard {
    fn drop(&mut self) {
        if self.queue.as_ref().is_none_or(|queue| queue.remove(self.number)) {
            REQUESTS.remove(ptr::without_provenance(self.number));
        }
    }
}

/// Calls the callback of a credential.
fn call(callback: TokenCallback, user_data: &Arc<Finalized>, number: usize) -> Result<()> {
    // The fetch may have ended before a thread was free.
    let Ok(pending) = REQUESTS.get(ptr::without_provenance(number)) else { return Ok(()) };
    let _running = RunningCallback::new(CallbackId::of(user_data));
    // SAFETY: the application allows these calls until its finalizer is called, which `user_data` prevents; `pending` keeps
    // the request's strings until the callback has returned.
    unsafe { callback(user_data.user_data.0, ptr::without_provenance_mut(number), pending.wanted()) };
    Ok(())
}

/// Completes a request and frees it. Returns whether it was open and the response is used.
fn complete(request: *const pgentra_request, respond: impl FnOnce(&CustomRequest) -> bool) -> bool {
    REQUESTS.remove(request).is_some_and(|pending| respond(&pending.request))
}

/// Completes a request, which must be open.
pub fn respond(request: *mut pgentra_request, respond: impl FnOnce(&CustomRequest) -> bool) -> Result<()> {
    match complete(request, respond) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::InvalidArgument,
            "the request is not open: it was completed before, or its fetch has ended",
        )),
    }
}

/// The requests of a credential that the application polls.
#[derive(Default)]
pub struct RequestQueue {
    closed: AtomicBool,
}

/// The queues of one process. A forked child starts with empty ones.
#[derive(Default)]
struct Queues {
    state: Mutex<QueuesState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueuesState {
    /// The numbers of the requests by the address of their queue.
    waiting: BTreeMap<usize, VecDeque<usize>>,
    shut_down: bool,
}

static QUEUES: PerProcess<Queues> = PerProcess::new();

fn queues() -> (&'static Queues, MutexGuard<'static, QueuesState>) {
    let queues = QUEUES.get(Queues::default);
    (queues, queues.state.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Ends all waits for requests of queues, and rejects later ones.
pub fn shut_down_queues() {
    let (queues, mut state) = queues();
    state.shut_down = true;
    queues.changed.notify_all();
}

impl RequestQueue {
    fn key(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    fn push(&self, number: usize) {
        let (queues, mut state) = queues();
        // Checked under the lock that `close` takes.
        if self.closed.load(Ordering::Relaxed) {
            drop(state);
            complete(ptr::without_provenance(number), CustomRequest::abandon);
            return;
        }
        state.waiting.entry(self.key()).or_default().push_back(number);
        queues.changed.notify_all();
    }

    /// Removes a request. Returns false if the application has taken it.
    fn remove(&self, number: usize) -> bool {
        let (_, mut state) = queues();
        let Some(waiting) = state.waiting.get_mut(&self.key()) else { return false };
        let before = waiting.len();
        waiting.retain(|waiting| *waiting != number);
        before > waiting.len()
    }

    /// Waits for the next request. Returns `None` if no request arrives within the limit.
    pub fn next(&self, limit: Option<Duration>) -> Result<Option<(usize, Arc<Entry<PendingRequest>>)>> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let (queues, mut state) = queues();
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Err(Error::new(
                    ErrorKind::Cancelled,
                    "the credential was closed during the wait for a request",
                ));
            }
            if state.shut_down {
                return Err(Error::new(ErrorKind::ShuttingDown, "the library was shut down; no more requests arrive"));
            }
            while let Some(number) = state.waiting.get_mut(&self.key()).and_then(VecDeque::pop_front) {
                if let Ok(pending) = REQUESTS.get(ptr::without_provenance(number)) {
                    return Ok(Some((number, pending)));
                }
            }
            state = match deadline {
                None => queues.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    queues.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends the waits for requests, and the fetches with requests that were not taken. Later fetches fail.
    pub fn close(&self) {
        let (queues, mut state) = queues();
        self.closed.store(true, Ordering::Relaxed);
        let waiting = state.waiting.remove(&self.key()).unwrap_or_default();
        queues.changed.notify_all();
        drop(state);
        for number in waiting {
            complete(ptr::without_provenance(number), CustomRequest::abandon);
        }
    }
}

impl Drop for RequestQueue {
    fn drop(&mut self) {
        self.close();
    }
}
