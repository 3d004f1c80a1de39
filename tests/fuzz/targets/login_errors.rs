//! See `pgentra_fuzz::login_errors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::login_errors::run(data));
