//! Link options of the JNI library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        // Java unloads the library with its class loader, while threads of the engine run in it.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
