//! Name resolution of the static program.
//!
//! glibc resolves names by the modules that `/etc/nsswitch.conf` names, and loads those modules that are not in the C
//! library from the machine. A static program that loads them gets the machine's C library beside its own, which fails
//! or crashes if their versions differ. The modules `files` and `dns` are in the C library since glibc 2.34, so the
//! static program uses these two alone: `/etc/hosts` and the name servers of `/etc/resolv.conf`, which include
//! systemd-resolved's.

/// Limits the resolution of hosts, users and groups to what is in this program. To be called before any of it.
#[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
pub(crate) fn use_own_modules() {
    use std::ffi::{CStr, c_char, c_int};

    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    const DATABASES: [(&CStr, &CStr); 3] = [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files")];
    for (database, services) in DATABASES {
        // SAFETY: both are strings that end with NUL, which glibc only reads; no other thread runs yet.
        let failed = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        debug_assert_eq!(failed, 0, "{database:?}");
    }
}

/// The C library is the machine's, or has no modules.
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static")))]
pub(crate) fn use_own_modules() {}
