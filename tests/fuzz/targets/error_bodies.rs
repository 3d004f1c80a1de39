//! See `pgentra_fuzz::error_bodies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::error_bodies::run(data));
