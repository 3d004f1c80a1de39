//! Providers: a token or a login for one configuration.

use std::{
    ffi::{c_char, c_void},
    ptr,
    sync::Arc,
};

use pgentra::{
    Login, Result, Token, TokenProvider,
    bindings::{TokenStringCache, TokenStrings, config_from_json},
};

use crate::{
    async_call::{CallResult, PendingCalls, pgentra_done_callback, pgentra_operation, start_call},
    credential::{CREDENTIALS, pgentra_credential},
    error_object::pgentra_error,
    ffi::{Output, optional_str, status, string_status, value, write_optional},
    global::not_json,
    handles::{Entry, Table},
    string::{CountedString, static_string},
    wait::{CallbackId, check_deadlock, time_limit, wait},
};

/// A provider of tokens and logins. Close it with pgentra_provider_close().
pub struct pgentra_provider;

static PROVIDERS: Table<pgentra_provider, Provider> = Table::new(4, "provider");

struct Provider {
    inner: TokenProvider,
    /// The credentials with callbacks that a call may wait for.
    callbacks: Vec<CallbackId>,
    calls: Arc<PendingCalls>,
    /// The last token and its role as C strings, so that a call with a cached token copies nothing.
    strings: TokenStringCache<CountedString>,
}

impl Provider {
    /// Calls `work` with the C strings of a token.
    #[inline]
    fn with_token<T>(&self, token: &Arc<Token>, work: impl FnOnce(&TokenStrings<CountedString>) -> T) -> T {
        self.strings.with_token(token, CountedString::new, work)
    }

    /// Calls `work` with the C strings of a login and its role.
    #[inline]
    fn with_login<T>(
        &self,
        login: &Arc<Login>,
        work: impl FnOnce(&TokenStrings<CountedString>, &CountedString) -> T,
    ) -> T {
        self.strings.with_login(login, CountedString::new, work)
    }
}

fn get(provider: *const pgentra_provider) -> Result<Arc<Entry<Provider>>> {
    PROVIDERS.get(provider)
}

/// Opens a provider that uses `credential`, or the credential of the document.
///
/// # Safety
/// `config_json` is NULL or a C string; `provider` and `error` are NULL or valid for a write.
unsafe fn open(
    export: &'static str,
    config_json: *const c_char,
    credential: Option<*const pgentra_credential>,
    provider: *mut *mut pgentra_provider,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (config, to_provider) =
            unsafe { (optional_str("config_json", config_json)?, Output::new("provider", provider)?) };
        let mut builder = TokenProvider::builder().config(config_from_json(config.unwrap_or("{}"))?);
        let mut callbacks = Vec::new();
        if let Some(credential) = credential {
            let credential = CREDENTIALS.get(credential)?;
            callbacks.clone_from(&credential.callbacks);
            builder = builder.credential(Arc::clone(&credential.inner));
        }
        let inner = builder.build()?;
        let (calls, strings) = (Arc::default(), TokenStringCache::default());
        to_provider.write(PROVIDERS.insert(Provider { inner, callbacks, calls, strings })?);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status(export, error, work) }
}

/// Opens a provider with a configuration (docs/config.schema.json); NULL is "{}", the default chain. It fetches nothing.
/// Providers with equal settings share one cached token. Without the key `environment`, the variables of this process are read
/// during the call: no other thread may call setenv() meanwhile. pgentra_options_to_json() writes a configuration.
///
/// @ownership `*provider` is the caller's: pgentra_provider_close(). The text is copied. @threads any.
/// @errors PGENTRA_INVALID_CONFIGURATION naming the key, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `config_json` is NULL or a C string; `provider` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_open(
    config_json: *const c_char,
    provider: *mut *mut pgentra_provider,
    error: *mut *mut pgentra_error,
) -> i32 {
    // SAFETY: guaranteed by the caller.
    unsafe { open("pgentra_provider_open", config_json, None, provider, error) }
}

/// Opens a provider as pgentra_provider_open() does, with an open credential in place of the configuration's. Providers with the
/// same credential handle share its tokens.
///
/// @ownership `*provider` is the caller's: pgentra_provider_close(). The handle `credential` may be closed afterwards.
/// @threads any. @errors as pgentra_provider_open().
///
/// # Safety
/// As for pgentra_provider_open().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_open_with(
    config_json: *const c_char,
    credential: *const pgentra_credential,
    provider: *mut *mut pgentra_provider,
    error: *mut *mut pgentra_error,
) -> i32 {
    // SAFETY: guaranteed by the caller.
    unsafe { open("pgentra_provider_open_with", config_json, Some(credential), provider, error) }
}

/// Closes a provider. The callbacks of its pending asynchronous calls are called with PGENTRA_CANCELLED; blocking calls on other
/// threads are not affected. NULL, and a handle that was closed before, are ignored.
///
/// @ownership `provider` is freed; its tokens stay valid. @threads any, also inside a callback. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_provider_close(provider: *mut pgentra_provider) {
    value("pgentra_provider_close", (), || {
        if let Some(provider) = PROVIDERS.remove(provider) {
            provider.calls.cancel();
        }
    });
}

/// Returns a token, which is the password for PostgreSQL, and its expiry in seconds since 1970 (`expires_on` may be NULL). If a
/// token is cached, it returns the same counted string again, without a lock or a copy. Otherwise it blocks, at most `timeout_ms`
/// (negative: the option `timeout`, 30 s by default).
///
/// @ownership `*token` is the caller's: pgentra_string_free(). @threads any.
/// @errors those of the credential, PGENTRA_TIMEOUT, PGENTRA_SHUTTING_DOWN, PGENTRA_WOULD_DEADLOCK (inside the callback of the
/// credential that must respond), PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `token`, `expires_on` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_get(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    token: *mut *const c_char,
    expires_on: *mut i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (to_token, to_expires_on) =
            unsafe { (Output::new("token", token)?, Output::optional("expires_on", expires_on)?) };
        let write = |strings: &TokenStrings<CountedString>| {
            to_token.write(strings.password().clone().into_raw());
            write_optional(&to_expires_on, strings.token().expires_on());
        };
        let found = PROVIDERS.borrow(provider)?;
        if let Some(found) = found.as_deref()
            && let Some(outcome) = found.inner.with_token(|token| found.with_token(token, write))
        {
            return outcome;
        }
        let provider = get(provider)?;
        let token = wait(&provider.inner.start_get(time_limit(timeout_ms)), &provider.callbacks)?;
        provider.with_token(&token, write);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_provider_get", error, work) }
}

/// Returns a token if a usable one is cached, and its expiry in seconds since 1970 (`expires_on` may be NULL). Never blocks.
///
/// The caller sets `*id` to the id of its own token, or to 0. `*id` becomes the id of the current token, or 0 without a
/// cached one; then call pgentra_provider_get(). If the id is unchanged or 0, `*token` becomes NULL and `*expires_on` 0, so that a
/// caller with its own copy does not copy again.
///
/// @ownership `*token` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `id`, `token`, `expires_on` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_try_get(
    provider: *const pgentra_provider,
    id: *mut u64,
    token: *mut *const c_char,
    expires_on: *mut i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (id, to_token, to_expires_on) = unsafe {
            (Output::new("id", id)?, Output::new("token", token)?, Output::optional("expires_on", expires_on)?)
        };
        let write = |now: u64, new: Option<&TokenStrings<CountedString>>| {
            id.write(now);
            to_token.write(new.map_or(ptr::null(), |strings| strings.password().clone().into_raw()));
            write_optional(&to_expires_on, new.map_or(0, |strings| strings.token().expires_on()));
        };
        let found = PROVIDERS.borrow(provider)?;
        let current = |found: &Provider, token: &Arc<Token>| {
            found.with_token(token, |strings| {
                write(strings.token_id(), Some(strings).filter(|new| new.token_id() != id.read()));
            });
        };
        match found.as_deref().and_then(|found| found.inner.with_token(|token| current(found, token))) {
            Some(outcome) => outcome,
            None => {
                write(0, None);
                Ok(())
            }
        }
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_provider_try_get", error, work) }
}

/// As pgentra_provider_get(), with a callback that receives `token`, `expires_on` and `id`. If this function fails, the callback
/// is never called.
///
/// @ownership `*operation` (`operation` may be NULL) is the caller's: pgentra_operation_free(). The callback may be called before
/// this function returns. @threads any. @errors PGENTRA_INVALID_ARGUMENT; the callback receives all others.
///
/// # Safety
/// `callback` may be called once with `user_data` on any thread; `operation` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_get_async(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let start = || {
        let provider = get(provider)?;
        let (calls, pending) = (Arc::clone(&provider.calls), provider.inner.start_get(time_limit(timeout_ms)));
        let convert = move |token| provider.with_token(&token, CallResult::of_token);
        Ok((calls, pending, convert))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { start_call("pgentra_provider_get_async", callback, user_data, operation, error, start) }
}

/// Returns a role name and a token, which is its password. `user_source` (may be NULL) is the source of the name: "user",
/// "PGUSER", a claim's name, "management token", "fallback_username" or "appid". `expires_on` (may be NULL) is the token's expiry
/// in seconds since 1970. Blocks as pgentra_provider_get() does.
///
/// @ownership `*user` and `*password` are the caller's: pgentra_string_free() for each; `*user_source` is valid for the life of the
/// process, and freeing it is harmless. @threads any.
/// @errors as pgentra_provider_get(), and PGENTRA_USERNAME_EXTRACTION, PGENTRA_SCOPE_PERMISSION, PGENTRA_TOKEN_DECODE.
///
/// # Safety
/// All but `provider` and `timeout_ms` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_login(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    user: *mut *const c_char,
    password: *mut *const c_char,
    user_source: *mut *const c_char,
    expires_on: *mut i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (to_user, to_password, to_source, to_expires_on) = unsafe {
            (
                Output::new("user", user)?,
                Output::new("password", password)?,
                Output::optional("user_source", user_source)?,
                Output::optional("expires_on", expires_on)?,
            )
        };
        let provider = get(provider)?;
        let login = match provider.inner.try_login() {
            Some(outcome) => outcome?,
            None => wait(&provider.inner.start_login(time_limit(timeout_ms)), &provider.callbacks)?,
        };
        provider.with_login(&login, |strings, user| {
            to_user.write(user.clone().into_raw());
            to_password.write(strings.password().clone().into_raw());
            write_optional(&to_source, static_string(strings.user_source()).as_ptr());
            write_optional(&to_expires_on, strings.token().expires_on());
        });
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_provider_login", error, work) }
}

/// As pgentra_provider_try_get(), for a login: if the id is unchanged or 0, `*user` and `*password` become NULL and `*expires_on` 0.
/// The ids differ from those of pgentra_provider_try_get().
///
/// @ownership as pgentra_provider_login(). @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT, and those of pgentra_provider_login() if the cached token contains no role name.
///
/// # Safety
/// All but `provider` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_try_login(
    provider: *const pgentra_provider,
    id: *mut u64,
    user: *mut *const c_char,
    password: *mut *const c_char,
    user_source: *mut *const c_char,
    expires_on: *mut i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (id, to_user, to_password, to_source, to_expires_on) = unsafe {
            (
                Output::new("id", id)?,
                Output::new("user", user)?,
                Output::new("password", password)?,
                Output::optional("user_source", user_source)?,
                Output::optional("expires_on", expires_on)?,
            )
        };
        let write = |now: u64, new: Option<(&TokenStrings<CountedString>, &CountedString)>, source: *const c_char| {
            id.write(now);
            to_user.write(new.map_or(ptr::null(), |(_, user)| user.clone().into_raw()));
            to_password.write(new.map_or(ptr::null(), |(strings, _)| strings.password().clone().into_raw()));
            write_optional(&to_source, source);
            write_optional(&to_expires_on, new.map_or(0, |(strings, _)| strings.token().expires_on()));
        };
        let found = PROVIDERS.borrow(provider)?;
        let Some((found, outcome)) = found.as_deref().and_then(|found| Some((found, found.inner.try_login()?))) else {
            write(0, None, ptr::null());
            return Ok(());
        };
        found.with_login(&outcome?, |strings, user| {
            let new = Some((strings, user)).filter(|_| strings.login_id() != id.read());
            write(strings.login_id(), new, static_string(strings.user_source()).as_ptr());
        });
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_provider_try_login", error, work) }
}

/// As pgentra_provider_login(), with a callback that receives `user`, `user_source`, `token`, `expires_on` and `id`.
///
/// @ownership as pgentra_provider_get_async(). @threads any. @errors PGENTRA_INVALID_ARGUMENT; the callback receives all others.
///
/// # Safety
/// As for pgentra_provider_get_async().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_login_async(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let start = || {
        let provider = get(provider)?;
        let (calls, pending) = (Arc::clone(&provider.calls), provider.inner.start_login(time_limit(timeout_ms)));
        let convert = move |login: Arc<Login>| provider.with_login(&login, CallResult::of_login);
        Ok((calls, pending, convert))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { start_call("pgentra_provider_login_async", callback, user_data, operation, error, start) }
}

/// Reports that the server rejected a login with the token `rejected` (NULL: the current one). `*newer` becomes a newer token to
/// try once more, or NULL; then report the server's error. Blocks while the newer token is fetched, at most `timeout_ms`.
///
/// @ownership `*newer` is the caller's: pgentra_string_free(); `rejected` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT, PGENTRA_WOULD_DEADLOCK, PGENTRA_SHUTTING_DOWN. A failed fetch is not an error: `*newer` is
/// NULL.
///
/// # Safety
/// `rejected` is NULL or a C string; `newer` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_invalidate(
    provider: *const pgentra_provider,
    rejected: *const c_char,
    timeout_ms: i32,
    newer: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (rejected, to_newer) = unsafe { (optional_str("rejected", rejected)?, Output::new("newer", newer)?) };
        let provider = get(provider)?;
        check_deadlock(&provider.callbacks)?;
        let pending = provider.inner.start_invalidate_within(rejected, time_limit(timeout_ms));
        let newer = wait(&pending, &provider.callbacks)?;
        let password = |token| provider.with_token(&token, |strings| strings.password().clone().into_raw());
        to_newer.write(newer.map_or(ptr::null(), password));
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_provider_invalidate", error, work) }
}

/// As pgentra_provider_invalidate(), with a callback that receives the newer token, or NULL, as `token`.
///
/// @ownership as pgentra_provider_get_async(); `rejected` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT; the callback receives all others.
///
/// # Safety
/// As for pgentra_provider_get_async(); `rejected` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_invalidate_async(
    provider: *const pgentra_provider,
    rejected: *const c_char,
    timeout_ms: i32,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let start = || {
        // SAFETY: guaranteed by the caller.
        let rejected = unsafe { optional_str("rejected", rejected) }?;
        let provider = get(provider)?;
        let pending = provider.inner.start_invalidate_within(rejected, time_limit(timeout_ms));
        let calls = Arc::clone(&provider.calls);
        let convert = move |newer: Option<Arc<Token>>| {
            newer.map_or_else(CallResult::default, |token| provider.with_token(&token, CallResult::of_token))
        };
        Ok((calls, pending, convert))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { start_call("pgentra_provider_invalidate_async", callback, user_data, operation, error, start) }
}

/// Returns the provider's statistics as JSON: credential, scope, principal, mode, role, role_source, expires_in,
/// refresh_due_in, last_success, consecutive_failures, last_error, counters. Fetches nothing.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_stats(
    provider: *const pgentra_provider,
    json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        let stats = get(provider)?.inner.stats();
        serde_json::to_string(&stats).map(Some).map_err(|error| not_json(&error))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_provider_stats", "json", json, error, work) }
}
