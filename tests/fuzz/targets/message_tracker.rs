//! See `pgentra_fuzz::message_tracker`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::message_tracker::run(data));
