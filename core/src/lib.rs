//! A durable key-value store as a machine without I/O.
//!
//! A host passes in bytes and the time, sends the replies that may be sent, and does the storage operations that it is
//! given, in its own way and whenever it can. Nothing here waits, reads a clock or asks for random numbers.
//!
//! ```text
//!                      engine ◀── recovery
//!             ┌──────────┼──────────┐
//!             ▼          ▼          ▼
//!         protocol     store       wal          storage, clock: what a host implements
//!                        └── record ──┘         units, checksum: what all of them use
//! ```
//! - [`engine`]: requests in, replies and storage operations out. Begin with [`engine::Engine`].
//! - [`protocol`]: bytes to commands and replies to bytes; the client's half too.
//! - [`store`]: keys with values, versions and expiries.
//! - [`wal`]: the log, written and read; [`snapshot`]: the same for snapshots; [`record`]: the one encoding of an entry; [`recovery`]: from both to a store.
//! - [`storage`], [`clock`]: the traits of a host. The feature `conformance` adds a module that checks a storage against its contract.
//!
//! `examples/embed` is the least that a host has to do. Needs `alloc`; every allocation whose size depends on input may fail,
//! and is answered with `ERR OOM`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod checksum;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod db;
pub mod engine;
#[cfg(museum)]
pub mod museum;
#[cfg(not(museum))]
mod museum;
pub mod protocol;
pub mod record;
pub mod recovery;
pub mod snapshot;
pub mod storage;
pub mod store;
pub mod units;
pub mod wal;
