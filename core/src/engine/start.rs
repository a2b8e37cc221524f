//! The start: what the log and snapshots hold, and an engine that goes on from there.

use alloc::vec::Vec;

use super::execute::Undo;
use super::journal::Journal;
use super::memory::BufferBytes;
use super::recent::RecentWrites;
use super::retention::Removals;
use super::snapshots::{Buffers, Snapshots};
use super::stats::{Counters, HostGauges};
use super::{Engine, FixedMemory, Options};
use crate::museum::planted;
use crate::record::OutOfMemory;
use crate::recovery::{self, Progress, RecoveryError, Report, Room};
use crate::storage::LogFiles;
use crate::store::Store;
use crate::units::Millis;
use crate::wal::writer::{LogWriter, WriterOptions};

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
        options: Options,
        files: &mut impl LogFiles,
        now: Millis,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Report), RecoveryError> {
        let options = options.clamped();
        options.check_memory().map_err(RecoveryError::Options)?;
        // Before recovery: it is the last that may fail.
        let recent = RecentWrites::new(options.limits.recent_slots_log2).map_err(|OutOfMemory| RecoveryError::OutOfMemory)?;
        let mut aside = Aside::new(&options).map_err(|OutOfMemory| RecoveryError::OutOfMemory)?;
        let Aside { store, room, .. } = &mut aside;
        let recovered = recovery::recover_within(room, files, store, options.checksum, options.chunk, progress)?;
        let Aside { mut store, room, undo, buffers, removals } = aside;
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
        let mut log = LogWriter::new(writer, recovered.position);
        let mut snapshots = Snapshots::new(&options, writer.database, recovered);
        if options.memory.is_some() {
            log = log.within(room.buffers);
            snapshots = snapshots.within(buffers, removals);
        }
        let engine = Self {
            options,
            store,
            journal: Journal { log, recent },
            snapshots,
            report,
            counters: Counters::default(),
            gauges: HostGauges::default(),
            started: now,
            now,
            sweep_at: now,
            undo,
        };
        Ok((engine, report))
    }
}

/// What is allocated before anything is recovered, as what comes behind that must not fail.
struct Aside {
    store: Store,
    room: Room,
    undo: Vec<Undo>,
    buffers: Buffers,
    removals: Removals,
}

impl Aside {
    fn new(options: &Options) -> Result<Self, OutOfMemory> {
        let hash_key = options.entropy.hash_key;
        let Some(FixedMemory { keys_max, slabs, slab_bytes, segments_max, snapshots_max }) = options.memory else {
            let (buffers, removals) = (Buffers::default(), Removals::default());
            return Ok(Self { store: Store::new(hash_key)?, room: Room::default(), undo: Vec::new(), buffers, removals });
        };
        let store = Store::fixed(hash_key, keys_max, slabs, slab_bytes)?;
        let BufferBytes { frame, chunk } = options.buffer_bytes();
        let mut room = Room { segments_max, snapshots_max, ..Room::default() };
        for buffer in &mut room.buffers {
            buffer.try_reserve_exact(frame).map_err(|_| OutOfMemory)?;
        }
        let mut undo = Vec::new();
        undo.try_reserve_exact(options.pairs_max()).map_err(|_| OutOfMemory)?;
        let (buffers, removals) = match options.snapshots {
            Some(_) => (Buffers::set_aside(chunk)?, Removals::with_room(snapshots_max, segments_max)?),
            None => (Buffers::default(), Removals::default()),
        };
        Ok(Self { store, room, undo, buffers, removals })
    }
}
