//! What each command does: decide, make room in log and memory, then change the store and log the result.
//!
//! The order makes it impossible to fail half way: everything that can be refused is refused before anything changes.

use alloc::vec::Vec;
use core::fmt;

use super::Engine;
use super::journal::{Busy, Reply};
use super::snapshots::SnapshotFailure;
use crate::museum::planted;
use crate::protocol::command::{Command, Keys, Pairs, Presence, SetExpiry, SetOptions};
use crate::protocol::error::ErrorCode;
use crate::protocol::reply;
use crate::record::{Kind, OutOfMemory, Record};
use crate::storage::StorageError;
use crate::store::{Before, Hash, Lookup, Spot};
use crate::units::{Millis, Version};
use crate::wal::writer::NoRoom;

/// The longest integer: `-9223372036854775808`.
const INTEGER_BYTES_MAX: usize = 20;

/// Room for any reply that isn't a value or a list.
const SHORT_REPLY_BYTES: usize = 256;

/// One `SCAN` visits so many keys at most, beside one table's.
const SCAN_COUNT_MAX: u64 = 10_000;

/// One `SCAN` visits so many tables at most: after many keys were deleted most of them may be empty.
const SCAN_TABLES_MAX: usize = 1000;

/// A command was answered.
pub(super) enum Outcome {
    Answered,
    /// … but for the payload, the value at this spot, which is lent.
    Lends(Spot),
    /// … and was the last.
    Close,
}

/// A command has changed nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Storage is busy: execute the command again later.
    Wait,
    /// This is the answer.
    Error(ErrorCode, Message),
    /// There is no memory for an answer.
    NoReply,
}

impl Refusal {
    fn snapshot(failure: SnapshotFailure) -> Self {
        let code = match failure {
            SnapshotFailure::Storage(StorageError::NoSpace) | SnapshotFailure::LogFirst => ErrorCode::ReadOnly,
            SnapshotFailure::OutOfMemory => ErrorCode::Oom,
            SnapshotFailure::Unsupported
            | SnapshotFailure::Storage(StorageError::Io(_))
            | SnapshotFailure::Unverified(_)
            | SnapshotFailure::Stopping => ErrorCode::Internal,
        };
        Self::Error(code, Message::Snapshot(failure))
    }
}

impl From<OutOfMemory> for Refusal {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        Self::Error(ErrorCode::Oom, Message::OutOfMemory)
    }
}

impl From<Busy> for Refusal {
    fn from(Busy: Busy) -> Self {
        Self::Wait
    }
}

impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::Busy => Self::Wait,
            NoRoom::ReadOnly => Self::Error(ErrorCode::ReadOnly, Message::ReadOnly),
            NoRoom::OutOfMemory => OutOfMemory.into(),
        }
    }
}

/// An error's text: what is wrong and what to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    Exists,
    NotExists,
    Version(Version),
    NotAnInteger,
    OutOfRange,
    ExpiryTooFar,
    ReplyTooLarge { bytes: usize, limit: usize },
    OutOfMemory,
    MemoryLimit(u64),
    ReadOnly,
    VersionsUsedUp,
    Snapshot(SnapshotFailure),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("the key exists; NX sets only a key that does not"),
            Self::NotExists => f.write_str("the key does not exist; XX sets only a key that does"),
            Self::Version(current) => write!(f, "another version is current: {}", current.0),
            Self::NotAnInteger => f.write_str("the value is no 64-bit decimal integer"),
            Self::OutOfRange => f.write_str("the result would leave the 64-bit range; the value stays"),
            Self::ExpiryTooFar => f.write_str("the expiry is too far in the future"),
            Self::ReplyTooLarge { bytes, limit } => {
                write!(f, "the reply would have {bytes} bytes, the limit is {limit}; ask for fewer keys at once")
            }
            Self::OutOfMemory => f.write_str("no memory left; nothing changed, reads and DEL go on working"),
            Self::MemoryLimit(limit) => {
                write!(f, "max_memory_bytes ({limit}) is reached; nothing changed, DEL keys or raise the limit")
            }
            Self::ReadOnly => f.write_str("no space for the log on the disk; nothing changed, reads go on working, free some space"),
            Self::Snapshot(failure) => failure.fmt(f),
            Self::VersionsUsedUp => f.write_str("the versions of this key are used up"),
        }
    }
}

/// What an MSET replaced.
#[derive(Debug)]
pub(super) struct Undo {
    hash: Hash,
    before: Before,
}

type Executed<T = ()> = Result<T, Refusal>;

impl Engine {
    /// Executes one command; `hash` is its key's, if it has just one. Its reply goes to the end of `reply`.
    pub(super) fn execute(&mut self, reply: &mut Reply<'_>, command: &Command<'_>, hash: Hash) -> Executed<Outcome> {
        // Room for any short reply: after this only values and lists can fail for want of memory.
        reply.out.try_reserve(SHORT_REPLY_BYTES).map_err(|_| Refusal::NoReply)?;
        match *command {
            Command::Get { key } => return self.get(reply, hash, key),
            Command::Set { key, value, options } => self.set(reply, hash, key, value, &options)?,
            Command::Add { key, delta } => self.add(reply, hash, key, delta)?,
            Command::Del { key, version } => self.del(reply, hash, key, version)?,
            Command::Exists { key } => self.exists(reply, hash, key)?,
            Command::Expire { key, ms, version } => self.expire(reply, hash, key, ms, version)?,
            Command::Persist { key } => self.persist(reply, hash, key)?,
            Command::Ttl { key } => self.ttl(reply, hash, key)?,
            Command::Mget { keys } => self.mget(reply, keys)?,
            Command::Mset { pairs } => self.mset(reply, pairs)?,
            Command::Scan { cursor, count, prefix } => self.scan(reply, cursor, count, prefix)?,
            Command::Stats => self.write_stats(reply.out)?,
            Command::Snapshot => self.snapshot(reply)?,
            Command::Ping => {
                self.counters.ping += 1;
                reply::pong(reply.out)?;
            }
            Command::Quit => {
                reply::bye(reply.out)?;
                return Ok(Outcome::Close);
            }
        }
        Ok(Outcome::Answered)
    }

    fn get(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8]) -> Executed<Outcome> {
        self.counters.get += 1;
        let found = self.journal.look(&self.store, reply, hash, key, self.now)?;
        let Some(record) = found.live() else {
            reply::not_found(reply.out)?;
            self.counters.misses += 1;
            return Ok(Outcome::Answered);
        };
        let lends = record.value.len() >= reply.lend_bytes_min;
        if lends {
            reply::value_line(reply.out, record.value.len(), record.version, record.expiry)?;
        } else {
            reply::value(reply.out, record.value, record.version, record.expiry)?;
        }
        self.counters.hits += 1;
        Ok(if lends { Outcome::Lends(found.spot) } else { Outcome::Answered })
    }

    fn exists(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8]) -> Executed {
        self.counters.exists += 1;
        let there = self.journal.look(&self.store, reply, hash, key, self.now)?.live().is_some();
        Ok(reply::exists(reply.out, there)?)
    }

    fn ttl(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8]) -> Executed {
        self.counters.ttl += 1;
        let left = match self.journal.look(&self.store, reply, hash, key, self.now)?.live() {
            Some(Record { expiry: Some(expiry), .. }) => i64::try_from(expiry.since(self.now)).unwrap_or(i64::MAX),
            Some(_) => -1,
            None => -2,
        };
        Ok(reply::integer(reply.out, left)?)
    }

    fn mget(&mut self, reply: &mut Reply<'_>, keys: Keys<'_>) -> Executed {
        self.counters.mget += 1;
        // Found out before anything is written, so that the answer is all or nothing, waits as a whole, and its memory is bounded.
        let limit = self.options.limits.reply_bytes_max;
        let mut bytes = 0_usize;
        for key in keys.iter() {
            let hash = self.store.hash(key);
            let found = if planted("mget_ungated") {
                self.store.lookup(hash, key, self.now)
            } else {
                self.journal.look(&self.store, reply, hash, key, self.now)?
            };
            bytes = bytes.saturating_add(reply::item_bytes_max(key, found.live().map_or(&[], |record| record.value)));
        }
        if bytes > limit && keys.len() > 1 {
            return Err(Refusal::Error(ErrorCode::TooLarge, Message::ReplyTooLarge { bytes, limit }));
        }
        reply.out.try_reserve(bytes).map_err(|_| OutOfMemory)?;
        for key in keys.iter() {
            if let Some(record) = self.store.lookup(self.store.hash(key), key, self.now).live() {
                reply::item_found(reply.out, key, record.value, record.version, record.expiry)?;
            } else {
                reply::item_missing(reply.out, key)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8], value: &[u8], options: &SetOptions) -> Executed {
        self.counters.set += 1;
        let found = self.journal.look(&self.store, reply, hash, key, self.now)?;
        let live = found.live();
        match options.presence {
            Presence::Absent if live.is_some() => return Err(Refusal::Error(ErrorCode::Exists, Message::Exists)),
            Presence::Present if live.is_none() => return Err(Refusal::Error(ErrorCode::NExists, Message::NotExists)),
            _ => {}
        }
        check_version(options.version, live.as_ref())?;
        let expiry = match options.expiry {
            SetExpiry::Clear => None,
            SetExpiry::In(ms) => Some(self.now.checked_add(ms).ok_or(EXPIRY_TOO_FAR)?),
            SetExpiry::At(at) => Some(at),
            SetExpiry::Keep => live.and_then(|record| record.expiry),
        };
        let version = self.next_version(&found)?;
        if expiry.is_some_and(|expiry| expiry <= self.now) {
            // It ends before it begins; only its version is used up.
            self.remove(reply, hash, key, version)?;
        } else {
            let change = self.change(&found, Record { kind: Kind::Set, version, expiry, key, value });
            self.write(reply, hash, &change)?;
        }
        Ok(reply::ok_version(reply.out, version)?)
    }

    fn add(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8], delta: i128) -> Executed {
        self.counters.incr += 1;
        let found = self.journal.look(&self.store, reply, hash, key, self.now)?;
        let (old, expiry) = match found.live() {
            Some(record) => (canonical_integer(record.value).ok_or(NOT_AN_INTEGER)?, record.expiry),
            None => (0, None),
        };
        let sum = i128::from(old).checked_add(delta).and_then(|sum| i64::try_from(sum).ok());
        let sum = sum.or(planted("increment_wraps").then_some(i64::MIN)).ok_or(OUT_OF_RANGE)?;
        let version = self.next_version(&found)?;
        let mut digits = itoa::Buffer::new();
        let value = digits.format(sum).as_bytes();
        let change = self.change(&found, Record { kind: Kind::Set, version, expiry, key, value });
        self.write(reply, hash, &change)?;
        Ok(reply::integer(reply.out, sum)?)
    }

    fn next_version(&self, found: &Lookup<'_>) -> Executed<Version> {
        self.store.next_version(found).ok_or(Refusal::Error(ErrorCode::Internal, Message::VersionsUsedUp))
    }

    fn change<'a>(&self, found: &Lookup<'_>, record: Record<'a>) -> Change<'a> {
        let growth = self.store.growth(found.spot, &record);
        Change { spot: found.spot, record, growth, outlived: found.expired().map(|held| held.version) }
    }

    /// Gives a key a value.
    fn write(&mut self, reply: &mut Reply<'_>, hash: Hash, change: &Change<'_>) -> Executed {
        self.charge(change.growth)?;
        self.journal.log.make_room(1, change.record.encoded_len())?;
        let bytes = self.store.put(change.spot, &change.record)?;
        if planted("expiry_not_logged") {
            self.journal.log.log(&Record { expiry: None, ..change.record });
        } else {
            self.journal.log.log_encoded(bytes);
        }
        self.journal.recorded(reply, core::iter::once(hash));
        self.end_outlived(change.outlived);
        Ok(())
    }

    fn end_outlived(&mut self, outlived: Option<Version>) {
        if let Some(version) = outlived {
            self.store.raise_floor(version);
            self.store.count_expired();
        }
    }

    /// Refuses a growth over the memory limit.
    fn charge(&self, growth: usize) -> Executed {
        let limit = self.options.limits.memory_bytes_max;
        if limit > 0 && growth > 0 && self.memory_bytes().saturating_add(growth as u64) > limit {
            return Err(Refusal::Error(ErrorCode::Oom, Message::MemoryLimit(limit)));
        }
        Ok(())
    }

    /// Removes a key, if it is there, and uses up its versions through `version`.
    fn remove(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8], version: Version) -> Executed {
        let record = Record { kind: Kind::Del, version, expiry: None, key, value: &[] };
        self.journal.log.make_room(1, record.encoded_len())?;
        self.store.remove(hash, key);
        self.store.raise_floor(version);
        if planted("delete_not_logged") {
            return Ok(());
        }
        self.journal.record(reply, hash, &record);
        Ok(())
    }

    fn del(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8], version: Option<Version>) -> Executed {
        self.counters.del += 1;
        let live = self.journal.look(&self.store, reply, hash, key, self.now)?.live();
        check_version(version, live.as_ref())?;
        let Some(version) = live.map(|record| record.version) else { return Ok(reply::deleted(reply.out, false)?) };
        self.remove(reply, hash, key, version)?;
        Ok(reply::deleted(reply.out, true)?)
    }

    fn expire(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8], ms: i64, version: Option<Version>) -> Executed {
        self.counters.expire += 1;
        let live = self.journal.look(&self.store, reply, hash, key, self.now)?.live();
        check_version(version, live.as_ref())?;
        let Some(version) = live.map(|record| record.version) else { return Ok(reply::not_found(reply.out)?) };
        match u64::try_from(ms) {
            Ok(ms) if ms > 0 => {
                let expiry = self.now.checked_add(ms).ok_or(EXPIRY_TOO_FAR)?;
                self.set_expiry(reply, hash, key, version, Some(expiry))?;
            }
            _ => self.remove(reply, hash, key, version)?,
        }
        Ok(reply::ok(reply.out)?)
    }

    fn persist(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8]) -> Executed {
        self.counters.persist += 1;
        match self.journal.look(&self.store, reply, hash, key, self.now)?.live() {
            Some(Record { version, expiry: Some(_), .. }) => self.set_expiry(reply, hash, key, version, None)?,
            Some(_) => {}
            None => return Ok(reply::not_found(reply.out)?),
        }
        Ok(reply::ok(reply.out)?)
    }

    fn set_expiry(&mut self, reply: &mut Reply<'_>, hash: Hash, key: &[u8], version: Version, expiry: Option<Millis>) -> Executed {
        let logged = if planted("relative_expiry_logged") { expiry.map(|at| Millis(at.since(self.now))) } else { expiry };
        let record = Record { kind: Kind::Expire, version, expiry: logged, key, value: &[] };
        self.journal.log.make_room(1, record.encoded_len())?;
        self.store.set_expiry(hash, key, expiry)?;
        self.journal.record(reply, hash, &record);
        Ok(())
    }

    fn mset(&mut self, reply: &mut Reply<'_>, pairs: Pairs<'_>) -> Executed {
        self.counters.mset += 1;
        let (mut bytes, mut growth) = (0_usize, 0_usize);
        for (key, value) in pairs.iter() {
            // With the widest version, so that there is room in any case.
            let record = Record { kind: Kind::Set, version: Version(u64::MAX), expiry: None, key, value };
            let hash = self.store.hash(key);
            let found = self.journal.look(&self.store, reply, hash, key, self.now)?;
            bytes = bytes.saturating_add(record.encoded_len());
            growth = growth.saturating_add(self.store.growth(found.spot, &record));
        }
        if !planted("half_an_mset") {
            self.charge(growth)?;
        }
        self.journal.log.make_room(pairs.len(), bytes)?;
        let mut undo = core::mem::take(&mut self.undo);
        let done = self.put_all(pairs, &mut undo);
        if done.is_ok() {
            self.journal
                .recorded(reply, undo.iter().map(|undo| undo.hash).take(if planted("mset_notes_one_key") { 1 } else { usize::MAX }));
        } else {
            // Backwards, so that a key that was named twice gets back what it had at first.
            while let (Some(Undo { hash, before }), false) = (undo.pop(), planted("half_an_mset")) {
                let key = pairs.iter().nth(undo.len()).map_or(&[][..], |(key, _)| key);
                self.store.restore(hash, key, before);
            }
        }
        undo.drain(..).for_each(|undo| self.store.forget(undo.before));
        self.undo = undo;
        done?;
        Ok(reply::count(reply.out, pairs.len() as u64)?)
    }

    /// Puts and logs all pairs; on failure nothing is logged, and `undo` tells what was put.
    fn put_all(&mut self, pairs: Pairs<'_>, undo: &mut Vec<Undo>) -> Executed {
        undo.try_reserve(pairs.len()).map_err(|_| OutOfMemory)?;
        let savepoint = self.journal.log.savepoint();
        for (key, value) in pairs.iter() {
            let hash = self.store.hash(key);
            match self.put_one(hash, key, value) {
                Ok(before) => undo.push(Undo { hash, before }),
                Err(refusal) => {
                    self.journal.log.rollback(savepoint);
                    return Err(refusal);
                }
            }
        }
        Ok(())
    }

    fn put_one(&mut self, hash: Hash, key: &[u8], value: &[u8]) -> Executed<Before> {
        let found = self.store.lookup(hash, key, self.now);
        let change = self.change(&found, Record { kind: Kind::Set, version: self.next_version(&found)?, expiry: None, key, value });
        if planted("half_an_mset") {
            self.charge(change.growth)?;
        }
        let before = self.store.exchange(change.spot, &change.record)?;
        self.end_outlived(change.outlived);
        self.journal.log.log(&change.record);
        Ok(before)
    }

    /// Asks for a snapshot when it is executed first, and is executed again until that is there.
    fn snapshot(&mut self, reply: &mut Reply<'_>) -> Executed {
        self.counters.snapshot += 1;
        let last = self.journal.log.last_lsn();
        let awaited = reply.session.awaited.map_or_else(|| self.snapshots.request(last), |ticket| Ok(Some(ticket)));
        let Some(awaited) = awaited.map_err(Refusal::snapshot)? else { return Ok(reply::ok(reply.out)?) };
        if planted("answered_before_published") {
            return Ok(reply::ok(reply.out)?);
        }
        let Some(outcome) = self.snapshots.outcome(awaited) else {
            reply.session.awaited = Some(awaited);
            return Err(Refusal::Wait);
        };
        reply.session.awaited = None;
        outcome.map_err(Refusal::snapshot)?;
        Ok(reply::ok(reply.out)?)
    }

    fn scan(&mut self, reply: &mut Reply<'_>, cursor: u64, count: u64, prefix: &[u8]) -> Executed {
        self.counters.scan += 1;
        if self.store.next_expiry().is_some_and(|due| due <= self.now) {
            // Keys that have expired may be left out: were the time forgotten in a crash, they would be back.
            self.journal.show_time(reply, self.now)?;
        }
        // A list shows what is there and what isn't: it depends on every write so far.
        if !planted("scan_ungated") {
            reply.gate(&self.journal.log, self.journal.log.last_lsn());
        }
        let begin = reply.out.len();
        let mut next = Some(cursor);
        let mut visited = 0;
        let mut written = Ok(());
        for _ in 0..SCAN_TABLES_MAX {
            let (Some(at), true) = (next, visited < count.min(SCAN_COUNT_MAX)) else { break };
            next = self.store.walk(at, |record| {
                visited += 1;
                let live = record.expiry.is_none_or(|expiry| expiry > self.now);
                if live && record.key.starts_with(prefix) && written.is_ok() {
                    written = reply::key_line(reply.out, record.key);
                }
            });
        }
        written?;
        reply::end(reply.out)?;
        // The next cursor is known only now, and stands before the keys.
        let end = reply.out.len();
        reply::cursor(reply.out, next.unwrap_or(0))?;
        let head = reply.out.len() - end;
        if let Some(lines) = reply.out.get_mut(begin..) {
            lines.rotate_right(head);
        }
        Ok(())
    }
}

/// A new value for a key, and what it does to memory and floor.
struct Change<'a> {
    spot: Spot,
    record: Record<'a>,
    growth: usize,
    /// The version of an expired key whose place it takes.
    outlived: Option<Version>,
}

const NOT_AN_INTEGER: Refusal = Refusal::Error(ErrorCode::Type, Message::NotAnInteger);
const OUT_OF_RANGE: Refusal = Refusal::Error(ErrorCode::Range, Message::OutOfRange);
const EXPIRY_TOO_FAR: Refusal = Refusal::Error(ErrorCode::BadReq, Message::ExpiryTooFar);

fn check_version(asked: Option<Version>, live: Option<&Record<'_>>) -> Executed {
    let current = live.map_or(Version::NONE, |record| record.version);
    match asked {
        Some(asked) if asked != current => Err(Refusal::Error(ErrorCode::Ver, Message::Version(current))),
        _ => Ok(()),
    }
}

/// A value as a 64-bit integer, if it is written as one: no leading zeros, no `+`, no `-0`.
fn canonical_integer(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let canonical = match digits {
        [b'0'] => digits.len() == value.len(),
        [b'1'..=b'9', ..] => value.len() <= INTEGER_BYTES_MAX,
        _ => false,
    };
    if !canonical {
        return None;
    }
    core::str::from_utf8(value).ok()?.parse().ok()
}
