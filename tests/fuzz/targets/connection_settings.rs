//! See `pgentra_fuzz::connection_settings`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::connection_settings::run(data));
