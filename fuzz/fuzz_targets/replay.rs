//! Recovery of any bytes as a log: no panic, no allocation by a claimed length, and an error or a state that stays.
#![no_main]

use osprey_tests::fuzz::{NotingAllocator, replay};

#[global_allocator]
static ALLOCATOR: NotingAllocator = NotingAllocator;

libfuzzer_sys::fuzz_target!(|data: &[u8]| replay::check(data));
