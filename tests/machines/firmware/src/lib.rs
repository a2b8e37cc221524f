//! What all machines share: a serial line served by an engine, a heap; the log is in flash.
//!
//! Knows no machine: a board gives it a line, flash, the time and random numbers.
#![no_std]

extern crate alloc;

mod heap;
mod terminal;

pub use heap::Heap;
pub use terminal::{Board, ENGINE_BYTES, Failure, serve};
