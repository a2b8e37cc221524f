//! What both servers among the examples take from the system: files, the time, random numbers. With `std` alone.

mod files;

use std::fs::File;
use std::io::{self, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

use osprey_core::engine::{Engine, Entropy, Options, SnapshotOptions};
use osprey_core::units::Millis;
use osprey_core::wal::{segment::DatabaseId, writer::SyncPolicy};

pub(crate) use files::Files;

/// The time. If it goes back, the engine's stands still.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The engine of these examples: a reply means that what it says is on disk.
pub(crate) fn recover(files: &mut Files) -> Result<Engine, Box<dyn std::error::Error>> {
    let entropy = Entropy { hash_key: random()?, salt: u64::from_le_bytes(random()?), database: DatabaseId(random()?) };
    let mut options = Options { sync_policy: SyncPolicy::Always, segment_bytes: 16 << 20, ..Options::new(entropy) };
    options.limits.request.value_bytes_max = 1 << 20;
    options.limits.memory_bytes_max = 1 << 30;
    options.snapshots = Some(SnapshotOptions::default());
    let (engine, report) = Engine::recover(options, files, now())?;
    eprintln!("{} keys from {} records", engine.store().len(), report.records);
    Ok(engine)
}
