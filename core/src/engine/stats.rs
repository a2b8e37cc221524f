//! What `STATS` tells: counters of the engine, and what the host adds.

use alloc::vec::Vec;

use super::Engine;
use crate::protocol::command::Command;
use crate::protocol::reply;
use crate::record::OutOfMemory;

/// What stands for a name or text that there isn't.
const NONE: &str = "none";

/// How often each command was executed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) ping: u64,
    pub(super) get: u64,
    pub(super) set: u64,
    pub(super) del: u64,
    pub(super) exists: u64,
    pub(super) expire: u64,
    pub(super) persist: u64,
    pub(super) ttl: u64,
    pub(super) incr: u64,
    pub(super) mget: u64,
    pub(super) mset: u64,
    pub(super) scan: u64,
    pub(super) stats: u64,
    pub(super) snapshot: u64,
    pub(super) errors: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

impl Counters {
    /// The command was counted and has to be executed again later.
    #[cold]
    pub(super) fn take_back(&mut self, command: &Command<'_>) {
        let counter = match command {
            Command::Get { .. } => &mut self.get,
            Command::Set { .. } => &mut self.set,
            Command::Del { .. } => &mut self.del,
            Command::Exists { .. } => &mut self.exists,
            Command::Expire { .. } => &mut self.expire,
            Command::Persist { .. } => &mut self.persist,
            Command::Ttl { .. } => &mut self.ttl,
            Command::Add { .. } => &mut self.incr,
            Command::Mget { .. } => &mut self.mget,
            Command::Mset { .. } => &mut self.mset,
            Command::Scan { .. } => &mut self.scan,
            Command::Snapshot => &mut self.snapshot,
            // They need neither the log nor a key: nothing that they would wait for.
            Command::Ping | Command::Stats | Command::Quit => return,
        };
        *counter = counter.saturating_sub(1);
    }
}

/// What only the host can know; it sets the fields when they change.
///
/// ```
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
/// // What the host's connections take counts towards the limit of memory, and stands in `STATS`.
/// let before = engine.memory_bytes();
/// engine.gauges.clients = 3;
/// engine.gauges.connection_bytes = 4_096;
/// assert_eq!(engine.memory_bytes(), before + 4_096);
/// assert!(engine.stats().any(|stat| stat == ("clients", 3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostGauges {
    /// Connections that are open.
    pub clients: u64,
    /// Connections that were accepted since the start.
    pub connections_total: u64,
    /// Connections that were refused because there were too many.
    pub connections_rejected: u64,
    /// Memory held by connections' buffers, bytes. Counts towards [`Limits::memory_bytes_max`](super::Limits::memory_bytes_max).
    pub connection_bytes: u64,
    /// Resident memory of the process, bytes.
    pub mem_rss_bytes: u64,
    /// Requests that took longer than the slow log's threshold.
    pub slow_requests: u64,
    /// The longest slice of a snapshot since the start, microseconds.
    pub snapshot_slice_max_us: u64,
    /// How long the last sync of the log took, microseconds.
    pub sync_last_us: u64,
    /// How long the longest took.
    pub sync_max_us: u64,
    /// 1 while log and snapshots take more than the host was told to warn of.
    pub directory_over_limit: u64,
}

impl Engine {
    /// The numbers of `STATS` by their names, for a host that shows them elsewhere, too.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// let of = |name| engine.stats().find(|(other, _)| *other == name).map(|(_, number)| number);
    /// assert_eq!((of("keys"), of("cmd_incr"), of("no_such_name")), (Some(1), Some(1), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> impl ExactSizeIterator<Item = (&'static str, u64)> + use<> {
        let counters = &self.counters;
        let gauges = &self.gauges;
        let log = &self.journal.log;
        let snapshots = &self.snapshots;
        [
            ("uptime_ms", self.now.since(self.started)),
            ("clients", gauges.clients),
            ("connections_total", gauges.connections_total),
            ("connections_rejected", gauges.connections_rejected),
            ("keys", self.store.len() as u64),
            ("keys_with_expiry", self.store.with_expiry() as u64),
            ("expired_total", self.store.expired_total()),
            ("evicted_total", 0),
            ("cmd_ping", counters.ping),
            ("cmd_get", counters.get),
            ("cmd_set", counters.set),
            ("cmd_del", counters.del),
            ("cmd_exists", counters.exists),
            ("cmd_expire", counters.expire),
            ("cmd_persist", counters.persist),
            ("cmd_ttl", counters.ttl),
            ("cmd_incr", counters.incr),
            ("cmd_mget", counters.mget),
            ("cmd_mset", counters.mset),
            ("cmd_scan", counters.scan),
            ("cmd_stats", counters.stats),
            ("cmd_snapshot", counters.snapshot),
            ("errors_total", counters.errors),
            ("get_hits", counters.hits),
            ("get_misses", counters.misses),
            ("slow_requests", gauges.slow_requests),
            ("version_floor", self.store.floor().0),
            ("lsn_last", log.last_lsn().0),
            ("lsn_durable", log.durable_lsn().0),
            ("wal_bytes", self.log_bytes()),
            ("wal_segments", snapshots.segments.len() as u64),
            ("wal_since_snapshot_bytes", snapshots.log_bytes(log)),
            ("wal_torn_bytes", self.report.torn.map_or(0, |torn| torn.bytes)),
            ("wal_syncs", log.syncs()),
            ("sync_last_us", gauges.sync_last_us),
            ("sync_max_us", gauges.sync_max_us),
            ("directory_bytes", self.stored_bytes()),
            ("directory_over_limit", gauges.directory_over_limit),
            ("read_only", u64::from(log.read_only())),
            ("snapshots_total", snapshots.stats.total),
            ("last_snapshot_ms", snapshots.stats.last_good_at.0),
            ("snapshot_running", u64::from(snapshots.running())),
            ("snapshot_failures", snapshots.stats.failures),
            ("snapshot_took_ms", snapshots.stats.last_took_ms),
            ("snapshot_age_ms", if snapshots.stats.total > 0 { self.now.since(snapshots.stats.last_good_at) } else { 0 }),
            ("snapshot_bytes", snapshots.kept.last().map_or(0, |newest| newest.bytes)),
            ("snapshot_last_lsn", self.newest_snapshot().map_or(0, |newest| newest.end.0)),
            ("snapshot_slice_max_us", gauges.snapshot_slice_max_us),
            ("snapshots_kept", snapshots.kept.len() as u64),
            ("mem_data_bytes", self.store.bytes() as u64),
            ("mem_free_bytes", self.store.free_bytes() as u64),
            ("mem_connection_bytes", gauges.connection_bytes),
            ("mem_limit_bytes", self.options.limits.memory_bytes_max),
            ("mem_rss_bytes", gauges.mem_rss_bytes),
        ]
        .into_iter()
    }

    pub(super) fn write_stats(&mut self, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
        self.counters.stats += 1;
        for (name, number) in self.stats() {
            reply::stat_number(out, name, number)?;
        }
        if let Some(segment) = self.journal.log.active_segment() {
            reply::stat_text(out, "wal_current", segment)?;
        }
        let mut newest = self.snapshots.kept.iter().rev();
        for name in ["snapshot_current", "snapshot_spare"] {
            match newest.next() {
                Some(snapshot) => reply::stat_text(out, name, snapshot.name)?,
                None => reply::stat_text(out, name, NONE)?,
            }
        }
        match self.snapshot_failure() {
            Some(failure) => reply::stat_text(out, "snapshot_last_error", failure)?,
            None => reply::stat_text(out, "snapshot_last_error", NONE)?,
        }
        reply::end(out)
    }
}
