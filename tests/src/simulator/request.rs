//! Requests as the oracle understands them, and their bytes.

use super::digits::{put_number, put_signed};
use super::keys::{self, Key, PREFIXES};

/// A key and its value.
pub type Pair = (Key, Vec<u8>);

/// What a `SET` does to the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing is said.
    Clear,
    /// `EX`
    In(u64),
    /// `PXAT`
    At(u64),
    /// `KEEPTTL`
    Keep,
}

/// `NX`, `XX` or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Neither.
    Any,
    /// `NX`
    Absent,
    /// `XX`
    Present,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of docs/PROTOCOL.md")]
pub enum Command {
    Get(Key),
    Exists(Key),
    Ttl(Key),
    Persist(Key),
    Set {
        key: Key,
        value: Vec<u8>,
        expiry: Expiry,
        presence: Presence,
        version: Option<u64>,
    },
    Add {
        key: Key,
        delta: i64,
        negated: bool,
    },
    Del {
        key: Key,
        version: Option<u64>,
    },
    Expire {
        key: Key,
        ms: i64,
        version: Option<u64>,
    },
    Mget(Vec<Key>),
    Mset(Vec<Pair>),
    /// `walk`: the next step of the connection's walk.
    Scan {
        cursor: u64,
        count: u64,
        prefix: Option<usize>,
        walk: bool,
    },
    Stats,
    Snapshot,
    Ping,
    Quit,
    /// A line without a word.
    Blank,
    /// Refused with this code; `closes`: and nothing behind it is looked at.
    Malformed {
        bytes: Vec<u8>,
        code: &'static str,
        closes: bool,
    },
}

impl Command {
    /// Whether it shows something and changes nothing.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Exists(_) | Self::Ttl(_) | Self::Mget(_) | Self::Scan { .. })
    }

    /// Appends the request's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let word = |out: &mut Vec<u8>, word: &[u8], key: Key| {
            out.extend_from_slice(word);
            out.extend_from_slice(keys::name(key));
        };
        match self {
            Self::Get(key) => word(out, b"GET ", *key),
            Self::Exists(key) => word(out, b"exists ", *key),
            Self::Ttl(key) => word(out, b"TTL\t", *key),
            Self::Persist(key) => word(out, b"PERSIST ", *key),
            Self::Set { key, value, expiry, presence, version } => {
                word(out, b"SET ", *key);
                out.push(b' ');
                put_number(out, value.len() as u64);
                match expiry {
                    Expiry::Clear => {}
                    Expiry::In(ms) => {
                        out.extend_from_slice(b" EX ");
                        put_number(out, *ms);
                    }
                    Expiry::At(ms) => {
                        out.extend_from_slice(b" PXAT ");
                        put_number(out, *ms);
                    }
                    Expiry::Keep => out.extend_from_slice(b" keepttl"),
                }
                match presence {
                    Presence::Any => {}
                    Presence::Absent => out.extend_from_slice(b" NX"),
                    Presence::Present => out.extend_from_slice(b" XX"),
                }
                put_version(out, *version);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(value);
            }
            Self::Add { key, delta, negated } => {
                word(out, if *negated { b"DECR " } else { b"INCR " }, *key);
                out.push(b' ');
                put_signed(out, *delta);
            }
            Self::Del { key, version } => {
                word(out, b"DEL ", *key);
                put_version(out, *version);
            }
            Self::Expire { key, ms, version } => {
                word(out, b"EXPIRE ", *key);
                out.push(b' ');
                put_signed(out, *ms);
                put_version(out, *version);
            }
            Self::Mget(keys) => {
                out.extend_from_slice(b"MGET");
                keys.iter().for_each(|&key| word(out, b" ", key));
            }
            Self::Mset(pairs) => {
                out.extend_from_slice(b"MSET");
                for (key, value) in pairs {
                    word(out, b" ", *key);
                    out.push(b' ');
                    put_number(out, value.len() as u64);
                }
                out.extend_from_slice(b"\r\n");
                pairs.iter().for_each(|(_, value)| out.extend_from_slice(value));
            }
            Self::Scan { cursor, count, prefix, .. } => {
                out.extend_from_slice(b"SCAN ");
                put_number(out, *cursor);
                out.extend_from_slice(b" COUNT ");
                put_number(out, *count);
                if let Some(prefix) = prefix {
                    out.extend_from_slice(b" PREFIX ");
                    out.extend_from_slice(PREFIXES[*prefix]);
                }
            }
            Self::Stats => out.extend_from_slice(b"STATS"),
            Self::Snapshot => out.extend_from_slice(b"SNAPSHOT"),
            Self::Ping => out.extend_from_slice(b"PING"),
            Self::Quit => out.extend_from_slice(b"QUIT"),
            Self::Blank => out.push(b' '),
            Self::Malformed { bytes, .. } => out.extend_from_slice(bytes),
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn put_version(out: &mut Vec<u8>, version: Option<u64>) {
    if let Some(version) = version {
        out.extend_from_slice(b" VER ");
        put_number(out, version);
    }
}
