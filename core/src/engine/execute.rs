//! What each command does: decide, make room in log and memory, then change the store and log the result.
//!
//! The order makes it impossible to fail half way: everything that can be refused is refused before anything changes. Who asks makes no
//! difference: the protocol's commands ([`super::answer`]) and the calls of a host ([`super::calls`]) come here, each with its own [`Gate`].

use alloc::vec::Vec;

use super::Engine;
use super::error::{Error, Refusal};
use super::journal::Gate;
use crate::museum::planted;
use crate::protocol::command::{Presence, SetExpiry, SetOptions};
use crate::record::{Kind, OutOfMemory, Record};
use crate::store::{Before, Hash, Lookup, Spot};
use crate::units::{Millis, Version};

/// The longest integer: `-9223372036854775808`.
const INTEGER_BYTES_MAX: usize = 20;

/// One `SCAN` visits so many keys at most, beside one table's.
const SCAN_COUNT_MAX: u64 = 10_000;

/// Behind each key of a list.
pub(super) const LINE_END_BYTES: usize = 2;

/// One `SCAN` visits so many tables at most: after many keys were deleted most of them may be empty.
const SCAN_TABLES_MAX: usize = 1000;

/// What an MSET replaced.
#[derive(Debug)]
pub(super) struct Undo {
    hash: Hash,
    before: Before,
}

pub(super) type Executed<T = ()> = Result<T, Refusal>;

impl Engine {
    pub(super) fn execute_get(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8]) -> Executed<Lookup<'_>> {
        self.counters.get += 1;
        let found = self.journal.look(&self.store, gate, hash, key, self.now)?;
        if found.live().is_some() {
            self.counters.hits += 1;
        } else {
            self.counters.misses += 1;
        }
        Ok(found)
    }

    pub(super) fn execute_exists(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8]) -> Executed<bool> {
        self.counters.exists += 1;
        Ok(self.journal.look(&self.store, gate, hash, key, self.now)?.live().is_some())
    }

    /// `None`: no such key; `Some(None)`: one without an expiry; else what is left until it, ms.
    pub(super) fn execute_ttl(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8]) -> Executed<Option<Option<u64>>> {
        self.counters.ttl += 1;
        let live = self.journal.look(&self.store, gate, hash, key, self.now)?.live();
        Ok(live.map(|record| record.expiry.map(|expiry| expiry.since(self.now))))
    }

    /// Shows each key with its record to `visit`; the answer waits for all of them.
    pub(super) fn execute_mget<'k>(
        &mut self,
        gate: &mut impl Gate,
        keys: impl Iterator<Item = &'k [u8]>,
        mut visit: impl FnMut(&'k [u8], Option<Record<'_>>),
    ) -> Executed {
        self.counters.mget += 1;
        for key in keys {
            let hash = self.store.hash(key);
            let found = if planted("mget_ungated") {
                self.store.lookup(hash, key, self.now)
            } else {
                self.journal.look(&self.store, gate, hash, key, self.now)?
            };
            visit(key, found.live());
        }
        Ok(())
    }

    pub(super) fn execute_set(
        &mut self,
        gate: &mut impl Gate,
        hash: Hash,
        key: &[u8],
        value: &[u8],
        options: &SetOptions,
    ) -> Executed<Version> {
        self.counters.set += 1;
        let found = self.journal.look(&self.store, gate, hash, key, self.now)?;
        let live = found.live();
        match options.presence {
            Presence::Absent if live.is_some() => return Err(Error::Exists.into()),
            Presence::Present if live.is_none() => return Err(Error::NotExists.into()),
            _ => {}
        }
        check_version(options.version, live.as_ref())?;
        let expiry = match options.expiry {
            SetExpiry::Clear => None,
            SetExpiry::In(ms) => Some(self.now.checked_add(ms).ok_or(Error::ExpiryTooFar)?),
            SetExpiry::At(at) => Some(at),
            SetExpiry::Keep => live.and_then(|record| record.expiry),
        };
        let version = self.next_version(&found)?;
        if expiry.is_some_and(|expiry| expiry <= self.now) {
            // It ends before it begins; only its version is used up.
            self.remove(gate, hash, key, version)?;
        } else {
            let change = self.change(&found, Record { kind: Kind::Set, version, expiry, key, value });
            self.write(gate, hash, &change)?;
        }
        Ok(version)
    }

    pub(super) fn execute_add(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8], delta: i128) -> Executed<i64> {
        self.counters.incr += 1;
        let found = self.journal.look(&self.store, gate, hash, key, self.now)?;
        let (old, expiry) = match found.live() {
            Some(record) => (canonical_integer(record.value).ok_or(Error::NotAnInteger)?, record.expiry),
            None => (0, None),
        };
        let sum = i128::from(old).checked_add(delta).and_then(|sum| i64::try_from(sum).ok());
        let sum = sum.or(planted("increment_wraps").then_some(i64::MIN)).ok_or(Error::OutOfRange)?;
        let version = self.next_version(&found)?;
        let mut digits = itoa::Buffer::new();
        let value = digits.format(sum).as_bytes();
        let change = self.change(&found, Record { kind: Kind::Set, version, expiry, key, value });
        self.write(gate, hash, &change)?;
        Ok(sum)
    }

    fn next_version(&self, found: &Lookup<'_>) -> Executed<Version> {
        self.store.next_version(found).ok_or(Error::VersionsUsedUp.into())
    }

    fn change<'a>(&self, found: &Lookup<'_>, record: Record<'a>) -> Change<'a> {
        let growth = self.store.growth(found.spot, &record);
        Change { spot: found.spot, record, growth, outlived: found.expired().map(|held| held.version) }
    }

    /// Gives a key a value.
    fn write(&mut self, gate: &mut impl Gate, hash: Hash, change: &Change<'_>) -> Executed {
        self.charge(change.growth)?;
        self.journal.log.make_room(1, change.record.encoded_len())?;
        let bytes = self.store.put(change.spot, &change.record)?;
        if planted("expiry_not_logged") {
            self.journal.log.log(&Record { expiry: None, ..change.record });
        } else {
            self.journal.log.log_encoded(bytes);
        }
        self.journal.recorded(gate, core::iter::once(hash));
        self.end_outlived(change.outlived);
        Ok(())
    }

    /// Whether what was refused now may be done later: room that has become free while a snapshot is taken is there again when its last entry has been copied.
    pub(super) fn waits(&self, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::Wait => true,
            Refusal::Error(Error::OutOfMemory) => self.store.counts_removed(),
            Refusal::Error(_) | Refusal::NoReply => false,
        }
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
            return Err(Error::MemoryLimit(limit).into());
        }
        Ok(())
    }

    /// Removes a key, if it is there, and uses up its versions through `version`.
    fn remove(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8], version: Version) -> Executed {
        let record = Record { kind: Kind::Del, version, expiry: None, key, value: &[] };
        self.journal.log.make_room(1, record.encoded_len())?;
        self.store.remove(hash, key);
        self.store.raise_floor(version);
        if planted("delete_not_logged") {
            return Ok(());
        }
        self.journal.record(gate, hash, &record);
        Ok(())
    }

    pub(super) fn execute_del(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8], version: Option<Version>) -> Executed<bool> {
        self.counters.del += 1;
        let live = self.journal.look(&self.store, gate, hash, key, self.now)?.live();
        check_version(version, live.as_ref())?;
        let Some(version) = live.map(|record| record.version) else { return Ok(false) };
        self.remove(gate, hash, key, version)?;
        Ok(true)
    }

    pub(super) fn execute_expire(
        &mut self,
        gate: &mut impl Gate,
        hash: Hash,
        key: &[u8],
        ms: i64,
        version: Option<Version>,
    ) -> Executed<bool> {
        self.counters.expire += 1;
        let live = self.journal.look(&self.store, gate, hash, key, self.now)?.live();
        check_version(version, live.as_ref())?;
        let Some(version) = live.map(|record| record.version) else { return Ok(false) };
        match u64::try_from(ms) {
            Ok(ms) if ms > 0 => {
                let expiry = self.now.checked_add(ms).ok_or(Error::ExpiryTooFar)?;
                self.set_expiry(gate, hash, key, version, Some(expiry))?;
            }
            _ => self.remove(gate, hash, key, version)?,
        }
        Ok(true)
    }

    pub(super) fn execute_persist(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8]) -> Executed<bool> {
        self.counters.persist += 1;
        match self.journal.look(&self.store, gate, hash, key, self.now)?.live() {
            Some(Record { version, expiry: Some(_), .. }) => self.set_expiry(gate, hash, key, version, None)?,
            Some(_) => {}
            None => return Ok(false),
        }
        Ok(true)
    }

    fn set_expiry(&mut self, gate: &mut impl Gate, hash: Hash, key: &[u8], version: Version, expiry: Option<Millis>) -> Executed {
        let logged = if planted("relative_expiry_logged") { expiry.map(|at| Millis(at.since(self.now))) } else { expiry };
        let record = Record { kind: Kind::Expire, version, expiry: logged, key, value: &[] };
        self.journal.log.make_room(1, record.encoded_len())?;
        self.store.set_expiry(hash, key, expiry)?;
        self.journal.record(gate, hash, &record);
        Ok(())
    }

    /// `len` pairs, all or none.
    pub(super) fn execute_mset<'p>(
        &mut self,
        gate: &mut impl Gate,
        len: usize,
        pairs: &(impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone),
    ) -> Executed {
        self.counters.mset += 1;
        let (mut bytes, mut growth) = (0_usize, 0_usize);
        for (key, value) in pairs.clone() {
            // With the widest version, so that there is room in any case.
            let record = Record { kind: Kind::Set, version: Version(u64::MAX), expiry: None, key, value };
            let hash = self.store.hash(key);
            let found = self.journal.look(&self.store, gate, hash, key, self.now)?;
            bytes = bytes.saturating_add(record.encoded_len());
            growth = growth.saturating_add(self.store.growth(found.spot, &record));
        }
        if !planted("half_an_mset") {
            self.charge(growth)?;
        }
        self.journal.log.make_room(len, bytes)?;
        let mut undo = core::mem::take(&mut self.undo);
        let mut done = self.put_all(len, pairs.clone(), &mut undo);
        if matches!(done, Err(Refusal::Error(Error::OutOfMemory))) && self.store.is_fixed() {
            self.take_back(pairs, &mut undo);
            if self.store.gather_slabs() {
                done = self.put_all(len, pairs.clone(), &mut undo);
            }
        }
        if done.is_ok() {
            self.journal.recorded(gate, undo.iter().map(|undo| undo.hash).take(if planted("mset_notes_one_key") { 1 } else { usize::MAX }));
        } else {
            self.take_back(pairs, &mut undo);
        }
        undo.drain(..).for_each(|undo| self.store.forget(undo.before));
        self.undo = undo;
        done
    }

    fn take_back<'p>(&mut self, pairs: &(impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone), undo: &mut Vec<Undo>) {
        // Backwards, so that a key that was named twice gets back what it had at first.
        while let (Some(Undo { hash, before }), false) = (undo.pop(), planted("half_an_mset")) {
            let key = pairs.clone().nth(undo.len()).map_or(&[][..], |(key, _)| key);
            self.store.restore(hash, key, before);
        }
    }

    /// Puts and logs all pairs; on failure nothing is logged, and `undo` tells what was put.
    fn put_all<'p>(&mut self, len: usize, pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>, undo: &mut Vec<Undo>) -> Executed {
        undo.try_reserve(len).map_err(|_| OutOfMemory)?;
        let savepoint = self.journal.log.savepoint();
        for (key, value) in pairs {
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

    /// What a list waits for.
    pub(super) fn prepare_scan(&mut self, gate: &mut impl Gate) -> Executed {
        self.counters.scan += 1;
        if self.store.next_expiry().is_some_and(|due| due <= self.now) {
            // Keys that have expired may be left out: were the time forgotten in a crash, they would be back.
            self.journal.show_time(gate, self.now)?;
        }
        // A list shows what is there and what isn't: it depends on every write so far.
        if !planted("scan_ungated") {
            gate.wait_for(&self.journal.log, self.journal.log.last_lsn());
        }
        Ok(())
    }

    /// Shows some keys from a cursor on to `visit`, and returns the next cursor. Ends where the keys have about as many bytes as a reply may have.
    pub(crate) fn scan_from<'s>(&'s self, cursor: u64, count: u64, prefix: &[u8], mut visit: impl FnMut(Record<'s>)) -> Option<u64> {
        let mut next = Some(cursor);
        let (mut visited, mut bytes) = (0, 0);
        for _ in 0..SCAN_TABLES_MAX {
            let enough = visited >= count.min(SCAN_COUNT_MAX) || bytes >= self.options.limits.reply_bytes_max;
            let (Some(at), false) = (next, enough) else { break };
            next = self.store.walk(at, |record| {
                visited += 1;
                let live = record.expiry.is_none_or(|expiry| expiry > self.now);
                if live && record.key.starts_with(prefix) {
                    bytes += record.key.len() + LINE_END_BYTES;
                    visit(record);
                }
            });
        }
        next
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

fn check_version(asked: Option<Version>, live: Option<&Record<'_>>) -> Executed {
    let current = live.map_or(Version::NONE, |record| record.version);
    match asked {
        Some(asked) if asked != current => Err(Error::Version(current).into()),
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
