//! The native methods.

use std::{
    ffi::{CStr, c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use jni_sys::{
    JNIEnv, jboolean, jbyteArray, jclass, jint, jlong, jlongArray, jobject, jobjectArray, jthrowable, jvalue,
};

use libpgentra::{
    self as abi, pgentra_credential, pgentra_error, pgentra_finalizer, pgentra_log_callback, pgentra_operation,
    pgentra_outcome, pgentra_request, pgentra_token_request,
};

use crate::env::{Env, attached, pointer, throwable};

/// A function pointer in a constant.
pub struct Function(pub *const c_void);

// SAFETY: functions are immutable.
unsafe impl Sync for Function {}

macro_rules! methods {
    ($($name:literal $signature:literal $function:ident),* $(,)?) => {
        /// Name, signature and function of each native method.
        pub static METHODS: &[(&CStr, &CStr, Function)] =
            &[$((literal!($name), literal!($signature), Function($function as *const c_void))),*];
    };
}

macro_rules! literal {
    ($text:literal) => {
        // SAFETY: the literal has one NUL, at its end.
        unsafe { CStr::from_bytes_with_nul_unchecked(concat!($text, "\0").as_bytes()) }
    };
}

methods! {
    "call" "(I[[B[[B)[B" call,
    "open" "([BJ[[B)J" open,
    "close" "(J)V" close,
    "tryGet" "(JZJ)J" try_get,
    "current" "(JZ[[B[J[[B)J" current,
    "start" "(JI[BILio/github/pgentra/internal/Completion;[[B)J" start,
    "cancel" "(J)V" cancel,
    "freeOperation" "(J)V" free_operation,
    "stats" "(J[[B)[B" stats,
    "credentialOpen" "([B[J[[B)J" credential_open,
    "credentialCallback" "([BLio/github/pgentra/internal/TokenCallback;[[B)J" credential_callback,
    "credentialClose" "(J)V" credential_close,
    "credentialTryGet" "(J[[BZJ[[B[J[[B)J" credential_try_get,
    "credentialStart" "(J[[BZILio/github/pgentra/internal/Completion;[[B)J" credential_start,
    "respond" "(J[BJJ)V" respond,
    "fail" "(J[B[BZLjava/lang/Throwable;)V" fail,
    "abandon" "(J)V" abandon,
    "setLog" "(ILio/github/pgentra/internal/LogSink;[[B)V" set_log,
    "shutdown" "()V" shutdown,
}

/// Runs the body of a native method. A panic must not unwind into the Java machine.
fn guarded<T>(env: *mut JNIEnv, otherwise: T, work: impl FnOnce(Env) -> T) -> T {
    // SAFETY: the Java machine passed it for this thread, and `work` ends with the native method.
    let env = unsafe { Env::new(env) };
    catch_unwind(AssertUnwindSafe(|| work(env))).unwrap_or(otherwise)
}

fn handle<T>(value: jlong) -> *mut T {
    ptr::with_exposed_provenance_mut(usize::try_from(value).unwrap_or(0))
}

fn number<T>(handle: *mut T) -> jlong {
    jlong::try_from(handle.expose_provenance()).unwrap_or(0)
}

/// Returns an error as its message, a NUL and its JSON document.
///
/// # Safety
/// `error` is an error that is not freed.
unsafe fn error_bytes(env: Env, error: *const pgentra_error) -> jbyteArray {
    // SAFETY: the texts are NUL-terminated and valid as long as the error.
    let (message, document) = unsafe {
        (
            CStr::from_ptr(abi::pgentra_error_message(error)).to_bytes_with_nul(),
            CStr::from_ptr(abi::pgentra_error_detail_json(error)).to_bytes(),
        )
    };
    env.byte_array(&[message, document].concat())
}

/// The place of an error, which it passes to Java and frees.
struct ErrorPlace(*mut pgentra_error);

impl ErrorPlace {
    fn new() -> Self {
        Self(ptr::null_mut())
    }

    fn out(&mut self) -> *mut *mut pgentra_error {
        &raw mut self.0
    }

    /// Writes the error's document to `errors`; returns whether there was one.
    fn pass(self, env: Env, errors: jobjectArray) -> bool {
        if self.0.is_null() {
            return false;
        }
        // SAFETY: the error is this value's own.
        let document = unsafe { error_bytes(env, self.0) };
        env.set_element(errors, 0, document);
        env.delete_local(document);
        true
    }
}

impl Drop for ErrorPlace {
    fn drop(&mut self) {
        abi::pgentra_error_free(self.0);
    }
}

/// A string of the library's, which is given back when it is dropped.
struct Owned(*const c_char);

impl Owned {
    fn new() -> Self {
        Self(ptr::null())
    }

    fn out(&mut self) -> *mut *const c_char {
        &raw mut self.0
    }

    fn bytes(&self, env: Env) -> jbyteArray {
        // SAFETY: it is NULL or a text that is valid until it is given back.
        unsafe { env.bytes(self.0) }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the text is this value's own; NULL, and texts that live for ever, are ignored.
        unsafe { abi::pgentra_string_free(self.0) }
    }
}

/// The number of an error says less than its document, which is passed on.
fn ignore(_kind: i32) {}

/// Functions that take texts and return one. `Native.java` has the same numbers.
unsafe extern "system" fn call(
    env: *mut JNIEnv,
    _: jclass,
    function: jint,
    arguments: jobjectArray,
    errors: jobjectArray,
) -> jbyteArray {
    guarded(env, ptr::null_mut(), |env| {
        let texts: Vec<_> = (0..8)
            .map(|index| {
                let array = env.element(arguments, index);
                let text = env.text(array);
                env.delete_local(array);
                text
            })
            .collect();
        if env.is_pending() {
            return ptr::null_mut();
        }
        let text = |index: usize| texts[index].as_ptr();
        let (mut result, mut error) = (Owned::new(), ErrorPlace::new());
        let (to, failed) = (result.out(), error.out());
        // SAFETY: the arguments are NULL or NUL-terminated texts of this call, the outputs are variables of it.
        unsafe {
            match function {
                0 => *to = abi::pgentra_version(),
                1 => ignore(abi::pgentra_stats(to, failed)),
                2 => ignore(abi::pgentra_error_kinds(to, failed)),
                3 => ignore(abi::pgentra_config_check(text(0), failed)),
                4 => ignore(abi::pgentra_connection_read(text(0), text(1), to, failed)),
                5 => ignore(abi::pgentra_connection_plan(text(0), to, failed)),
                6 => ignore(abi::pgentra_connection_variables(to, failed)),
                7 => ignore(abi::pgentra_known_variables(to, failed)),
                8 => ignore(abi::pgentra_decode_jwt(text(0), to, failed)),
                9 => ignore(abi::pgentra_parse_principal_name(text(0), to, failed)),
                10 => *to = abi::pgentra_login_error_cause(text(0), text(1)),
                11 => {
                    let retriable = abi::pgentra_login_error_is_retriable(text(0), text(1));
                    return env.bytes(if retriable { c"true" } else { c"false" }.as_ptr());
                }
                12 => ignore(abi::pgentra_login_error_explain(
                    text(0),
                    text(1),
                    text(2),
                    text(3),
                    text(4),
                    text(5),
                    text(6),
                    to,
                    failed,
                )),
                13 => {
                    let kind = CStr::from_ptr(text(0)).to_str().ok().and_then(|kind| kind.parse().ok());
                    abi::pgentra_error_new(kind.unwrap_or(0), text(1), text(2), text(3), failed);
                }
                14 => ignore(abi::pgentra_describe_token(text(0), to, failed)),
                15 => ignore(abi::pgentra_resolve_cloud(text(0), text(1), text(2), text(3), text(4), to, failed)),
                #[cfg(feature = "testing")]
                16 => ignore(abi::pgentra_run_vector(text(0), text(1), text(2), to, failed)),
                _ => {}
            }
        }
        if error.pass(env, errors) { ptr::null_mut() } else { result.bytes(env) }
    })
}

unsafe extern "system" fn open(
    env: *mut JNIEnv,
    _: jclass,
    config: jbyteArray,
    credential: jlong,
    errors: jobjectArray,
) -> jlong {
    guarded(env, 0, |env| {
        let config = env.text(config);
        let (mut provider, mut error) = (ptr::null_mut(), ErrorPlace::new());
        // SAFETY: the text is of this call, the outputs are variables of it; the library checks the handle.
        unsafe {
            if credential == 0 {
                abi::pgentra_provider_open(config.as_ptr(), &raw mut provider, error.out());
            } else {
                let credential = handle(credential);
                abi::pgentra_provider_open_with(config.as_ptr(), credential, &raw mut provider, error.out());
            }
        }
        error.pass(env, errors);
        number(provider)
    })
}

unsafe extern "system" fn close(env: *mut JNIEnv, _: jclass, provider: jlong) {
    guarded(env, (), |_| abi::pgentra_provider_close(handle(provider)));
}

/// The id of the current token or login, 0 if none is cached. Takes and returns primitives only.
unsafe extern "system" fn try_get(_: *mut JNIEnv, _: jclass, provider: jlong, login: jboolean, known: jlong) -> jlong {
    let mut id = known.cast_unsigned();
    let (mut user, mut password) = (Owned::new(), Owned::new());
    // The library catches panics itself. SAFETY: the outputs are variables of this call; the library checks the handle.
    let status = unsafe {
        if login {
            let (nowhere, time) = (ptr::null_mut(), ptr::null_mut());
            abi::pgentra_provider_try_login(
                handle(provider),
                &raw mut id,
                user.out(),
                password.out(),
                nowhere,
                time,
                ptr::null_mut(),
            )
        } else {
            let time = ptr::null_mut();
            abi::pgentra_provider_try_get(handle(provider), &raw mut id, password.out(), time, ptr::null_mut())
        }
    };
    if status == 0 { id.cast_signed() } else { 0 }
}

/// The current token or login: `texts` becomes password, user, user source, `times` the expiry in seconds since 1970.
/// Returns its id, 0 if none is cached.
unsafe extern "system" fn current(
    env: *mut JNIEnv,
    _: jclass,
    provider: jlong,
    login: jboolean,
    texts: jobjectArray,
    times: jlongArray,
    errors: jobjectArray,
) -> jlong {
    guarded(env, 0, |env| {
        let (mut user, mut password, mut source) = (Owned::new(), Owned::new(), Owned::new());
        let (mut id, mut expires_on, mut error) = (0, 0, ErrorPlace::new());
        // SAFETY: the outputs are variables of this call; the library checks the handle.
        unsafe {
            if login {
                abi::pgentra_provider_try_login(
                    handle(provider),
                    &raw mut id,
                    user.out(),
                    password.out(),
                    source.out(),
                    &raw mut expires_on,
                    error.out(),
                );
            } else {
                abi::pgentra_provider_try_get(
                    handle(provider),
                    &raw mut id,
                    password.out(),
                    &raw mut expires_on,
                    error.out(),
                );
            }
        }
        if error.pass(env, errors) {
            return 0;
        }
        for (index, text) in [&password, &user, &source].into_iter().enumerate() {
            let bytes = text.bytes(env);
            env.set_element(texts, jint::try_from(index).unwrap_or(0), bytes);
            env.delete_local(bytes);
        }
        env.set_longs(times, &[expires_on]);
        id.cast_signed()
    })
}

/// Passes an outcome to a `Completion` and releases it.
unsafe extern "C" fn done(completion: *mut c_void, outcome: *const pgentra_outcome) {
    let _ = catch_unwind(|| {
        attached(|env, machine| {
            // SAFETY: the library passes a valid outcome for the time of the call.
            let outcome = unsafe { &*outcome };
            // SAFETY: the texts are valid for the time of the call; the cause is NULL or a global reference that lives as
            // long as the error.
            let (error, cause, token, user, source) = unsafe {
                let (error, cause) = if outcome.error.is_null() {
                    (ptr::null_mut(), ptr::null_mut())
                } else {
                    let document = error_bytes(env, outcome.error);
                    (document, throwable(abi::pgentra_error_cause(outcome.error)))
                };
                (error, cause, env.bytes(outcome.token), env.bytes(outcome.user), env.bytes(outcome.user_source))
            };
            let completion = completion.cast();
            env.call_void(
                completion,
                machine.completion_done,
                &[
                    jvalue { l: error },
                    jvalue { l: cause },
                    jvalue { l: token },
                    jvalue { l: user },
                    jvalue { l: source },
                    jvalue { j: outcome.expires_on },
                    jvalue { j: outcome.refresh_on },
                    jvalue { j: outcome.id.cast_signed() },
                ],
            );
            env.delete_global(completion);
            for local in [error, token, user, source] {
                env.delete_local(local);
            }
        });
    });
}

/// Starts an asynchronous call with `call`, which gets the user data and the place of the operation.
fn begin(
    env: Env,
    completion: jobject,
    errors: jobjectArray,
    call: impl FnOnce(*mut c_void, *mut *mut pgentra_operation, *mut *mut pgentra_error) -> i32,
) -> jlong {
    let completion = env.global(completion);
    let (mut operation, mut error) = (ptr::null_mut(), ErrorPlace::new());
    if call(pointer(completion), &raw mut operation, error.out()) != 0 {
        // The callback is not called where the call failed.
        env.delete_global(completion);
    }
    error.pass(env, errors);
    number(operation)
}

/// What `start` fetches. `Native.java` has the same numbers.
const TOKEN: jint = 0;
const LOGIN: jint = 1;

unsafe extern "system" fn start(
    env: *mut JNIEnv,
    _: jclass,
    provider: jlong,
    kind: jint,
    refused: jbyteArray,
    timeout_ms: jint,
    completion: jobject,
    errors: jobjectArray,
) -> jlong {
    guarded(env, 0, |env| {
        let refused = env.text(refused);
        let provider = handle(provider);
        begin(env, completion, errors, |data, operation, error| {
            // SAFETY: the outputs are variables of this call, `done` takes the user data; the library checks the handle.
            unsafe {
                match kind {
                    TOKEN => abi::pgentra_provider_get_async(provider, timeout_ms, Some(done), data, operation, error),
                    LOGIN => {
                        abi::pgentra_provider_login_async(provider, timeout_ms, Some(done), data, operation, error)
                    }
                    _ => abi::pgentra_provider_invalidate_async(
                        provider,
                        refused.as_ptr(),
                        timeout_ms,
                        Some(done),
                        data,
                        operation,
                        error,
                    ),
                }
            }
        })
    })
}

unsafe extern "system" fn cancel(env: *mut JNIEnv, _: jclass, operation: jlong) {
    // SAFETY: the library checks the handle; an error is not of interest.
    guarded(env, (), |_| unsafe {
        abi::pgentra_operation_cancel(handle(operation), ptr::null_mut());
    });
}

unsafe extern "system" fn free_operation(env: *mut JNIEnv, _: jclass, operation: jlong) {
    guarded(env, (), |_| abi::pgentra_operation_free(handle(operation)));
}

unsafe extern "system" fn stats(env: *mut JNIEnv, _: jclass, provider: jlong, errors: jobjectArray) -> jbyteArray {
    guarded(env, ptr::null_mut(), |env| {
        let (mut json, mut error) = (Owned::new(), ErrorPlace::new());
        // SAFETY: the outputs are variables of this call; the library checks the handle.
        unsafe { abi::pgentra_provider_stats(handle(provider), json.out(), error.out()) };
        if error.pass(env, errors) { ptr::null_mut() } else { json.bytes(env) }
    })
}

unsafe extern "system" fn credential_open(
    env: *mut JNIEnv,
    _: jclass,
    config: jbyteArray,
    members: jlongArray,
    errors: jobjectArray,
) -> jlong {
    guarded(env, 0, |env| {
        let config = env.text(config);
        let members: Vec<*const pgentra_credential> =
            env.longs(members).into_iter().map(|member| handle::<pgentra_credential>(member).cast_const()).collect();
        let (mut credential, mut error) = (ptr::null_mut(), ErrorPlace::new());
        // SAFETY: the text and the array are of this call, the outputs are variables of it; the library checks the handles.
        unsafe {
            abi::pgentra_credential_open(
                config.as_ptr(),
                members.as_ptr(),
                members.len(),
                &raw mut credential,
                error.out(),
            );
        }
        error.pass(env, errors);
        number(credential)
    })
}

/// Passes a request to a `TokenCallback`.
unsafe extern "C" fn requested(
    callback: *mut c_void,
    request: *mut pgentra_request,
    wanted: *const pgentra_token_request,
) {
    let passed = catch_unwind(|| {
        let mut passed = false;
        attached(|env, machine| {
            // SAFETY: the library passes valid texts for the time of the call.
            let (scope, tenant_id, claims, enable_cae) = unsafe {
                let wanted = &*wanted;
                let texts = (env.bytes(wanted.scope), env.bytes(wanted.tenant_id), env.bytes(wanted.claims));
                (texts.0, texts.1, texts.2, wanted.enable_cae)
            };
            env.call_void(
                callback.cast(),
                machine.callback_requested,
                &[
                    jvalue { j: number(request) },
                    jvalue { l: scope },
                    jvalue { l: tenant_id },
                    jvalue { l: claims },
                    jvalue { z: enable_cae },
                ],
            );
            passed = true;
            for local in [scope, tenant_id, claims] {
                env.delete_local(local);
            }
        });
        passed
    });
    if !passed.unwrap_or(false) {
        // SAFETY: the library checks the handle; a request that has ended is an error that is not of interest.
        unsafe { abi::pgentra_request_abandon(request, ptr::null_mut()) };
    }
}

/// Releases a global reference that the library no longer uses.
unsafe extern "C" fn release(reference: *mut c_void) {
    let _ = catch_unwind(|| attached(|env, _| env.delete_global(reference.cast())));
}

unsafe extern "system" fn credential_callback(
    env: *mut JNIEnv,
    _: jclass,
    name: jbyteArray,
    callback: jobject,
    errors: jobjectArray,
) -> jlong {
    guarded(env, 0, |env| {
        let name = env.text(name);
        let callback = env.global(callback);
        let (mut credential, mut error) = (ptr::null_mut(), ErrorPlace::new());
        // SAFETY: the text is of this call, the outputs are variables of it, and `release` takes the user data.
        let status = unsafe {
            abi::pgentra_credential_callback(
                name.as_ptr(),
                Some(requested),
                pointer(callback),
                Some(release),
                &raw mut credential,
                error.out(),
            )
        };
        if status != 0 {
            env.delete_global(callback);
        }
        error.pass(env, errors);
        number(credential)
    })
}

unsafe extern "system" fn credential_close(env: *mut JNIEnv, _: jclass, credential: jlong) {
    guarded(env, (), |_| abi::pgentra_credential_close(handle(credential)));
}

/// Calls `work` with the request that `texts` (scope, tenant, claims) describe.
fn with_request<T>(
    env: Env,
    texts: jobjectArray,
    enable_cae: jboolean,
    work: impl FnOnce(&pgentra_token_request) -> T,
) -> T {
    let [scope, tenant_id, claims] = [0, 1, 2].map(|index| {
        let array = env.element(texts, index);
        let text = env.text(array);
        env.delete_local(array);
        text
    });
    work(&pgentra_token_request {
        size: size_of::<pgentra_token_request>(),
        scope: scope.as_ptr(),
        tenant_id: tenant_id.as_ptr(),
        claims: claims.as_ptr(),
        enable_cae,
    })
}

/// The cached token of a credential: `texts` becomes the token, `times` its expiry and refresh point.
unsafe extern "system" fn credential_try_get(
    env: *mut JNIEnv,
    _: jclass,
    credential: jlong,
    request: jobjectArray,
    enable_cae: jboolean,
    known: jlong,
    texts: jobjectArray,
    times: jlongArray,
    errors: jobjectArray,
) -> jlong {
    guarded(env, 0, |env| {
        let (mut token, mut error) = (Owned::new(), ErrorPlace::new());
        let (mut id, mut expires_on, mut refresh_on) = (known.cast_unsigned(), 0, 0);
        with_request(env, request, enable_cae, |request| {
            // SAFETY: the request and the outputs are variables of this call; the library checks the handle.
            unsafe {
                abi::pgentra_credential_try_get_token(
                    handle(credential),
                    request,
                    &raw mut id,
                    token.out(),
                    &raw mut expires_on,
                    &raw mut refresh_on,
                    error.out(),
                )
            }
        });
        if error.pass(env, errors) {
            return 0;
        }
        let bytes = token.bytes(env);
        env.set_element(texts, 0, bytes);
        env.delete_local(bytes);
        env.set_longs(times, &[expires_on, refresh_on]);
        id.cast_signed()
    })
}

unsafe extern "system" fn credential_start(
    env: *mut JNIEnv,
    _: jclass,
    credential: jlong,
    request: jobjectArray,
    enable_cae: jboolean,
    timeout_ms: jint,
    completion: jobject,
    errors: jobjectArray,
) -> jlong {
    guarded(env, 0, |env| {
        with_request(env, request, enable_cae, |request| {
            begin(env, completion, errors, |data, operation, error| {
                // SAFETY: as in `start`; the request is of this call.
                unsafe {
                    abi::pgentra_credential_get_token_async(
                        handle(credential),
                        request,
                        timeout_ms,
                        Some(done),
                        data,
                        operation,
                        error,
                    )
                }
            })
        })
    })
}

unsafe extern "system" fn respond(
    env: *mut JNIEnv,
    _: jclass,
    request: jlong,
    token: jbyteArray,
    expires_on: jlong,
    refresh_on: jlong,
) {
    guarded(env, (), |env| {
        let token = env.text(token);
        // SAFETY: the text is of this call; the library checks the handle. A request that has ended is an error that is not
        // of interest.
        unsafe {
            abi::pgentra_request_respond(handle(request), token.as_ptr(), expires_on, refresh_on, ptr::null_mut());
        }
    });
}

unsafe extern "system" fn fail(
    env: *mut JNIEnv,
    _: jclass,
    request: jlong,
    class_name: jbyteArray,
    message: jbyteArray,
    unavailable: jboolean,
    cause: jthrowable,
) {
    guarded(env, (), |env| {
        let (class_name, message) = (env.text(class_name), env.text(message));
        let cause = pointer(env.global(cause));
        // SAFETY: the texts are of this call, `release` takes the cause, also where the call fails.
        unsafe {
            abi::pgentra_request_fail(
                handle(request),
                class_name.as_ptr(),
                message.as_ptr(),
                unavailable,
                cause,
                Some(release),
                ptr::null_mut(),
            );
        }
    });
}

unsafe extern "system" fn abandon(env: *mut JNIEnv, _: jclass, request: jlong) {
    // SAFETY: the library checks the handle.
    guarded(env, (), |_| unsafe {
        abi::pgentra_request_abandon(handle(request), ptr::null_mut());
    });
}

unsafe extern "C" fn log(sink: *mut c_void, level: i32, target: *const c_char, message: *const c_char) {
    let _ = catch_unwind(|| {
        attached(|env, machine| {
            let sink = env.upgrade(sink.cast());
            if sink.is_null() {
                return;
            }
            // SAFETY: the library passes valid texts for the time of the call.
            let (target, message) = unsafe { (env.bytes(target), env.bytes(message)) };
            let arguments = [jvalue { i: level }, jvalue { l: target }, jvalue { l: message }];
            env.call_void(sink, machine.log_sink_log, &arguments);
            env.delete_local(sink);
            env.delete_local(target);
            env.delete_local(message);
        });
    });
}

/// Releases a weak reference that the library no longer uses.
unsafe extern "C" fn release_weak(reference: *mut c_void) {
    let _ = catch_unwind(|| attached(|env, _| env.delete_weak(reference.cast())));
}

/// The sink is kept by its class, not by the library: the class loader could not be collected otherwise.
unsafe extern "system" fn set_log(env: *mut JNIEnv, _: jclass, level: jint, sink: jobject, errors: jobjectArray) {
    guarded(env, (), |env| {
        let sink = env.weak(sink);
        let mut error = ErrorPlace::new();
        let (callback, finalizer): (pgentra_log_callback, pgentra_finalizer) =
            if sink.is_null() { (None, None) } else { (Some(log), Some(release_weak)) };
        // SAFETY: `release_weak` takes the user data; the output is a variable of this call.
        let status = unsafe { abi::pgentra_set_log_callback(level, callback, pointer(sink), finalizer, error.out()) };
        if status != 0 {
            env.delete_weak(sink);
        }
        error.pass(env, errors);
    });
}

unsafe extern "system" fn shutdown(env: *mut JNIEnv, _: jclass) {
    guarded(env, (), |_| abi::pgentra_shutdown());
}
