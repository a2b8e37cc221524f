//! Damaged snapshots and any bytes in their place, with checksums that are right all the same: no panic, no allocation by a claimed length, and an error or a state that stays.
#![no_main]

use osprey_tests::fuzz::{NotingAllocator, snapshot};

#[global_allocator]
static ALLOCATOR: NotingAllocator = NotingAllocator;

libfuzzer_sys::fuzz_target!(|input: snapshot::Input| input.run());
