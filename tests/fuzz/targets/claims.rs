//! See `pgentra_fuzz::claims`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::claims::run(data));
