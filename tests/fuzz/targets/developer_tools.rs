//! See `pgentra_fuzz::developer_tools`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgentra_fuzz::developer_tools::run(data));
