//! Sets the linker arguments of a Node addon.

fn main() {
    napi_build::setup();
    // Node unloads an addon when the last worker that loaded it ends, but the engine's thread still runs its code.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
