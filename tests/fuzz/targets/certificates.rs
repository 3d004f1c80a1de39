//! See `pgentra_fuzz::certificates`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::certificates::run(data));
