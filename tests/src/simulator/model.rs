//! The oracle: what the commands of `docs/PROTOCOL.md` mean, on a map that a page holds.
//!
//! Written from the protocol, without the store's code. Every change is noted with what was there before, so that the state at any earlier
//! moment is a matter of taking changes back: a *position* is how many there have been.

use std::collections::BTreeMap;

use super::digits::{put_number, put_signed};
use super::keys::{self, Key};
use super::request::{Command, Expiry, Pair, Presence};
use super::walk::Walk;

/// A key that is there, or has expired and wasn't overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its value.
    pub value: Vec<u8>,
    /// Its version.
    pub version: u64,
    /// When it goes, Unix ms.
    pub expiry: Option<u64>,
}

#[derive(Debug)]
struct Undo {
    key: Key,
    entry: Option<Entry>,
    highest: u64,
    last_change: usize,
}

/// What a command's reply must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The bytes that were written to the buffer.
    Exactly,
    /// An error of this code.
    Error(&'static str),
    /// `ERR VER`, ending with this version.
    Version(u64),
    /// A list of keys.
    Scan,
    /// Statistics.
    Stats,
    /// That a snapshot is there, or why not.
    Snapshot,
    /// None at all.
    Nothing,
}

/// What a reply shows, and so depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shows {
    /// Every change up to this position.
    pub position: usize,
    /// That it is at least this time, since something has expired.
    pub time: u64,
}

/// What a command does, if it isn't refused.
#[derive(Debug)]
pub enum Change {
    /// Nothing.
    None,
    /// Gives a key a value.
    Put(Key, Entry),
    /// Removes a key, and uses up versions up to this one.
    Remove(Key, u64),
    /// Gives a key another expiry.
    Expire(Key, Option<u64>),
    /// Gives several keys values, in this order.
    PutAll(Vec<(Key, Entry)>),
}

/// A command's meaning at a moment.
#[derive(Debug)]
pub struct Decision {
    /// The reply.
    pub expected: Expected,
    /// What the reply shows of what was there before.
    pub shows: Shows,
    /// The change.
    pub change: Change,
    /// How much more memory it takes, by the server's rules, bytes.
    pub growth: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Model {
    entries: BTreeMap<Key, Entry>,
    /// The highest version that each key had.
    highest: Vec<u64>,
    /// The position behind each key's last change.
    last_change: Vec<usize>,
    undo: Vec<Undo>,
    /// The highest version of any removed key.
    pub floor: u64,
    /// The part of it that was logged as a removal.
    pub logged_floor: u64,
    /// What the entries cost, by the server's rules, bytes.
    pub entry_bytes: u64,
    /// Walks by `SCAN` that are under way.
    pub walks: Vec<Option<Walk>>,
    reply_bytes_max: usize,
}

impl Model {
    /// Without any key.
    #[must_use]
    pub fn new(reply_bytes_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            highest: vec![0; keys::KEYS_MAX],
            last_change: vec![0; keys::KEYS_MAX],
            undo: Vec::with_capacity(4096),
            floor: 0,
            logged_floor: 0,
            entry_bytes: 0,
            walks: Vec::new(),
            reply_bytes_max,
        }
    }

    /// How many changes there have been.
    #[must_use]
    pub fn position(&self) -> usize {
        self.undo.len()
    }

    /// All entries, expired ones included.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<Key, Entry> {
        &self.entries
    }

    /// A key's current version; 0 if it isn't there.
    #[must_use]
    pub fn version(&self, key: Key, now: u64) -> u64 {
        self.live(key, now).map_or(0, |entry| entry.version)
    }

    /// The entry of a key that is there.
    #[must_use]
    pub fn live(&self, key: Key, now: u64) -> Option<&Entry> {
        self.entries.get(&key).filter(|entry| entry.expiry.is_none_or(|expiry| expiry > now))
    }

    fn shows(&self, key: Key, now: u64) -> Shows {
        let time = self.entries.get(&key).and_then(|entry| entry.expiry).filter(|&expiry| expiry <= now).unwrap_or(0);
        Shows { position: self.last_change[usize::from(key)], time }
    }

    /// What a list of all keys shows.
    fn shows_all(&self, now: u64) -> Shows {
        let expired = self.entries.values().filter_map(|entry| entry.expiry).filter(|&expiry| expiry <= now);
        Shows { position: self.position(), time: expired.max().unwrap_or(0) }
    }

    /// The version that a key's next value gets.
    fn next_version(&self, key: Key, now: u64) -> u64 {
        match self.entries.get(&key) {
            Some(entry) if entry.expiry.is_none_or(|expiry| expiry > now) => entry.version + 1,
            Some(entry) => self.floor.max(entry.version) + 1,
            None => self.floor + 1,
        }
    }

    /// What a command means at `now`; an exact reply is appended to `reply`.
    pub fn decide(&self, command: &Command, now: u64, reply: &mut Vec<u8>) -> Decision {
        let mut decision = Decision { expected: Expected::Exactly, shows: Shows::default(), change: Change::None, growth: 0 };
        match command {
            Command::Blank => decision.expected = Expected::Nothing,
            Command::Malformed { code, .. } => decision.expected = Expected::Error(code),
            Command::Ping => reply.extend_from_slice(b"PONG\r\n"),
            Command::Quit => reply.extend_from_slice(b"BYE\r\n"),
            Command::Stats => decision.expected = Expected::Stats,
            Command::Snapshot => decision.expected = Expected::Snapshot,
            Command::Scan { .. } => {
                decision.expected = Expected::Scan;
                decision.shows = self.shows_all(now);
            }
            Command::Mget(keys) => self.mget(keys, now, reply, &mut decision),
            Command::Mset(pairs) => self.mset(pairs, now, reply, &mut decision),
            Command::Get(key) => {
                decision.shows = self.shows(*key, now);
                match self.live(*key, now) {
                    Some(entry) => put_value(reply, None, entry),
                    None => reply.extend_from_slice(b"NOT_FOUND\r\n"),
                }
            }
            Command::Exists(key) => {
                decision.shows = self.shows(*key, now);
                reply.extend_from_slice(if self.live(*key, now).is_some() { b"EXISTS 1\r\n" } else { b"EXISTS 0\r\n" });
            }
            Command::Ttl(key) => {
                decision.shows = self.shows(*key, now);
                match self.live(*key, now).map(|entry| entry.expiry) {
                    Some(Some(expiry)) => put_number(reply, expiry - now),
                    Some(None) => reply.extend_from_slice(b"-1"),
                    None => reply.extend_from_slice(b"-2"),
                }
                reply.extend_from_slice(b"\r\n");
            }
            Command::Persist(key) => {
                decision.shows = self.shows(*key, now);
                match self.live(*key, now) {
                    Some(entry) => {
                        if entry.expiry.is_some() {
                            decision.change = Change::Expire(*key, None);
                        }
                        reply.extend_from_slice(b"OK\r\n");
                    }
                    None => reply.extend_from_slice(b"NOT_FOUND\r\n"),
                }
            }
            Command::Set { key, value, expiry, presence, version } => {
                decision.shows = self.shows(*key, now);
                self.set(*key, value, *expiry, *presence, *version, now, reply, &mut decision);
            }
            Command::Add { key, delta, negated } => self.add(*key, *delta, *negated, now, reply, &mut decision),
            Command::Del { key, version } => {
                decision.shows = self.shows(*key, now);
                let current = self.version(*key, now);
                if version.is_some_and(|asked| asked != current) {
                    decision.expected = Expected::Version(current);
                } else if current == 0 {
                    reply.extend_from_slice(b"DELETED 0\r\n");
                } else {
                    decision.change = Change::Remove(*key, current);
                    reply.extend_from_slice(b"DELETED 1\r\n");
                }
            }
            Command::Expire { key, ms, version } => {
                decision.shows = self.shows(*key, now);
                let current = self.version(*key, now);
                if version.is_some_and(|asked| asked != current) {
                    decision.expected = Expected::Version(current);
                } else if current == 0 {
                    reply.extend_from_slice(b"NOT_FOUND\r\n");
                } else if *ms <= 0 {
                    decision.change = Change::Remove(*key, current);
                    reply.extend_from_slice(b"OK\r\n");
                } else {
                    match now.checked_add(ms.unsigned_abs()).filter(|&at| i64::try_from(at).is_ok()) {
                        Some(at) => {
                            decision.change = Change::Expire(*key, Some(at));
                            reply.extend_from_slice(b"OK\r\n");
                        }
                        None => decision.expected = Expected::Error("BADREQ"),
                    }
                }
            }
        }
        decision
    }

    #[expect(clippy::too_many_arguments, reason = "a SET has so many")]
    fn set(
        &self,
        key: Key,
        value: &[u8],
        expiry: Expiry,
        presence: Presence,
        asked: Option<u64>,
        now: u64,
        reply: &mut Vec<u8>,
        decision: &mut Decision,
    ) {
        let live = self.live(key, now);
        let current = live.map_or(0, |entry| entry.version);
        decision.expected = match (presence, current) {
            (Presence::Absent, 1..) => Expected::Error("EXISTS"),
            (Presence::Present, 0) => Expected::Error("NEXISTS"),
            _ if asked.is_some_and(|asked| asked != current) => Expected::Version(current),
            _ => Expected::Exactly,
        };
        if decision.expected != Expected::Exactly {
            return;
        }
        let expiry = match expiry {
            Expiry::Clear => None,
            Expiry::Keep => live.and_then(|entry| entry.expiry),
            Expiry::At(at) => Some(at),
            Expiry::In(ms) => match now.checked_add(ms).filter(|&at| i64::try_from(at).is_ok()) {
                Some(at) => Some(at),
                None => {
                    decision.expected = Expected::Error("BADREQ");
                    return;
                }
            },
        };
        let version = self.next_version(key, now);
        if expiry.is_some_and(|expiry| expiry <= now) {
            decision.change = Change::Remove(key, version);
        } else {
            let entry = Entry { value: value.to_vec(), version, expiry };
            decision.growth = self.growth(key, &entry, now);
            decision.change = Change::Put(key, entry);
        }
        reply.extend_from_slice(b"OK ");
        put_number(reply, version);
        reply.extend_from_slice(b"\r\n");
    }

    fn add(&self, key: Key, delta: i64, negated: bool, now: u64, reply: &mut Vec<u8>, decision: &mut Decision) {
        decision.shows = self.shows(key, now);
        let live = self.live(key, now);
        let old = match live {
            None => Some(0),
            Some(entry) => integer(&entry.value),
        };
        let Some(old) = old else {
            decision.expected = Expected::Error("TYPE");
            return;
        };
        let Some(sum) = (if negated { old.checked_sub(delta) } else { old.checked_add(delta) }) else {
            decision.expected = Expected::Error("RANGE");
            return;
        };
        let mut value = Vec::with_capacity(20);
        put_signed(&mut value, sum);
        reply.extend_from_slice(&value);
        reply.extend_from_slice(b"\r\n");
        let entry = Entry { value, version: self.next_version(key, now), expiry: live.and_then(|entry| entry.expiry) };
        decision.growth = self.growth(key, &entry, now);
        decision.change = Change::Put(key, entry);
    }

    fn mget(&self, keys: &[Key], now: u64, reply: &mut Vec<u8>, decision: &mut Decision) {
        let mut bytes = 0;
        for &key in keys {
            let shows = self.shows(key, now);
            decision.shows = Shows { position: decision.shows.position.max(shows.position), time: decision.shows.time.max(shows.time) };
            bytes += 96 + keys::name(key).len() + self.live(key, now).map_or(0, |entry| entry.value.len());
        }
        if bytes > self.reply_bytes_max && keys.len() > 1 {
            decision.expected = Expected::Error("TOOLARGE");
            return;
        }
        for &key in keys {
            match self.live(key, now) {
                Some(entry) => put_value(reply, Some(keys::name(key)), entry),
                None => {
                    reply.extend_from_slice(b"NOT_FOUND ");
                    reply.extend_from_slice(keys::name(key));
                    reply.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    fn mset(&self, pairs: &[Pair], now: u64, reply: &mut Vec<u8>, decision: &mut Decision) {
        let mut put = Vec::with_capacity(pairs.len());
        let mut floor = self.floor;
        for (at, (key, value)) in pairs.iter().enumerate() {
            let shows = self.shows(*key, now);
            decision.shows.time = decision.shows.time.max(shows.time);
            decision.growth += self.growth(*key, &Entry { value: value.clone(), version: u64::MAX, expiry: None }, now);
            let again = put.get(..at).into_iter().flatten().rev().find(|(earlier, _): &&(Key, Entry)| earlier == key);
            let version = match (again, self.entries.get(key)) {
                (Some((_, entry)), _) => entry.version + 1,
                (None, Some(entry)) if entry.expiry.is_none_or(|expiry| expiry > now) => entry.version + 1,
                (None, Some(entry)) => {
                    floor = floor.max(entry.version);
                    floor + 1
                }
                (None, None) => floor + 1,
            };
            put.push((*key, Entry { value: value.clone(), version, expiry: None }));
        }
        decision.change = Change::PutAll(put);
        reply.extend_from_slice(b"OK ");
        put_number(reply, pairs.len() as u64);
        reply.extend_from_slice(b"\r\n");
    }

    /// How much more an entry takes than the one in its place. One that has expired may have been swept.
    fn growth(&self, key: Key, entry: &Entry, now: u64) -> u64 {
        match self.live(key, now) {
            Some(old) => record_bytes(key, entry).saturating_sub(record_bytes(key, old)),
            None => record_bytes(key, entry) + 16,
        }
    }

    /// What the entries cost that are certainly held: those that haven't expired.
    #[must_use]
    pub fn live_bytes(&self, now: u64) -> u64 {
        let live = self.entries.iter().filter(|(_, entry)| entry.expiry.is_none_or(|expiry| expiry > now));
        live.map(|(&key, entry)| record_bytes(key, entry) + 16).sum()
    }

    /// Makes a change, at `now`. `Err`: a key gets a version that it has had.
    pub fn apply(&mut self, change: Change, now: u64) -> Result<(), (Key, u64)> {
        match change {
            Change::None => {}
            Change::Put(key, entry) => self.put(key, entry, now)?,
            Change::PutAll(all) => {
                for (key, entry) in all {
                    self.put(key, entry, now)?;
                }
            }
            Change::Remove(key, version) => {
                let highest = self.highest[usize::from(key)].max(version);
                self.replace(key, None, highest);
                self.gone(key);
                self.floor = self.floor.max(version);
                self.logged_floor = self.logged_floor.max(version);
            }
            Change::Expire(key, expiry) => {
                if let Some(entry) = self.entries.get(&key) {
                    let entry = Entry { expiry, ..entry.clone() };
                    self.replace(key, Some(entry), self.highest[usize::from(key)]);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, key: Key, entry: Entry, now: u64) -> Result<(), (Key, u64)> {
        if let Some(expired) = self.entries.get(&key).filter(|entry| entry.expiry.is_some_and(|expiry| expiry <= now)) {
            self.floor = self.floor.max(expired.version);
            self.gone(key);
        }
        let version = entry.version;
        if version <= self.highest[usize::from(key)] {
            return Err((key, version));
        }
        self.replace(key, Some(entry), version);
        Ok(())
    }

    fn replace(&mut self, key: Key, entry: Option<Entry>, highest: u64) {
        let cost = |entry: &Entry| record_bytes(key, entry) + 16;
        let new_cost = entry.as_ref().map_or(0, cost);
        let old = match entry {
            Some(entry) => self.entries.insert(key, entry),
            None => self.entries.remove(&key),
        };
        self.entry_bytes = self.entry_bytes + new_cost - old.as_ref().map_or(0, cost);
        let last_change = self.last_change[usize::from(key)];
        let before = self.highest[usize::from(key)];
        self.undo.push(Undo { key, entry: old, highest: before, last_change });
        self.highest[usize::from(key)] = highest;
        self.last_change[usize::from(key)] = self.undo.len();
    }

    /// A walk needn't show a key that has gone meanwhile, even if it comes back.
    fn gone(&mut self, key: Key) {
        for walk in self.walks.iter_mut().flatten() {
            walk.excuse(key);
        }
    }

    /// Goes back to an earlier position. The floor stays: what it is then, the log has to say.
    pub fn roll_back(&mut self, position: usize) {
        while self.undo.len() > position {
            let Some(Undo { key, entry, highest, last_change }) = self.undo.pop() else { return };
            let cost = |entry: &Entry| record_bytes(key, entry) + 16;
            let new_cost = entry.as_ref().map_or(0, cost);
            let old = match entry {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
            self.entry_bytes = self.entry_bytes + new_cost - old.as_ref().map_or(0, cost);
            self.highest[usize::from(key)] = highest;
            self.last_change[usize::from(key)] = last_change;
        }
    }

    /// Whether a key was given a value behind a position.
    #[must_use]
    pub fn written_behind(&self, key: Key, position: usize) -> bool {
        let first = self.undo.iter().skip(position).find(|undo| undo.key == key);
        first.is_some_and(|before| before.highest < self.highest[usize::from(key)])
    }

    /// Whether a key of this version has expired, so that a sweep may have raised the floor to it.
    #[must_use]
    pub fn has_expired_version(&self, version: u64, now: u64) -> bool {
        self.entries.values().any(|entry| entry.version == version && entry.expiry.is_some_and(|expiry| expiry <= now))
    }
}

/// The size of an entry's record as `docs/FORMAT.md` has it, without its length.
fn record_bytes(key: Key, entry: &Entry) -> u64 {
    let version = match entry.version {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFFFF_FFFF => 4,
        _ => 8,
    };
    let expiry = if entry.expiry.is_some() { 8 } else { 0 };
    (2 + version + expiry + keys::name(key).len() + entry.value.len()) as u64
}

/// A value that is an integer as the server would write it.
fn integer(value: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    let mut canonical = Vec::with_capacity(20);
    put_signed(&mut canonical, number);
    (canonical == value).then_some(number)
}

fn put_value(reply: &mut Vec<u8>, key: Option<&[u8]>, entry: &Entry) {
    reply.extend_from_slice(b"VALUE ");
    if let Some(key) = key {
        reply.extend_from_slice(key);
        reply.push(b' ');
    }
    put_number(reply, entry.value.len() as u64);
    reply.push(b' ');
    put_number(reply, entry.version);
    match entry.expiry {
        Some(expiry) => {
            reply.push(b' ');
            put_number(reply, expiry);
            reply.extend_from_slice(b"\r\n");
        }
        None => reply.extend_from_slice(b" -1\r\n"),
    }
    reply.extend_from_slice(&entry.value);
    reply.extend_from_slice(b"\r\n");
}
