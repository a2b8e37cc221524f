//! Storage: operations are handed out, and taken back when they have ended. The log comes before snapshots.

use super::{Engine, Poisoned};
use crate::museum::planted;
use crate::storage::{SegmentNumber, Storage, StorageDone, StorageOp};

impl Engine {
    /// The next operation for storage, if one can begin now. Ask again until there is none: an append, a sync and a
    /// reservation can be under way at the same time.
    ///
    /// ```
    /// use osprey_core::storage::{Storage, StorageOp};
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// engine.incr(Millis(1_000), b"one", 1).result?;
    /// engine.incr(Millis(1_000), b"two", 2).result?;
    /// let op = engine.poll_storage().expect("both are to be written");
    /// assert!(matches!(op, StorageOp::Append { .. }));
    /// assert!(engine.poll_storage().is_none(), "one append at a time");
    /// let done = storage.submit(op).expect("this storage does it at once");
    /// engine.storage_done(done)?;
    /// assert_eq!(engine.watermark(), engine.last_lsn());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn poll_storage(&mut self) -> Option<StorageOp> {
        let log = &mut self.journal.log;
        let op = log.poll(self.now, self.store.floor());
        if op.is_some() || log.poisoned() {
            return op;
        }
        let snapshot = self.snapshots.poll(self.now, log, &self.store).or_else(|| self.snapshots.poll_publish());
        // It may have asked for a sync.
        snapshot.or_else(|| log.poll(self.now, self.store.floor()))
    }

    /// Takes back an operation that has ended.
    ///
    /// # Errors
    /// Storage has failed. Nothing may be promised any more: no reply that is still gated may be sent, and the host should say why and end the process.
    ///
    /// ```
    /// use osprey_core::storage::{StorageDone, StorageError};
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// let op = engine.poll_storage().expect("it is to be written");
    /// let failed = engine.storage_done(StorageDone { op, result: Err(StorageError::Io(Some(5))) });
    /// let poisoned = failed.expect_err("the log can't go on");
    /// assert_eq!(poisoned.to_string(), "cannot append to the log segment wal-00000001.oswal: I/O error (system error 5)");
    /// assert_eq!(engine.poisoned(), Some(poisoned));
    /// assert!(engine.poll_storage().is_none() && engine.watermark() < engine.last_lsn(), "and never will");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn storage_done(&mut self, done: StorageDone) -> Result<(), Poisoned> {
        if let StorageOp::Snapshot(op) = done.op {
            self.snapshots.done(op, done.result, self.now);
            if let (Err(error), true) = (done.result, planted("snapshot_failure_poisons")) {
                return Err(Poisoned { segment: SegmentNumber(0), during: "write", error });
            }
            return self.journal.log.poisoned_by().map_or(Ok(()), Err);
        }
        if done.result.is_ok() {
            self.snapshots.note_log(&done.op);
        }
        self.journal.log.done(done, self.now)?;
        if self.journal.log.read_only() {
            self.snapshots.yield_to_log(self.now);
        }
        Ok(())
    }

    /// Drives storage: submits what can begin, and takes back what has ended. Returns whether anything has; if not, nothing will before storage reports an end or something else is
    /// called. Bounded: one operation about a snapshot at most. For a host that has nothing else to do meanwhile, or whose storage does everything at once.
    ///
    /// # Errors
    /// As [`Engine::storage_done`].
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// assert!(engine.drive(&mut storage)?, "a frame was appended");
    /// assert!(!engine.drive(&mut storage)?, "there is nothing else to do");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drive(&mut self, storage: &mut impl Storage) -> Result<bool, Poisoned> {
        let mut moved = false;
        loop {
            while let Some(done) = storage.poll() {
                self.storage_done(done)?;
                moved = true;
            }
            let Some(op) = self.poll_storage() else { return Ok(moved) };
            moved = true;
            let about_snapshot = matches!(op, StorageOp::Snapshot(_));
            if let Some(done) = storage.submit(op) {
                self.storage_done(done)?;
            }
            if about_snapshot {
                return Ok(true);
            }
        }
    }

    /// Asks for a sync of what has been handed to storage, whatever the policy. [`Engine::durable_lsn`] tells how far it has come.
    pub fn request_sync(&mut self) {
        self.journal.log.request_sync();
    }

    /// What has ended the log: the first failure that [`Engine::storage_done`] was told of.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.journal.log.poisoned_by()
    }
}
