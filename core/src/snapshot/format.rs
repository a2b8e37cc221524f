//! A snapshot's header, what stands before each block, and its footer.
//!
//! | header | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 8 | magic `OSPREYSN` |
//! | 8 | 4 | format number, 1 |
//! | 12 | 4 | CRC-32C of bytes 0–11 and 16–55 |
//! | 16 | 16 | database id |
//! | 32 | 8 | epoch |
//! | 40 | 8 | salt |
//! | 48 | 8 | S0: the log's last LSN before the first entry was copied |
//!
//! | block | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 4 | magic `OSB1` |
//! | 4 | 4 | payload length, bytes |
//! | 8 | 4 | record count |
//! | 12 | 4 | checksum of the block before (of the header, for the first) |
//! | 16 | 4 | CRC-32C of the salt and the payload |
//! | 20 | 4 | CRC-32C of the salt and bytes 0–19: the block's checksum |
//! | 24 | | payload: records, each behind its length (4 bytes), as in a frame of the log |
//!
//! | footer | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 4 | magic `OSE1` |
//! | 4 | 4 | block count |
//! | 8 | 8 | S1: the log's last LSN after the last entry was copied |
//! | 16 | 8 | record count |
//! | 24 | 8 | version floor |
//! | 32 | 8 | time high-water, Unix ms |
//! | 40 | 4 | checksum of the last block (of the header, if there is none) |
//! | 44 | 4 | CRC-32C of the salt and bytes 0–43 |
//!
//! The length is only believed when the block's own checksum matches. The salt keeps clients from storing something that looks like a block.

use core::fmt;

use crate::checksum::Checksum;
use crate::museum::planted;
use crate::units::{Lsn, Millis, Version};
use crate::wal::segment::{COUNTERS, DatabaseId, Fields};

/// The format that this crate writes, and the only one that it reads.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::snapshot::format::{FORMAT, HEADER_BYTES, Header, HeaderError};
///
/// let mut later = [0; HEADER_BYTES];
/// later[..8].copy_from_slice(b"OSPREYSN");
/// later[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
/// assert_eq!(Header::decode(&later, crc32c), Err(HeaderError::Format(FORMAT + 1)));
/// ```
pub const FORMAT: u32 = 1;

/// How long a header is.
///
/// ```
/// use osprey_core::snapshot::format::HEADER_BYTES;
///
/// let file = [0; 100];
/// let header: Option<&[u8; HEADER_BYTES]> = file.first_chunk();
/// assert!(header.is_some());
/// ```
pub const HEADER_BYTES: usize = 56;

/// How much stands before a block's payload.
pub(super) const BLOCK_HEADER_BYTES: usize = 24;

/// How long a footer is.
pub(super) const FOOTER_BYTES: usize = 48;

const MAGIC: [u8; 8] = *b"OSPREYSN";
const BLOCK_MAGIC: [u8; 4] = *b"OSB1";
const FOOTER_MAGIC: [u8; 4] = *b"OSE1";

/// What a snapshot says of itself before its entries.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::engine::DatabaseId;
/// use osprey_core::snapshot::Header;
/// use osprey_core::units::Lsn;
///
/// let header = Header { database: DatabaseId([3; 16]), epoch: 1, salt: 7, begin: Lsn(120) };
/// let (bytes, chain) = header.encode(crc32c);
/// assert_eq!(Header::decode(&bytes, crc32c), Ok((header, chain)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The database that it belongs to.
    pub database: DatabaseId,
    /// The run of the server that took it.
    pub epoch: u64,
    /// That run's random number; it enters every checksum behind the header.
    pub salt: u64,
    /// S0: what is behind this in the log has to be replayed.
    pub begin: Lsn,
}

/// Why a header can't be read.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::engine::DatabaseId;
/// use osprey_core::snapshot::format::{Header, HeaderError};
/// use osprey_core::units::Lsn;
///
/// let header = Header { database: DatabaseId([3; 16]), epoch: 1, salt: 7, begin: Lsn(120) };
/// let (mut bytes, _) = header.encode(crc32c);
/// bytes[40] ^= 1; // a bit of the salt
/// assert_eq!(Header::decode(&bytes, crc32c), Err(HeaderError::Checksum));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not a snapshot at all.
    NotASnapshot,
    /// Written by another version of Osprey: its format number.
    Format(u32),
    /// Damaged.
    Checksum,
    /// The checksum matches, but the epoch or LSN is none that a log comes to.
    OutOfRange,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASnapshot => f.write_str("it does not begin with a snapshot's header"),
            Self::Format(found) => write!(f, "its format is {found}, this version reads format {FORMAT}"),
            Self::Checksum => f.write_str("the checksum of its header does not match"),
            Self::OutOfRange => f.write_str("its header is whole, but names an epoch or LSN that cannot be"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl Header {
    /// Its bytes, and its checksum, with which the chain begins.
    #[must_use]
    pub fn encode(&self, checksum: Checksum) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        let mut room = Room(&mut bytes);
        room.put(&MAGIC);
        room.put(&FORMAT.to_le_bytes());
        room.put(&[0; 4]);
        room.put(&self.database.0);
        room.put(&self.epoch.to_le_bytes());
        room.put(&self.salt.to_le_bytes());
        room.put(&self.begin.0.to_le_bytes());
        let crc = header_checksum(&bytes, checksum);
        let (_, behind) = bytes.split_at_mut(12);
        Room(behind).put(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header, and its checksum.
    ///
    /// # Errors
    /// See [`HeaderError`]; the format number is looked at before the checksum, which another format may keep elsewhere.
    pub fn decode(bytes: &[u8; HEADER_BYTES], checksum: Checksum) -> Result<(Self, u32), HeaderError> {
        let mut fields = Fields(bytes);
        if fields.take() != MAGIC {
            return Err(HeaderError::NotASnapshot);
        }
        let format = fields.u32();
        if format != FORMAT {
            return Err(HeaderError::Format(format));
        }
        let crc = fields.u32();
        let header = Self { database: DatabaseId(fields.take()), epoch: fields.u64(), salt: fields.u64(), begin: Lsn(fields.u64()) };
        if header_checksum(bytes, checksum) != crc {
            return Err(HeaderError::Checksum);
        }
        // S0 may be 0: before the first record.
        if !COUNTERS.contains(&header.epoch) || header.begin.0 >= COUNTERS.end {
            return Err(HeaderError::OutOfRange);
        }
        Ok((header, crc))
    }

    /// What every checksum behind the header begins with.
    pub(super) fn salted(&self, checksum: Checksum) -> u32 {
        salted(self.salt, checksum)
    }
}

/// What every checksum under this salt begins with.
pub(super) fn salted(salt: u64, checksum: Checksum) -> u32 {
    checksum(0, &salt.to_le_bytes())
}

fn header_checksum(bytes: &[u8; HEADER_BYTES], checksum: Checksum) -> u32 {
    let (before, rest) = bytes.split_at(12);
    let (_, behind) = rest.split_at(4);
    checksum(checksum(0, before), behind)
}

/// What stands before a block's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// How long the payload is, bytes.
    pub(super) payload_len: u32,
    /// How many records are in it.
    pub records: u32,
    /// The checksum of what stands before.
    pub(super) previous: u32,
    /// The checksum of the payload.
    pub(super) payload_crc: u32,
    /// The block's own checksum.
    pub(super) crc: u32,
}

impl BlockHeader {
    /// Its bytes, with the checksum filled in.
    pub(super) fn seal(&mut self, salted: u32, checksum: Checksum) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let mut room = Room(&mut bytes);
        room.put(&BLOCK_MAGIC);
        room.put(&self.payload_len.to_le_bytes());
        room.put(&self.records.to_le_bytes());
        room.put(&self.previous.to_le_bytes());
        room.put(&self.payload_crc.to_le_bytes());
        let (covered, behind) = bytes.split_at_mut(20);
        self.crc = checksum(salted, covered);
        Room(behind).put(&self.crc.to_le_bytes());
        bytes
    }

    /// Reads what stands before a block; `None` if it is damaged, or none of this snapshot.
    pub(super) fn decode(bytes: &[u8; BLOCK_HEADER_BYTES], salted: u32, checksum: Checksum) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.take() != BLOCK_MAGIC {
            return None;
        }
        let header =
            Self { payload_len: fields.u32(), records: fields.u32(), previous: fields.u32(), payload_crc: fields.u32(), crc: fields.u32() };
        let (covered, _) = bytes.split_at(20);
        (checksum(salted, covered) == header.crc).then_some(header)
    }
}

/// Whether a footer begins here, damaged or not.
pub(super) fn is_footer(bytes: &[u8]) -> bool {
    bytes.starts_with(&FOOTER_MAGIC)
}

/// What a snapshot says behind its entries; without it there is no snapshot.
///
/// ```
/// use osprey_core::engine::SnapshotOptions;
/// use osprey_core::{checksum::crc32c, snapshot, storage::LogFiles};
/// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
///
/// let snapshots = Some(SnapshotOptions::default());
/// let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), Options { snapshots, ..options })?;
/// db.set_many(&[(b"one", b"1"), (b"two", b"2")])?;
/// db.snapshot()?;
/// let mut storage = db.close()?;
/// let (name, _) = storage.snapshots()?[0];
/// let (header, footer) = snapshot::verify(|at, buffer| storage.read_snapshot(name, at, buffer), crc32c)?;
/// assert_eq!((footer.records, footer.blocks), (2, 1));
/// assert_eq!((header.begin, footer.end), (name.begin, name.end));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// How many blocks there are.
    pub blocks: u32,
    /// S1: with less of the log than this the snapshot is of no use. All of it was durable when the footer was written.
    pub end: Lsn,
    /// How many records there are.
    pub records: u64,
    /// The version floor.
    pub floor: Version,
    /// No earlier than any time that the engine had acted on.
    pub time: Millis,
}

impl Footer {
    /// Its bytes. `previous` is the checksum of the last block.
    pub(super) fn encode(&self, previous: u32, salted: u32, checksum: Checksum) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let mut room = Room(&mut bytes);
        room.put(&FOOTER_MAGIC);
        room.put(&self.blocks.to_le_bytes());
        room.put(&self.end.0.to_le_bytes());
        room.put(&self.records.to_le_bytes());
        room.put(&self.floor.0.to_le_bytes());
        room.put(&self.time.0.to_le_bytes());
        room.put(&previous.to_le_bytes());
        let (covered, behind) = bytes.split_at_mut(44);
        let crc = checksum(salted, covered);
        Room(behind).put(&crc.to_le_bytes());
        bytes
    }

    /// Reads a footer, and the checksum that it has of the last block; `None` if it is damaged.
    pub(super) fn decode(bytes: &[u8; FOOTER_BYTES], salted: u32, checksum: Checksum) -> Option<(Self, u32)> {
        let mut fields = Fields(bytes);
        if fields.take() != FOOTER_MAGIC {
            return None;
        }
        let footer = Self {
            blocks: fields.u32(),
            end: Lsn(fields.u64()),
            records: fields.u64(),
            floor: Version(fields.u64()),
            time: Millis(fields.u64()),
        };
        let previous = fields.u32();
        let (covered, _) = bytes.split_at(44);
        let right = checksum(salted, covered) == fields.u32() && footer.end.0 < COUNTERS.end;
        (right || planted("snapshot_footer_unchecked")).then_some((footer, previous))
    }
}

/// Fills bytes from their beginning.
struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    fn put(&mut self, field: &[u8]) {
        if let Some((here, rest)) = core::mem::take(&mut self.0).split_at_mut_checked(field.len()) {
            here.copy_from_slice(field);
            self.0 = rest;
        }
    }
}

/// Appends where there is room already.
pub(super) fn put_at(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = out.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}
