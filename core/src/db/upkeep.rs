//! Calls about the database as a whole: what is durable, what is due, a snapshot, the end.

use super::{Db, Error};
use crate::clock::Clock;
use crate::engine;
use crate::museum::planted;
use crate::storage::Storage;
use crate::units::Millis;

/// While a snapshot waits for storage, [`Db::tick`] looks again after this time.
const STORAGE_POLL_MS: u64 = 1;

impl<S: Storage, C: Clock> Db<S, C> {
    /// Makes everything durable that was written, whatever the policy.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Stalled`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// db.set(b"key", b"value")?; // in the hands of storage: the policy is `Batch`
    /// db.sync()?;
    /// assert_eq!(db.engine().durable_lsn(), db.engine().last_lsn());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync(&mut self) -> Result<(), Error> {
        self.begin()?;
        let last = self.engine.last_lsn();
        self.wait_for(last)?;
        if self.engine.durable_lsn() < last {
            self.engine.request_sync();
        }
        while self.engine.durable_lsn() < last {
            self.go_on()?;
        }
        Ok(())
    }

    /// Takes a snapshot now, and waits for it: the next [`Db::open`] reads it instead of the log before it. Takes as long as writing the data and reading it back;
    /// [`SnapshotOptions::bandwidth_max`](engine::SnapshotOptions::bandwidth_max) doesn't hold meanwhile, since the caller would only wait for longer, and the clock needn't go on.
    ///
    /// # Errors
    /// [`engine::Error::Snapshot`]: there is none; what there was before stays. [`Error::Stalled`]: there is no memory for the log to go on, up to whose end the snapshot has to wait; later calls go
    /// on with it. See [`Error`].
    ///
    /// ```
    /// use osprey_core::engine::SnapshotOptions;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Engine, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    ///
    /// let options = Options { snapshots: Some(SnapshotOptions::default()), ..options };
    /// let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// for number in 0..100 {
    ///     db.set(b"key", format!("{number}").as_bytes())?;
    /// }
    /// db.snapshot()?;
    /// let mut storage = db.close()?;
    /// let (_, report) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// assert_eq!(report.snapshot.map(|(_, entries)| entries), Some(1));
    /// assert_eq!(report.records, 0, "nothing had to be replayed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&mut self) -> Result<(), Error> {
        self.begin()?;
        let Some(ticket) = self.engine.request_snapshot().map_err(engine::Error::Snapshot)? else { return Ok(()) };
        loop {
            let now = self.clock.now();
            self.engine.hurry_snapshot();
            self.engine.snapshot_slice(now, || true);
            let driven = self.engine.drive(&mut self.storage)?;
            if let Some(outcome) = self.engine.snapshot_outcome(ticket) {
                return Ok(outcome.map_err(engine::Error::Snapshot)?);
            }
            if planted("snapshot_returned_early") && !self.engine.wants_snapshot_slice() {
                return Ok(());
            }
            if !driven {
                self.wait_for_storage()?;
            }
        }
    }

    /// Does what is due with time: syncs of the policy `Batch`, removal of expired keys, a step of a snapshot. Returns when to call it next, if nothing else is called; `None`: needn't be.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Stalled`].
    ///
    /// ```
    /// use std::cell::Cell;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    ///
    /// let now = Cell::new(Millis(1_000));
    /// let mut db = Db::open(MemoryStorage::new(), || now.get(), options)?;
    /// db.set(b"key", b"value")?;
    /// // Nothing else is called for a while: the sync of the policy `Batch` is due by then.
    /// let due = db.tick()?.expect("something was written");
    /// assert!(db.engine().durable_lsn() < db.engine().last_lsn());
    /// now.set(due);
    /// db.tick()?;
    /// assert_eq!(db.engine().durable_lsn(), db.engine().last_lsn());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tick(&mut self) -> Result<Option<Millis>, Error> {
        let now = self.begin()?;
        let driven = self.attend(now)?;
        // What is under way ends at any time, and needs a call to be gone on with.
        let soon = Millis(now.0.saturating_add(STORAGE_POLL_MS));
        let snapshot = self.engine.snapshot_has_work().then_some(if driven || self.engine.wants_snapshot_slice() { now } else { soon });
        Ok(self.tick_at.into_iter().chain(snapshot).min())
    }

    /// Makes everything durable, seals the log, and returns the storage. Dropped without it, a database loses nothing that was secured; the next one reads the end of its log more carefully.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Stalled`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// db.set(b"key", b"value")?;
    /// let storage = db.close()?;
    /// let mut db = Db::open(storage, || Millis(2_000), options)?;
    /// assert!(db.exists(b"key")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(mut self) -> Result<S, Error> {
        self.begin()?;
        self.engine.close();
        while !self.engine.closed() {
            match self.go_on() {
                // There was nothing to seal.
                Err(Error::Stalled) if self.engine.closed() => break,
                gone_on => gone_on?,
            }
        }
        // Who opens it again must not meet what it is still doing, the making of the next segment say.
        while self.storage.under_way > 0 {
            if let Some(done) = self.storage.wait() {
                self.engine.storage_done(done)?;
            }
        }
        Ok(self.storage.storage)
    }
}
