//! What the library needs of JNI, over the raw function table.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr,
    sync::OnceLock,
};

use jni_sys::{
    JNI_OK, JNI_VERSION_1_8, JNIEnv, JavaVM, jarray, jbyte, jbyteArray, jclass, jint, jlong, jlongArray, jmethodID,
    jobject, jobjectArray, jsize, jthrowable, jvalue,
};
use zeroize::Zeroizing;

/// The Java machine and the methods that native threads call. Set once, by `JNI_OnLoad`.
pub struct Machine {
    vm: *mut JavaVM,
    pub completion_done: jmethodID,
    pub callback_requested: jmethodID,
    pub log_sink_log: jmethodID,
}

// SAFETY: the invocation interface of JNI is valid in all threads, and method ids are valid as long as their class is
// loaded: an object of the class, on which they are called, keeps it.
unsafe impl Send for Machine {}
// SAFETY: as above; nothing is changed after it was set.
unsafe impl Sync for Machine {}

pub static MACHINE: OnceLock<Machine> = OnceLock::new();

/// A NUL-terminated text for the C API, or NULL. It may be a secret, so it is wiped.
#[derive(Default)]
pub struct Text(Option<Zeroizing<Vec<u8>>>);

impl Text {
    pub fn as_ptr(&self) -> *const c_char {
        self.0.as_ref().map_or(ptr::null(), |bytes| bytes.as_ptr().cast())
    }
}

/// The functions of JNI for the thread that it belongs to.
#[derive(Clone, Copy)]
pub struct Env(*mut JNIEnv);

macro_rules! jni {
    ($env:expr, $version:ident, $name:ident $(, $argument:expr)*) => {
        // SAFETY: `Env` is only made of a pointer that the Java machine passed for this thread, and the arguments are
        // references of this thread or global ones.
        unsafe { ((**$env.0).$version.$name)($env.0 $(, $argument)*) }
    };
}

impl Env {
    /// # Safety
    /// `env` belongs to the current thread and the value is not used after the native method has returned.
    pub unsafe fn new(env: *mut JNIEnv) -> Self {
        Self(env)
    }

    /// Finds the classes and methods. The class loader is that of the class that loads the library.
    pub fn load(self, vm: *mut JavaVM) -> Option<()> {
        // No reference is kept: it would keep the class loader, which in turn keeps the classes and their methods.
        let class = |name: &CStr| {
            let local = jni!(self, v1_2, FindClass, name.as_ptr());
            (!local.is_null()).then_some(local)
        };
        let method = |class: jclass, name: &CStr, signature: &CStr| {
            let id = jni!(self, v1_2, GetMethodID, class, name.as_ptr(), signature.as_ptr());
            (!id.is_null()).then_some(id)
        };
        let completion = class(c"io/github/pgentra/internal/Completion")?;
        let callback = class(c"io/github/pgentra/internal/TokenCallback")?;
        let sink = class(c"io/github/pgentra/internal/LogSink")?;
        let machine = Machine {
            vm,
            completion_done: method(completion, c"done", c"([BLjava/lang/Throwable;[B[B[BJJJ)V")?,
            callback_requested: method(callback, c"requested", c"(J[B[B[BZ)V")?,
            log_sink_log: method(sink, c"log", c"(I[B[B)V")?,
        };
        let _ = MACHINE.set(machine);
        Some(())
    }

    /// Registers the native methods of a class; returns whether that worked.
    pub fn register(self, class: &CStr, methods: &[jni_sys::JNINativeMethod]) -> bool {
        let class = jni!(self, v1_2, FindClass, class.as_ptr());
        let count = jint::try_from(methods.len()).unwrap_or(0);
        !class.is_null() && jni!(self, v1_2, RegisterNatives, class, methods.as_ptr(), count) == JNI_OK
    }

    pub fn global(self, object: jobject) -> jobject {
        if object.is_null() { object } else { jni!(self, v1_2, NewGlobalRef, object) }
    }

    pub fn delete_global(self, object: jobject) {
        if !object.is_null() {
            jni!(self, v1_2, DeleteGlobalRef, object);
        }
    }

    /// A reference that does not keep the object.
    pub fn weak(self, object: jobject) -> jobject {
        if object.is_null() { object } else { jni!(self, v1_2, NewWeakGlobalRef, object) }
    }

    /// Returns a local reference to the object of a weak one; null if the object was collected.
    pub fn upgrade(self, weak: jobject) -> jobject {
        jni!(self, v1_2, NewLocalRef, weak)
    }

    pub fn delete_weak(self, weak: jobject) {
        if !weak.is_null() {
            jni!(self, v1_2, DeleteWeakGlobalRef, weak);
        }
    }

    pub fn delete_local(self, object: jobject) {
        if !object.is_null() {
            jni!(self, v1_2, DeleteLocalRef, object);
        }
    }

    /// Returns the bytes of an array as text for the C API; null becomes NULL. A NUL inside ends the text.
    pub fn text(self, array: jbyteArray) -> Text {
        if array.is_null() {
            return Text::default();
        }
        let length = jni!(self, v1_2, GetArrayLength, array as jarray).max(0);
        let mut bytes = vec![0u8; usize::try_from(length).unwrap_or(0) + 1];
        jni!(self, v1_2, GetByteArrayRegion, array, 0, length, bytes.as_mut_ptr().cast::<jbyte>());
        Text(Some(Zeroizing::new(bytes)))
    }

    /// Returns the bytes of a NUL-terminated text as an array; NULL, and a lack of memory, become null.
    ///
    /// # Safety
    /// `text` is NULL or a NUL-terminated text.
    pub unsafe fn bytes(self, text: *const c_char) -> jbyteArray {
        if text.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: the caller guarantees it.
        self.byte_array(unsafe { CStr::from_ptr(text) }.to_bytes())
    }

    /// Returns bytes as an array; null if there is no memory for it.
    pub fn byte_array(self, bytes: &[u8]) -> jbyteArray {
        let Ok(length) = jsize::try_from(bytes.len()) else { return ptr::null_mut() };
        let array = jni!(self, v1_2, NewByteArray, length);
        if !array.is_null() {
            jni!(self, v1_2, SetByteArrayRegion, array, 0, length, bytes.as_ptr().cast::<jbyte>());
        }
        array
    }

    /// Returns an element of an array of byte arrays; null where there is none.
    pub fn element(self, array: jobjectArray, index: jsize) -> jbyteArray {
        if array.is_null() || index >= jni!(self, v1_2, GetArrayLength, array as jarray) {
            return ptr::null_mut();
        }
        jni!(self, v1_2, GetObjectArrayElement, array, index)
    }

    pub fn set_element(self, array: jobjectArray, index: jsize, value: jobject) {
        if !array.is_null() && index < jni!(self, v1_2, GetArrayLength, array as jarray) {
            jni!(self, v1_2, SetObjectArrayElement, array, index, value);
        }
    }

    pub fn longs(self, array: jlongArray) -> Vec<jlong> {
        if array.is_null() {
            return Vec::new();
        }
        let length = jni!(self, v1_2, GetArrayLength, array as jarray).max(0);
        let mut values = vec![0; usize::try_from(length).unwrap_or(0)];
        jni!(self, v1_2, GetLongArrayRegion, array, 0, length, values.as_mut_ptr());
        values
    }

    pub fn set_longs(self, array: jlongArray, values: &[jlong]) {
        if array.is_null() {
            return;
        }
        let length = jni!(self, v1_2, GetArrayLength, array as jarray).min(jsize::try_from(values.len()).unwrap_or(0));
        jni!(self, v1_2, SetLongArrayRegion, array, 0, length, values.as_ptr());
    }

    /// Calls a method without a result. An exception that it throws is described on the error stream and cleared, because
    /// there is no Java caller to pass it to.
    pub fn call_void(self, object: jobject, method: jmethodID, arguments: &[jvalue]) {
        jni!(self, v1_2, CallVoidMethodA, object, method, arguments.as_ptr());
        if jni!(self, v1_2, ExceptionCheck) {
            jni!(self, v1_2, ExceptionClear);
        }
    }

    /// Returns whether an exception is pending, such as a lack of memory.
    pub fn is_pending(self) -> bool {
        jni!(self, v1_2, ExceptionCheck)
    }
}

/// Runs `work` on a thread that is attached to the Java machine for this time only: a thread that stays attached keeps the
/// machine from ending. Without effect where the machine is ending.
pub fn attached(work: impl FnOnce(Env, &Machine)) {
    let Some(machine) = MACHINE.get() else { return };
    let mut env: *mut c_void = ptr::null_mut();
    // SAFETY: the machine outlives this library, and `env` is valid for a write.
    let status = unsafe { ((**machine.vm).v1_2.GetEnv)(machine.vm, &raw mut env, JNI_VERSION_1_8) };
    if status == JNI_OK {
        // SAFETY: the machine has just given it for this thread.
        return work(unsafe { Env::new(env.cast()) }, machine);
    }
    // SAFETY: as above; no arguments are passed.
    let status =
        unsafe { ((**machine.vm).v1_4.AttachCurrentThreadAsDaemon)(machine.vm, &raw mut env, ptr::null_mut()) };
    if status != JNI_OK {
        return;
    }
    // SAFETY: as above.
    let attached = unsafe { Env::new(env.cast()) };
    work(attached, machine);
    // SAFETY: this thread was attached above, and no Java frame is on its stack.
    unsafe { ((**machine.vm).v1_2.DetachCurrentThread)(machine.vm) };
}

/// Returns a reference of Java as a pointer for the C API.
pub fn pointer(object: jobject) -> *mut c_void {
    object.cast()
}

/// Returns a throwable that [`pointer`] made a pointer.
pub fn throwable(pointer: *mut c_void) -> jthrowable {
    pointer.cast()
}
