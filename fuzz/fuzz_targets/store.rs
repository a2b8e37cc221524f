//! The engine against a model: equal replies to any list of operations, also over restarts.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: osprey_tests::fuzz::store::Input| input.run());
