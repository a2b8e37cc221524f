//! How an engine is to run: its bounds, and what a host decides.

use core::fmt;

use super::{DatabaseId, SnapshotOptions, SyncPolicy};
use crate::checksum::{Checksum, crc32c};
use crate::protocol::request;
use crate::storage::ChunkBytes;
use crate::wal::frame::{FRAME_HEADER_BYTES, RECORD_LENGTH_BYTES};
use crate::wal::segment::HEADER_BYTES;

/// Bounds of everything that a client can make large.
///
/// ```
/// use osprey_core::engine::Limits;
/// use osprey_core::protocol::request;
///
/// // What a program on a small machine lets its clients ask for.
/// let limits = Limits {
///     request: request::Limits { key_bytes_max: 32, value_bytes_max: 512, line_bytes_max: 128, words_max: 16 },
///     memory_bytes_max: 48 << 10,
///     reply_bytes_max: 2 << 10,
///     unsent_bytes_soft_max: 1 << 10,
///     recent_slots_log2: 4,
///     ..Limits::default()
/// };
/// assert_eq!(limits.requests_per_call, 1024);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of requests.
    pub request: request::Limits,
    /// Of keys, index, deadlines and the connections' buffers together, bytes; 0: no limit. Over it, writes that need more get `ERR OOM`.
    pub memory_bytes_max: u64,
    /// Of the reply to one `MGET`, bytes. (A `GET` is bounded by the largest value.)
    pub reply_bytes_max: usize,
    /// With this many unsent bytes no further request of that connection is executed.
    pub unsent_bytes_soft_max: usize,
    /// How many requests one call of [`Engine::serve`](super::Engine::serve) executes at most.
    pub requests_per_call: usize,
    /// The table that tells which keys were written lately has 2^this slots of 8 bytes.
    pub recent_slots_log2: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: request::Limits { key_bytes_max: 256, value_bytes_max: 16 << 20, line_bytes_max: 1 << 20, words_max: 4096 },
            memory_bytes_max: 0,
            reply_bytes_max: 64 << 20,
            unsent_bytes_soft_max: 256 << 10,
            requests_per_call: 1024,
            recent_slots_log2: 13,
        }
    }
}

/// Random numbers, from a good source, new for every run.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Entropy, Options};
///
/// fn random<const N: usize>() -> [u8; N] {
///     // In earnest: the `getrandom` crate, or the machine's generator.
/// # let mut bytes = [0; N];
/// # std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
/// # bytes
/// }
///
/// let entropy = Entropy { hash_key: random(), salt: u64::from_le_bytes(random()), database: DatabaseId(random()) };
/// assert_ne!(entropy.hash_key, Options::new(Entropy { hash_key: random(), ..entropy }).entropy.hash_key);
/// ```
#[derive(Clone, Copy)]
pub struct Entropy {
    /// Against hash flooding.
    pub hash_key: [u8; 16],
    /// The log's salt.
    pub salt: u64,
    /// Names the database if it is new.
    pub database: DatabaseId,
}

/// Without what is secret.
impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy").field("database", &self.database).finish_non_exhaustive()
    }
}

/// How an engine is to run.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Entropy, Limits, Options, SnapshotOptions, SyncPolicy};
///
/// let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// let options = Options {
///     limits: Limits { memory_bytes_max: 64 << 20, ..Limits::default() },
///     sync_policy: SyncPolicy::Batch { delay_ms: 20, bytes: 256 << 10 },
///     snapshots: Some(SnapshotOptions::default()), // only where storage does them
///     ..Options::new(entropy)
/// };
/// assert!(options.segment_bytes >= options.segment_bytes_min(), "the largest request fits");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bounds.
    pub limits: Limits,
    /// What a reply promises.
    pub sync_policy: SyncPolicy,
    /// A log segment's size, bytes; it is made larger if the largest request doesn't fit.
    pub segment_bytes: u64,
    /// How often expired keys are looked for.
    pub sweep_interval_ms: u64,
    /// How many deadlines one [`Engine::tick`](super::Engine::tick) looks at, at most.
    pub sweep_batch: usize,
    /// How snapshots are taken; `None`: none ever are, and storage isn't asked for them.
    pub snapshots: Option<SnapshotOptions>,
    /// How much of log and snapshots is read at once while they are recovered, and of a snapshot while it is written and verified.
    pub chunk: ChunkBytes,
    /// How checksums are computed.
    pub checksum: Checksum,
    /// Random numbers.
    pub entropy: Entropy,
}

impl Options {
    /// Options with default limits, `batch` of 100 ms or 1 MiB, and segments of 64 MiB, and no snapshots.
    #[must_use]
    pub fn new(entropy: Entropy) -> Self {
        Self {
            limits: Limits::default(),
            sync_policy: SyncPolicy::Batch { delay_ms: 100, bytes: 1 << 20 },
            segment_bytes: 64 << 20,
            sweep_interval_ms: 200,
            sweep_batch: 1000,
            snapshots: None,
            chunk: ChunkBytes::default(),
            checksum: crc32c,
            entropy,
        }
    }

    /// The size that a segment needs so that the largest request fits into one, bytes.
    #[must_use]
    pub fn segment_bytes_min(&self) -> u64 {
        let request = &self.limits.request;
        // An MSET: all its payloads count as one value, and each of its keys has a record.
        let records = (request.words_max.max(2) / 2) as u64;
        let record_bytes_max = (RECORD_LENGTH_BYTES + 32 + request.key_bytes_max) as u64;
        let frame = records.saturating_mul(record_bytes_max).saturating_add((FRAME_HEADER_BYTES + request.value_bytes_max) as u64);
        frame.saturating_add(HEADER_BYTES + 4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_without_bounds_do_not_overflow() {
        let mut options = Options::new(Entropy { hash_key: [0; 16], salt: 0, database: DatabaseId([0; 16]) });
        options.limits.request.words_max = usize::MAX;
        assert!(options.segment_bytes_min() > 1 << 40);
    }
}
