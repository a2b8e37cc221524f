//! How snapshots are taken.

use crate::engine::Retention;

/// How snapshots are taken.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Entropy, Options, SnapshotOptions};
///
/// let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// // Only when the host asks, and no faster than 16 MiB a second.
/// let snapshots = SnapshotOptions { automatic: false, bandwidth_max: 16 << 20, ..SnapshotOptions::default() };
/// let options = Options { snapshots: Some(snapshots), ..Options::new(entropy) };
/// assert_eq!(options.snapshots.map(|snapshots| snapshots.log_bytes_max), Some(256 << 20));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SnapshotOptions {
    /// Whether one is taken when there is much log; else only when a client or the host asks for it.
    pub automatic: bool,
    /// So much log may come together before one is taken, bytes; more, where it is less than half of the data; less, where [`SnapshotOptions::stored_percent_max`] asks for it.
    pub log_bytes_max: u64,
    /// What log and snapshots should take at most, percent of what a snapshot of the data takes (but no less than twice `log_bytes_max`, and that once): a snapshot is taken earlier for it, and the older
    /// generation goes before the next is begun. Beside it come what is written while a snapshot is taken, and that segments are removed whole. Less than 250 can't be kept.
    /// What is set aside for the log counts as far as it is more than a tenth of what a snapshot takes. With 250 all of it stays below three times keys and values, where these take seven segments or more.
    /// 0: there is no limit, and the older generation always stays until the next is there. It is no limit, either, where [`Retention`] keeps more.
    pub stored_percent_max: u64,
    /// How fast one is written at most, bytes a second; 0: as fast as it can be. One that [`Db::snapshot`](crate::db::Db::snapshot) waits for isn't held back.
    pub bandwidth_max: u64,
    /// What is kept of the log, and of older snapshots, beyond what a recovery may need.
    pub retention: Retention,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { automatic: true, log_bytes_max: 256 << 20, stored_percent_max: 250, bandwidth_max: 0, retention: Retention::default() }
    }
}
