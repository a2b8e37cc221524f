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

mod ahead;
mod answer;
mod calls;
mod error;
mod execute;
mod journal;
mod payload;
mod recent;
mod retention;
mod session;
mod snapshots;
mod space;
mod stats;

use alloc::vec::Vec;
use core::mem;

pub use calls::{Answer, Entries, Entry, TimeToLive};
pub use error::Error;
pub use payload::Payload;
pub use retention::Retention;
pub use session::Session;
pub use snapshots::{SnapshotFailure, SnapshotOptions, Ticket};
pub use stats::HostGauges;

pub use crate::protocol::command::{Presence, SetExpiry, SetOptions};
pub use crate::wal::segment::DatabaseId;
pub use crate::wal::writer::{Poisoned, SyncPolicy};

use crate::checksum::{Checksum, crc32c};
use crate::museum::planted;
use crate::protocol::reply;
use crate::protocol::request::{self, Parser, Step};
use crate::record::{KEY_BYTES_MAX, OutOfMemory, VALUE_BYTES_MAX};
use crate::recovery::{self, Progress, RecoveryError, Report};
use crate::storage::{ChunkBytes, LogFiles, Storage, StorageDone, StorageOp};
use crate::store::Store;
use crate::units::{Lsn, Millis};
use crate::wal::frame::{FRAME_HEADER_BYTES, RECORD_LENGTH_BYTES};
use crate::wal::segment::HEADER_BYTES;
use crate::wal::writer::{LogWriter, WriterOptions};
use ahead::{Ahead, Parsed};
use answer::{Outcome, Reply};
use error::Refusal;
use journal::Journal;
use recent::RecentWrites;
use snapshots::Snapshots;
use stats::Counters;

/// The longest line that an engine accepts, whatever its limits say, bytes.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The most words that an engine accepts in a line, whatever its limits say.
const WORDS_MAX: usize = 1 << 20;

/// Bounds of everything that a client can make large.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of requests.
    pub request: request::Limits,
    /// Of keys, index, deadlines and the connections' buffers together, bytes; 0: no limit. Over it, writes that need more get `ERR OOM`.
    pub memory_bytes_max: u64,
    /// Of the reply to one `MGET`, bytes. (A `GET` is bounded by the largest value.)
    pub reply_bytes_max: usize,
    /// With this many unsent bytes no further request of that connection is executed.
    pub unsent_bytes_soft_max: usize,
    /// How many requests one call of [`Engine::serve`] executes at most.
    pub requests_per_call: usize,
    /// The table that tells which keys were written lately has 2^this slots of 8 bytes.
    pub recent_slots_log2: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: request::Limits { key_bytes_max: 256, value_bytes_max: 16 << 20, line_bytes_max: 1 << 20, words_max: 4096 },
            memory_bytes_max: 0,
            reply_bytes_max: 64 << 20,
            unsent_bytes_soft_max: 256 << 10,
            requests_per_call: 1024,
            recent_slots_log2: 13,
        }
    }
}

/// Random numbers, from a good source, new for every run.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// Against hash flooding.
    pub hash_key: [u8; 16],
    /// The log's salt.
    pub salt: u64,
    /// Names the database if it is new.
    pub database: DatabaseId,
}

/// How an engine is to run.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Entropy, Limits, Options, SnapshotOptions, SyncPolicy};
///
/// let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// let options = Options {
///     limits: Limits { memory_bytes_max: 64 << 20, ..Limits::default() },
///     sync_policy: SyncPolicy::Batch { delay_ms: 20, bytes: 256 << 10 },
///     snapshots: Some(SnapshotOptions::default()), // only where storage does them
///     ..Options::new(entropy)
/// };
/// assert!(options.segment_bytes >= options.segment_bytes_min(), "the largest request fits");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bounds.
    pub limits: Limits,
    /// What a reply promises.
    pub sync_policy: SyncPolicy,
    /// A log segment's size, bytes; it is made larger if the largest request doesn't fit.
    pub segment_bytes: u64,
    /// How often expired keys are looked for.
    pub sweep_interval_ms: u64,
    /// How many deadlines one [`Engine::tick`] looks at, at most.
    pub sweep_batch: usize,
    /// How snapshots are taken; `None`: none ever are, and storage isn't asked for them.
    pub snapshots: Option<SnapshotOptions>,
    /// How much of log and snapshots is read at once while they are recovered, and of a snapshot while it is written and verified.
    pub chunk: ChunkBytes,
    /// How checksums are computed.
    pub checksum: Checksum,
    /// Random numbers.
    pub entropy: Entropy,
}

impl Options {
    /// Options with default limits, `batch` of 100 ms or 1 MiB, and segments of 64 MiB, and no snapshots.
    #[must_use]
    pub fn new(entropy: Entropy) -> Self {
        Self {
            limits: Limits::default(),
            sync_policy: SyncPolicy::Batch { delay_ms: 100, bytes: 1 << 20 },
            segment_bytes: 64 << 20,
            sweep_interval_ms: 200,
            sweep_batch: 1000,
            snapshots: None,
            chunk: ChunkBytes::default(),
            checksum: crc32c,
            entropy,
        }
    }

    /// The size that a segment needs so that the largest request fits into one, bytes.
    #[must_use]
    pub fn segment_bytes_min(&self) -> u64 {
        let request = &self.limits.request;
        // An MSET: all its payloads count as one value, and each of its keys has a record.
        let records = (request.words_max.max(2) / 2) as u64;
        let record_bytes_max = (RECORD_LENGTH_BYTES + 32 + request.key_bytes_max) as u64;
        let frame = records.saturating_mul(record_bytes_max).saturating_add((FRAME_HEADER_BYTES + request.value_bytes_max) as u64);
        frame.saturating_add(HEADER_BYTES + 4096)
    }
}

/// What [`Engine::serve`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// So many bytes of the input are done with.
    pub consumed: usize,
    /// What has to happen before the next call for this connection.
    pub next: Next,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input: the rest must be at least this long before another call can do anything.
    Read {
        /// Bytes, those not consumed included.
        at_least: usize,
    },
    /// Replies to be sent: too many are waiting.
    Flush,
    /// Its turn: other connections come first.
    Again,
    /// An operation of storage to end.
    Storage,
    /// Nothing: send what there is, then close.
    Close,
}

/// A store with its log, driven by a host.
#[derive(Debug)]
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

impl Engine {
    /// Recovers what `files` hold, and continues it with a new epoch. Storage must then do what [`Engine::poll_storage`] asks; writes wait
    /// until the new epoch's first segment has been started.
    ///
    /// # Errors
    /// The log is damaged, or storage or memory fail; `files` are unchanged then.
    pub fn recover(options: Options, files: &mut impl LogFiles, now: Millis) -> Result<(Self, Report), RecoveryError> {
        Self::recover_with(options, files, now, &mut |_| ())
    }

    /// As [`Engine::recover`]; tells `progress` after each piece that was read how far it is.
    ///
    /// # Errors
    /// As there.
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

    /// The data.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The latest time that the engine has acted on; it never goes back, also over a restart.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// How far the log has come in the sense of the sync policy: replies that wait for this or less may be sent.
    #[must_use]
    pub fn watermark(&self) -> Lsn {
        self.journal.log.watermark()
    }

    /// The last record that was logged.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.journal.log.last_lsn()
    }

    /// Everything up to here is durable.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.journal.log.durable_lsn()
    }

    /// Whether the log's first segment is still being prepared: until then writes wait.
    #[must_use]
    pub fn starting(&self) -> bool {
        self.journal.log.starting()
    }

    /// Memory that counts towards [`Limits::memory_bytes_max`], bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        (self.store.bytes() + self.journal.log.buffer_bytes()) as u64 + self.gauges.connection_bytes
    }

    /// Parses and executes the requests at the start of `input` and appends their replies to `out`, which holds what
    /// was not sent yet.
    ///
    /// Bounded: at most [`Limits::requests_per_call`] requests, and no further one once `out` has
    /// [`Limits::unsent_bytes_soft_max`]; one request looks at [`request::Limits::words_max`] keys at most. [`Next::Again`],
    /// [`Next::Flush`] and [`Next::Storage`] always leave some input.
    pub fn serve(&mut self, now: Millis, session: &mut Session, input: &[u8], out: &mut Vec<u8>) -> Served {
        self.serve_lending(now, session, input, out, usize::MAX).0
    }

    /// As [`Engine::serve`], but ends behind a `GET` whose value has `lend_bytes_min` bytes or more, and does not copy that: `out` ends with its `VALUE` line, and
    /// the payload that follows is lent.
    pub fn serve_lending(
        &mut self,
        now: Millis,
        session: &mut Session,
        input: &[u8],
        out: &mut Vec<u8>,
        lend_bytes_min: usize,
    ) -> (Served, Option<Payload<'_>>) {
        self.now = self.now.max(now);
        let begin = out.len();
        let mut consumed = 0;
        let mut lent = None;
        let mut parsed = Ahead::new();
        let mut budget = self.options.limits.requests_per_call;
        let next = 'serving: loop {
            if session.closing {
                break Next::Close;
            }
            let rest = input.get(consumed..).unwrap_or_default();
            if rest.is_empty() {
                // Before anything else: whoever has no input left can only be helped by more.
                break Next::Read { at_least: 1 };
            }
            let mut behind = ahead::parse(&mut parsed, &session.parser, &self.options.limits.request, &self.store, rest);
            for (at, &Parsed { ref step, hash }) in parsed.iter().enumerate() {
                if session.closing {
                    break;
                }
                if out.len() >= self.options.limits.unsent_bytes_soft_max && !planted("replies_without_bound") {
                    break 'serving Next::Flush;
                }
                if budget == 0 {
                    break 'serving Next::Again;
                }
                budget -= 1;
                // Whatever is appended to `out` from here on answers this request.
                let replied = out.len();
                let (answered, used) = match *step {
                    Step::Incomplete { at_least } => {
                        session.parser = behind;
                        break 'serving Next::Read { at_least };
                    }
                    Step::Skip { consumed: used } => (Ok(()), used),
                    Step::Request { ref command, consumed: used } => {
                        match self.answer(&mut Reply { session, out, begin, lend_bytes_min }, command, hash) {
                            Ok(Outcome::Answered) => (Ok(()), used),
                            Ok(Outcome::Lends(spot)) => {
                                lent = Some(spot);
                                (Ok(()), used)
                            }
                            Ok(Outcome::Close) => {
                                session.closing = true;
                                (Ok(()), used)
                            }
                            // The parser stays before it.
                            Err(Refusal::Wait) => {
                                self.counters.take_back(command);
                                break 'serving Next::Storage;
                            }
                            Err(Refusal::Error(error)) => {
                                out.truncate(replied);
                                self.counters.errors += 1;
                                (reply::error(out, error.code(), error), used)
                            }
                            Err(Refusal::NoReply) => (Err(OutOfMemory), used),
                        }
                    }
                    Step::Reject { error, consumed: used, close } => {
                        self.counters.errors += 1;
                        session.closing |= close;
                        (reply::error(out, error.code(), error), used)
                    }
                };
                session.parser = if at + 1 == parsed.len() { mem::take(&mut behind) } else { Parser::default() };
                consumed += used;
                if answered.is_err() {
                    // Not even an error can be sent. A stream with a reply missing would be worse than its end.
                    out.truncate(replied);
                    session.closing = true;
                }
                if lent.is_some() {
                    let left = consumed < input.len();
                    break 'serving if left { Next::Again } else { Next::Read { at_least: 1 } };
                }
            }
        };
        let payload = lent.map(|spot| Payload::new(self.store.value_at(spot)));
        session.produced(out.len() - begin + payload.map_or(0, |payload| payload.len()));
        (Served { consumed, next }, payload)
    }

    /// The next operation for storage, if one can begin now. Ask again until there is none: an append, a sync and a
    /// reservation can be under way at the same time.
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
    pub fn storage_done(&mut self, done: StorageDone) -> Result<(), Poisoned> {
        if let StorageOp::Snapshot(op) = done.op {
            self.snapshots.done(op, done.result, self.now);
            if let (Err(error), true) = (done.result, planted("snapshot_failure_poisons")) {
                return Err(Poisoned { segment: crate::storage::SegmentNumber(0), during: "write", error });
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

    /// Does what is due at `now`: syncs, sweeping, attempts to find space again. Returns when to call it next; `None`: only after other calls.
    ///
    /// Bounded: looks at [`Options::sweep_batch`] deadlines at most.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_without_bounds_do_not_overflow() {
        let mut options = Options::new(Entropy { hash_key: [0; 16], salt: 0, database: DatabaseId([0; 16]) });
        options.limits.request.words_max = usize::MAX;
        assert!(options.segment_bytes_min() > 1 << 40);
    }
}
