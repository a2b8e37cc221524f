//! Recovery of a damaged log whose checksums are right all the same: no panic, and an error or a state that stays.
#![no_main]

use osprey_tests::fuzz::{NotingAllocator, replay_repaired};

#[global_allocator]
static ALLOCATOR: NotingAllocator = NotingAllocator;

libfuzzer_sys::fuzz_target!(|input: replay_repaired::Input| input.run());
