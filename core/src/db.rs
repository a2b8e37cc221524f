//! The engine with its storage and clock as one object, whose calls wait: an embedded store with a log.
//!
//! ```text
//!   get, set, delete, … ──▶ Db ──▶ Engine ──▶ Storage::submit, wait
//!                            │        ▲            │
//!                       Clock::now    └────────────┘  until the log holds what the call has shown or changed
//! ```
//! What [`Engine`] leaves to a host is done here, on the caller's thread and within its calls: storage is driven, due work is done, snapshots are taken in steps. There is no thread and
//! no lock in it; share it as `Mutex<Db<…>>`.
//!
//! Here are the calls about keys. How they wait is in `waiting`, what concerns all of them together in `upkeep` and `batch`.

mod batch;
mod counted;
mod error;
mod upkeep;
mod waiting;

pub use error::{Error, OpenError};

use crate::clock::Clock;
use crate::engine::{self, Answer, Engine, Entries, Entry, Options, SetOptions, TimeToLive};
use crate::storage::{LogFiles, Storage};
use crate::units::{Millis, Version};
use counted::Counted;

/// A database: keys with values, versions and expiries, in memory, with every write in a log.
///
/// What a call returns is as durable as [`Options::sync_policy`] says: under [`Always`](crate::wal::writer::SyncPolicy::Always) a write that has returned is on disk, and so is whatever a read has
/// returned; under the others it is in the hands of storage. [`Db::batch`] lets many writes share one sync.
///
/// A call does so much beside its own work, at most: drive what storage has to do for the log, look at [`Options::sweep_batch`] deadlines, copy some 16 KiB (or one entry) for a
/// snapshot that is due, and one operation of that. Where nothing is called for a while, [`Db::tick`] should be.
///
/// ```
/// # use osprey_core::clock::Clock;
/// # use osprey_core::units::Millis;
/// # struct MyClock(u64);
/// # impl Clock for MyClock { fn now(&mut self) -> Millis { self.0 += 1; Millis(self.0) } }
/// # fn random() -> Entropy { Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) } }
/// use osprey_core::db::{Db, Error};
/// use osprey_core::engine::{Entropy, Options};
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::units::Version;
/// use osprey_core::wal::{segment::DatabaseId, writer::SyncPolicy};
///
/// let options = Options { sync_policy: SyncPolicy::Always, ..Options::new(random()) };
/// let mut db = Db::open(MemoryStorage::new(), MyClock(0), options).expect("there is nothing yet");
/// assert_eq!(db.set(b"user:1", b"Ada")?, Version(1));
/// db.batch(|db| {
///     db.incr(b"visits", 1)?;
///     db.incr(b"visits", 1) // one sync for both
/// })?;
/// let storage = db.close()?;
///
/// let mut db = Db::open(storage, MyClock(9), options).expect("what was closed can be opened");
/// assert_eq!(db.get(b"user:1")?.map(|entry| entry.value), Some(&b"Ada"[..]));
/// assert_eq!(db.incr(b"visits", 0)?, 2);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Db<S, C> {
    engine: Engine,
    storage: Counted<S>,
    clock: C,
    /// Writes needn't be secured before their call returns.
    batching: bool,
    /// When due work has to be looked for, if nothing is written.
    tick_at: Option<Millis>,
}

impl<S: Storage + LogFiles, C: Clock> Db<S, C> {
    /// Recovers what is in `storage`, and continues it. Takes as long as reading it does, and for a moment as much memory as a segment beside the data.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(mut storage: S, mut clock: C, options: Options) -> Result<Self, OpenError> {
        let now = clock.now();
        let (engine, _) = Engine::recover(options, &mut storage, now)?;
        Ok(Self::with_engine(engine, storage, clock)?)
    }
}

impl<S: Storage, C: Clock> Db<S, C> {
    /// Goes on with an engine that was just [recovered](Engine::recover_with) from `storage`.
    ///
    /// # Errors
    /// The log's first segment can't be made. (Where there is no space for it, all writes are refused until there is.)
    pub fn with_engine(engine: Engine, storage: S, clock: C) -> Result<Self, Error> {
        let mut db = Self { engine, storage: Counted { storage, under_way: 0 }, clock, batching: false, tick_at: None };
        while db.engine.starting() {
            db.go_on()?;
        }
        let now = db.clock.now();
        db.attend(now)?;
        Ok(db)
    }

    /// The engine, to look at: its store, its numbers.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The value of a key, lent until the next call.
    ///
    /// # Errors
    /// See [`Error`]; so for all other calls.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Entry<'_>>, Error> {
        let now = self.begin_read()?;
        let (found, waited) = loop {
            let Answer { result, after } = self.engine.find(now, key);
            if !matches!(result, Err(engine::Error::Busy)) {
                break (result, self.wait_unless_batching(after)?);
            }
            self.go_on()?;
        };
        let spot = found?;
        if waited {
            // Much may have moved meanwhile.
            let (store, now) = (self.engine.store(), self.engine.now());
            return Ok(store.lookup(store.hash(key), key, now).live().map(Entry::from));
        }
        Ok(spot.and_then(|spot| self.engine.store().record_at(spot)).map(Entry::from))
    }

    /// The values of several keys, in their order.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get_many<'e>(&'e mut self, keys: &'e [&'e [u8]]) -> Result<Entries<'e>, Error> {
        let now = self.begin_read()?;
        self.call(now, |engine, now| engine.get_many(now, keys).map(|_| ()))?;
        Ok(self.engine.entries(keys))
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn exists(&mut self, key: &[u8]) -> Result<bool, Error> {
        let now = self.begin_read()?;
        self.call(now, |engine, now| engine.exists(now, key))
    }

    /// How long a key stays.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ttl(&mut self, key: &[u8]) -> Result<TimeToLive, Error> {
        let now = self.begin_read()?;
        self.call(now, |engine, now| engine.ttl(now, key))
    }

    /// Shows some keys to `visit` and returns where to go on: [`Engine::scan`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn scan(&mut self, cursor: u64, count: u64, prefix: &[u8], mut visit: impl FnMut(&[u8], Entry<'_>)) -> Result<Option<u64>, Error> {
        let now = self.begin_read()?;
        // What it will show must be certain first.
        self.call(now, |engine, now| engine.prepare(now, prefix))?;
        Ok(self.engine.scan_from(cursor, count.max(1), prefix, |record| visit(record.key, record.into())))
    }

    /// Gives a key a value, and takes its expiry away. Returns the value's version.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<Version, Error> {
        self.set_with(key, value, &SetOptions::default())
    }

    /// Gives a key a value, on conditions and with an expiry.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn set_with(&mut self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<Version, Error> {
        self.write(|engine, now| engine.set(now, key, value, options))
    }

    /// Gives a key a value if its version is `current`; [`Version::NONE`]: if there is no such key.
    ///
    /// # Errors
    /// [`engine::Error::Version`] if it is another; see [`Error`].
    pub fn compare_and_set(&mut self, key: &[u8], current: Version, value: &[u8]) -> Result<Version, Error> {
        self.write(|engine, now| engine.compare_and_set(now, key, current, value))
    }

    /// Gives several keys their values, all or none, also over a crash: [`Engine::set_many`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn set_many(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error> {
        self.write(|engine, now| engine.set_many(now, pairs))
    }

    /// Removes a key; returns whether it was there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.write(|engine, now| engine.delete(now, key, None))
    }

    /// Removes a key if its version is `current`; returns whether it was there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn compare_and_delete(&mut self, key: &[u8], current: Version) -> Result<bool, Error> {
        self.write(|engine, now| engine.delete(now, key, Some(current)))
    }

    /// Adds to a number, which is 0 where there is no such key; returns the sum.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn incr(&mut self, key: &[u8], delta: i64) -> Result<i64, Error> {
        self.write(|engine, now| engine.incr(now, key, delta))
    }

    /// Lets a key end in `ms` milliseconds; returns whether it is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn expire(&mut self, key: &[u8], ms: u64) -> Result<bool, Error> {
        self.write(|engine, now| engine.expire(now, key, ms, None))
    }

    /// Takes a key's expiry away; returns whether the key is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn persist(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.write(|engine, now| engine.persist(now, key))
    }
}
