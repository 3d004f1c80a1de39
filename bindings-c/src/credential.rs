//! Credentials: a token for any scope, as the classes of the Azure SDKs return it.

use std::{
    collections::HashMap,
    ffi::{c_char, c_void},
    mem::offset_of,
    ptr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use pgentra::{
    CachedCredential, Config, CredentialContext, Result, Token, TokenRequest,
    bindings::{TokenStrings, config_from_json},
};

use crate::{
    async_call::{CallResult, PendingCalls, pgentra_done_callback, pgentra_operation, start_call},
    error_object::pgentra_error,
    ffi::{
        Output, array, invalid_argument, optional_str, required_callback, required_str, status, value, write_optional,
    },
    handles::Table,
    request::{RequestQueue, pgentra_token_callback, pgentra_token_request, with_callback, with_queue},
    string::CountedString,
    user_data::pgentra_finalizer,
    wait::{CallbackId, time_limit, wait},
};

/// A credential with its cached tokens. Close it with pgentra_credential_close().
pub struct pgentra_credential;

/// All open credentials.
pub static CREDENTIALS: Table<pgentra_credential, OpenCredential> = Table::new(5, "credential");

/// The value of a credential's handle.
pub struct OpenCredential {
    pub inner: Arc<CachedCredential>,
    /// The credentials with callbacks that take part.
    pub callbacks: Vec<CallbackId>,
    /// The queue of a credential of pgentra_credential_queue().
    pub queue: Option<Arc<RequestQueue>>,
    calls: Arc<PendingCalls>,
    /// The last token of each request as C strings, so that a call with a cached token copies nothing.
    strings: ArcSwap<HashMap<TokenRequest, Arc<TokenStrings<CountedString>>>>,
}

/// The maximum number of remembered strings. A program uses few scopes, but any number of claims.
const MOST_STRINGS: usize = 64;

impl OpenCredential {
    fn open(
        inner: Arc<CachedCredential>,
        callbacks: Vec<CallbackId>,
        queue: Option<Arc<RequestQueue>>,
    ) -> Result<*mut pgentra_credential> {
        let (calls, strings) = (Arc::default(), ArcSwap::default());
        CREDENTIALS.insert(OpenCredential { inner, callbacks, queue, calls, strings })
    }

    fn strings(&self, request: &TokenRequest, token: &Arc<Token>) -> Arc<TokenStrings<CountedString>> {
        if let Some(known) = self.strings.load().get(request).filter(|known| known.is_of(token)) {
            return Arc::clone(known);
        }
        let made = Arc::new(TokenStrings::new(token, CountedString::new));
        self.strings.rcu(|all| {
            let mut all = if all.len() < MOST_STRINGS { HashMap::clone(all) } else { HashMap::new() };
            all.insert(request.clone(), Arc::clone(&made));
            all
        });
        made
    }
}

/// Opens the credential of a configuration: its keys `credential`, `environment`, `ca_file`, `host` and `scope`; the others have
/// no effect. `members` are the credentials that the document names as {"type": "custom_credential", "index": N}.
///
/// @ownership `*credential` is the caller's: pgentra_credential_close(). The handles of `members` may be closed afterwards.
/// @threads any; for the environment see pgentra_provider_open().
/// @errors PGENTRA_INVALID_CONFIGURATION naming the key, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `config_json` is NULL or a C string; `members` has `member_count` handles; `credential` and `error` are NULL or valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_credential_open(
    config_json: *const c_char,
    members: *const *const pgentra_credential,
    member_count: usize,
    credential: *mut *mut pgentra_credential,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (config, members, to_credential) = unsafe {
            (
                optional_str("config_json", config_json)?,
                array("members", members, member_count)?,
                Output::new("credential", credential)?,
            )
        };
        let config = config_from_json(config.unwrap_or("{}"))?;
        let members = members.iter().map(|member| CREDENTIALS.get(*member)).collect::<Result<Vec<_>>>()?;
        let inner = CachedCredential::new(
            &config.credential,
            &CredentialContext {
                environment: config.environment,
                ca_file: config.ca_file,
                server_host: config.host,
                scope: config.scope,
                custom_credentials: members.iter().map(|member| Arc::clone(member.inner.credential())).collect(),
            },
        )?;
        let callbacks = members.iter().flat_map(|member| member.callbacks.clone()).collect();
        to_credential.write(OpenCredential::open(inner, callbacks, None)?);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_credential_open", error, work) }
}

/// Creates a custom credential with a callback. Errors, logs and statistics contain `name`. Its tokens are cached as any others:
/// the callback is called when a fetch is due, never twice at once for equal requests, possibly at once for different ones.
///
/// @ownership `*credential` is the caller's: pgentra_credential_close(). The library keeps `user_data` until it calls
/// `finalizer` (may be NULL) with it: once, after the handle and every provider and chain that uses it are closed and no request
/// is pending. @threads any. @errors PGENTRA_INVALID_ARGUMENT; then `finalizer` is not called.
///
/// # Safety
/// `name` is a C string; `callback` and `finalizer` may be called with `user_data` on any thread; `credential` and `error` are
/// NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_credential_callback(
    name: *const c_char,
    callback: pgentra_token_callback,
    user_data: *mut c_void,
    finalizer: pgentra_finalizer,
    credential: *mut *mut pgentra_credential,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (name, to_credential) = unsafe { (required_str("name", name)?, Output::new("credential", credential)?) };
        let callback = required_callback("callback", callback)?;
        let (custom, id) = with_callback(name, callback, user_data, finalizer);
        let inner = CachedCredential::from_credential(custom);
        to_credential.write(OpenCredential::open(inner, vec![id], None)?);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_credential_callback", error, work) }
}

/// Creates a custom credential with a queue: the application takes its requests with pgentra_request_next(). It is for
/// languages in which no function may be called on a thread of the library. Otherwise it is as one of pgentra_credential_callback().
///
/// @ownership `*credential` is the caller's: pgentra_credential_close(), after which its fetches fail with PGENTRA_CANCELLED. In
/// a forked child the queue starts empty. @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `name` is a C string; `credential` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_credential_queue(
    name: *const c_char,
    credential: *mut *mut pgentra_credential,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (name, to_credential) = unsafe { (required_str("name", name)?, Output::new("credential", credential)?) };
        let queue = Arc::<RequestQueue>::default();
        let inner = CachedCredential::from_credential(with_queue(name, &queue));
        to_credential.write(OpenCredential::open(inner, Vec::new(), Some(queue))?);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_credential_queue", error, work) }
}

/// Closes a credential. The callbacks of its pending asynchronous calls are called with PGENTRA_CANCELLED. Providers and chains
/// that use the credential continue. NULL, and a handle that was closed before, are ignored.
///
/// @ownership `credential` is freed; its tokens stay valid. @threads any, also inside a callback. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_credential_close(credential: *mut pgentra_credential) {
    value("pgentra_credential_close", (), || {
        if let Some(credential) = CREDENTIALS.remove(credential) {
            if let Some(queue) = &credential.queue {
                queue.close();
            }
            credential.calls.cancel();
        }
    });
}

/// Reads a token request.
///
/// # Safety
/// `request` is NULL or points to a request with strings that are NULL or C strings.
unsafe fn read_request(request: *const pgentra_token_request) -> Result<TokenRequest> {
    // The size of the first version of the structure. Members that are appended later are read only if `size` covers them.
    const LEAST: usize = offset_of!(pgentra_token_request, enable_cae) + size_of::<bool>();
    if request.is_null() || !request.is_aligned() {
        return Err(invalid_argument("request", "is NULL"));
    }
    // SAFETY: guaranteed by the caller; the pointer is checked above. The structure begins with its size.
    if unsafe { (*request).size } < LEAST {
        return Err(invalid_argument(
            "request",
            "has a `size` that is too small: set it to sizeof(pgentra_token_request)",
        ));
    }
    // SAFETY: as above; the structure has at least the members up to `enable_cae`.
    let (scope, tenant_id, claims, enable_cae) = unsafe {
        (
            required_str("request.scope", (*request).scope)?,
            optional_str("request.tenant_id", (*request).tenant_id)?,
            optional_str("request.claims", (*request).claims)?,
            (*request).enable_cae,
        )
    };
    Ok(TokenRequest {
        tenant_id: tenant_id.map(str::to_owned),
        claims: claims.map(str::to_owned),
        enable_cae,
        ..TokenRequest::new(scope)
    })
}

/// Returns a token for any scope, and its expiry in seconds since 1970 (`expires_on` may be NULL). Blocks until a token is
/// available, at most `timeout_ms` (negative: 30 s).
///
/// @ownership `*token` is the caller's: pgentra_string_free(). `request` is copied. @threads any.
/// @errors as pgentra_provider_get().
///
/// # Safety
/// `request` is NULL or points to a request with strings that are NULL or C strings; `token`, `expires_on` and `error` are NULL or
/// valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_credential_get_token(
    credential: *const pgentra_credential,
    request: *const pgentra_token_request,
    timeout_ms: i32,
    token: *mut *const c_char,
    expires_on: *mut i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (request, to_token, to_expires_on) = unsafe {
            (read_request(request)?, Output::new("token", token)?, Output::optional("expires_on", expires_on)?)
        };
        let credential = CREDENTIALS.get(credential)?;
        let token = wait(&credential.inner.start_token(&request, time_limit(timeout_ms)), &credential.callbacks)?;
        to_token.write(credential.strings(&request, &token).password().clone().into_raw());
        write_optional(&to_expires_on, token.expires_on());
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_credential_get_token", error, work) }
}

/// Returns a token if a usable one is cached, with its expiry and its refresh point in seconds since 1970 (both may be NULL).
/// Never blocks.
///
/// `*id` is used as in pgentra_provider_try_get(), for the token that the caller has for an equal request. If the id is
/// unchanged or 0, `*token` becomes NULL and the times 0.
///
/// @ownership `*token` is the caller's: pgentra_string_free(). `request` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `request` is NULL or points to a request with strings that are NULL or C strings; the others are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_credential_try_get_token(
    credential: *const pgentra_credential,
    request: *const pgentra_token_request,
    id: *mut u64,
    token: *mut *const c_char,
    expires_on: *mut i64,
    refresh_on: *mut i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (request, id, to_token, to_expires_on, to_refresh_on) = unsafe {
            (
                read_request(request)?,
                Output::new("id", id)?,
                Output::new("token", token)?,
                Output::optional("expires_on", expires_on)?,
                Output::optional("refresh_on", refresh_on)?,
            )
        };
        let credential = CREDENTIALS.get(credential)?;
        let found = credential.inner.try_token(&request).transpose()?;
        let strings = found.as_ref().map(|token| credential.strings(&request, token));
        let now = strings.as_ref().map_or(0, |strings| strings.token_id());
        let new = found.zip(strings).filter(|_| id.read() != now);
        let (password, times) = match &new {
            Some((token, strings)) => (
                strings.password().clone().into_raw(),
                (token.expires_on(), credential.inner.refresh_on(&request).unwrap_or(0)),
            ),
            None => (ptr::null(), (0, 0)),
        };
        id.write(now);
        to_token.write(password);
        write_optional(&to_expires_on, times.0);
        write_optional(&to_refresh_on, times.1);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_credential_try_get_token", error, work) }
}

/// As pgentra_credential_get_token(), with a callback that receives `token`, `expires_on`, `refresh_on` and `id`.
///
/// @ownership as pgentra_provider_get_async(); `request` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT; the callback receives all others.
///
/// # Safety
/// As for pgentra_provider_get_async(); `request` as for pgentra_credential_get_token().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_credential_get_token_async(
    credential: *const pgentra_credential,
    request: *const pgentra_token_request,
    timeout_ms: i32,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let start = || {
        // SAFETY: guaranteed by the caller.
        let request = unsafe { read_request(request) }?;
        let credential = CREDENTIALS.get(credential)?;
        let pending = credential.inner.start_token(&request, time_limit(timeout_ms));
        let calls = Arc::clone(&credential.calls);
        let convert = move |token: Arc<Token>| CallResult {
            refresh_on: credential.inner.refresh_on(&request).unwrap_or(0),
            ..CallResult::of_token(&credential.strings(&request, &token))
        };
        Ok((calls, pending, convert))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { start_call("pgentra_credential_get_token_async", callback, user_data, operation, error, start) }
}

/// Checks a configuration without opening it.
///
/// @ownership nothing is kept. @threads any. @errors PGENTRA_INVALID_CONFIGURATION naming the key, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `config_json` is a C string; `error` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_config_check(config_json: *const c_char, error: *mut *mut pgentra_error) -> i32 {
    // SAFETY: guaranteed by the caller.
    let work = || Config::from_json(unsafe { required_str("config_json", config_json) }?).map(drop);
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_config_check", error, work) }
}
