//! Reads the strings of a Redis RDB file, and walks over everything else by name.
//!
//! The format is described by nothing but Redis' own source: `src/rdb.h` for the numbers below, `src/rdb.c` (`rdbLoadRio`, `rdbLoadObject`, `rdbLoadLenByRef`) for what follows each of them,
//! `src/lzf_d.c` for compressed strings. A file is `REDIS`, four digits of version, then operations, each behind a byte that says which, up to `EOF`. A claimed length never makes an allocation: memory grows with
//! the bytes that are there.

use std::fmt;
use std::io::{self, Read};

use osprey_core::units::Millis;

/// The versions whose values are known: up to Redis 8.0 and Valkey 8.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=12;

/// What a file holds, key by key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) db: u64,
    pub(super) key: Vec<u8>,
    pub(super) expiry: Option<Millis>,
    pub(super) value: Value,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    String(Vec<u8>),
    /// What it is instead.
    Other(&'static str),
}

/// Why a file can't be read on.
#[derive(Debug)]
pub(super) enum RdbError {
    Io(io::Error),
    NotRdb,
    Version(u32),
    /// An operation or a type of value that is not known.
    Unknown(u8),
    /// Bytes that can't be where they are.
    Malformed(&'static str),
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => f.write_str("it ends too early"),
            Self::Io(error) => error.fmt(f),
            Self::NotRdb => f.write_str("it is no RDB file"),
            Self::Version(version) => write!(f, "its version is {version}, this program reads {} to {}", VERSIONS.start(), VERSIONS.end()),
            Self::Unknown(byte) => write!(f, "it has a value or operation of type {byte}, which this program does not know"),
            Self::Malformed(what) => write!(f, "{what} is malformed"),
        }
    }
}

impl From<io::Error> for RdbError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Rdb<R> {
    input: R,
    db: u64,
}

/// The version of a file that begins with these bytes.
pub(super) fn version(head: [u8; 9]) -> Result<u32, RdbError> {
    let digits = head.strip_prefix(b"REDIS").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let version = digits.ok_or(RdbError::NotRdb)?;
    if VERSIONS.contains(&version) { Ok(version) } else { Err(RdbError::Version(version)) }
}

impl<R: Read> Rdb<R> {
    pub(super) fn new(input: R) -> Result<Self, RdbError> {
        let mut rdb = Self { input, db: 0 };
        version(rdb.bytes()?)?;
        Ok(rdb)
    }

    /// The next key; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item>, RdbError> {
        let mut expiry = None;
        loop {
            match self.byte()? {
                // SLOT_INFO
                244 => self.lengths(3)?,
                // FUNCTION2
                245 => self.skip_string()?,
                // MODULE_AUX: module, when, then as a module's value
                247 => {
                    self.lengths(3)?;
                    self.skip_module()?;
                }
                // IDLE
                248 => self.lengths(1)?,
                // FREQ
                249 => drop(self.byte()?),
                // AUX
                250 => self.skip_strings(2)?,
                // RESIZEDB
                251 => self.lengths(2)?,
                // EXPIRETIME_MS, EXPIRETIME
                252 => expiry = Some(Millis(u64::from_le_bytes(self.bytes()?))),
                253 => expiry = Some(Millis(u64::from(u32::from_le_bytes(self.bytes()?)) * 1000)),
                // SELECTDB
                254 => self.db = self.length()?,
                // EOF
                255 => return Ok(None),
                kind => {
                    let key = self.string()?;
                    return Ok(Some(Item { db: self.db, key, expiry, value: self.value(kind)? }));
                }
            }
        }
    }

    fn value(&mut self, kind: u8) -> Result<Value, RdbError> {
        let what = match kind {
            0 => return Ok(Value::String(self.string()?)),
            1 | 10 | 14 | 18 => "a list",
            2 | 11 | 20 => "a set",
            3 | 5 | 12 | 17 => "a sorted set",
            4 | 9 | 13 | 16 | 22..=25 => "a hash",
            7 => "a module's value",
            15 | 19 | 21 => "a stream",
            _ => return Err(RdbError::Unknown(kind)),
        };
        match kind {
            // Packed into one string: zip map, zip list, integer set, list pack.
            9..=13 | 16 | 17 | 20 | 23 => self.skip_string()?,
            // The same behind the earliest expiry of a field.
            25 => {
                self.skip(8)?;
                self.skip_string()?;
            }
            1 | 2 | 14 => {
                let items = self.length()?;
                self.skip_strings(items)?;
            }
            3 => self.each(|rdb| {
                rdb.skip_string()?;
                // A score as text; the last three are no lengths.
                let length = rdb.byte()?;
                rdb.skip(if length < 253 { u64::from(length) } else { 0 })
            })?,
            4 => self.each(|rdb| rdb.skip_strings(2))?,
            5 => self.each(|rdb| {
                rdb.skip_string()?;
                rdb.skip(8)
            })?,
            18 => self.each(|rdb| {
                rdb.lengths(1)?;
                rdb.skip_string()
            })?,
            22 | 24 => {
                self.skip(if kind == 24 { 8 } else { 0 })?;
                self.each(|rdb| {
                    rdb.lengths(1)?;
                    rdb.skip_strings(2)
                })?;
            }
            7 => {
                self.lengths(1)?;
                self.skip_module()?;
            }
            _ => self.skip_stream(kind)?,
        }
        Ok(Value::Other(what))
    }

    fn skip_stream(&mut self, kind: u8) -> Result<(), RdbError> {
        self.each(|rdb| rdb.skip_strings(2))?;
        // Length and last id; then first id, highest deleted id and entries added.
        self.lengths(if kind == 15 { 3 } else { 8 })?;
        // Consumer groups: name, last id, entries read; pending entries; consumers.
        self.each(|rdb| {
            rdb.skip_string()?;
            rdb.lengths(if kind == 15 { 2 } else { 3 })?;
            rdb.each(|rdb| {
                rdb.skip(16 + 8)?;
                rdb.lengths(1)
            })?;
            rdb.each(|rdb| {
                rdb.skip_string()?;
                rdb.skip(if kind == 21 { 16 } else { 8 })?;
                rdb.each(|rdb| rdb.skip(16))
            })
        })
    }

    fn skip_module(&mut self) -> Result<(), RdbError> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.lengths(1)?,
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.skip_string()?,
                _ => return Err(RdbError::Malformed("a module's value")),
            }
        }
    }

    /// A number of things, and each of them.
    fn each(&mut self, mut one: impl FnMut(&mut Self) -> Result<(), RdbError>) -> Result<(), RdbError> {
        (0..self.length()?).try_for_each(|_| one(self))
    }

    fn lengths(&mut self, count: u32) -> Result<(), RdbError> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    fn skip_strings(&mut self, count: u64) -> Result<(), RdbError> {
        (0..count).try_for_each(|_| self.skip_string())
    }

    fn byte(&mut self) -> Result<u8, RdbError> {
        self.bytes().map(|[byte]: [u8; 1]| byte)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<(), RdbError> {
        let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, RdbError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }

    fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoding(_) => Err(RdbError::Malformed("a length")),
        }
    }

    fn length_or_encoding(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(match (first >> 6, first) {
            (0, _) => Length::Plain(u64::from(first)),
            (1, _) => Length::Plain(u64::from(first & 0x3F) << 8 | u64::from(self.byte()?)),
            (3, _) => Length::Encoding(first & 0x3F),
            (_, 0x80) => Length::Plain(u64::from(u32::from_be_bytes(self.bytes()?))),
            (_, 0x81) => Length::Plain(u64::from_be_bytes(self.bytes()?)),
            _ => return Err(RdbError::Malformed("a length")),
        })
    }

    fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(length) => self.take(length),
            Length::Encoding(0) => Ok(i8::from_le_bytes(self.bytes()?).to_string().into_bytes()),
            Length::Encoding(1) => Ok(i16::from_le_bytes(self.bytes()?).to_string().into_bytes()),
            Length::Encoding(2) => Ok(i32::from_le_bytes(self.bytes()?).to_string().into_bytes()),
            Length::Encoding(3) => {
                let (compressed, length) = (self.length()?, self.length()?);
                decompress(&self.take(compressed)?, length).ok_or(RdbError::Malformed("a compressed string"))
            }
            Length::Encoding(_) => Err(RdbError::Malformed("a string")),
        }
    }

    fn skip_string(&mut self) -> Result<(), RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(length) => self.skip(length),
            Length::Encoding(width @ 0..=2) => self.skip(1 << width),
            Length::Encoding(3) => {
                let (compressed, _) = (self.length()?, self.length()?);
                self.skip(compressed)
            }
            Length::Encoding(_) => Err(RdbError::Malformed("a string")),
        }
    }
}

enum Length {
    Plain(u64),
    Encoding(u8),
}

/// LZF: literal runs, and copies of what came before. `None` unless it comes to exactly `length` bytes.
fn decompress(mut input: &[u8], length: u64) -> Option<Vec<u8>> {
    let mut out: Vec<u8> = Vec::new();
    while let Some((&control, rest)) = input.split_first() {
        let control = usize::from(control);
        if control < 32 {
            let (literals, rest) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literals);
            input = rest;
        } else {
            let (long, rest) =
                if control >> 5 == 7 { rest.split_first().map(|(&long, rest)| (usize::from(long), rest))? } else { (0, rest) };
            let (&low, rest) = rest.split_first()?;
            let distance = ((control & 0x1F) << 8 | usize::from(low)) + 1;
            let begin = out.len().checked_sub(distance)?;
            // It may reach into what it makes.
            for at in begin..begin + (control >> 5) + long + 2 {
                out.push(*out.get(at)?);
            }
            input = rest;
        }
        if out.len() as u64 > length {
            return None;
        }
    }
    (out.len() as u64 == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All keys of a file of version 12 with these operations.
    fn read(operations: &[u8]) -> Result<Vec<Item>, RdbError> {
        let mut rdb = Rdb::new([b"REDIS0012", operations].concat().leak() as &[u8])?;
        std::iter::from_fn(|| rdb.next().transpose()).collect()
    }

    fn after(value: &[u8]) -> Vec<Item> {
        // What follows a value that is walked over is found only if all of it was.
        read(&[value, b"\x00\x01z\x01v\xff"].concat()).expect("a file")
    }

    #[test]
    fn compressed_strings() {
        assert_eq!(decompress(b"\x02abc", 3).as_deref(), Some(b"abc".as_slice()));
        assert_eq!(decompress(b"\x00a\xe0\x01\x00", 11).as_deref(), Some(b"aaaaaaaaaaa".as_slice()), "it reaches into itself");
        assert_eq!(decompress(b"\x01ab\x20\x01", 5).as_deref(), Some(b"ababa".as_slice()));
        for broken in [b"\x02ab".as_slice(), b"\x20\x00", b"\x00a\x20", b"\x00a\xe0\x01", b"\x00a\x20\x01"] {
            assert_eq!(decompress(broken, 4), None, "{broken:?}");
        }
        assert_eq!(decompress(b"\x02abc", 2), None);
        assert_eq!(decompress(b"\x02abc", 4), None);
    }

    #[test]
    fn expiries_and_databases_belong_to_their_keys() {
        let file = b"\xfa\x01a\xc0\x05\xfe\x02\xfb\x02\x01\xfc\x01\0\0\0\0\0\0\0\xf8\x05\xf9\x07\x00\x01k\x01v\xfd\x02\0\0\0\x00\x01l\x01w\x00\x01m\x00\xff";
        let found: Vec<_> = read(file).expect("a file").into_iter().map(|item| (item.db, item.key, item.expiry)).collect();
        assert_eq!(found, [(2, b"k".to_vec(), Some(Millis(1))), (2, b"l".to_vec(), Some(Millis(2000))), (2, b"m".to_vec(), None)]);
    }

    #[test]
    fn other_values_are_walked_over() {
        let eight = [7; 8];
        let sixteen = [7; 16];
        let cases: [(&[&[u8]], &str); 14] = [
            (&[b"\x01\x01k\x02\x01a\xc0\x01"], "a list"),
            (&[b"\x0e\x01k\x01\xc3\x02\x01\x00a"], "a list"),
            (&[b"\x12\x01k\x01\x02\x01a"], "a list"),
            (&[b"\x02\x01k\x01\x01a"], "a set"),
            (&[b"\x14\x01k\x03abc"], "a set"),
            (&[b"\x03\x01k\x03\x01a\x031.5\x01b\xfe\x01c\xfd"], "a sorted set"),
            (&[b"\x05\x01k\x01\x01a", &eight], "a sorted set"),
            (&[b"\x04\x01k\x01\x01f\x01v"], "a hash"),
            (&[b"\x16\x01k\x01\x05\x01f\x01v"], "a hash"),
            (&[b"\x18\x01k", &eight, b"\x01\x05\x01f\x01v"], "a hash"),
            (&[b"\x19\x01k", &eight, b"\x03abc"], "a hash"),
            (&[b"\x07\x01k\x81", &eight, b"\x02\x09\x03\0\0\0\0\x04", &eight, b"\x05\x01s\x00"], "a module's value"),
            (
                &[
                    b"\x0f\x01k\x01\x01n\x01p\x01\x02\x03\x01\x01g\x01\x02\x01",
                    &sixteen,
                    &eight,
                    b"\x01\x01\x01c",
                    &eight,
                    b"\x01",
                    &sixteen,
                ],
                "a stream",
            ),
            (
                &[b"\x15\x01k\x00\x01\x02\x03\x04\x05\x06\x07\x08\x01\x01g\x01\x02\x03\x00\x01\x01c", &sixteen, b"\x01", &sixteen],
                "a stream",
            ),
        ];
        for (value, what) in cases {
            let items = after(&value.concat());
            assert_eq!(items.len(), 2, "{value:?}");
            assert_eq!(items[0].value, Value::Other(what), "{value:?}");
            assert_eq!((&*items[1].key, &items[1].value), (b"z".as_slice(), &Value::String(b"v".to_vec())), "{value:?}");
        }
        assert!(matches!(read(b"\x1a\x01k"), Err(RdbError::Unknown(26))));
        assert!(matches!(Rdb::new(b"REDIS0013".as_slice()), Err(RdbError::Version(13))));
        assert!(matches!(Rdb::new(b"redis0010".as_slice()), Err(RdbError::NotRdb)));
    }

    #[test]
    fn any_bytes_come_to_an_end() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..) & random.u8(..)).collect();
            let _ = read(&bytes);
        }
        // A claimed length is no allocation.
        assert!(read(b"\x00\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(read(b"\x00\x01k\xc3\x02\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x00a").is_err());
    }
}
