//! The only orchestrator: requests in, replies and storage operations out.
//!
//! ```text
//!   bytes ──▶ serve ──▶ protocol ──▶ execute ──▶ store
//!               │                       └──────▶ log ──▶ poll_storage ──▶ host's storage
//!               ▼                                 ▲                            │
//!            replies, gated until ─── watermark ──┴──────── storage_done ◀─────┘
//! ```
//! The engine has four kinds of calls, none of which waits:
//! - [`Engine::serve`] executes the requests at the start of a connection's input. Its replies may be sent as far as
//!   [`Session::releasable`] says.
//! - [`Engine::poll_storage`] and [`Engine::storage_done`] hand work to storage and take it back, in any rhythm.
//! - [`Engine::tick`] does what is due with time, and says when to come again.
//! - [`Engine::close`] asks for an orderly end.
//!
//! | part | what |
//! | --- | --- |
//! | `start` | from what storage holds to an engine |
//! | `serve`, `ahead`, `answer` | requests one after the other, each to its reply; `session`: how much of that may leave |
//! | `execute`, `calls`, `journal`, `recent` | what a command does, for a client and for a host; what its answer depends on |
//! | `hand_off` | operations of storage |
//! | `snapshots`, `space`, `retention` | the log is kept short |
//!
//! Here: what they share, and what time makes due.

mod ahead;
mod answer;
mod calls;
mod error;
mod execute;
mod hand_off;
mod journal;
mod options;
mod payload;
mod recent;
mod retention;
mod serve;
mod session;
mod snapshots;
mod space;
mod start;
mod stats;

use alloc::vec::Vec;
use core::fmt;

pub use calls::{Answer, Entries, Entry, TimeToLive};
pub use error::Error;
pub use options::{Entropy, Limits, Options};
pub use payload::Payload;
pub use retention::Retention;
pub use serve::{Next, Served};
pub use session::Session;
pub use snapshots::{SnapshotFailure, SnapshotOptions, Ticket};
pub use stats::HostGauges;

pub use crate::protocol::command::{Presence, SetExpiry, SetOptions};
pub use crate::wal::segment::DatabaseId;
pub use crate::wal::writer::{Poisoned, SyncPolicy};

use crate::museum::planted;
use crate::recovery::Report;
use crate::store::Store;
use crate::units::{Lsn, Millis};
use journal::Journal;
use snapshots::Snapshots;
use stats::Counters;

/// A store with its log, driven by a host.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, Session};
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::Storage;
/// use osprey_core::units::Millis;
///
/// let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// let mut storage = MemoryStorage::new();
/// let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1_000))?;
/// let (mut session, mut unsent) = (Session::new(), Vec::new());
/// let mut input = &b"INCR visits\r\nINCR visits\r\n"[..];
/// // A host's loop: serve what has come, hand on what storage shall do, take back what it has done, send what may be sent.
/// let mut sent = Vec::new();
/// while sent.len() < 6 {
///     let served = engine.serve(Millis(1_000), &mut session, input, &mut unsent);
///     input = &input[served.consumed..];
///     while let Some(op) = engine.poll_storage() {
///         if let Some(done) = storage.submit(op) {
///             engine.storage_done(done)?;
///         }
///     }
///     sent.extend(unsent.drain(..session.releasable(engine.watermark(), unsent.len())));
/// }
/// assert_eq!(sent, b"1\r\n2\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    options: Options,
    store: Store,
    journal: Journal,
    counters: Counters,
    /// What the host contributes to `STATS`.
    pub gauges: HostGauges,
    started: Millis,
    now: Millis,
    sweep_at: Millis,
    snapshots: Snapshots,
    report: Report,
    /// What an MSET replaced, until it is known to succeed.
    undo: Vec<execute::Undo>,
}

/// In short: neither the data nor what keeps hashes secret.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = &self.journal.log;
        let mut shown = f.debug_struct("Engine");
        shown
            .field("now", &self.now)
            .field("store", &self.store)
            .field("last_lsn", &log.last_lsn())
            .field("durable_lsn", &log.durable_lsn());
        shown.finish_non_exhaustive()
    }
}

impl Engine {
    /// The data.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// let store = engine.store();
    /// assert!(store.len() == 1 && store.lookup(store.hash(b"visits"), b"visits", Millis(1_000)).live().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The latest time that the engine has acted on; it never goes back, also over a restart.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.tick(Millis(5_000));
    /// engine.tick(Millis(4_000)); // the clock was set back
    /// assert_eq!(engine.now(), Millis(5_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// How far the log has come in the sense of the sync policy: replies that wait for this or less may be sent.
    ///
    /// ```
    /// use osprey_core::engine::SyncPolicy;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// assert!(engine.watermark() < engine.last_lsn(), "not in the log yet");
    /// while engine.drive(&mut storage)? {}
    /// // The policy is `Batch`: what is handed to storage may be told, and is durable later.
    /// assert_eq!(engine.watermark(), engine.last_lsn());
    /// assert!(engine.durable_lsn() < engine.last_lsn());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn watermark(&self) -> Lsn {
        self.journal.log.watermark()
    }

    /// The last record that was logged.
    ///
    /// ```
    /// use osprey_core::units::Lsn;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// engine.set_many(Millis(1_000), &[(b"one", b"1"), (b"two", b"2")]).result?;
    /// assert_eq!(engine.last_lsn(), Lsn(2), "a record for each key");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.journal.log.last_lsn()
    }

    /// Everything up to here is durable.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// while engine.drive(&mut storage)? {}
    /// assert!(engine.durable_lsn() < engine.last_lsn());
    /// engine.request_sync();
    /// while engine.drive(&mut storage)? {}
    /// assert_eq!(engine.durable_lsn(), engine.last_lsn());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.journal.log.durable_lsn()
    }

    /// Whether the log's first segment is still being prepared: until then writes wait.
    ///
    /// ```
    /// use osprey_core::engine::Error;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    ///
    /// let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// assert!(engine.starting());
    /// assert_eq!(engine.incr(Millis(1_000), b"visits", 1).result, Err(Error::Busy));
    /// while engine.drive(&mut storage)? {}
    /// assert!(!engine.starting());
    /// assert_eq!(engine.incr(Millis(1_000), b"visits", 1).result, Ok(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn starting(&self) -> bool {
        self.journal.log.starting()
    }

    /// Memory that counts towards [`Limits::memory_bytes_max`], bytes.
    ///
    /// ```
    /// use osprey_core::engine::Error;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let mut options = options;
    /// options.limits.memory_bytes_max = engine.memory_bytes() + 4_096;
    /// let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// while engine.drive(&mut storage)? {}
    /// let too_much = engine.set(Millis(1_000), b"key", &[0; 8_192], &SetOptions::default());
    /// assert_eq!(too_much.result, Err(Error::MemoryLimit(options.limits.memory_bytes_max)));
    /// assert!(engine.memory_bytes() <= options.limits.memory_bytes_max);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        (self.store.bytes() + self.journal.log.buffer_bytes()) as u64 + self.gauges.connection_bytes
    }

    /// Does what is due at `now`: syncs, sweeping, attempts to find space again. Returns when to call it next; `None`: only after other calls.
    ///
    /// Bounded: looks at [`Options::sweep_batch`] deadlines at most.
    ///
    /// ```
    /// use osprey_core::engine::SetExpiry;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let brief = SetOptions { expiry: SetExpiry::In(50), ..SetOptions::default() };
    /// engine.set(Millis(1_000), b"key", b"value", &brief).result?;
    /// while engine.drive(&mut storage)? {}
    /// let mut next = engine.tick(Millis(1_000));
    /// // A host sleeps until then, unless something comes before.
    /// while let Some(due) = next {
    ///     next = engine.tick(due);
    ///     while engine.drive(&mut storage)? {}
    /// }
    /// assert!(engine.store().is_empty(), "swept, without having been asked for");
    /// assert_eq!(engine.durable_lsn(), engine.last_lsn());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tick(&mut self, now: Millis) -> Option<Millis> {
        self.now = self.now.max(now);
        if self.sweep_at <= self.now {
            self.sweep();
        }
        let log = self.journal.log.tick(self.now);
        let gather = self.store.is_scattered().then_some(self.sweep_at);
        let sweep = self.store.next_expiry().map(|due| due.max(self.sweep_at));
        let snapshot = self.snapshots.tick(self.now, &self.journal.log, &self.store);
        log.into_iter().chain(sweep).chain(gather).chain(snapshot).min()
    }

    fn sweep(&mut self) {
        // Nothing is removed whose end might be forgotten in a crash: a reply that doesn't find it would be promising too much.
        let secured = self.journal.log.secured_time();
        let (_, all) =
            self.store.sweep(if planted("swept_before_certain") { self.now } else { secured.min(self.now) }, self.options.sweep_batch);
        if all && self.store.next_expiry().is_some_and(|due| due <= self.now && due > secured) {
            // A mark makes the time certain; what is due meanwhile goes with the next sweep.
            let _ = self.journal.log.secure_time(self.now);
        }
        let pause = if all { self.options.sweep_interval_ms.max(1) } else { 1 };
        self.sweep_at = Millis(self.now.0.saturating_add(pause));
    }

    /// Asks for an orderly end: everything logged becomes durable and the log is sealed. Storage is to be driven as before until [`Engine::closed`].
    /// No request may be served any more.
    ///
    /// ```
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    /// engine.incr(Millis(1_000), b"visits", 1).result?;
    /// engine.close();
    /// while !engine.closed() {
    ///     assert!(engine.drive(&mut storage)?);
    /// }
    /// let (_, report) = Engine::recover(options, &mut storage, Millis(2_000))?;
    /// assert!(report.sealed && report.torn.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&mut self) {
        self.stop_snapshots();
        self.journal.log.close();
    }

    /// Whether the orderly end has been reached.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.journal.log.closed()
    }
}
