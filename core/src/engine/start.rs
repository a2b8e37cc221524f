//! The start: what the log and snapshots hold, and an engine that goes on from there.

use alloc::vec::Vec;

use super::journal::Journal;
use super::recent::RecentWrites;
use super::snapshots::Snapshots;
use super::stats::{Counters, HostGauges};
use super::{Engine, Options};
use crate::museum::planted;
use crate::record::{KEY_BYTES_MAX, OutOfMemory, VALUE_BYTES_MAX};
use crate::recovery::{self, Progress, RecoveryError, Report};
use crate::storage::LogFiles;
use crate::store::Store;
use crate::units::Millis;
use crate::wal::writer::{LogWriter, WriterOptions};

/// The longest line that an engine accepts, whatever its limits say, bytes.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The most words that an engine accepts in a line, whatever its limits say.
const WORDS_MAX: usize = 1 << 20;

impl Engine {
    /// Recovers what `files` hold, and continues it with a new epoch. Storage must then do what [`Engine::poll_storage`] asks; writes wait
    /// until the new epoch's first segment has been started.
    ///
    /// # Errors
    /// The log is damaged, or storage or memory fail; `files` are unchanged then.
    ///
    /// ```
    /// use osprey_core::engine::{DatabaseId, Engine, Entropy, Options};
    /// use osprey_core::storage::memory::MemoryStorage;
    /// use osprey_core::units::Millis;
    ///
    /// let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// let mut storage = MemoryStorage::new();
    /// let (mut engine, report) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// assert_eq!(report.segments, 0, "a new database");
    /// while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// while engine.drive(&mut storage)? {}
    ///
    /// // As after a crash: the same storage, and nothing else.
    /// let (mut engine, report) = Engine::recover(options, &mut storage, Millis(2_000))?;
    /// assert_eq!((report.records, engine.store().len()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recover(options: Options, files: &mut impl LogFiles, now: Millis) -> Result<(Self, Report), RecoveryError> {
        Self::recover_with(options, files, now, &mut |_| ())
    }

    /// As [`Engine::recover`]; tells `progress` after each piece that was read how far it is.
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// for number in 0..1_000 {
    ///     engine.incr(Millis(1_000), format!("{number}").as_bytes(), 1).result?;
    /// }
    /// while engine.drive(&mut storage)? {}
    ///
    /// let mut percent = 0;
    /// let (engine, _) = Engine::recover_with(options, &mut storage, Millis(2_000), &mut |progress| {
    ///     percent = progress.bytes * 100 / progress.bytes_total.max(1);
    /// })?;
    /// assert_eq!((engine.store().len(), percent), (1_000, 100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recover_with(
        mut options: Options,
        files: &mut impl LogFiles,
        now: Millis,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Report), RecoveryError> {
        let request = &mut options.limits.request;
        request.key_bytes_max = request.key_bytes_max.clamp(1, KEY_BYTES_MAX);
        request.value_bytes_max = request.value_bytes_max.min(VALUE_BYTES_MAX);
        // With these a frame's length stays within its 32 bits.
        request.line_bytes_max = request.line_bytes_max.min(LINE_BYTES_MAX);
        request.words_max = request.words_max.min(WORDS_MAX);
        options.segment_bytes = options.segment_bytes.max(options.segment_bytes_min());
        // Before recovery: it is the last that may fail.
        let recent = RecentWrites::new(options.limits.recent_slots_log2).map_err(|OutOfMemory| RecoveryError::OutOfMemory)?;
        let mut store = Store::new(options.entropy.hash_key).map_err(|OutOfMemory| RecoveryError::OutOfMemory)?;
        let recovered = recovery::recover(files, &mut store, options.checksum, options.chunk, progress)?;
        let now = if planted("time_forgotten") { now } else { now.max(recovered.position.time) };
        if planted("clock_in_replay") {
            store.sweep(now, usize::MAX);
        }
        let writer = WriterOptions {
            database: recovered.database.unwrap_or(options.entropy.database),
            epoch: recovered.epoch.saturating_add(1),
            salt: options.entropy.salt,
            segment_bytes: options.segment_bytes,
            policy: options.sync_policy,
            checksum: options.checksum,
        };
        let report = recovered.report;
        let engine = Self {
            options,
            store,
            journal: Journal { log: LogWriter::new(writer, recovered.position), recent },
            snapshots: Snapshots::new(&options, writer.database, recovered),
            report,
            counters: Counters::default(),
            gauges: HostGauges::default(),
            started: now,
            now,
            sweep_at: now,
            undo: Vec::new(),
        };
        Ok((engine, report))
    }
}
