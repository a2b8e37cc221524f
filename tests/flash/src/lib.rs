//! Storage for [`osprey_core`] in NOR flash, through the traits of `embedded-storage`.
//!
//! NOR flash is erased in blocks, which sets all bits; writing clears bits, and no word is written twice before the next erasure. Blocks wear out. The power may go at any
//! moment, and what was under way then may be anything: partly written, partly erased, even bits that read differently each time.
//!
//! The flash is divided into slots of equal size. A slot's body holds a segment of the log or a part of a snapshot; the head of **one** slot, the one that was written
//! last, says what all the bodies hold:
//!
//! ```text
//!  head: erase blocks                                              body: erase blocks
//! ┌──────────────────────────┬────────┬────────┬──────┬┄┄┄┄┄┄┄┄┄┐┌───────────────────┬┄┄┄┄┄┄┄┐
//! │ map g: what the slots    │ commit │ commit │ note │  blank  ││ a segment, or a   │ blank │
//! │ hold, one entry for each │        │        │      │         ││ part of a snapshot│       │
//! └──────────────────────────┴────────┴────────┴──────┴┄┄┄┄┄┄┄┄┄┘└───────────────────┴┄┄┄┄┄┄┄┘
//! ```
//! What changes at once (a segment begins, a snapshot gets its name) is a new map, in the head of a slot that was free; it counts when its commit can be read. Notes behind it say
//! what is gone since. So every change is a write to erased flash, nothing that counts is ever erased, and all blocks are used in turn. Before anything is
//! built on what a start has found, it is made certain: see [`FlashLog::mount`].
//!
//! Everything is stored inverted, so that what is erased reads as the zeros that the engine expects. `examples/flash.rs` is a program that uses it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod files;
mod mount;
mod notes;
mod planted;
mod slots;
#[cfg(test)]
mod tests;

pub use slots::FlashLog;
