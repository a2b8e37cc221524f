//! A durable key-value store as a machine without I/O, to be built into other programs: `no_std` + `alloc`, no unsafe code.
//!
//! A host passes in bytes and the time, sends the replies that may be sent, and does the storage operations that it is
//! given, in its own way and whenever it can: threads, an async runtime, flash memory, a simulator. Nothing here waits, reads a clock or asks for random numbers.
//! There are three ways in, over the same code:
//!
//! - [`db::Db`]: plain calls that wait, on any [`Storage`](storage::Storage) and [`Clock`](clock::Clock). Begin here to keep data in a program. On an operating system the crate
//!   [`osprey`](https://docs.rs/osprey) has both, and opens a directory.
//! - [`engine::Engine`]'s calls, [`get`](engine::Engine::get), [`set`](engine::Engine::set), …: nothing waits; an [`Answer`](engine::Answer) says which point of the log it depends on.
//! - [`engine::Engine::serve`]: the text protocol, bytes to bytes, for servers.
//!
//! # The machine
//! ```text
//!  connection's input (host's) ──▶ ┌─ Engine ──────────────────┐ ──▶ connection's output (host's Vec), of which
//!  Session (host's, one each) ───▶ │ serve                     │     Session::releasable(watermark) may be sent
//!  key, value (borrowed) ────────▶ │ get, set, scan, …         │ ──▶ Answer { result (lent), after }
//!  time ─────────────────────────▶ │ tick                      │ ──▶ when to call tick again
//!                                  │ owns: all data, the log's │
//!                                  │ pending frame, its spare  │ ──▶ poll_storage: StorageOp (owns its buffer) ─┐
//!                                  └───────────────────────────┘                                               ▼
//!                                     storage_done: StorageDone (gives the buffer back) ◀───────── host's storage
//! ```
//! Whose the buffers are:
//! - A connection's input is the host's, and only read. What [`Served::consumed`](engine::Served::consumed) doesn't count comes again with the next call, more behind it.
//! - Its output is the host's, too: the engine appends, the host removes from the front what it has sent, and the [`Session`](engine::Session) knows which of it may be.
//! - A [`StorageOp`](storage::StorageOp) owns its bytes, so that it can wait in a queue and cross threads. It comes back whole, done or failed, and its buffer serves again.
//! - A value that a call has found ([`Entry`](engine::Entry), [`Payload`](engine::Payload)) is lent from the data until the engine is called again; the compiler sees to that.
//!
//! | when | the host calls | bound of the call |
//! | --- | --- | --- |
//! | at the start | [`Engine::recover`](engine::Engine::recover) | reads all of the newest snapshot and of the log behind it; memory: the data, and [`Options::chunk`](engine::Options::chunk) or one frame |
//! | input has come, and [`Served::next`](engine::Served::next) asks for no more | [`Engine::serve`](engine::Engine::serve) | [`requests_per_call`](engine::Limits::requests_per_call) requests; none once [`unsent_bytes_soft_max`](engine::Limits::unsent_bytes_soft_max) wait to be sent |
//! | it wants something itself | [`Engine::get`](engine::Engine::get) and the others | one request |
//! | after each of these, and after `storage_done` | [`Engine::poll_storage`](engine::Engine::poll_storage) until `None` | constant, but for a frame's checksum |
//! | an operation has ended | [`Engine::storage_done`](engine::Engine::storage_done), then send what [`Session::releasable`](engine::Session::releasable) allows | constant, but for a chunk of a snapshot that is checked |
//! | at the time that it has returned, and after other calls | [`Engine::tick`](engine::Engine::tick) | [`sweep_batch`](engine::Options::sweep_batch) deadlines |
//! | [`Engine::wants_snapshot_slice`](engine::Engine::wants_snapshot_slice), and there is time | [`Engine::snapshot_slice`](engine::Engine::snapshot_slice) | steps of some 16 KiB or one entry, as long as the host says |
//! | at the end | [`Engine::close`](engine::Engine::close), then storage as before until [`Engine::closed`](engine::Engine::closed) | constant |
//!
//! # All of it
//! ```
//! use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, Session, SyncPolicy};
//! use osprey_core::storage::memory::MemoryStorage;
//! use osprey_core::units::Millis;
//!
//! // In earnest: bytes from the system's random number generator, new for every run.
//! let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
//! let options = Options { sync_policy: SyncPolicy::Always, ..Options::new(entropy) };
//! let mut storage = MemoryStorage::new();
//! let (mut engine, report) = Engine::recover(options, &mut storage, Millis(1))?;
//! assert_eq!(report.records, 0);
//! while engine.drive(&mut storage)? {} // the log's first segment
//!
//! // A client's bytes: what is not in the log yet stays here.
//! let (mut session, mut out) = (Session::new(), Vec::new());
//! let served = engine.serve(Millis(2), &mut session, b"SET greeting 5\r\nhello\r\n", &mut out);
//! assert_eq!(served.consumed, 23);
//! assert_eq!(session.releasable(engine.watermark(), out.len()), 0);
//!
//! // The same key by a call: its value isn't certain either.
//! let entry = engine.get(Millis(2), b"greeting");
//! let after = entry.after.expect("it was written just now");
//! assert_eq!(entry.result?.expect("it is there").value, b"hello");
//!
//! // Storage does what it is given. A server's would do it beside.
//! while engine.drive(&mut storage)? {}
//! assert!(engine.watermark() >= after);
//! assert_eq!(session.releasable(engine.watermark(), out.len()), out.len());
//! assert_eq!(out, b"OK 1\r\n");
//!
//! let (recovered, _) = Engine::recover(options, &mut storage, Millis(3))?;
//! assert_eq!(recovered.store().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors and limits
//! - Wrong input is an answer: [`engine::Error`], whose [code](engine::Error::code) is what a client is told. Nothing has changed then.
//! - Every allocation whose size depends on input may fail, and is answered with `ERR OOM` ([`engine::Error::OutOfMemory`]). [`engine::Limits`] bounds what may be asked for.
//! - Damage in storage is refused at the start, with its place: [`recovery::RecoveryError`]. A torn end of the log is cut, and reported.
//! - When storage fails while the engine runs, it ends: [`engine::Poisoned`]. Nothing that waits for the log may be shown any more; recover anew.
//! - Nothing panics for what comes in or stands in files.
//! - All data is in memory. One engine is one thread's at a time; it is `Send`.
//!
//! # What is where
//! ```text
//!            db ──▶ engine ◀── recovery
//!             ┌──────────┼──────────┬──────────┐
//!             ▼          ▼          ▼          ▼
//!         protocol     store       wal      snapshot    storage, clock: what a host implements
//!                        └── record ──┴────────┘        units, checksum: what all of them use
//! ```
//! [`db`], [`engine`], [`storage`], [`clock`], [`units`], [`checksum`] and [`protocol`] are for hosts. [`wal`], [`snapshot`], [`record`], [`recovery`] and [`store`] are the parts that the
//! engine is made of; they are public for tools and tests that work on its files. The feature `conformance` adds a module that checks a storage of your own against the contract.
//! [`storage::memory`] is a storage to try things with. Every item has an example, and says its errors and what bounds it.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]
#![cfg_attr(docsrs, feature(doc_cfg))]

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

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
