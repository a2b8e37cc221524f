//! What the protocol promises of keys, versions and expiry, as plainly as it can be said: a map.
//!
//! Where the protocol leaves the server a choice, the model says which replies are right and then follows the one that was given.

use std::collections::BTreeMap;

use osprey_core::protocol::command::{Presence, SetExpiry, SetOptions};
use osprey_core::protocol::error::ErrorCode;

/// The times that the protocol can express, Unix ms.
const TIME_MAX: u64 = i64::MAX as u64;

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) value: Vec<u8>,
    pub(super) version: u64,
    pub(super) expiry: Option<u64>,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    keys: BTreeMap<Vec<u8>, Held>,
    /// The highest version that each key has ever had.
    used: BTreeMap<Vec<u8>, u64>,
    /// A new key's version is above that of any key that was deleted, …
    deleted_max: u64,
    /// … but no higher than needed.
    used_max: u64,
    pub(super) now: u64,
}

impl Model {
    /// No keys yet.
    pub(super) fn new(now: u64) -> Self {
        Self { now, ..Self::default() }
    }

    /// A key that is there now.
    pub(super) fn live(&self, key: &[u8]) -> Option<&Held> {
        self.keys.get(key).filter(|held| held.expiry.is_none_or(|expiry| expiry > self.now))
    }

    /// All keys that are there now, in order.
    pub(super) fn all_live(&self) -> impl Iterator<Item = (&[u8], &Held)> {
        self.keys.keys().filter_map(|key| self.live(key).map(|held| (key.as_slice(), held)))
    }

    /// The version that is current: 0 for none.
    pub(super) fn version(&self, key: &[u8]) -> u64 {
        self.live(key).map_or(0, |held| held.version)
    }

    fn check_version(&self, key: &[u8], asked: Option<u64>) -> Result<(), ErrorCode> {
        if asked.is_some_and(|asked| asked != self.version(key)) { Err(ErrorCode::Ver) } else { Ok(()) }
    }

    /// Whether a `SET` is refused, and else the expiry that the key gets.
    pub(super) fn may_set(&self, key: &[u8], options: &SetOptions) -> Result<Option<u64>, ErrorCode> {
        let live = self.live(key);
        match options.presence {
            Presence::Absent if live.is_some() => return Err(ErrorCode::Exists),
            Presence::Present if live.is_none() => return Err(ErrorCode::NExists),
            _ => {}
        }
        self.check_version(key, options.version.map(|version| version.0))?;
        match options.expiry {
            SetExpiry::Clear => Ok(None),
            SetExpiry::In(ms) => self.later(ms).map(Some),
            SetExpiry::At(at) => Ok(Some(at.0)),
            SetExpiry::Keep => Ok(live.and_then(|held| held.expiry)),
        }
    }

    fn later(&self, ms: u64) -> Result<u64, ErrorCode> {
        self.now.checked_add(ms).filter(|&at| at <= TIME_MAX).ok_or(ErrorCode::BadReq)
    }

    /// A key was given a value, and this version. `writes`: how often the request named the key.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], expiry: Option<u64>, version: u64, writes: u64) {
        if let Some(held) = self.live(key) {
            assert_eq!(version, held.version + writes, "a key that stays has versions without gaps");
        } else {
            let used = self.used.get(key).copied().unwrap_or(0);
            assert!(version > used, "invariant 6: version {version} of {:?} was given before", key.escape_ascii().to_string());
            assert!(version >= self.deleted_max + writes, "version {version} is below the floor {}", self.deleted_max);
            assert!(version <= self.used_max + writes, "version {version} out of nowhere: {} is the highest", self.used_max);
        }
        self.used.insert(key.to_vec(), version);
        self.used_max = self.used_max.max(version);
        if expiry.is_some_and(|expiry| expiry <= self.now) {
            self.keys.remove(key);
            self.deleted_max = self.deleted_max.max(version);
        } else {
            self.keys.insert(key.to_vec(), Held { value: value.to_vec(), version, expiry });
        }
    }

    /// The value that an `INCR` leaves.
    pub(super) fn sum(&self, key: &[u8], delta: i128) -> Result<i64, ErrorCode> {
        let old = match self.live(key) {
            None => 0,
            Some(held) => integer(&held.value).ok_or(ErrorCode::Type)?,
        };
        i64::try_from(i128::from(old) + delta).map_err(|_| ErrorCode::Range)
    }

    /// `DEL`: whether there was something.
    pub(super) fn delete(&mut self, key: &[u8], version: Option<u64>) -> Result<bool, ErrorCode> {
        self.check_version(key, version)?;
        let Some(held) = self.live(key) else { return Ok(false) };
        self.deleted_max = self.deleted_max.max(held.version);
        self.keys.remove(key);
        Ok(true)
    }

    /// `EXPIRE`: whether the key was there.
    pub(super) fn expire(&mut self, key: &[u8], ms: i64, version: Option<u64>) -> Result<bool, ErrorCode> {
        self.check_version(key, version)?;
        match u64::try_from(ms) {
            _ if self.live(key).is_none() => Ok(false),
            Ok(ms) if ms > 0 => {
                let expiry = self.later(ms)?;
                self.keys.entry(key.to_vec()).and_modify(|held| held.expiry = Some(expiry));
                Ok(true)
            }
            _ => self.delete(key, None),
        }
    }

    /// `PERSIST`: whether the key was there.
    pub(super) fn persist(&mut self, key: &[u8]) -> bool {
        let live = self.live(key).is_some();
        if live {
            self.keys.entry(key.to_vec()).and_modify(|held| held.expiry = None);
        }
        live
    }

    /// `TTL`
    pub(super) fn ttl(&self, key: &[u8]) -> i64 {
        match self.live(key) {
            None => -2,
            Some(Held { expiry: None, .. }) => -1,
            Some(Held { expiry: Some(expiry), .. }) => i64::try_from(expiry - self.now).unwrap_or(i64::MAX),
        }
    }
}

/// The one way to write each integer.
fn integer(value: &[u8]) -> Option<i64> {
    let integer: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (integer.to_string().as_bytes() == value).then_some(integer)
}
