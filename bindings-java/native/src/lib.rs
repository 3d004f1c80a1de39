//! `libpgentra_jni`: the native methods of `io.github.pgentra.internal.Native` over the functions of the C API.
//!
//! Texts cross as UTF-8 bytes. A function that fails writes the error's message, a NUL and its JSON document to
//! element 0 of its `errors` argument and returns 0 or null. No native method blocks: callers wait in Java for a [`Completion`](natives), so that a virtual
//! thread is never pinned.

mod env;
mod natives;

use std::{
    ffi::{CStr, c_void},
    ptr,
};

use jni_sys::{JNI_ERR, JNI_OK, JNI_VERSION_1_8, JNINativeMethod, JavaVM, jint};

use crate::env::Env;

const NATIVE: &CStr = c"io/github/pgentra/internal/Native";

/// # Safety
/// Called by the Java machine when it has loaded the library.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn JNI_OnLoad(vm: *mut JavaVM, _: *mut c_void) -> jint {
    let mut env: *mut c_void = ptr::null_mut();
    // SAFETY: the Java machine passes a valid pointer.
    if unsafe { ((**vm).v1_2.GetEnv)(vm, &raw mut env, JNI_VERSION_1_8) } != JNI_OK {
        return JNI_ERR;
    }
    // SAFETY: the machine has just given it for this thread.
    let env = unsafe { Env::new(env.cast()) };
    let methods: Vec<JNINativeMethod> = natives::METHODS
        .iter()
        .map(|(name, signature, function)| JNINativeMethod {
            name: name.as_ptr().cast_mut(),
            signature: signature.as_ptr().cast_mut(),
            fnPtr: function.0.cast_mut(),
        })
        .collect();
    if env.load(vm).is_none() || !env.register(NATIVE, &methods) { JNI_ERR } else { JNI_VERSION_1_8 }
}

/// # Safety
/// Called by the Java machine when the class loader of the library was collected.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn JNI_OnUnload(_: *mut JavaVM, _: *mut c_void) {
    libpgentra::pgentra_shutdown();
}
