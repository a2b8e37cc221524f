//! What can happen to a server and its keys, as a fuzzer makes it up: small numbers, few keys, so that they meet.

use arbitrary::Arbitrary;
use osprey_core::protocol::command::SetExpiry;
use osprey_core::units::Millis;

use crate::fuzz::operations::few;

#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Op {
    Get(Key),
    Set {
        key: Key,
        value: Value,
        expiry: Expiry,
        presence: Option<bool>,
        version: Option<Ver>,
    },
    Del(Key, Option<Ver>),
    Exists(Key),
    Expire(Key, Ms, Option<Ver>),
    Persist(Key),
    Ttl(Key),
    Incr(Key, i64),
    Decr(Key, i64),
    Mget([Key; 3]),
    Mset(#[arbitrary(with = few)] Vec<(Key, Value)>),
    Scan {
        count: Option<core::num::NonZeroU8>,
        prefix: bool,
    },
    Stats,
    /// More keys. Some ten of these, and tables split.
    Fill {
        from: u8,
        expiry_ms: u8,
    },
    Wait {
        ms: u16,
    },
    /// Until a key expires, or the last millisecond before.
    WaitFor {
        key: Key,
        before: bool,
    },
    Tick,
    /// Storage does what it was asked.
    Store,
    /// The process is killed; what storage wasn't asked yet is lost.
    Kill,
    /// The process ends in order and starts again.
    Restart,
}

/// Few keys, so that they meet again.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Key(pub(super) u8);

impl Key {
    pub(super) fn bytes(self) -> Vec<u8> {
        format!("{}", self.0 & 7).into_bytes()
    }
}

#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Value {
    Bytes(Vec<u8>),
    Integer(i64),
}

impl Value {
    /// As many as the server's limit allows.
    pub(super) fn bytes(&self, limit: usize) -> Vec<u8> {
        let mut bytes = match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Integer(integer) => integer.to_string().into_bytes(),
        };
        bytes.truncate(limit);
        bytes
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Expiry {
    Clear,
    In(u8),
    InVeryLong,
    /// Relative to now.
    At(i8),
    Keep,
}

impl Expiry {
    pub(super) fn option(self, now: u64) -> SetExpiry {
        match self {
            Self::Clear => SetExpiry::Clear,
            Self::In(ms) => SetExpiry::In(u64::from(ms) + 1),
            Self::InVeryLong => SetExpiry::In(Millis::MAX.0),
            Self::At(ms) => SetExpiry::At(Millis(now.saturating_add_signed(i64::from(ms))).min(Millis::MAX)),
            Self::Keep => SetExpiry::Keep,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Ms {
    Short(i8),
    Any(i64),
}

/// A version, mostly near the current one.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Ver {
    Current,
    Near(i8),
    None,
}
