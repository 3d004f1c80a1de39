//! Generates the Kotlin and Swift sources from the library.

fn main() {
    uniffi::uniffi_bindgen_main();
}
