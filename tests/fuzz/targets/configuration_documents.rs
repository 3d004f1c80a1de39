//! See `pgentra_fuzz::configuration_documents`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::configuration_documents::run(data));
