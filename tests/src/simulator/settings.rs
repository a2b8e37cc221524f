//! How a run is set up: small limits, so that their edges are hit often, and different ones in every run.

use osprey_core::engine::{Entropy, Options, Retention, SnapshotOptions};
use osprey_core::storage::ChunkBytes;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;

use super::keys::{KEY_BYTES_MAX, KEYS_MAX};
use super::tape::Choices;

/// As long are values at most where they are to be long, bytes.
const LONG_BYTES: usize = 5000;

/// What stays the same through all restarts of a run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Options of the engine; sync policy and random numbers change with each restart.
    pub options: Options,
    /// How many keys there are.
    pub keys: usize,
    /// Whether many keys are to be there at once, so that tables split.
    pub crowded: bool,
    /// Whether many values are long, so that the walk of a snapshot takes many steps.
    pub long: bool,
}

impl Settings {
    /// Reads them from a run's first chunk.
    #[must_use]
    pub fn new(choices: &mut Choices) -> Self {
        let entropy = Entropy { hash_key: [0; 16], salt: 0, database: DatabaseId(*b"a simulated disk") };
        let mut options = Options::new(entropy);
        options.sync_policy = policy(choices);
        let crowded = choices.one_in(8);
        let pick = choices.byte();
        let limits = &mut options.limits;
        limits.request.key_bytes_max = KEY_BYTES_MAX;
        // Seldom, since they take long: values and frames of more than 64 KiB.
        limits.request.value_bytes_max = if pick & 0xBF == 0xB7 { 70_000 } else { [300, 700, 1500][usize::from(pick % 3)] };
        limits.request.line_bytes_max = 700;
        limits.request.words_max = if crowded { 41 } else { 13 };
        limits.reply_bytes_max = if pick & 8 == 0 { 1 << 20 } else { 900 };
        limits.unsent_bytes_soft_max = [4096, 256, 1024, 20_000][usize::from(pick >> 4 & 3)];
        limits.requests_per_call = [64, 1, 7, 1024][usize::from(pick >> 6)];
        let pick = choices.byte();
        limits.recent_slots_log2 = u32::from(pick & 7);
        limits.memory_bytes_max = if pick & 0x18 == 0x18 { 24_000 + 1000 * u64::from(pick >> 5) } else { 0 };
        options.sweep_batch = [1000, 1, 5, 40][usize::from(pick >> 6)];
        options.sweep_interval_ms = [200, 1, 20, 1000][usize::from(pick >> 4 & 3)];
        let segment_bytes_more = [0, 8, 512, 4096][choices.below(4)];
        let keys = if crowded { KEYS_MAX } else { [40, 3, 12, 200][choices.below(4)] };
        let (snapshots, long) = snapshots(choices);
        options.snapshots = snapshots;
        if snapshots.is_some() {
            // Values of 70 KB would be cut into too many.
            let least = options.limits.request.value_bytes_max / 10;
            options.chunk = ChunkBytes::nearest([4096, 512, 1536, 256 << 10][choices.below(4)].max(least));
        }
        let long = long && !crowded;
        if long {
            options.limits.request.value_bytes_max = options.limits.request.value_bytes_max.max(LONG_BYTES);
        }
        options.segment_bytes = options.segment_bytes_min() + segment_bytes_more;
        Self { options, keys, crowded, long }
    }
}

/// How snapshots are taken; and whether values are to be long.
fn snapshots(choices: &mut Choices) -> (Option<SnapshotOptions>, bool) {
    let (often, pick) = (choices.byte(), choices.byte());
    if often < 32 {
        return (None, false);
    }
    let retention =
        Retention { keep_ms: [0, 0, 0, 3000][usize::from(pick & 3)], keep_bytes: [0, 0, 0, 30_000][usize::from(pick >> 2 & 3)] };
    let snapshots = SnapshotOptions {
        automatic: pick >> 4 & 3 != 3,
        log_bytes_max: [4000, 500, 12_000, 40_000][usize::from(pick >> 6)],
        stored_percent_max: [0, 250, 0, 300, 250, 0, 1000, 250][usize::from(often >> 5)],
        bandwidth_max: [0, 0, 300_000, 4_000_000][usize::from(often & 3)],
        retention,
    };
    (Some(snapshots), often >> 2 & 7 == 7)
}

/// A sync policy.
pub fn policy(choices: &mut Choices) -> SyncPolicy {
    match choices.below(8) {
        0..=3 => SyncPolicy::Always,
        4 => SyncPolicy::Os,
        5 => SyncPolicy::Batch { delay_ms: 0, bytes: 0 },
        6 => SyncPolicy::Batch { delay_ms: 20, bytes: 700 },
        _ => SyncPolicy::Batch { delay_ms: 100, bytes: 1 << 20 },
    }
}
