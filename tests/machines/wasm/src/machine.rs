//! One engine, one client, storage in memory.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, Poisoned, Session, SnapshotOptions};
use osprey_core::storage::Storage as _;
use osprey_core::storage::memory::MemoryStorage;
use osprey_core::units::Millis;

use crate::saved;

/// How much log comes together before a snapshot is taken, bytes.
const LOG_BYTES_MAX: u64 = 256 << 10;

pub struct Machine {
    engine: Engine,
    storage: MemoryStorage,
    session: Session,
    /// A request that isn't whole yet, and replies that can't be sent yet.
    input: Vec<u8>,
    replies: Vec<u8>,
}

impl Machine {
    pub fn start(input: &[u8], now: Millis) -> Result<Self, String> {
        let (hash_key, rest) = input.split_first_chunk().ok_or("40 random bytes are wanting")?;
        let (database, rest) = rest.split_first_chunk().ok_or("40 random bytes are wanting")?;
        let (salt, saved) = rest.split_first_chunk().ok_or("40 random bytes are wanting")?;
        let entropy = Entropy { hash_key: *hash_key, salt: u64::from_le_bytes(*salt), database: DatabaseId(*database) };
        let mut options = Options::new(entropy);
        options.limits.request.value_bytes_max = 1 << 20;
        options.limits.memory_bytes_max = 64 << 20;
        options.segment_bytes = 64 << 10;
        options.snapshots = Some(SnapshotOptions { log_bytes_max: LOG_BYTES_MAX, ..SnapshotOptions::default() });
        let mut storage = saved::restore(saved).ok_or("what was saved is damaged")?;
        let (engine, _) = Engine::recover(options, &mut storage, now).map_err(|error| error.to_string())?;
        let mut machine = Self { engine, storage, session: Session::new(), input: Vec::new(), replies: Vec::new() };
        machine.drive(now).map_err(|error| error.to_string())?;
        Ok(machine)
    }

    pub fn serve(&mut self, input: &[u8], now: Millis, output: &mut Vec<u8>) {
        self.input.extend_from_slice(input);
        loop {
            let served = self.engine.serve(now, &mut self.session, &self.input, &mut self.replies);
            self.input.drain(..served.consumed);
            self.engine.tick(now);
            if let Err(error) = self.drive(now) {
                return output.extend_from_slice(format!("# stopped: {error}\r\n").as_bytes());
            }
            let free = self.session.releasable(self.engine.watermark(), self.replies.len());
            output.extend(self.replies.drain(..free));
            if served.consumed == 0 || self.input.is_empty() {
                return;
            }
        }
    }

    pub fn save(&mut self, output: &mut Vec<u8>) {
        saved::save(&mut self.storage, output);
    }

    /// Storage in memory does everything at once.
    fn drive(&mut self, now: Millis) -> Result<(), Poisoned> {
        loop {
            self.engine.snapshot_slice(now, || true);
            let Some(op) = self.engine.poll_storage() else { return Ok(()) };
            if let Some(done) = self.storage.submit(op) {
                self.engine.storage_done(done)?;
            }
        }
    }
}
