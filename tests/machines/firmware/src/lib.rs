//! What all machines share: a serial line served by an engine, a heap, and the log in flash.
//!
//! Knows no machine: a board gives it a line, flash, the time and random numbers.
#![no_std]

extern crate alloc;

mod flash_log;
mod heap;
mod terminal;

pub use heap::Heap;
pub use terminal::{Board, Failure, serve};
