//! A frame: one group commit, with everything that is needed to judge it.
//!
//! | offset | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 4 | magic `OSF1` |
//! | 4 | 1 | type: 1 DATA, 2 SEAL |
//! | 5 | 3 | zero |
//! | 8 | 4 | payload length, bytes |
//! | 12 | 4 | record count (0 in a SEAL) |
//! | 16 | 8 | LSN of the first record |
//! | 24 | 8 | durable LSN when it was written |
//! | 32 | 8 | time high-water, Unix ms |
//! | 40 | 8 | version floor |
//! | 48 | 4 | checksum of the frame before |
//! | 52 | 4 | CRC-32C of the salt and the payload |
//! | 56 | 4 | CRC-32C of the salt and bytes 0–55: the frame's checksum |
//! | 60 | 4 | zero |
//! | 64 | | payload: records, each behind its length (4 bytes) |
//!
//! A frame begins at a multiple of 8, after a sync at the next multiple of 512; the space between is zero. The length is
//! only believed when the header's own checksum matches, and the salt keeps clients from storing something that looks like a frame.

use super::segment::Fields;
use crate::checksum::Checksum;
use crate::museum::planted;
use crate::record::Record;
use crate::units::{Lsn, Millis, Version};

/// How long a frame's header is.
///
/// ```
/// use osprey_core::wal::frame::FRAME_HEADER_BYTES;
///
/// // What a SET of one byte takes in the log, in a frame of its own.
/// let record = 4 + (1 + 1 + 1 + 1 + 1);
/// assert_eq!(FRAME_HEADER_BYTES + record, 73);
/// ```
pub const FRAME_HEADER_BYTES: usize = 64;

/// How much stands before each record: its length.
///
/// ```
/// use osprey_core::record::{Kind, Record};
/// use osprey_core::units::Version;
/// use osprey_core::wal::frame::{RECORD_LENGTH_BYTES, Records};
///
/// let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: b"value" };
/// let mut payload = u32::try_from(record.encoded_len()).expect("it is short").to_le_bytes().to_vec();
/// assert_eq!(payload.len(), RECORD_LENGTH_BYTES);
/// record.encode(&mut payload);
/// assert_eq!(Records(&payload).next(), Some(Ok(record)));
/// ```
pub const RECORD_LENGTH_BYTES: usize = 4;

/// Frames begin at multiples of so many bytes.
///
/// ```
/// use osprey_core::wal::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES};
/// use osprey_core::wal::segment::HEADER_BYTES;
///
/// // Where the second frame may begin, behind one whose payload has 9 bytes.
/// let end = HEADER_BYTES as usize + FRAME_HEADER_BYTES + 9;
/// assert_eq!(end.next_multiple_of(FRAME_ALIGN), 4096 + 64 + 16);
/// ```
pub const FRAME_ALIGN: usize = 8;

/// The first bytes of every frame.
///
/// ```
/// use osprey_core::wal::frame::FRAME_MAGIC;
///
/// // It says where a frame may begin; only the checksum says whether one does.
/// let bytes = b"....OSF1........";
/// assert_eq!(bytes.windows(4).position(|window| window == FRAME_MAGIC), Some(4));
/// ```
pub const FRAME_MAGIC: [u8; 4] = *b"OSF1";

const CHECKED_BYTES: usize = 56;

/// What a frame is for.
///
/// ```
/// use osprey_core::wal::frame::FrameType;
///
/// assert_eq!((FrameType::Data as u8, FrameType::Seal as u8), (1, 2), "as they stand in a frame");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameType {
    /// Carries records.
    Data = 1,
    /// Ends a segment: nothing follows in it.
    Seal = 2,
}

/// What a frame says of itself.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::units::{Lsn, Millis, Version};
/// use osprey_core::wal::frame::{FrameHeader, FrameType};
///
/// let payload = b"two records";
/// let mut header = FrameHeader {
///     kind: FrameType::Data,
///     payload_len: 11,
///     records: 2,
///     first_lsn: Lsn(5),
///     durable: Lsn(4),
///     time: Millis(1_000),
///     floor: Version(0),
///     previous: 0xABCD,
///     payload_crc: 0, // filled in, as is the next
///     crc: 0,
/// };
/// let salt = 7;
/// let bytes = header.seal(salt, payload, crc32c);
/// assert_eq!(FrameHeader::decode(&bytes, salt, crc32c), Some(header));
/// assert!(header.matches(payload, salt, crc32c));
/// assert_eq!((header.next_lsn(), header.frame_len()), (Lsn(7), 64 + 11));
///
/// // Another run's frame is none of this one's, nor is one that a client has made up.
/// assert_eq!(FrameHeader::decode(&bytes, salt + 1, crc32c), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it is for.
    pub kind: FrameType,
    /// How long its payload is, bytes.
    pub payload_len: u32,
    /// How many records are in it.
    pub records: u32,
    /// The LSN of the first of them (of the next one to come, where there are none).
    pub first_lsn: Lsn,
    /// Everything up to here was durable when the frame was written.
    pub durable: Lsn,
    /// No earlier than any time that the engine had acted on.
    pub time: Millis,
    /// The version floor.
    pub floor: Version,
    /// The checksum of the frame before.
    pub previous: u32,
    /// The checksum of salt and payload.
    pub payload_crc: u32,
    /// The frame's own checksum.
    pub crc: u32,
}

impl FrameHeader {
    /// The LSN of the first record after this frame.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0.saturating_add(u64::from(self.records)))
    }

    /// How long the frame is with its payload, bytes.
    #[must_use]
    pub fn frame_len(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.payload_len)
    }

    /// Fills in both checksums and returns the header's bytes.
    #[must_use]
    pub fn seal(&mut self, salt: u64, payload: &[u8], checksum: Checksum) -> [u8; FRAME_HEADER_BYTES] {
        let salted = salted(salt, checksum);
        self.payload_crc = checksum(salted, payload);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            if let Some(room) = bytes.get_mut(at..at + field.len()) {
                room.copy_from_slice(field);
            }
            at += field.len();
        };
        put(&FRAME_MAGIC);
        put(&[self.kind as u8, 0, 0, 0]);
        put(&self.payload_len.to_le_bytes());
        put(&self.records.to_le_bytes());
        put(&self.first_lsn.0.to_le_bytes());
        put(&self.durable.0.to_le_bytes());
        put(&self.time.0.to_le_bytes());
        put(&self.floor.0.to_le_bytes());
        put(&self.previous.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        let (covered, rest) = bytes.split_at_mut(CHECKED_BYTES);
        self.crc = checksum(salted, covered);
        let (crc, _) = rest.split_at_mut(4);
        crc.copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if the bytes are none, or not one of this salt.
    #[must_use]
    pub fn decode(bytes: &[u8], salt: u64, checksum: Checksum) -> Option<Self> {
        let bytes = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        let mut fields = Fields(bytes);
        if fields.take() != FRAME_MAGIC {
            return None;
        }
        let kind = match fields.take() {
            [1, 0, 0, 0] => FrameType::Data,
            [2, 0, 0, 0] => FrameType::Seal,
            _ => return None,
        };
        let header = Self {
            kind,
            payload_len: fields.u32(),
            records: fields.u32(),
            first_lsn: Lsn(fields.u64()),
            durable: Lsn(fields.u64()),
            time: Millis(fields.u64()),
            floor: Version(fields.u64()),
            previous: fields.u32(),
            payload_crc: fields.u32(),
            crc: fields.u32(),
        };
        let (covered, _) = bytes.split_at(CHECKED_BYTES);
        let salted = salted(salt, checksum);
        let right = checksum(salted, covered) == header.crc || planted("frame_header_unchecked");
        (right && fields.u32() == 0).then_some(header)
    }

    /// Whether `payload` is this frame's.
    #[must_use]
    pub fn matches(&self, payload: &[u8], salt: u64, checksum: Checksum) -> bool {
        payload.len() as u64 == u64::from(self.payload_len)
            && (checksum(salted(salt, checksum), payload) == self.payload_crc || planted("payload_unchecked"))
    }
}

/// What every checksum of a run begins with.
fn salted(salt: u64, checksum: Checksum) -> u32 {
    if planted("unsalted") { 0 } else { checksum(0, &salt.to_le_bytes()) }
}

/// The records of a payload, in order; ends with an `Err` where the payload is out of form.
///
/// ```
/// use osprey_core::wal::frame::{MalformedRecord, Records};
///
/// // Set, with a key of one byte, version 7, no expiry: key and value.
/// let payload = b"\x05\0\0\0\x00\x01\x07kv";
/// let record = Records(payload).next().expect("there is one")?;
/// assert_eq!((record.key, record.value, record.version.0), (&b"k"[..], &b"v"[..], 7));
/// assert_eq!(Records(payload).count(), 1);
/// # Ok::<(), MalformedRecord>(())
/// ```
#[derive(Clone, Debug)]
pub struct Records<'a>(pub &'a [u8]);

/// A frame's checksum matches, but its payload is not a sequence of records.
///
/// ```
/// use osprey_core::wal::frame::{MalformedRecord, Records};
///
/// // It claims a record of 255 bytes.
/// let read: Vec<_> = Records(b"\xFF\0\0\0\x00\x01\x07kv").collect();
/// assert_eq!(read, [Err(MalformedRecord)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedRecord;

impl core::fmt::Display for MalformedRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("what stands here is no record that this version can read")
    }
}

impl core::error::Error for MalformedRecord {}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.0.split_first_chunk::<RECORD_LENGTH_BYTES>().and_then(|(len, rest)| {
            let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            self.0 = rest;
            Record::decode(record)
        });
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or(MalformedRecord))
    }
}
