//! See `pgentra_fuzz::error_fields`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::error_fields::run(data));
