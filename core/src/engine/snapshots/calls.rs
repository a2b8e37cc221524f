//! The engine's calls about snapshots.

use super::{SnapshotFailure, Ticket};
use crate::engine::Engine;
use crate::storage::SnapshotName;
use crate::units::Millis;

impl Engine {
    /// Whether a snapshot is being taken whose walk can go on: [`Engine::snapshot_slice`].
    ///
    /// ```
    /// use osprey_core::engine::SnapshotOptions;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let options = Options { snapshots: Some(SnapshotOptions::default()), ..options };
    /// let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// engine.request_snapshot()?;
    /// engine.drive(&mut storage)?;
    /// assert!(engine.taking_snapshot());
    /// // A host's idle time, between requests.
    /// while engine.taking_snapshot() {
    ///     if engine.wants_snapshot_slice() {
    ///         // More time than usual, where the log grows too fast.
    ///         let mut steps = if engine.snapshot_is_late() { 8 } else { 1 };
    ///         engine.snapshot_slice(Millis(1_000), || {
    ///             steps -= 1;
    ///             steps >= 0
    ///         });
    ///     }
    ///     engine.drive(&mut storage)?;
    /// }
    /// assert_eq!((engine.snapshots_ended(), engine.snapshot_failure()), ((1, 0), None));
    /// assert!(engine.newest_snapshot().is_some() && engine.stored_bytes() > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn wants_snapshot_slice(&self) -> bool {
        self.snapshots.wants_slice()
    }

    /// Whether so much log has come since the snapshot that is being taken was begun that it should get more time than usual: else log and snapshots will take more than
    /// [`SnapshotOptions::stored_percent_max`](super::SnapshotOptions::stored_percent_max) allows.
    #[must_use]
    pub fn snapshot_is_late(&self) -> bool {
        self.snapshots.late(&self.journal.log, &self.store)
    }

    /// Goes on with the snapshot that is being taken, in steps of some hundred keys (or one, if it is large), before each of which `within` is asked whether there is time for it.
    /// Ends at the latest when a chunk ([`Options::chunk`](crate::engine::Options::chunk)) is full, which [`Engine::poll_storage`] then hands out.
    pub fn snapshot_slice(&mut self, now: Millis, within: impl FnMut() -> bool) {
        self.now = self.now.max(now);
        self.snapshots.slice(self.now, &self.journal.log, &self.store, within);
    }

    /// Whether a snapshot could be gone on with now, or has an operation under way.
    pub(crate) fn snapshot_has_work(&self) -> bool {
        self.snapshots.has_work(self.now)
    }

    /// For a caller that does nothing but wait for the snapshot that is being taken: its bandwidth isn't limited any more.
    pub(crate) fn hurry_snapshot(&mut self) {
        self.snapshots.hurry();
    }

    /// Asks for a snapshot of all that was logged until now, as `SNAPSHOT` does; joins the one that is being taken if that will do. `None`: there is one already.
    ///
    /// # Errors
    /// There will be none: none ever are, or the end has been asked for.
    pub fn request_snapshot(&mut self) -> Result<Option<Ticket>, SnapshotFailure> {
        self.snapshots.request(self.journal.log.last_lsn())
    }

    /// How a snapshot that was [asked for](Engine::request_snapshot) has ended, if it has.
    #[must_use]
    pub fn snapshot_outcome(&self, ticket: Ticket) -> Option<Result<(), SnapshotFailure>> {
        self.snapshots.outcome(ticket)
    }

    /// Whether a snapshot is being taken.
    #[must_use]
    pub fn taking_snapshot(&self) -> bool {
        self.snapshots.running()
    }

    /// How the last snapshot has failed, if the last one has.
    #[must_use]
    pub fn snapshot_failure(&self) -> Option<SnapshotFailure> {
        self.snapshots.stats.last_failure
    }

    /// How many snapshots have been taken since the start, and how many were given up.
    #[must_use]
    pub fn snapshots_ended(&self) -> (u64, u64) {
        (self.snapshots.stats.total, self.snapshots.stats.failures)
    }

    /// The newest snapshot that is known to be whole.
    #[must_use]
    pub fn newest_snapshot(&self) -> Option<SnapshotName> {
        self.snapshots.kept.iter().rfind(|snapshot| !snapshot.unusable).map(|snapshot| snapshot.name)
    }

    /// What log and snapshots take in all, bytes, without what is reserved.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.snapshots.stored_bytes()
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.snapshots.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Gives up a snapshot that is being taken; no other is begun. Who waits for one is answered. For a host that is about to end.
    ///
    /// ```
    /// use osprey_core::engine::{SnapshotFailure, SnapshotOptions};
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let options = Options { snapshots: Some(SnapshotOptions::default()), ..options };
    /// let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// let ticket = engine.request_snapshot()?.expect("there is none yet");
    /// engine.stop_snapshots();
    /// assert_eq!(engine.snapshot_outcome(ticket), Some(Err(SnapshotFailure::Stopping)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop_snapshots(&mut self) {
        self.snapshots.stop(self.now);
    }
}
