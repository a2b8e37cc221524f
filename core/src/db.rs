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
/// use osprey_core::db::Db;
/// use osprey_core::engine::{DatabaseId, Entropy, Options, SyncPolicy};
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::units::{Millis, Version};
///
/// // In earnest: bytes from the system's random number generator, new for every run; the system's time; storage that lasts.
/// let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// let clock = || Millis(1_700_000_000_000);
/// let options = Options { sync_policy: SyncPolicy::Always, ..Options::new(entropy) };
///
/// let mut db = Db::open(MemoryStorage::new(), clock, options)?;
/// assert_eq!(db.set(b"user:1", b"Ada")?, Version(1));
/// db.batch(|db| {
///     db.incr(b"visits", 1)?;
///     db.incr(b"visits", 1) // one sync for both
/// })?;
/// let storage = db.close()?;
///
/// let mut db = Db::open(storage, clock, options)?;
/// assert_eq!(db.get(b"user:1")?.map(|entry| entry.value), Some(&b"Ada"[..]));
/// assert_eq!(db.incr(b"visits", 0)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
    ///
    /// ```
    /// use osprey_core::engine::Engine;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let storage = MemoryStorage::new();
    ///
    /// // To learn what recovery found, and how far it is.
    /// let (mut storage, mut seen) = (storage, 0);
    /// let (engine, report) = Engine::recover_with(options, &mut storage, Millis(1_000), &mut |progress| seen = progress.bytes)?;
    /// assert_eq!((report.records, seen), (0, 0), "there is nothing yet");
    /// let mut db = Db::with_engine(engine, storage, || Millis(1_000))?;
    /// db.set(b"key", b"value")?;
    /// assert_eq!(db.engine().store().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use osprey_core::units::Version;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    ///
    /// db.set(b"key", b"value")?;
    /// let entry = db.get(b"key")?.expect("it was set");
    /// assert_eq!((entry.value, entry.version, entry.expiry), (&b"value"[..], Version(1), None));
    /// assert_eq!(db.get(b"other")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// db.set_many(&[(b"one", b"1"), (b"two", b"2")])?;
    /// let entries = db.get_many(&[b"two", b"three"])?;
    /// let values: Vec<_> = entries.map(|entry| entry.map(|entry| entry.value.to_vec())).collect();
    /// assert_eq!(values, [Some(b"2".to_vec()), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many<'e>(&'e mut self, keys: &'e [&'e [u8]]) -> Result<Entries<'e>, Error> {
        let now = self.begin_read()?;
        self.call(now, |engine, now| engine.get_many(now, keys).map(|_| ()))?;
        Ok(self.engine.entries(keys))
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// db.set(b"key", b"")?;
    /// assert!(db.exists(b"key")? && !db.exists(b"other")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exists(&mut self, key: &[u8]) -> Result<bool, Error> {
        let now = self.begin_read()?;
        self.call(now, |engine, now| engine.exists(now, key))
    }

    /// How long a key stays.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// use osprey_core::engine::TimeToLive;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    ///
    /// db.set(b"key", b"value")?;
    /// db.expire(b"key", 60_000)?;
    /// assert_eq!(db.ttl(b"key")?, TimeToLive::Ms(60_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ttl(&mut self, key: &[u8]) -> Result<TimeToLive, Error> {
        let now = self.begin_read()?;
        self.call(now, |engine, now| engine.ttl(now, key))
    }

    /// Shows some keys to `visit` and returns where to go on: [`Engine::scan`].
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// for number in 0..1000 {
    ///     db.set(format!("user:{number}").as_bytes(), b"")?;
    /// }
    /// let (mut cursor, mut keys) = (Some(0), std::collections::BTreeSet::new());
    /// while let Some(at) = cursor {
    ///     // Others may write between two calls.
    ///     cursor = db.scan(at, 100, b"user:1", |key, _| drop(keys.insert(key.to_vec())))?;
    /// }
    /// assert_eq!(keys.len(), 1 + 10 + 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use osprey_core::units::Version;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    ///
    /// assert_eq!(db.set(b"key", b"one")?, Version(1));
    /// assert_eq!(db.set(b"key", b"two")?, Version(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<Version, Error> {
        self.set_with(key, value, &SetOptions::default())
    }

    /// Gives a key a value, on conditions and with an expiry.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// use osprey_core::db::Error;
    /// use osprey_core::engine::{self, Presence, SetExpiry, SetOptions};
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    ///
    /// // A lock that ends by itself.
    /// let lock = SetOptions { presence: Presence::Absent, expiry: SetExpiry::In(10_000), version: None };
    /// db.set_with(b"lock", b"me", &lock)?;
    /// assert_eq!(db.set_with(b"lock", b"you", &lock), Err(Error::Refused(engine::Error::Exists)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_with(&mut self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<Version, Error> {
        self.write(|engine, now| engine.set(now, key, value, options))
    }

    /// Gives a key a value if its version is `current`; [`Version::NONE`]: if there is no such key.
    ///
    /// # Errors
    /// [`engine::Error::Version`] if it is another; see [`Error`].
    ///
    /// ```
    /// use osprey_core::db::Error;
    /// use osprey_core::{engine, units::Version};
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    ///
    /// let first = db.compare_and_set(b"key", Version::NONE, b"one")?;
    /// let second = db.compare_and_set(b"key", first, b"two")?;
    /// let outdated = db.compare_and_set(b"key", first, b"three");
    /// assert_eq!(outdated, Err(Error::Refused(engine::Error::Version(second))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare_and_set(&mut self, key: &[u8], current: Version, value: &[u8]) -> Result<Version, Error> {
        self.write(|engine, now| engine.compare_and_set(now, key, current, value))
    }

    /// Gives several keys their values, all or none, also over a crash: [`Engine::set_many`].
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// db.set_many(&[(b"from", b"90"), (b"to", b"110")])?;
    /// assert_eq!(db.get(b"to")?.map(|entry| entry.value), Some(&b"110"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_many(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error> {
        self.write(|engine, now| engine.set_many(now, pairs))
    }

    /// Removes a key; returns whether it was there.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// db.set(b"key", b"value")?;
    /// assert!(db.delete(b"key")?);
    /// assert!(!db.delete(b"key")?, "it is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.write(|engine, now| engine.delete(now, key, None))
    }

    /// Removes a key if its version is `current`; returns whether it was there.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// let mine = db.set(b"lock", b"me")?;
    /// let yours = db.set(b"lock", b"you")?;
    /// assert!(db.compare_and_delete(b"lock", mine).is_err(), "it is another's now");
    /// assert!(db.compare_and_delete(b"lock", yours)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare_and_delete(&mut self, key: &[u8], current: Version) -> Result<bool, Error> {
        self.write(|engine, now| engine.delete(now, key, Some(current)))
    }

    /// Adds to a number, which is 0 where there is no such key; returns the sum.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// assert_eq!(db.incr(b"visits", 1)?, 1);
    /// assert_eq!(db.incr(b"visits", -3)?, -2);
    /// assert_eq!(db.get(b"visits")?.map(|entry| entry.value), Some(&b"-2"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn incr(&mut self, key: &[u8], delta: i64) -> Result<i64, Error> {
        self.write(|engine, now| engine.incr(now, key, delta))
    }

    /// Lets a key end in `ms` milliseconds; returns whether it is there.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// use std::cell::Cell;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    ///
    /// let now = Cell::new(Millis(1_000));
    /// let mut db = Db::open(MemoryStorage::new(), || now.get(), options)?;
    /// db.set(b"session", b"Ada")?;
    /// assert!(db.expire(b"session", 500)?);
    /// now.set(Millis(1_500));
    /// assert_eq!(db.get(b"session")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expire(&mut self, key: &[u8], ms: u64) -> Result<bool, Error> {
        self.write(|engine, now| engine.expire(now, key, ms, None))
    }

    /// Takes a key's expiry away; returns whether the key is there.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// ```
    /// use osprey_core::engine::TimeToLive;
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    ///
    /// db.set(b"key", b"value")?;
    /// db.expire(b"key", 500)?;
    /// assert!(db.persist(b"key")?);
    /// assert_eq!(db.ttl(b"key")?, TimeToLive::Endless);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn persist(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.write(|engine, now| engine.persist(now, key))
    }
}
