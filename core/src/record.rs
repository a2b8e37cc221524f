//! The one encoding of an entry, shared by memory, log and snapshot.
//!
//! ```text
//!  0        1            2|3         +1,2,4,8      +0,8
//! ┌────────┬────────────┬───────────┬─────────────┬─────────┬─────────┐
//! │ flags  │ key length │ version   │ expiry      │ key     │ value   │
//! └────────┴────────────┴───────────┴─────────────┴─────────┴─────────┘
//!  flags: bits 0–1 kind · 2 expiry is there · 3 key length has two bytes · 4–5 log₂ of the version's width · 6–7 zero
//! ```
//! Little-endian; every field in the fewest bytes that hold it. A value ends where the record ends: whoever stores
//! records stores their length. Records state results, so that replaying them never reads a clock.

use alloc::vec::Vec;
use core::fmt;

use crate::units::{Millis, Version};

/// The longest key that the format can hold, bytes.
///
/// ```
/// use osprey_core::engine::{DatabaseId, Engine, Entropy, Error, Options};
/// use osprey_core::record::KEY_BYTES_MAX;
/// # use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::units::Millis;
///
/// let mut options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// options.limits.request.key_bytes_max = KEY_BYTES_MAX;
/// let (mut engine, _) = Engine::recover(options, &mut MemoryStorage::new(), Millis(1))?;
/// let too_long = [b'k'; KEY_BYTES_MAX + 1];
/// assert_eq!(engine.get(Millis(1), &too_long).result, Err(Error::KeyTooLong { bytes: 65_536, limit: 65_535 }));
/// assert_eq!(engine.get(Millis(1), &too_long[1..]).result, Ok(None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// The longest value that the format can hold, bytes: 1 GiB.
///
/// ```
/// use osprey_core::protocol::client::ReplyLimits;
/// use osprey_core::record::VALUE_BYTES_MAX;
///
/// // A client that takes whatever a server may hold.
/// assert_eq!(ReplyLimits::default().value_bytes_max, VALUE_BYTES_MAX);
/// assert_eq!(VALUE_BYTES_MAX, 1 << 30);
/// ```
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// The longest header: flags, key length, version, expiry.
const HEADER_BYTES_MAX: usize = 1 + 2 + 8 + 8;

/// Memory was not to be had. Nothing has changed.
///
/// ```
/// use osprey_core::protocol::reply;
/// use osprey_core::record::OutOfMemory;
///
/// fn replies() -> Result<Vec<u8>, OutOfMemory> {
///     let mut out = Vec::new();
///     reply::pong(&mut out)?;
///     Ok(out)
/// }
///
/// assert_eq!(replies(), Ok(b"PONG\r\n".to_vec()));
/// assert_eq!(OutOfMemory.to_string(), "out of memory");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for OutOfMemory {}

/// What a record says of its key.
///
/// ```
/// use osprey_core::record::{Kind, Record};
/// use osprey_core::units::{Millis, Version};
///
/// // As the log has them: a time to expire is a moment, and a deletion leaves its version.
/// let expire = Record { kind: Kind::Expire, version: Version(7), expiry: Some(Millis(1_000)), key: b"key", value: b"" };
/// let del = Record { kind: Kind::Del, version: Version(8), expiry: None, key: b"key", value: b"" };
/// for record in [expire, del] {
///     let mut bytes = Vec::with_capacity(record.encoded_len());
///     record.encode(&mut bytes);
///     assert_eq!(Record::decode(&bytes), Some(record));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key has this value, version and expiry.
    Set = 0,
    /// The key is gone, and no version up to this one will be given again.
    Del = 1,
    /// The key has this expiry, or none; value and version stay.
    Expire = 2,
    /// No key: a moment in time, carried by the frame that holds the record.
    Mark = 3,
}

const KIND_MASK: u8 = 0b11;
const HAS_EXPIRY: u8 = 1 << 2;
const LONG_KEY: u8 = 1 << 3;
const WIDTH_SHIFT: u8 = 4;
const WIDTH_MASK: u8 = 0b11 << WIDTH_SHIFT;
const UNUSED_MASK: u8 = 0b11 << 6;

/// A record's parts, borrowed from its bytes.
///
/// ```
/// use osprey_core::record::{Kind, Record};
/// use osprey_core::units::{Millis, Version};
///
/// let record = Record { kind: Kind::Set, version: Version(7), expiry: Some(Millis(1_000)), key: b"key", value: b"value" };
/// let mut bytes = Vec::with_capacity(record.encoded_len());
/// record.encode(&mut bytes);
/// assert_eq!(bytes.len(), 1 + 1 + 1 + 8 + 3 + 5);
/// assert_eq!(Record::decode(&bytes), Some(record));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says.
    pub kind: Kind,
    /// Of which version.
    pub version: Version,
    /// Until when, `None` for ever.
    pub expiry: Option<Millis>,
    /// Of which key.
    pub key: &'a [u8],
    /// Empty unless the kind is [`Kind::Set`].
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// How many bytes [`Record::encode`] appends.
    #[must_use]
    #[inline]
    pub fn encoded_len(&self) -> usize {
        let long_key = usize::from(self.key.len() > usize::from(u8::MAX));
        let expiry = if self.expiry.is_some() { size_of::<u64>() } else { 0 };
        2 + long_key + (1 << version_width_log2(self.version)) + expiry + self.key.len() + self.value.len()
    }

    /// Appends the record's bytes. The caller has reserved room; keys over [`KEY_BYTES_MAX`] were refused before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.header().bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
    }

    /// Writes the record's bytes to the beginning of `room`, which has at least [`Record::encoded_len`].
    #[inline]
    pub(crate) fn encode_into(&self, room: &mut [u8]) {
        let header = self.header();
        let parts = [header.bytes(), self.key, self.value];
        let mut room = room;
        for part in parts {
            let Some((here, rest)) = room.split_at_mut_checked(part.len()) else { return };
            here.copy_from_slice(part);
            room = rest;
        }
    }

    /// What stands before the key.
    #[inline]
    pub(crate) fn header(&self) -> Header {
        let [low, high] = u16::try_from(self.key.len()).unwrap_or(u16::MAX).to_le_bytes();
        let long_key = high != 0;
        let width_log2 = version_width_log2(self.version);
        let mut flags = self.kind as u8 | width_log2 << WIDTH_SHIFT | if long_key { LONG_KEY } else { 0 };
        let mut header = Header { bytes: [0; HEADER_BYTES_MAX], len: 2 + usize::from(long_key) };
        // What a field has too much is overwritten by the next one, or isn't part of the header.
        header.put(self.version.0, 1 << width_log2);
        if let Some(expiry) = self.expiry {
            flags |= HAS_EXPIRY;
            header.put(expiry.0, size_of::<u64>());
        }
        let [first, second, third, ..] = &mut header.bytes;
        (*first, *second) = (flags, low);
        if long_key {
            *third = high;
        }
        header
    }

    /// Takes a record apart, or `None` if the bytes are no record.
    #[must_use]
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&flags, rest) = bytes.split_first()?;
        if flags & UNUSED_MASK != 0 {
            return None;
        }
        let (key_len, rest) = if flags & LONG_KEY == 0 {
            let (&len, rest) = rest.split_first()?;
            (usize::from(len), rest)
        } else {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        };
        let (version, rest) = match (flags & WIDTH_MASK) >> WIDTH_SHIFT {
            0 => rest.split_first().map(|(&v, rest)| (u64::from(v), rest)),
            1 => rest.split_first_chunk().map(|(v, rest)| (u64::from(u16::from_le_bytes(*v)), rest)),
            2 => rest.split_first_chunk().map(|(v, rest)| (u64::from(u32::from_le_bytes(*v)), rest)),
            _ => rest.split_first_chunk().map(|(v, rest)| (u64::from_le_bytes(*v), rest)),
        }?;
        let (expiry, rest) = if flags & HAS_EXPIRY == 0 {
            (None, rest)
        } else {
            let (expiry, rest) = rest.split_first_chunk()?;
            (Some(Millis(u64::from_le_bytes(*expiry))), rest)
        };
        let (key, value) = rest.split_at_checked(key_len)?;
        let kind = match flags & KIND_MASK {
            0 => Kind::Set,
            1 => Kind::Del,
            2 => Kind::Expire,
            _ => Kind::Mark,
        };
        let well_formed = match kind {
            Kind::Set => !key.is_empty(),
            Kind::Del => !key.is_empty() && value.is_empty() && expiry.is_none(),
            Kind::Expire => !key.is_empty() && value.is_empty(),
            Kind::Mark => rest.is_empty() && expiry.is_none(),
        };
        well_formed.then_some(Self { kind, version: Version(version), expiry, key, value })
    }
}

/// What stands before a record's key.
pub(crate) struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl Header {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// All eight bytes of a field, of which `width` count: the processor has an instruction for eight.
    #[inline]
    fn put(&mut self, field: u64, width: usize) {
        if let Some(room) = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            *room = field.to_le_bytes();
        }
        self.len += width;
    }
}

#[inline]
fn version_width_log2(version: Version) -> u8 {
    match version.0 {
        0..=0xFF => 0,
        0x100..=0xFFFF => 1,
        0x1_0000..=0xFFFF_FFFF => 2,
        _ => 3,
    }
}

/// What stands where in a record.
struct Layout {
    version: Version,
    expiry: Option<Millis>,
    key_begin: usize,
    key_end: usize,
}

impl Layout {
    /// Of a record that begins with these bytes. Each field is read with all the bytes that it might have.
    #[inline]
    fn of(head: &[u8; HEADER_BYTES_MAX]) -> Self {
        let &[flags, low, high, ..] = head;
        let long_key = flags & LONG_KEY != 0;
        let key_len = u16::from_le_bytes([low, if long_key { high } else { 0 }]);
        let version_begin = 2 + usize::from(long_key);
        let width_log2 = (flags & WIDTH_MASK) >> WIDTH_SHIFT;
        let eight = |at: usize| head.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let version = Version(eight(version_begin) & (u64::MAX >> (u64::BITS - (8 << width_log2))));
        let version_end = version_begin + (1 << width_log2);
        let has_expiry = flags & HAS_EXPIRY != 0;
        let key_begin = version_end + if has_expiry { size_of::<u64>() } else { 0 };
        let expiry = has_expiry.then(|| Millis(eight(version_end)));
        Self { version, expiry, key_begin, key_end: key_begin + usize::from(key_len) }
    }
}

/// The bytes of a [`Kind::Set`] record, as a live key has them in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a>(&'a [u8]);

impl<'a> Encoded<'a> {
    /// `bytes` must be such a record's; for [`Encoded::has_key`] it may be longer.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The record's parts.
    ///
    /// They are what [`Record::decode`] finds in them; but nothing is checked, since `Record::encode_into` wrote them.
    #[must_use]
    #[inline]
    pub(crate) fn record(self) -> Record<'a> {
        let Layout { version, expiry, key_begin, key_end } = self.layout();
        let key = self.0.get(key_begin..key_end).unwrap_or_default();
        let value = self.0.get(key_end..).unwrap_or_default();
        Record { kind: Kind::Set, version, expiry, key, value }
    }

    /// Whose it is.
    #[must_use]
    #[inline]
    pub(crate) fn key(self) -> &'a [u8] {
        let Layout { key_begin, key_end, .. } = self.layout();
        self.0.get(key_begin..key_end).unwrap_or_default()
    }

    /// The value's version.
    #[must_use]
    #[inline]
    pub(crate) fn version(self) -> Version {
        self.layout().version
    }

    /// Whether this is `key`'s. Every lookup asks it of entries that are not in any cache: it reads as little as it can.
    #[must_use]
    #[inline]
    pub(crate) fn has_key(self, key: &[u8]) -> bool {
        let Layout { key_begin, key_end, .. } = self.layout();
        key_end - key_begin == key.len() && self.0.get(key_begin..key_end) == Some(key)
    }

    /// Where the key begins.
    #[inline]
    pub(crate) fn header_len(self) -> usize {
        self.layout().key_begin
    }

    #[inline]
    fn layout(self) -> Layout {
        match self.0.first_chunk() {
            Some(head) => Layout::of(head),
            None => self.layout_of_few(),
        }
    }

    /// Of an entry that is shorter than the longest header.
    #[cold]
    fn layout_of_few(self) -> Layout {
        let mut head = [0; HEADER_BYTES_MAX];
        head.iter_mut().zip(self.0).for_each(|(to, from)| *to = *from);
        Layout::of(&head)
    }

    /// The record's bytes.
    #[must_use]
    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// When the key is gone.
    #[must_use]
    #[inline]
    pub(crate) fn expiry(self) -> Option<Millis> {
        self.layout().expiry
    }

    /// Whether the key is gone at `now`.
    #[must_use]
    #[inline]
    pub(crate) fn expired(self, now: Millis) -> bool {
        self.expiry().is_some_and(|expiry| expiry <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Version, expiry, key, value.
    type Sample = (Version, Option<Millis>, Vec<u8>, Vec<u8>);

    fn samples() -> Vec<Sample> {
        let mut samples = Vec::new();
        for version in [0, 1, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            for expiry in [None, Some(Millis(0)), Some(Millis::MAX)] {
                for key_len in [1, 2, 255, 256, KEY_BYTES_MAX] {
                    for value_len in [0, 1, 300] {
                        samples.push((Version(version), expiry, vec![b'k'; key_len], vec![b'v'; value_len]));
                    }
                }
            }
        }
        samples
    }

    #[test]
    fn every_width_of_every_field_survives_encoding() {
        for (version, expiry, key, value) in samples() {
            let record = Record { kind: Kind::Set, version, expiry, key: &key, value: &value };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(bytes.len(), record.encoded_len());
            assert_eq!(Record::decode(&bytes), Some(record));
        }
    }

    #[test]
    fn a_key_is_known_without_decoding() {
        for (version, expiry, mut key, value) in samples() {
            let mut bytes = Vec::new();
            Record { kind: Kind::Set, version, expiry, key: &key, value: &value }.encode(&mut bytes);
            let entry = Encoded::new(&bytes);
            assert!(entry.has_key(&key));
            assert_eq!(entry.key(), key);
            assert!(!entry.has_key(key.get(1..).unwrap()));
            assert_eq!(Some(entry.record()), Record::decode(&bytes));
            assert_eq!((entry.version(), entry.expiry(), entry.key()), (version, expiry, &key[..]));
            *key.last_mut().unwrap() = b'x';
            assert!(!entry.has_key(&key));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (version, expiry, key, value) in samples() {
            let mut bytes = Vec::new();
            Record { kind: Kind::Set, version, expiry, key: &key, value: &value }.encode(&mut bytes);
            let key_end = bytes.len() - value.len();
            // All of what stands before the key, and of the key the first bytes and the last.
            for len in (0..key_end).filter(|&len| len < 24 || len + 1 == key_end) {
                assert_eq!(Record::decode(bytes.get(..len).unwrap()), None, "cut behind {len} of {key_end} bytes");
            }
            *bytes.first_mut().unwrap() |= 0b0100_0000;
            assert_eq!(Record::decode(&bytes), None, "an unknown flag");
        }
        assert_eq!(Record::decode(&[0, 0, 1]), None, "an empty key");
    }

    #[test]
    fn versions_take_as_few_bytes_as_hold_them() {
        for (version, width) in
            [(0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 4), (u64::from(u32::MAX), 4), (1 << 32, 8), (u64::MAX, 8)]
        {
            let record = Record { kind: Kind::Set, version: Version(version), expiry: None, key: b"k", value: b"" };
            assert_eq!(record.encoded_len(), 3 + width, "flags, length of the key, version {version}, key");
        }
    }

    #[test]
    fn what_a_kind_does_not_have_is_refused() {
        let expiry = Some(Millis(1));
        let of = |kind, expiry, key, value| Record { kind, version: Version(1), expiry, key, value };
        let kinds = [
            (of(Kind::Set, expiry, b"k", b"v"), true),
            (of(Kind::Set, expiry, b"", b"v"), false),
            (of(Kind::Del, None, b"k", b""), true),
            (of(Kind::Del, None, b"", b""), false),
            (of(Kind::Del, None, b"k", b"v"), false),
            (of(Kind::Del, expiry, b"k", b""), false),
            (of(Kind::Expire, expiry, b"k", b""), true),
            (of(Kind::Expire, None, b"k", b""), true),
            (of(Kind::Expire, expiry, b"", b""), false),
            (of(Kind::Expire, expiry, b"k", b"v"), false),
            (of(Kind::Mark, None, b"", b""), true),
            (of(Kind::Mark, None, b"k", b""), false),
            (of(Kind::Mark, None, b"", b"v"), false),
            (of(Kind::Mark, expiry, b"", b""), false),
        ];
        for (record, is_one) in kinds {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), is_one.then_some(record), "{record:?}");
        }
    }
}
