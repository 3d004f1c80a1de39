//! Links the addon as Node wants it.

fn main() {
    napi_build::setup();
    // Node closes an addon when the last worker that had loaded it ends. The engine's thread goes on running its code.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
