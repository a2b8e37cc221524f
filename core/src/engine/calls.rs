//! The commands as plain calls, for a host that keeps its data here and speaks no protocol.
//!
//! They do what the protocol's commands do: the same code executes both. What differs is where the result goes, and how waiting for the log is told: a connection's
//! [`Session`](super::Session) holds replies back; an [`Answer`] says [what it waits for](Answer::after).

use super::Engine;
use super::error::{Error, Refusal};
use super::execute::Executed;
use super::journal::Gate;
use super::stats::Counters;
use crate::protocol::command::SetOptions;
use crate::protocol::error::RequestError;
use crate::protocol::request;
use crate::record::Record;
use crate::store::{Hash, Spot, Store};
use crate::units::{Lsn, Millis, Version};
use crate::wal::writer::LogWriter;

/// What a call has done or found out, and what that waits for.
///
/// ```
/// use osprey_core::engine::SyncPolicy;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// let set = engine.set(Millis(1_000), b"key", b"value", &SetOptions::default());
/// let version = set.map(|version| version.0);
/// assert_eq!(version.result, Ok(1));
/// // Whoever asked may be told when storage has the log up to here.
/// assert_eq!(version.after, Some(engine.last_lsn()));
/// assert!(version.waits(engine.watermark()));
/// while engine.drive(&mut storage)? {}
/// assert!(!version.waits(engine.watermark()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a result may only be shown when the log has come as far as it says"]
pub struct Answer<T> {
    /// The result; or why nothing was done, which may depend on unsynced writes just the same.
    pub result: Result<T, Error>,
    /// `None`: it holds whatever happens. Else it may only be acted upon or shown to anybody when [`Engine::watermark`] has reached this: a crash before that may take back what
    /// it depends on. Under [`SyncPolicy::Always`](crate::wal::writer::SyncPolicy::Always) that means durable, also for a read; under the others, handed to storage.
    pub after: Option<Lsn>,
}

impl<T> Answer<T> {
    /// Whether it has to wait while the log has come as far as `watermark`.
    #[must_use]
    pub fn waits(&self, watermark: Lsn) -> bool {
        self.after.is_some_and(|after| after > watermark)
    }

    /// The same with another result.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { result: self.result.map(f), after: self.after }
    }
}

/// A key's value with what belongs to it, lent from the store.
///
/// ```
/// use osprey_core::engine::{Entry, SetExpiry};
/// use osprey_core::units::Version;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// let options = SetOptions { expiry: SetExpiry::In(500), ..SetOptions::default() };
/// engine.set(Millis(1_000), b"key", b"value", &options).result?;
/// let entry = Entry { value: b"value", version: Version(1), expiry: Some(Millis(1_500)) };
/// assert_eq!(engine.get(Millis(1_200), b"key").result, Ok(Some(entry)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'e> {
    /// The value.
    pub value: &'e [u8],
    /// Its version.
    pub version: Version,
    /// When it ends, if it does.
    pub expiry: Option<Millis>,
}

impl<'e> From<Record<'e>> for Entry<'e> {
    fn from(record: Record<'e>) -> Self {
        Self { value: record.value, version: record.version, expiry: record.expiry }
    }
}

/// How long a key stays.
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// use osprey_core::engine::{SetExpiry, SetOptions, TimeToLive};
///
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1))?;
/// # while engine.drive(&mut storage)? {}
/// let options = SetOptions { expiry: SetExpiry::In(500), ..SetOptions::default() };
/// engine.set(Millis(1_000), b"key", b"value", &options).result?;
/// assert_eq!(engine.ttl(Millis(1_200), b"key").result, Ok(TimeToLive::Ms(300)));
/// assert_eq!(engine.persist(Millis(1_200), b"key").result, Ok(true));
/// assert_eq!(engine.ttl(Millis(1_600), b"key").result, Ok(TimeToLive::Endless));
/// assert_eq!(engine.expire(Millis(1_600), b"key", 100, None).result, Ok(true));
/// assert_eq!(engine.ttl(Millis(1_700), b"key").result, Ok(TimeToLive::NoKey));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// There is no such key.
    NoKey,
    /// Until it is deleted.
    Endless,
    /// So many milliseconds.
    Ms(u64),
}

/// The entries of several keys, in their order. See [`Engine::get_many`].
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1))?;
/// # while engine.drive(&mut storage)? {}
/// engine.set_many(Millis(1), &[(b"a", b"1"), (b"b", b"2")]).result?;
/// let entries = engine.get_many(Millis(1), &[b"b", b"c"]).result?;
/// let values: Vec<_> = entries.map(|entry| entry.map(|entry| entry.value)).collect();
/// assert_eq!(values, [Some(&b"2"[..]), None]);
///
/// let mut keys = Vec::new();
/// let next = engine.scan(Millis(1), 0, 100, b"", |key, _| keys.push(key.to_vec())).result?;
/// keys.sort();
/// assert_eq!((keys, next), (vec![b"a".to_vec(), b"b".to_vec()], None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Entries<'e> {
    store: &'e Store,
    keys: core::slice::Iter<'e, &'e [u8]>,
    now: Millis,
}

impl<'e> Iterator for Entries<'e> {
    type Item = Option<Entry<'e>>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.keys.next()?;
        Some(self.store.lookup(self.store.hash(key), key, self.now).live().map(Entry::from))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.keys.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// The last LSN that an answer waits for.
#[derive(Debug, Default)]
struct Waits(Lsn);

impl Gate for Waits {
    #[inline]
    fn wait_for(&mut self, _: &LogWriter, lsn: Lsn) {
        self.0 = self.0.max(lsn);
    }
}

/// Where a command is counted.
type Counter = fn(&mut Counters) -> &mut u64;

/// The same calls as the protocol's commands. Each takes the time as [`Engine::serve`] does, waits for nothing, allocates nothing but what the store and the log's next
/// frame need, and answers [`Error::Busy`] where a client's request would wait: then storage has to be driven first. Each is bounded by its arguments: one lookup a key, and a copy of the
/// values that it is given; [`Engine::scan`] by its count. Keys are those of the protocol, 1 to
/// [`key_bytes_max`](request::Limits::key_bytes_max) bytes without control characters and spaces, so that any database can be served.
///
/// ```
/// use osprey_core::engine::{Engine, Entropy, Error, Options, SetOptions};
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::units::{Millis, Version};
/// use osprey_core::wal::segment::DatabaseId;
///
/// // In earnest: random numbers, new for every run.
/// let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// let (mut storage, now) = (MemoryStorage::new(), Millis(1_000));
/// let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, now)?;
/// while engine.drive(&mut storage)? {} // the log's first segment
///
/// let set = engine.set(now, b"greeting", b"hello", &SetOptions::default());
/// assert_eq!(set.result, Ok(Version(1)));
/// assert!(set.waits(engine.watermark()), "it is not in the log yet");
/// while engine.drive(&mut storage)? {}
/// assert!(!set.waits(engine.watermark()));
///
/// let entry = engine.get(now, b"greeting").result?.expect("it is there");
/// assert_eq!((entry.value, entry.version), (&b"hello"[..], Version(1)));
/// let outdated = engine.compare_and_set(now, b"greeting", Version(7), b"bye");
/// assert_eq!(outdated.result, Err(Error::Version(Version(1))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Engine {
    /// The value of a key; as `GET`. Bounded: one lookup.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.set(Millis(1_000), b"key", b"value", &SetOptions::default()).result?;
    /// let found = engine.get(Millis(1_000), b"key");
    /// let waits_for = found.after; // the write isn't in the log yet, so that this isn't certain
    /// assert_eq!(found.result?.map(|entry| entry.value), Some(&b"value"[..]));
    /// assert_eq!(waits_for, Some(engine.last_lsn()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&mut self, now: Millis, key: &[u8]) -> Answer<Option<Entry<'_>>> {
        self.find(now, key).map(|spot| spot.and_then(|spot| self.store.record_at(spot)).map(Entry::from))
    }

    /// Where a key is, until something changes.
    pub(crate) fn find(&mut self, now: Millis, key: &[u8]) -> Answer<Option<Spot>> {
        self.call(
            now,
            key,
            |counters| &mut counters.get,
            |engine, waits, hash| {
                let found = engine.execute_get(waits, hash, key)?;
                Ok(found.live().map(|_| found.spot))
            },
        )
    }

    /// The values of several keys, fewer than [`words_max`](request::Limits::words_max), all of the same moment; as `MGET`.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.set_many(Millis(1_000), &[(b"one", b"1"), (b"two", b"2")]).result?;
    /// let entries = engine.get_many(Millis(1_000), &[b"two", b"three"]).result?;
    /// let values: Vec<_> = entries.map(|entry| entry.map(|entry| entry.value)).collect();
    /// assert_eq!(values, [Some(&b"2"[..]), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many<'e>(&'e mut self, now: Millis, keys: &'e [&'e [u8]]) -> Answer<Entries<'e>> {
        let words_max = self.options.limits.request.words_max;
        let check = |engine: &Self| {
            keys.iter().take(words_max.saturating_sub(1)).try_for_each(|key| engine.check_key(key))?;
            engine.check_words(keys.len())
        };
        let looked = self.call_checked(
            now,
            check,
            |counters| &mut counters.mget,
            |engine, waits| engine.execute_mget(waits, keys.iter().copied(), |_, _| ()),
        );
        looked.map(|()| self.entries(keys))
    }

    /// The entries of keys as they are now.
    pub(crate) fn entries<'e>(&'e self, keys: &'e [&'e [u8]]) -> Entries<'e> {
        Entries { store: &self.store, keys: keys.iter(), now: self.now }
    }

    /// Whether there is such a key; as `EXISTS`.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// assert_eq!(engine.exists(Millis(1_000), b"key").result, Ok(false));
    /// engine.set(Millis(1_000), b"key", b"", &SetOptions::default()).result?;
    /// assert_eq!(engine.exists(Millis(1_000), b"key").result, Ok(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exists(&mut self, now: Millis, key: &[u8]) -> Answer<bool> {
        self.call(now, key, |counters| &mut counters.exists, |engine, waits, hash| engine.execute_exists(waits, hash, key))
    }

    /// How long a key stays; as `TTL`.
    ///
    /// ```
    /// use osprey_core::engine::TimeToLive;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// engine.set(Millis(1_000), b"key", b"value", &SetOptions::default()).result?;
    /// assert_eq!(engine.ttl(Millis(1_000), b"key").result, Ok(TimeToLive::Endless));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ttl(&mut self, now: Millis, key: &[u8]) -> Answer<TimeToLive> {
        let left = self.call(now, key, |counters| &mut counters.ttl, |engine, waits, hash| engine.execute_ttl(waits, hash, key));
        left.map(|left| left.map_or(TimeToLive::NoKey, |left| left.map_or(TimeToLive::Endless, TimeToLive::Ms)))
    }

    /// Gives a key a value, on the conditions that `options` names; as `SET`. Returns the value's version.
    ///
    /// ```
    /// use osprey_core::engine::{Error, Presence};
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let absent = SetOptions { presence: Presence::Absent, ..SetOptions::default() };
    /// assert!(engine.set(Millis(1_000), b"lock", b"me", &absent).result.is_ok());
    /// assert_eq!(engine.set(Millis(1_000), b"lock", b"you", &absent).result, Err(Error::Exists));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&mut self, now: Millis, key: &[u8], value: &[u8], options: &SetOptions) -> Answer<Version> {
        self.call(
            now,
            key,
            |counters| &mut counters.set,
            |engine, waits, hash| {
                engine.check_values(value.len() as u64)?;
                if matches!(options.expiry, crate::protocol::command::SetExpiry::At(at) if at > Millis::MAX) {
                    return Err(Error::ExpiryTooFar.into());
                }
                engine.execute_set(waits, hash, key, value, options)
            },
        )
    }

    /// Gives a key a value if its version is `current` ([`Version::NONE`]: if there is no such key); as `SET` with `VER`.
    ///
    /// ```
    /// use osprey_core::engine::Error;
    /// use osprey_core::units::Version;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let first = engine.compare_and_set(Millis(1_000), b"key", Version::NONE, b"one").result?;
    /// let second = engine.compare_and_set(Millis(1_000), b"key", first, b"two").result?;
    /// let outdated = engine.compare_and_set(Millis(1_000), b"key", first, b"three");
    /// assert_eq!(outdated.result, Err(Error::Version(second)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare_and_set(&mut self, now: Millis, key: &[u8], current: Version, value: &[u8]) -> Answer<Version> {
        self.set(now, key, value, &SetOptions { version: Some(current), ..SetOptions::default() })
    }

    /// Gives several keys their values, all or none, also over a crash; as `MSET`. Twice as many as there are must be fewer than
    /// [`words_max`](request::Limits::words_max), and the values together have [`value_bytes_max`](request::Limits::value_bytes_max) bytes at most.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// let set = engine.set_many(Millis(1_000), &[(b"from", b"90"), (b"to", b"110")]);
    /// assert_eq!((set.result, set.after), (Ok(()), Some(engine.last_lsn())));
    /// assert_eq!(engine.store().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_many(&mut self, now: Millis, pairs: &[(&[u8], &[u8])]) -> Answer<()> {
        let check = |engine: &Self| {
            engine.check_words(pairs.len().saturating_mul(2))?;
            pairs.iter().try_for_each(|(key, _)| engine.check_key(key))?;
            engine.check_values(pairs.iter().map(|(_, value)| value.len() as u64).sum())
        };
        self.call_checked(
            now,
            check,
            |counters| &mut counters.mset,
            |engine, waits| {
                if pairs.is_empty() { Ok(()) } else { engine.execute_mset(waits, pairs.len(), &pairs.iter().copied()) }
            },
        )
    }

    /// Removes a key, of this version if one is given; as `DEL`. Returns whether it was there.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.set(Millis(1_000), b"key", b"value", &SetOptions::default()).result?;
    /// assert_eq!(engine.delete(Millis(1_000), b"key", None).result, Ok(true));
    /// assert_eq!(engine.delete(Millis(1_000), b"key", None).result, Ok(false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&mut self, now: Millis, key: &[u8], version: Option<Version>) -> Answer<bool> {
        self.call(now, key, |counters| &mut counters.del, |engine, waits, hash| engine.execute_del(waits, hash, key, version))
    }

    /// Adds to a number, which is 0 where there is no such key; as `INCR`. Returns the sum.
    ///
    /// ```
    /// use osprey_core::engine::Error;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// assert_eq!(engine.incr(Millis(1_000), b"visits", 41).result, Ok(41));
    /// assert_eq!(engine.incr(Millis(1_000), b"visits", 1).result, Ok(42));
    /// assert_eq!(engine.incr(Millis(1_000), b"visits", i64::MAX).result, Err(Error::OutOfRange));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn incr(&mut self, now: Millis, key: &[u8], delta: i64) -> Answer<i64> {
        self.call(now, key, |counters| &mut counters.incr, |engine, waits, hash| engine.execute_add(waits, hash, key, delta.into()))
    }

    /// Lets a key end in `ms` milliseconds, with 0 at once, if its version is that which is given; as `EXPIRE`. Returns whether it was there.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.set(Millis(1_000), b"key", b"value", &SetOptions::default()).result?;
    /// assert_eq!(engine.expire(Millis(1_000), b"key", 500, None).result, Ok(true));
    /// assert_eq!(engine.exists(Millis(1_499), b"key").result, Ok(true));
    /// assert_eq!(engine.exists(Millis(1_500), b"key").result, Ok(false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expire(&mut self, now: Millis, key: &[u8], ms: u64, version: Option<Version>) -> Answer<bool> {
        self.call(
            now,
            key,
            |counters| &mut counters.expire,
            |engine, waits, hash| {
                let ms = i64::try_from(ms).map_err(|_| Error::ExpiryTooFar)?;
                engine.execute_expire(waits, hash, key, ms, version)
            },
        )
    }

    /// Takes a key's expiry away; as `PERSIST`. Returns whether the key was there.
    ///
    /// ```
    /// use osprey_core::engine::TimeToLive;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// engine.set(Millis(1_000), b"key", b"value", &SetOptions::default()).result?;
    /// engine.expire(Millis(1_000), b"key", 500, None).result?;
    /// assert_eq!(engine.persist(Millis(1_000), b"key").result, Ok(true));
    /// assert_eq!(engine.ttl(Millis(9_000), b"key").result, Ok(TimeToLive::Endless));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn persist(&mut self, now: Millis, key: &[u8]) -> Answer<bool> {
        self.call(now, key, |counters| &mut counters.persist, |engine, waits, hash| engine.execute_persist(waits, hash, key))
    }

    /// Shows some keys with their entries to `visit`, beginning at a cursor, which is 0 at first, and returns the next cursor; `None`: that was all. As `SCAN`: a key that is
    /// there from the first call to the last is shown at least once, whatever is written between. Looks at about `count` keys, 10,000 at most, beside some hundred, and
    /// shows those that begin with `prefix`.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// for number in 0..1000 {
    ///     engine.incr(Millis(1_000), format!("user:{number}").as_bytes(), 1).result?;
    ///     while engine.drive(&mut storage)? {}
    /// }
    /// let (mut cursor, mut keys) = (Some(0), std::collections::BTreeSet::new());
    /// while let Some(at) = cursor {
    ///     let scanned = engine.scan(Millis(1_000), at, 100, b"user:1", |key, _| drop(keys.insert(key.to_vec())));
    ///     cursor = scanned.result?;
    /// }
    /// assert_eq!(keys.len(), 1 + 10 + 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan(
        &mut self,
        now: Millis,
        cursor: u64,
        count: u64,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], Entry<'_>),
    ) -> Answer<Option<u64>> {
        self.prepare(now, prefix).map(|()| self.scan_from(cursor, count.max(1), prefix, |record| visit(record.key, record.into())))
    }

    /// Nothing is shown yet; it waits for what a scan would.
    pub(crate) fn prepare(&mut self, now: Millis, prefix: &[u8]) -> Answer<()> {
        // Any prefix will do that a key could have.
        let check = |engine: &Self| if prefix.is_empty() { Ok(()) } else { engine.check_key(prefix) };
        self.call_checked(now, check, |counters| &mut counters.scan, Self::prepare_scan)
    }

    fn call<T>(
        &mut self,
        now: Millis,
        key: &[u8],
        counter: Counter,
        execute: impl FnOnce(&mut Self, &mut Waits, Hash) -> Executed<T>,
    ) -> Answer<T> {
        self.call_checked(
            now,
            |engine| engine.check_key(key),
            counter,
            |engine, waits| {
                let hash = engine.store.hash(key);
                execute(engine, waits, hash)
            },
        )
    }

    /// Executes a command if its arguments are what the protocol's parser would let through.
    fn call_checked<T>(
        &mut self,
        now: Millis,
        check: impl FnOnce(&Self) -> Result<(), Error>,
        counter: Counter,
        execute: impl FnOnce(&mut Self, &mut Waits) -> Executed<T>,
    ) -> Answer<T> {
        self.now = self.now.max(now);
        let mut waits = Waits::default();
        let executed = check(self).map_err(Refusal::from).and_then(|()| execute(self, &mut waits));
        let result = executed.map_err(|refusal| {
            let error = match refusal {
                Refusal::Wait => {
                    // It was counted, and will be again.
                    let counter = counter(&mut self.counters);
                    *counter = counter.saturating_sub(1);
                    return Error::Busy;
                }
                Refusal::Error(error) => error,
                Refusal::NoReply => Error::OutOfMemory,
            };
            self.counters.errors += 1;
            error
        });
        Answer { result, after: Some(waits.0).filter(|&lsn| lsn > self.watermark()) }
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        match request::check_key(&self.options.limits.request, key) {
            _ if key.is_empty() => Err(Error::EmptyKey),
            Ok(()) => Ok(()),
            Err(RequestError::KeyTooLong { bytes, limit }) => Err(Error::KeyTooLong { bytes, limit }),
            Err(_) => Err(Error::BadKey),
        }
    }

    fn check_words(&self, words: usize) -> Result<(), Error> {
        let limit = self.options.limits.request.words_max;
        if words > 0 && words >= limit { Err(Error::TooMany { limit }) } else { Ok(()) }
    }

    fn check_values(&self, bytes: u64) -> Result<(), Error> {
        let limit = self.options.limits.request.value_bytes_max;
        if bytes > limit as u64 { Err(Error::ValueTooLong { bytes, limit }) } else { Ok(()) }
    }
}
