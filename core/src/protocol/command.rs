//! What a client can ask: commands as values that borrow from the input.

use super::line::Words;
use super::number;
use crate::units::{Millis, Version};

/// A parsed request. Keys and values borrow from the input; nothing is copied or allocated.
///
/// ```
/// use osprey_core::engine;
/// use osprey_core::protocol::command::Command;
/// use osprey_core::protocol::request::{Parser, Step};
///
/// let parse = |line: &'static [u8]| match Parser::default().next(&engine::Limits::default().request, line) {
///     Step::Request { command, .. } => command,
///     step => panic!("{step:?}"),
/// };
/// let decr = parse(b"DECR visits 2\r\n");
/// assert_eq!(decr, Command::Add { key: b"visits", delta: -2 });
/// assert_eq!(decr.key(), Some(&b"visits"[..]));
/// assert_eq!(parse(b"MGET one two\r\n").key(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `PING`
    Ping,
    /// `GET key`
    Get {
        /** The key. */
        key: &'a [u8],
    },
    /// `SET key len [options]` and its payload.
    Set {
        /** The key. */
        key: &'a [u8],
        /** The payload. */
        value: &'a [u8],
        /** Options. */
        options: SetOptions,
    },
    /// `DEL key [VER n]`
    Del {
        /** The key. */
        key: &'a [u8],
        /** Only this version. */
        version: Option<Version>,
    },
    /// `EXISTS key`
    Exists {
        /** The key. */
        key: &'a [u8],
    },
    /// `EXPIRE key ms [VER n]`; `ms` ≤ 0 deletes the key.
    Expire {
        /** The key. */
        key: &'a [u8],
        /** Milliseconds from now. */
        ms: i64,
        /** Only this version. */
        version: Option<Version>,
    },
    /// `PERSIST key`
    Persist {
        /** The key. */
        key: &'a [u8],
    },
    /// `TTL key`
    Ttl {
        /** The key. */
        key: &'a [u8],
    },
    /// `INCR key [delta]` and, with a negated delta, `DECR key [delta]` (i128: −(−2^63) must be exact).
    Add {
        /** The key. */
        key: &'a [u8],
        /** What to add; within ±2^63. */
        delta: i128,
    },
    /// `MGET key…`
    Mget {
        /** The keys. */
        keys: Keys<'a>,
    },
    /// `MSET key len …` and all payloads.
    Mset {
        /** Keys and values. */
        pairs: Pairs<'a>,
    },
    /// `SCAN cursor [COUNT n] [PREFIX p]`
    Scan {
        /** 0 to begin. */
        cursor: u64,
        /** How many keys to look at, at least 1. */
        count: u64,
        /** Only keys that begin so. */
        prefix: &'a [u8],
    },
    /// `STATS`
    Stats,
    /// `SNAPSHOT`
    Snapshot,
    /// `QUIT`
    Quit,
}

impl<'a> Command<'a> {
    /// The key of a command that is about just one.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::Del { key, .. }
            | Self::Exists { key }
            | Self::Expire { key, .. }
            | Self::Persist { key }
            | Self::Ttl { key }
            | Self::Add { key, .. } => Some(key),
            Self::Ping | Self::Mget { .. } | Self::Mset { .. } | Self::Scan { .. } | Self::Stats | Self::Snapshot | Self::Quit => None,
        }
    }
}

/// The options of `SET`.
///
/// ```
/// use osprey_core::protocol::client;
/// use osprey_core::protocol::command::{Presence, SetExpiry, SetOptions};
/// use osprey_core::units::Version;
///
/// let mut request = Vec::new();
/// let options = SetOptions { expiry: SetExpiry::In(5_000), presence: Presence::Present, version: Some(Version(7)) };
/// client::set(&mut request, b"session", b"", &options)?;
/// assert_eq!(request, b"SET session 0 EX 5000 XX VER 7\r\n\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// What becomes of the expiry.
    pub expiry: SetExpiry,
    /// Whether the key must or must not be there.
    pub presence: Presence,
    /// `VER n`: the current version must be this one; [`Version::NONE`]: the key must not exist.
    pub version: Option<Version>,
}

/// What a `SET` does to the key's expiry.
///
/// ```
/// use osprey_core::db::Db;
/// use osprey_core::engine::{SetExpiry, SetOptions, TimeToLive};
/// # use osprey_core::engine::{DatabaseId, Entropy, Options};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
///
/// let with = |expiry| SetOptions { expiry, ..SetOptions::default() };
/// db.set_with(b"key", b"one", &with(SetExpiry::In(500)))?;
/// db.set_with(b"key", b"two", &with(SetExpiry::Keep))?;
/// assert_eq!(db.ttl(b"key")?, TimeToLive::Ms(500));
/// db.set_with(b"key", b"three", &with(SetExpiry::Clear))?;
/// assert_eq!(db.ttl(b"key")?, TimeToLive::Endless);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetExpiry {
    /// No expiry (a plain `SET` clears it).
    #[default]
    Clear,
    /// `EX ms`: this many milliseconds from now, at least 1.
    In(u64),
    /// `PXAT ms`: at this Unix time, at least 1.
    At(Millis),
    /// `KEEPTTL`: as it is.
    Keep,
}

/// `NX`, `XX` or neither.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Engine, Entropy, Error, Options, Presence, SetOptions};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1))?;
/// # while engine.drive(&mut storage)? {}
///
/// let now = Millis(1);
/// let present = SetOptions { presence: Presence::Present, ..SetOptions::default() };
/// assert_eq!(engine.set(now, b"key", b"value", &present).result, Err(Error::NotExists));
/// let absent = SetOptions { presence: Presence::Absent, ..SetOptions::default() };
/// assert!(engine.set(now, b"key", b"value", &absent).result.is_ok());
/// assert_eq!(engine.set(now, b"key", b"value", &absent).result, Err(Error::Exists));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Whether the key exists or not.
    #[default]
    Any,
    /// `NX`: only if it is not there.
    Absent,
    /// `XX`: only if it is there.
    Present,
}

/// The keys of an `MGET`: the rest of its line, which the parser has checked.
///
/// ```
/// use osprey_core::engine;
/// use osprey_core::protocol::command::Command;
/// use osprey_core::protocol::request::{Parser, Step};
///
/// let limits = engine::Limits::default().request;
/// let step = Parser::default().next(&limits, b"MGET one  two\r\n");
/// let Step::Request { command: Command::Mget { keys }, .. } = step else { panic!("it is an MGET") };
/// assert_eq!(keys.len(), 2);
/// assert_eq!(keys.iter().collect::<Vec<_>>(), [b"one", b"two"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys<'a> {
    words: Words<'a>,
    len: usize,
}

impl<'a> Keys<'a> {
    pub(super) fn new(words: Words<'a>, len: usize) -> Self {
        Self { words, len }
    }

    /// How many there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The keys in the order of the request.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.words
    }
}

/// The keys and values of an `MSET`: the rest of its line, which the parser has checked, and its payload.
///
/// ```
/// use osprey_core::engine;
/// use osprey_core::protocol::command::Command;
/// use osprey_core::protocol::request::{Parser, Step};
///
/// let limits = engine::Limits::default().request;
/// let step = Parser::default().next(&limits, b"MSET a 3 b 2\r\nonetw\r\n");
/// let Step::Request { command: Command::Mset { pairs }, .. } = step else { panic!("it is an MSET") };
/// assert_eq!(pairs.len(), 2);
/// assert_eq!(pairs.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"one"[..]), (b"b", b"tw")]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs<'a> {
    words: Words<'a>,
    payload: &'a [u8],
    len: usize,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(words: Words<'a>, payload: &'a [u8], len: usize) -> Self {
        Self { words, payload, len }
    }

    /// How many there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Keys with their values, in the order of the request.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut words = self.words;
        let mut payload = self.payload;
        core::iter::from_fn(move || {
            let key = words.next()?;
            let len = usize::try_from(number::unsigned(words.next()?)?).ok()?;
            let (value, rest) = payload.split_at_checked(len)?;
            payload = rest;
            Some((key, value))
        })
    }
}
