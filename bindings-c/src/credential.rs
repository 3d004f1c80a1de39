//! Credentials on their own: a token for any scope, as the Azure SDKs' classes give it.

use std::{
    collections::HashMap,
    ffi::{c_char, c_void},
    ptr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use pgentra::{CachedCredential, Config, CredentialContext, Result, Token, credential::TokenRequest};

use crate::{
    error::pgentra_error,
    guard::{Output, array, callback, optional_text, status, text, value},
    handles::Table,
    host::{Host, HostId, pgentra_token_callback, pgentra_token_request},
    operation::{self, Answer, Waits, pgentra_done_callback, pgentra_finalizer, pgentra_operation},
    provider::{Issued, join, limit, read_config},
};

/// A credential with its cached tokens. Closed by pgentra_credential_close().
pub struct pgentra_credential;

/// All open ones.
pub static CREDENTIALS: Table<pgentra_credential, Credential> = Table::new(5, "credential");

/// What a handle stands for.
pub struct Credential {
    pub inner: Arc<CachedCredential>,
    /// The credentials of the host's that take part.
    pub hosts: Vec<HostId>,
    waits: Arc<Waits>,
    /// The last token of each request as C's string: a warm call copies nothing.
    issued: ArcSwap<HashMap<TokenRequest, Arc<Issued>>>,
}

/// A program has a handful of scopes, but claims can be anything.
const MOST_ISSUED: usize = 64;

impl Credential {
    fn insert(inner: Arc<CachedCredential>, hosts: Vec<HostId>) -> Result<*mut pgentra_credential> {
        CREDENTIALS.insert(Credential { inner, hosts, waits: Arc::default(), issued: ArcSwap::default() })
    }

    fn issued(&self, request: &TokenRequest, token: &Arc<Token>) -> Arc<Issued> {
        if let Some(known) = self.issued.load().get(request).filter(|known| known.is_of(token)) {
            return Arc::clone(known);
        }
        let issued = Issued::new(token, None);
        self.issued.rcu(|all| {
            let mut all = if all.len() < MOST_ISSUED { HashMap::clone(all) } else { HashMap::new() };
            all.insert(request.clone(), Arc::clone(&issued));
            all
        });
        issued
    }
}

/// Opens the credential of a configuration document: its keys `credential`, `environment`, `ca_file`, `host` and `scope`; the
/// others say nothing to it. `members` are the credentials that the document names by {"type": "custom_credential", "index": N}.
///
/// @ownership `*credential` is the caller's: pgentra_credential_close(). The handles of `members` may be closed afterwards.
/// @threads any; see pgentra_provider_open() for the environment.
/// @errors PGENTRA_INVALID_CONFIGURATION naming the key, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `config_json` is NULL or a C string; `members` has `member_count` handles; `credential` and `error` are NULL or may be
/// written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_credential_open(
    config_json: *const c_char,
    members: *const *const pgentra_credential,
    member_count: usize,
    credential: *mut *mut pgentra_credential,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: as promised by the caller.
        let (config, members, place) = unsafe {
            (
                optional_text("config_json", config_json)?,
                array("members", members, member_count)?,
                Output::new("credential", credential)?,
            )
        };
        let config = read_config(config.unwrap_or("{}"))?;
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
        place.write(Credential::insert(inner, members.iter().flat_map(|member| member.hosts.clone()).collect())?);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_credential_open", error, work) }
}

/// Makes a credential of a function of the host's. `name` stands in errors, logs and statistics. Its tokens are cached like
/// any other: it is asked when a fetch is due, never twice at once for the same request, perhaps for different ones at once.
///
/// @ownership `*credential` is the caller's: pgentra_credential_close(). `user_data` stays with the library until `finalizer`
/// (may be NULL) is called with it: once, after the handle and every provider and chain on it are closed, and no question is
/// under way. @threads any. @errors PGENTRA_INVALID_ARGUMENT; then `finalizer` is not called.
///
/// # Safety
/// `name` is a C string; `callback` and `finalizer` may be called with `user_data` on any thread; `credential` and `error` are
/// NULL or may be written to.
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
        // SAFETY: as promised by the caller.
        let (name, place) = unsafe { (text("name", name)?, Output::new("credential", credential)?) };
        let ask = self::callback("callback", callback)?;
        let host = Host::new(name.to_owned(), ask, user_data, finalizer);
        let id = host.id();
        place.write(Credential::insert(CachedCredential::from_credential(Arc::new(host)), vec![id])?);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_credential_callback", error, work) }
}

/// Closes a credential. The callbacks of its asynchronous calls under way are called with PGENTRA_CANCELLED. Providers and
/// chains that were opened on it go on. NULL, and a handle that was closed before, are ignored.
///
/// @ownership `credential` is freed; what it handed out stays good. @threads any, also inside of a callback. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_credential_close(credential: *mut pgentra_credential) {
    value("pgentra_credential_close", (), || {
        if let Some(credential) = CREDENTIALS.remove(credential) {
            credential.waits.cancel();
        }
    });
}

/// Reads what is asked for.
///
/// # Safety
/// `request` is NULL or points to a request whose texts are NULL or C strings.
unsafe fn read_request(request: *const pgentra_token_request) -> Result<TokenRequest> {
    // SAFETY: as promised by the caller.
    let request = unsafe { array("request", request, 1) }?;
    let [request] = request else { return Ok(TokenRequest::new("")) };
    // SAFETY: as promised by the caller.
    let (scope, tenant_id, claims) = unsafe {
        (
            text("request.scope", request.scope)?,
            optional_text("request.tenant_id", request.tenant_id)?,
            optional_text("request.claims", request.claims)?,
        )
    };
    Ok(TokenRequest {
        tenant_id: tenant_id.map(str::to_owned),
        claims: claims.map(str::to_owned),
        enable_cae: request.enable_cae,
        ..TokenRequest::new(scope)
    })
}

/// A token for any scope, and its end in seconds since 1970 (`expires_on` may be NULL). Blocks while there is none, at most
/// `timeout_ms` (negative: 30 s).
///
/// @ownership `*token` is the caller's: pgentra_string_free(). `request` is copied. @threads any.
/// @errors as pgentra_provider_get().
///
/// # Safety
/// `request` is NULL or points to a request whose texts are NULL or C strings; `token`, `expires_on` and `error` are NULL or
/// may be written to.
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
        // SAFETY: as promised by the caller.
        let (request, to_token, to_expires_on) = unsafe {
            (read_request(request)?, Output::new("token", token)?, Output::optional("expires_on", expires_on)?)
        };
        let credential = CREDENTIALS.get(credential)?;
        let token = join(&credential.inner.start_token(&request, limit(timeout_ms)), &credential.hosts)?;
        to_token.write(credential.issued(&request, &token).password.clone().into_raw());
        if let Some(place) = to_expires_on {
            place.write(token.expires_on());
        }
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_credential_get_token", error, work) }
}

/// A token, if a usable one is cached, with its end and its refresh point in seconds since 1970 (both may be NULL). Never blocks.
///
/// `*id` is as in pgentra_provider_try_get(), of the token that the caller has for the same request. Where the id stays the same
/// or is 0, `*token` becomes NULL and the times 0.
///
/// @ownership `*token` is the caller's: pgentra_string_free(). `request` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `request` is NULL or points to a request whose texts are NULL or C strings; the others are NULL or may be written to.
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
        // SAFETY: as promised by the caller.
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
        let issued = found.as_ref().map(|token| credential.issued(&request, token));
        let now = issued.as_ref().map_or(0, |issued| issued.id);
        let new = found.zip(issued).filter(|_| id.read() != now);
        let (password, times) = match &new {
            Some((token, issued)) => (
                issued.password.clone().into_raw(),
                (token.expires_on(), credential.inner.refresh_on(&request).unwrap_or(0)),
            ),
            None => (ptr::null(), (0, 0)),
        };
        id.write(now);
        to_token.write(password);
        for (place, time) in [(to_expires_on, times.0), (to_refresh_on, times.1)] {
            if let Some(place) = place {
                place.write(time);
            }
        }
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_credential_try_get_token", error, work) }
}

/// As pgentra_credential_get_token(), into a callback: the outcome's `token`, `expires_on`, `refresh_on` and `id`.
///
/// @ownership as pgentra_provider_get_async(); `request` is copied. @threads any.
/// @errors PGENTRA_INVALID_ARGUMENT; all others reach the callback.
///
/// # Safety
/// As pgentra_provider_get_async(); `request` as in pgentra_credential_get_token().
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
    let begin = || {
        // SAFETY: as promised by the caller.
        let request = unsafe { read_request(request) }?;
        let credential = CREDENTIALS.get(credential)?;
        let (waits, pending) =
            (Arc::clone(&credential.waits), credential.inner.start_token(&request, limit(timeout_ms)));
        let convert = move |token: Arc<Token>| Answer {
            refresh_on: credential.inner.refresh_on(&request).unwrap_or(0),
            ..credential.issued(&request, &token).answer()
        };
        Ok((waits, pending, convert))
    };
    // SAFETY: as promised by the caller.
    unsafe {
        operation::asynchronous("pgentra_credential_get_token_async", callback, user_data, operation, error, begin)
    }
}

/// Refuses a configuration document that is wrong by itself, without opening anything.
///
/// @ownership nothing is kept. @threads any. @errors PGENTRA_INVALID_CONFIGURATION naming the key, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `config_json` is a C string; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_config_check(config_json: *const c_char, error: *mut *mut pgentra_error) -> i32 {
    // SAFETY: as promised by the caller.
    let work = || Config::from_json(unsafe { text("config_json", config_json) }?).map(drop);
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_config_check", error, work) }
}
