//! See `pgentra_fuzz::startup_packets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::startup_packets::run(data));
