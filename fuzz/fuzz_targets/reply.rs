//! The client's parser of replies: no panic, and never another answer when more of the stream has arrived.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| osprey_tests::fuzz::reply::check(data));
