//! The server's parser: no panic, always progress, and the same requests however the bytes are split.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| osprey_tests::fuzz::parser::check(data));
