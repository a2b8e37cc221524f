//! Shared parts of the tests: see the modules.

extern crate alloc;

pub mod fuzz;
pub mod memory_log;
