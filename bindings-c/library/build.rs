//! Tells the linker what the shared library is called and that it stays.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        // The number is PGENTRA_ABI_VERSION.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libpgentra.so.1");
        // Threads of the engine run in it: dlclose must not take it away from under them.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
