//! A durable key-value store as a machine without I/O.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod protocol;
pub mod units;
