//! A program without std, libc or an operating system's allocator that recovers an engine, serves requests, does what it
//! asks of storage, and recovers again from what was written. It ends with status 0 if every reply was right.
//!
//! That it links proves that nothing in osprey-core needs more than `core`, `alloc` and an allocator; that it runs, that nothing
//! is stubbed out. `run` in this directory builds it, runs it, and looks at its symbols.
#![no_std]
#![no_main]
// Otherwise the compiler would make `memcpy` of the loop that is `memcpy`.
#![no_builtins]

extern crate alloc;

mod freestanding;
mod memory;
// The tests' own, which is as free of std.
#[path = "../../src/memory_log.rs"]
mod memory_log;

use alloc::vec::Vec;

use memory_log::MemoryLog;
use osprey_core::engine::{Engine, Entropy, Options, Session};
use osprey_core::storage::StorageDone;
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;

const NOW: Millis = Millis(1_700_000_000_000);

/// What went wrong: the program's exit status.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Failure {
    Recovery = 10,
    Replies = 11,
    Ungated = 12,
    Gated = 13,
    Storage = 14,
    Unsealed = 15,
    RecoveredReplies = 16,
}

fn run() -> Result<(), Failure> {
    let mut log = MemoryLog::default();
    let mut engine = recover(&mut log)?;
    work(&mut engine, &mut log)?;

    let mut session = Session::new();
    let mut replies = Vec::new();
    engine.serve(NOW, &mut session, b"SET mykey 5\r\nhello\r\nINCR n 41\r\nINCR n\r\nGET mykey\r\n", &mut replies);
    check(replies == b"OK 1\r\n41\r\n42\r\nVALUE 5 1 -1\r\nhello\r\n", Failure::Replies)?;
    check(session.releasable(engine.watermark(), replies.len()) == 0, Failure::Ungated)?;
    work(&mut engine, &mut log)?;
    check(session.releasable(engine.watermark(), replies.len()) == replies.len(), Failure::Gated)?;

    engine.close();
    work(&mut engine, &mut log)?;
    check(engine.closed(), Failure::Unsealed)?;

    let mut engine = recover(&mut log)?;
    let mut session = Session::new();
    let mut replies = Vec::new();
    engine.serve(NOW, &mut session, b"MGET mykey n none\r\n", &mut replies);
    check(replies == b"VALUE mykey 5 1 -1\r\nhello\r\nVALUE n 2 2 -1\r\n42\r\nNOT_FOUND none\r\n", Failure::RecoveredReplies)
}

fn recover(log: &mut MemoryLog) -> Result<Engine, Failure> {
    let mut options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    // Small: the allocator has some megabytes.
    options.limits.request.value_bytes_max = 4096;
    options.limits.request.words_max = 64;
    options.segment_bytes = 0;
    options.sync_policy = SyncPolicy::Always;
    Engine::recover(options, log, NOW).map(|(engine, _)| engine).map_err(|_| Failure::Recovery)
}

/// Does all that the engine asks of storage.
fn work(engine: &mut Engine, log: &mut MemoryLog) -> Result<(), Failure> {
    while let Some(op) = engine.poll_storage() {
        let result = log.execute(&op);
        engine.storage_done(StorageDone { op, result }).map_err(|_| Failure::Storage)?;
    }
    Ok(())
}

fn check(right: bool, failure: Failure) -> Result<(), Failure> {
    if right { Ok(()) } else { Err(failure) }
}

/// Where the program begins; see [`freestanding`].
extern "C" fn main() -> ! {
    freestanding::exit(run().map_or_else(|failure| failure as u8, |()| 0))
}
