//! A durable key-value store as a machine without I/O.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod checksum;
pub mod clock;
pub mod engine;
pub mod protocol;
pub mod record;
pub mod recovery;
pub mod storage;
pub mod store;
pub mod units;
pub mod wal;
