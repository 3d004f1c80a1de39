//! The doors: a token or a login for one configuration.

use std::{
    ffi::{c_char, c_void},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use pgentra::{Config, Login, Pending, Result, Token, TokenProvider, bindings::KNOWN_VARIABLES};
use serde_json::Value;

use crate::{
    credential::{CREDENTIALS, pgentra_credential},
    error::pgentra_error,
    guard::{Output, optional_text, status, to_text, value},
    handles::{Entry, Table},
    host::{HostId, refuse_deadlock},
    library::no_json,
    operation::{self, Answer, Waits, pgentra_done_callback, pgentra_operation},
    text::{Text, interned},
};

/// A provider of tokens and logins. Closed by pgentra_provider_close().
pub struct pgentra_provider;

static PROVIDERS: Table<pgentra_provider, Provider> = Table::new(4, "provider");

struct Provider {
    inner: TokenProvider,
    /// The credentials of the host's that it may have to wait for.
    hosts: Vec<HostId>,
    waits: Arc<Waits>,
    /// The last token and the last login as C's strings: a warm call copies nothing.
    token: ArcSwapOption<Issued>,
    login: ArcSwapOption<Issued>,
}

/// A token or a login as C has it.
pub struct Issued {
    token: Arc<Token>,
    pub password: Text,
    /// Of a login.
    user: Option<(Text, &'static str)>,
    /// Of no other one in this process.
    pub id: u64,
}

impl Issued {
    pub fn new(token: &Arc<Token>, user: Option<(Text, &'static str)>) -> Arc<Issued> {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Issued { token: Arc::clone(token), password: Text::new(token.secret()), user, id })
    }

    /// Whether it is the same arrival of the same token: each thread may have a handle of its own, the text is one.
    #[inline]
    pub fn is_of(&self, token: &Token) -> bool {
        ptr::eq(self.token.secret(), token.secret())
    }

    pub fn answer(&self) -> Answer {
        let (user, user_source) = self.user.as_ref().map(|(user, source)| (user.clone(), *source)).unzip();
        Answer {
            token: Some(self.password.clone()),
            user,
            user_source,
            expires_on: self.token.expires_on(),
            id: self.id,
            ..Answer::default()
        }
    }
}

impl Provider {
    /// Calls `work` with the token as C's string.
    #[inline]
    fn with_token<T>(&self, token: &Arc<Token>, work: impl FnOnce(&Issued) -> T) -> T {
        match self.token.load().as_deref() {
            Some(issued) if issued.is_of(token) => work(issued),
            _ => {
                let issued = Issued::new(token, None);
                self.token.store(Some(Arc::clone(&issued)));
                work(&issued)
            }
        }
    }

    #[inline]
    fn with_login<T>(&self, login: &Login, work: impl FnOnce(&Issued, &Text, &'static str) -> T) -> T {
        let issued = self.login.load();
        if let Some(issued) = issued.as_deref()
            && issued.is_of(login.token())
            && let Some((user, source)) = &issued.user
            // The same token may come to another name, once a management token tells it.
            && user.as_str() == login.user()
        {
            return work(issued, user, source);
        }
        let user = Text::new(login.user());
        let issued = Issued::new(login.token(), Some((user.clone(), login.user_source())));
        self.login.store(Some(Arc::clone(&issued)));
        work(&issued, &user, login.user_source())
    }
}

fn get(provider: *const pgentra_provider) -> Result<Arc<Entry<Provider>>> {
    PROVIDERS.get(provider)
}

/// Opens a provider on `credential`, or where that is none on the document's own.
///
/// # Safety
/// `config_json` is NULL or a C string; `place` and `error` are NULL or may be written to.
unsafe fn open(
    export: &'static str,
    config_json: *const c_char,
    credential: Option<*const pgentra_credential>,
    place: *mut *mut pgentra_provider,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let (config, place) = unsafe { (optional_text("config_json", config_json)?, Output::new("provider", place)?) };
        let mut builder = TokenProvider::builder().config(read_config(config.unwrap_or("{}"))?);
        let mut hosts = Vec::new();
        if let Some(credential) = credential {
            let credential = CREDENTIALS.get(credential)?;
            hosts.clone_from(&credential.hosts);
            builder = builder.credential(Arc::clone(&credential.inner));
        }
        let inner = builder.build()?;
        let (token, login) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        place.write(PROVIDERS.insert(Provider { inner, hosts, waits: Arc::default(), token, login })?);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status(export, error, work) }
}

/// Reads the document. Without `environment` it gets this process's variables.
pub fn read_config(text: &str) -> Result<Config> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut document)) if !document.contains_key("environment") => {
            let known = KNOWN_VARIABLES.iter();
            let variables = known.filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?.into())));
            document.insert("environment".to_owned(), Value::Object(variables.collect()));
            Config::from_value(Value::Object(document))
        }
        Ok(document) => Config::from_value(document),
        // The engine says where it is broken.
        Err(_) => Config::from_json(text),
    }
}

/// A limit in milliseconds; negative is none.
pub fn limit(milliseconds: i32) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

/// Blocks until there is a result; the work has a time limit of its own.
pub fn join<T: Send + 'static>(pending: &Pending<T>, hosts: &[HostId]) -> Result<T> {
    if let Some(outcome) = pending.wait(Duration::ZERO) {
        return outcome;
    }
    refuse_deadlock(hosts)?;
    loop {
        if let Some(outcome) = pending.wait(Duration::from_secs(60)) {
            return outcome;
        }
    }
}

/// Opens a provider by a configuration document (docs/config.schema.json); NULL is "{}", the default chain. Nothing is
/// fetched yet. Providers of equal settings share one cached token. Without the key `environment`, the variables of this
/// process are read now: no other thread may call setenv() meanwhile.
///
/// @ownership `*provider` is the caller's: pgentra_provider_close(). The text is copied. @threads any.
/// @errors PGENTRA_INVALID_CONFIGURATION naming the key, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `config_json` is NULL or a C string; `provider` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_open(
    config_json: *const c_char,
    provider: *mut *mut pgentra_provider,
    error: *mut *mut pgentra_error,
) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { open("pgentra_provider_open", config_json, None, provider, error) }
}

/// As pgentra_provider_open(), on an open credential in place of the document's own. Providers on one credential handle share
/// its tokens.
///
/// @ownership `*provider` is the caller's: pgentra_provider_close(). It keeps what it needs of `credential`, whose handle may
/// be closed. @threads any. @errors as pgentra_provider_open().
///
/// # Safety
/// As pgentra_provider_open().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_open_with(
    config_json: *const c_char,
    credential: *const pgentra_credential,
    provider: *mut *mut pgentra_provider,
    error: *mut *mut pgentra_error,
) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { open("pgentra_provider_open_with", config_json, Some(credential), provider, error) }
}

/// Closes a provider. The callbacks of its asynchronous calls under way are called with PGENTRA_CANCELLED; blocking calls on
/// other threads end as they would have. NULL, and a handle that was closed before, are ignored.
///
/// @ownership `provider` is freed; what it handed out stays good. @threads any, also inside of a callback. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_provider_close(provider: *mut pgentra_provider) {
    value("pgentra_provider_close", (), || {
        if let Some(provider) = PROVIDERS.remove(provider) {
            provider.waits.cancel();
        }
    });
}

/// A token: the password for PostgreSQL. Warm, it hands out the same counted string again, without a lock or a copy; cold, it
/// blocks, at most `timeout_ms` (negative: what the option `timeout` says, 30 s by default).
///
/// @ownership `*token` is the caller's: pgentra_string_free(). @threads any.
/// @errors those of the credential, PGENTRA_TIMEOUT, PGENTRA_SHUTTING_DOWN, PGENTRA_WOULD_DEADLOCK (inside of the callback of
/// the credential that would have to answer), PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `token` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_get(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    token: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let place = unsafe { Output::new("token", token) }?;
        let hand_out = |issued: &Issued| place.write(issued.password.clone().into_raw());
        let found = PROVIDERS.look(provider)?;
        if let Some(here) = found.as_deref()
            && let Some(outcome) = here.inner.with_token(|token| here.with_token(token, hand_out))
        {
            return outcome;
        }
        let provider = get(provider)?;
        let got = join(&provider.inner.start_get(limit(timeout_ms)), &provider.hosts)?;
        provider.with_token(&got, hand_out);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_provider_get", error, work) }
}

/// A token, if a usable one is cached. Never blocks.
///
/// `*id` goes in as that of the token which the caller has (0: none), and comes out as that of the current one, 0 where nothing
/// is cached: then ask pgentra_provider_get(). `*token` becomes NULL where the id stays the same or is 0, so a caller that
/// keeps a copy of its own makes no new one.
///
/// @ownership `*token` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `id`, `token` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_try_get(
    provider: *const pgentra_provider,
    id: *mut u64,
    token: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let (id, place) = unsafe { (Output::new("id", id)?, Output::new("token", token)?) };
        let found = PROVIDERS.look(provider)?;
        let look = |here: &Provider, token: &Arc<Token>| {
            here.with_token(token, |issued| {
                let known = id.read() == issued.id;
                place.write(if known { ptr::null() } else { issued.password.clone().into_raw() });
                id.write(issued.id);
            });
        };
        match found.as_deref().and_then(|here| here.inner.with_token(|token| look(here, token))) {
            Some(outcome) => outcome?,
            None => {
                id.write(0);
                place.write(ptr::null());
            }
        }
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_provider_try_get", error, work) }
}

/// As pgentra_provider_get(), into a callback: the outcome's `token`, `expires_on` and `id`. Where this call fails, the
/// callback is never called.
///
/// @ownership `*operation` (`operation` may be NULL) is the caller's: pgentra_operation_free(). The callback may be called
/// before this returns. @threads any. @errors PGENTRA_INVALID_ARGUMENT; all others reach the callback.
///
/// # Safety
/// `callback` may be called once with `user_data` on any thread; `operation` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_get_async(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let begin = || {
        let provider = get(provider)?;
        let (waits, pending) = (Arc::clone(&provider.waits), provider.inner.start_get(limit(timeout_ms)));
        let convert = move |token| provider.with_token(&token, |issued| issued.answer());
        Ok((waits, pending, convert))
    };
    // SAFETY: as promised by the caller.
    unsafe { operation::asynchronous("pgentra_provider_get_async", callback, user_data, operation, error, begin) }
}

/// A role name and a token. `user_source` (may be NULL) tells where the name came from: "user", "PGUSER", a claim's name,
/// "management token", "fallback_username", "appid". Blocks as pgentra_provider_get() does.
///
/// @ownership `*user` and `*password` are the caller's: pgentra_string_free() each; `*user_source` lives for ever, giving it
/// back does no harm. @threads any.
/// @errors as pgentra_provider_get(), and PGENTRA_USERNAME_EXTRACTION, PGENTRA_SCOPE_PERMISSION, PGENTRA_TOKEN_DECODE.
///
/// # Safety
/// All but `provider` and `timeout_ms` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_login(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    user: *mut *const c_char,
    password: *mut *const c_char,
    user_source: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let (to_user, to_password, to_source) = unsafe {
            (
                Output::new("user", user)?,
                Output::new("password", password)?,
                Output::optional("user_source", user_source)?,
            )
        };
        let provider = get(provider)?;
        let login = match provider.inner.try_login() {
            Some(outcome) => outcome?,
            None => join(&provider.inner.start_login(limit(timeout_ms)), &provider.hosts)?,
        };
        provider.with_login(&login, |issued, user, source| {
            to_user.write(user.clone().into_raw());
            to_password.write(issued.password.clone().into_raw());
            if let Some(place) = to_source {
                place.write(interned(source));
            }
        });
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_provider_login", error, work) }
}

/// As pgentra_provider_try_get(), for a login: `*user` and `*password` become NULL where the id stays the same or is 0. The
/// ids are others than those of pgentra_provider_try_get().
///
/// @ownership as pgentra_provider_login(). @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT, and where the cached token names no role those of pgentra_provider_login().
///
/// # Safety
/// All but `provider` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_try_login(
    provider: *const pgentra_provider,
    id: *mut u64,
    user: *mut *const c_char,
    password: *mut *const c_char,
    user_source: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let (id, to_user, to_password, to_source) = unsafe {
            (
                Output::new("id", id)?,
                Output::new("user", user)?,
                Output::new("password", password)?,
                Output::optional("user_source", user_source)?,
            )
        };
        let write = |now: u64, user: *const c_char, password: *const c_char, source: *const c_char| {
            id.write(now);
            to_user.write(user);
            to_password.write(password);
            if let Some(place) = &to_source {
                place.write(source);
            }
        };
        let found = PROVIDERS.look(provider)?;
        let Some((here, outcome)) = found.as_deref().and_then(|here| Some((here, here.inner.try_login()?))) else {
            write(0, ptr::null(), ptr::null(), ptr::null());
            return Ok(());
        };
        here.with_login(&*outcome?, |issued, user, source| match id.read() == issued.id {
            true => write(issued.id, ptr::null(), ptr::null(), interned(source)),
            false => {
                write(issued.id, user.clone().into_raw(), issued.password.clone().into_raw(), interned(source));
            }
        });
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_provider_try_login", error, work) }
}

/// As pgentra_provider_login(), into a callback: the outcome's `user`, `user_source`, `token`, `expires_on` and `id`.
///
/// @ownership as pgentra_provider_get_async(). @threads any. @errors PGENTRA_INVALID_ARGUMENT; all others reach the callback.
///
/// # Safety
/// As pgentra_provider_get_async().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_login_async(
    provider: *const pgentra_provider,
    timeout_ms: i32,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let begin = || {
        let provider = get(provider)?;
        let (waits, pending) = (Arc::clone(&provider.waits), provider.inner.start_login(limit(timeout_ms)));
        let convert = move |login: Arc<Login>| provider.with_login(&login, |issued, _, _| issued.answer());
        Ok((waits, pending, convert))
    };
    // SAFETY: as promised by the caller.
    unsafe { operation::asynchronous("pgentra_provider_login_async", callback, user_data, operation, error, begin) }
}

/// Tells that a server refused a login with the token `refused` (NULL: the current one). `*newer` becomes the token that is
/// worth one more try, or NULL: then the server's own error stands. Blocks while it is fetched, at most `timeout_ms`.
///
/// @ownership `*newer` is the caller's: pgentra_string_free(); `refused` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT, PGENTRA_WOULD_DEADLOCK, PGENTRA_SHUTTING_DOWN. A failed fetch is none: `*newer` is NULL.
///
/// # Safety
/// `refused` is NULL or a C string; `newer` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_invalidate(
    provider: *const pgentra_provider,
    refused: *const c_char,
    timeout_ms: i32,
    newer: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let (refused, place) = unsafe { (optional_text("refused", refused)?, Output::new("newer", newer)?) };
        let provider = get(provider)?;
        refuse_deadlock(&provider.hosts)?;
        let newer = join(&provider.inner.start_invalidate_within(refused, limit(timeout_ms)), &provider.hosts)?;
        let issued = |token| provider.with_token(&token, |issued| issued.password.clone().into_raw());
        place.write(newer.map_or(ptr::null(), issued));
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_provider_invalidate", error, work) }
}

/// As pgentra_provider_invalidate(), into a callback: the outcome's `token` is the newer one, or NULL.
///
/// @ownership as pgentra_provider_get_async(); `refused` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT; all others reach the callback.
///
/// # Safety
/// As pgentra_provider_get_async(); `refused` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_invalidate_async(
    provider: *const pgentra_provider,
    refused: *const c_char,
    timeout_ms: i32,
    callback: pgentra_done_callback,
    user_data: *mut c_void,
    operation: *mut *mut pgentra_operation,
    error: *mut *mut pgentra_error,
) -> i32 {
    let begin = || {
        // SAFETY: as promised by the caller.
        let refused = unsafe { optional_text("refused", refused) }?;
        let provider = get(provider)?;
        let pending = provider.inner.start_invalidate_within(refused, limit(timeout_ms));
        let waits = Arc::clone(&provider.waits);
        let convert = move |newer: Option<Arc<Token>>| {
            newer.map_or_else(Answer::default, |token| provider.with_token(&token, |issued| issued.answer()))
        };
        Ok((waits, pending, convert))
    };
    // SAFETY: as promised by the caller.
    unsafe {
        operation::asynchronous("pgentra_provider_invalidate_async", callback, user_data, operation, error, begin)
    }
}

/// What the provider knows of itself, as JSON: credential, scope, principal, mode, role, role_source, expires_in,
/// refresh_due_in, last_success, consecutive_failures, last_error, counters. Fetches nothing.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_provider_stats(
    provider: *const pgentra_provider,
    json: *mut *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        let stats = get(provider)?.inner.stats();
        serde_json::to_string(&stats).map(Some).map_err(|error| no_json(&error))
    };
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_provider_stats", "json", json, error, work) }
}
