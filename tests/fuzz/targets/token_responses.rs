//! See `pgentra_fuzz::token_responses`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::token_responses::run(data));
