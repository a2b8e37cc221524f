//! Both halves of the protocol: what one encodes the other reads as just that.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: osprey_tests::fuzz::round_trip::Input| input.run());
