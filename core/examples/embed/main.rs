//! The core without a server: requests in, replies and storage operations out.

mod memory_log;

use memory_log::MemoryLog;
use osprey_core::engine::{Engine, Entropy, Options, Session};
use osprey_core::storage::Storage as _;
use osprey_core::units::Millis;
use osprey_core::wal::{segment::DatabaseId, writer::Poisoned};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In earnest: bytes from the system's random number generator, new for every run.
    let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
    let mut log = MemoryLog::default();
    let (mut engine, _) = Engine::recover(Options::new(entropy), &mut log, Millis(0))?;
    drive(&mut engine, &mut log)?; // the first segment

    let (mut session, mut replies) = (Session::new(), Vec::new());
    let requests = b"SET greeting 5\r\nhello\r\nGET greeting\r\n";
    let served = engine.serve(Millis(1), &mut session, requests, &mut replies);
    assert_eq!(served.consumed, requests.len());
    assert_eq!(session.releasable(engine.watermark(), replies.len()), 0, "not in the log yet");
    drive(&mut engine, &mut log)?; // one frame with all that was written
    assert_eq!(session.releasable(engine.watermark(), replies.len()), replies.len());
    assert_eq!(replies, b"OK 1\r\nVALUE 5 1 -1\r\nhello\r\n");

    let (recovered, _) = Engine::recover(Options::new(entropy), &mut log, Millis(2))?;
    assert_eq!(recovered.store().len(), 1);
    Ok(())
}

/// Does everything that the engine asks of storage. A server would do it on another thread, and serve on.
fn drive(engine: &mut Engine, log: &mut MemoryLog) -> Result<(), Poisoned> {
    while let Some(op) = engine.poll_storage() {
        if let Some(done) = log.submit(op) {
            engine.storage_done(done)?;
        }
    }
    Ok(())
}
