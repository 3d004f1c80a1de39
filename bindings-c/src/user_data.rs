//! Pointers of the application, with the finalizers that free them.

use std::ffi::c_void;

use crate::callback_pool::CallbackPool;

/// A finalizer. It is called once, on a thread of the library, when the library no longer uses `user_data`.
pub type pgentra_finalizer = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A pointer of the application, which the library never dereferences.
#[derive(Clone, Copy)]
pub struct UserData(pub *mut c_void);

// SAFETY: the pointer is only passed back to the application, which expects this on other threads.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// User data with its finalizer, which runs when this value is dropped.
pub struct Finalized {
    pub user_data: UserData,
    pub finalizer: pgentra_finalizer,
    /// The pool that calls the finalizer, because this value can be dropped on the engine's thread.
    pub pool: &'static CallbackPool,
}

impl Drop for Finalized {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            let user_data = self.user_data;
            self.pool.run(move || {
                let user_data = user_data;
                // SAFETY: the application allows one call when the data is no longer used, which is now.
                unsafe { finalizer(user_data.0) }
            });
        }
    }
}

/// The error of the application's credential.
pub struct Cause(pub Finalized);

impl Cause {
    /// Returns the application's pointer.
    pub fn pointer(&self) -> *mut c_void {
        self.0.user_data.0
    }
}
