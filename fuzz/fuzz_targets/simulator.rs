//! The whole core under faults: the input is the simulator's tape.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| osprey_tests::fuzz::simulator::check(input));
