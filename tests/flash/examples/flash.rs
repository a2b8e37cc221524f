//! osprey-core on NOR flash: `cargo run -p osprey-flash --example flash`. To copy: put the driver of your flash in the place of `Chip`, your line or bus in that of `main`,
//! your clock and random number generator in that of the constants.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write};
use osprey_core::engine::{Engine, Entropy, Options, Session, SnapshotOptions};
use osprey_core::protocol::request;
use osprey_core::storage::{ChunkBytes, Storage as _};
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::{Poisoned, SyncPolicy};
use osprey_flash::FlashLog;

/// Each slot holds a segment of the log, or a part of a snapshot.
const SLOT_BYTES: u32 = 32 << 10;

/// A chip of 1 MiB: what a driver implements.
struct Chip(Vec<u8>);

impl ErrorType for Chip {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.0[from as usize..to as usize].fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let cells = &mut self.0[offset as usize..][..bytes.len()];
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}

/// A store in flash, with one client.
struct Device {
    engine: Engine,
    log: FlashLog<Chip>,
    session: Session,
    replies: Vec<u8>,
}

impl Device {
    /// Recovers what the flash holds; new flash is all ones.
    fn start(chip: Chip, now: Millis) -> Result<Self, Box<dyn std::error::Error>> {
        let mut log = FlashLog::mount(chip, SLOT_BYTES)?;
        // In earnest: random numbers, new for every run.
        let mut options = Options::new(Entropy { hash_key: [1; 16], salt: now.0, database: DatabaseId([3; 16]) });
        // What memory there is decides these.
        options.limits.request = request::Limits { key_bytes_max: 64, value_bytes_max: 4096, line_bytes_max: 512, words_max: 32 };
        options.limits.memory_bytes_max = 128 << 10;
        options.limits.recent_slots_log2 = 6;
        options.chunk = ChunkBytes::nearest(8 << 10);
        options.sync_policy = SyncPolicy::Always;
        options.segment_bytes = log.segment_bytes();
        options.snapshots = Some(SnapshotOptions { automatic: false, ..SnapshotOptions::default() });
        let (engine, report) = Engine::recover(options, &mut log, now)?;
        println!("{} keys, from {} records of the log and {:?}", engine.store().len(), report.records, report.snapshot);
        let mut device = Self { engine, log, session: Session::new(), replies: Vec::new() };
        device.drive(now)?;
        Ok(device)
    }

    /// Executes what is whole of `input`, takes it out, and returns what may be sent: nothing that a power cut could undo.
    fn serve(&mut self, now: Millis, input: &mut Vec<u8>) -> Result<Vec<u8>, Poisoned> {
        let served = self.engine.serve(now, &mut self.session, input, &mut self.replies);
        input.drain(..served.consumed);
        // Also to be called when it says, without any input: it looks for expired keys.
        self.engine.tick(now);
        self.drive(now)?;
        let free = self.session.releasable(self.engine.watermark(), self.replies.len());
        Ok(self.replies.drain(..free).collect())
    }

    /// Does all that the engine asks of storage, and takes a snapshot when it is time.
    fn drive(&mut self, now: Millis) -> Result<(), Poisoned> {
        if self.log.wants_snapshot() {
            let _ = self.engine.request_snapshot();
        }
        loop {
            self.engine.snapshot_slice(now, || true);
            let Some(op) = self.engine.poll_storage() else { return Ok(()) };
            if let Some(done) = self.log.submit(op) {
                self.engine.storage_done(done)?;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut chip = Chip(vec![0xFF; 1 << 20]);
    // Thirty starts, each of which ends without notice.
    for run in 0..30 {
        let now = Millis(1_700_000_000_000 + 1000 * run);
        let mut device = Device::start(chip, now)?;
        let mut input = b"INCR starts\r\nSET greeting 5\r\nhello\r\nGET greeting\r\n".to_vec();
        let mut sent = Vec::new();
        while !input.is_empty() {
            sent.extend(device.serve(now, &mut input)?);
        }
        print!("{}", String::from_utf8_lossy(&sent));
        chip = device.log.into_flash();
    }
    Ok(())
}
