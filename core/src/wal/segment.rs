//! A segment's header: which database and run it belongs to, and how it continues the segment before.
//!
//! | offset | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 8 | magic `OSPREYWL` |
//! | 8 | 4 | format number, 1 |
//! | 12 | 4 | sector size, 512 |
//! | 16 | 16 | database id |
//! | 32 | 8 | epoch: the run of the server that wrote it, from 1 |
//! | 40 | 8 | salt: random, the same for a whole epoch |
//! | 48 | 8 | segment number |
//! | 56 | 8 | first LSN |
//! | 64 | 8 | durable LSN when it was written |
//! | 72 | 8 | time high-water, Unix ms |
//! | 80 | 8 | version floor |
//! | 88 | 4 | checksum of the last frame of the segment before (0 for the first segment) |
//! | 92 | 4 | CRC-32C of bytes 0–91 |
//!
//! The rest of the first 4096 bytes is zero, so that no frame shares a sector, of whatever size, with the header.

use alloc::vec::Vec;
use core::fmt;

use super::SECTOR_BYTES;
use crate::checksum::Checksum;
use crate::museum::planted;
use crate::record::OutOfMemory;
use crate::storage::SegmentNumber;
use crate::units::{Lsn, Millis, Version};

/// Where the first frame begins.
///
/// ```
/// use osprey_core::wal::segment::{HEADER_BYTES, HEADER_USED_BYTES};
///
/// assert!(HEADER_BYTES > HEADER_USED_BYTES as u64, "the rest is zero");
/// ```
pub const HEADER_BYTES: u64 = 4096;

/// The format that this crate writes, and the only one that it reads.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::wal::segment::{FORMAT, HeaderError, SegmentHeader};
///
/// let mut later = *b"OSPREYWL........................................................................................";
/// later[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
/// assert_eq!(SegmentHeader::decode(&later, crc32c), Err(HeaderError::Format(FORMAT + 1)));
/// ```
pub const FORMAT: u32 = 1;

/// How much of the header carries something.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::wal::segment::{HEADER_USED_BYTES, HeaderError, SegmentHeader};
///
/// let too_short = [0; HEADER_USED_BYTES - 1];
/// assert_eq!(SegmentHeader::decode(&too_short, crc32c), Err(HeaderError::NotASegment));
/// ```
pub const HEADER_USED_BYTES: usize = 96;

#[expect(clippy::cast_possible_truncation, reason = "512")]
const SECTOR: u32 = SECTOR_BYTES as u32;

const MAGIC: [u8; 8] = *b"OSPREYWL";

/// Segments, epochs and records are counted from 1. No log comes near the other end, so that counting on never overflows.
pub(crate) const COUNTERS: core::ops::Range<u64> = 1..1 << 63;

/// A random number that tells databases apart.
///
/// ```
/// use osprey_core::engine::DatabaseId;
///
/// let id = DatabaseId([0xAB; 16]);
/// assert_eq!(id.to_string(), "abababababababababababababababab");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseId(pub [u8; 16]);

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a segment says of itself.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::storage::SegmentNumber;
/// use osprey_core::units::{Lsn, Millis, Version};
/// use osprey_core::wal::segment::{DatabaseId, HEADER_BYTES, SegmentHeader};
///
/// let header = SegmentHeader {
///     database: DatabaseId([3; 16]),
///     epoch: 1,
///     salt: 7,
///     number: SegmentNumber(1),
///     first_lsn: Lsn(1),
///     durable: Lsn(0),
///     time: Millis(1_000),
///     floor: Version(0),
///     chain: 0, // the first segment of all
/// };
/// let bytes = header.encode(crc32c)?;
/// assert_eq!(bytes.len() as u64, HEADER_BYTES);
/// assert_eq!(SegmentHeader::decode(&bytes, crc32c), Ok(header));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The database that it belongs to.
    pub database: DatabaseId,
    /// Counts the runs of a server over the database: each recovery begins a new one.
    pub epoch: u64,
    /// Enters every checksum of the epoch's frames, so that bytes which a client stored can't pass for a frame.
    pub salt: u64,
    /// Its place in the log.
    pub number: SegmentNumber,
    /// The LSN of the first record in it.
    pub first_lsn: Lsn,
    /// Everything up to here was durable before this segment was started.
    pub durable: Lsn,
    /// No earlier than any time that the engine had acted on.
    pub time: Millis,
    /// The version floor.
    pub floor: Version,
    /// The chain up to here: the checksum of the frame before the first.
    pub chain: u32,
}

/// Why a header can't be read.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::wal::segment::{HeaderError, SegmentHeader};
///
/// let error = SegmentHeader::decode(&[0; 4096], crc32c).expect_err("nothing but zeros");
/// assert_eq!(error, HeaderError::NotASegment);
/// assert_eq!(error.to_string(), "it does not begin with a segment header");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Too short, or not a segment at all.
    NotASegment,
    /// Written by another version of Osprey: its format number.
    Format(u32),
    /// A sector size that this version doesn't know.
    Sector(u32),
    /// The checksum doesn't match: damaged.
    Checksum,
    /// The checksum matches, but the segment's number, epoch or first LSN is none that a log comes to.
    OutOfRange,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASegment => f.write_str("it does not begin with a segment header"),
            Self::Format(found) => write!(f, "its format is {found}, this version reads format {FORMAT}"),
            Self::Sector(found) => write!(f, "its sector size is {found}, this version knows {SECTOR_BYTES}"),
            Self::Checksum => f.write_str("the checksum of its header does not match"),
            Self::OutOfRange => f.write_str("its header is whole, but names a segment number, epoch or LSN that cannot be"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl SegmentHeader {
    /// The header's bytes, [`HEADER_BYTES`] of them.
    ///
    /// # Errors
    /// No memory.
    pub fn encode(&self, checksum: Checksum) -> Result<Vec<u8>, OutOfMemory> {
        let mut out = Vec::new();
        let len = usize::try_from(HEADER_BYTES).map_err(|_| OutOfMemory)?;
        out.try_reserve_exact(len).map_err(|_| OutOfMemory)?;
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&SECTOR.to_le_bytes());
        out.extend_from_slice(&self.database.0);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.number.0.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.durable.0.to_le_bytes());
        out.extend_from_slice(&self.time.0.to_le_bytes());
        out.extend_from_slice(&self.floor.0.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        let crc = checksum(0, &out);
        out.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(out.len(), HEADER_USED_BYTES);
        out.resize(len, 0);
        Ok(out)
    }

    /// Reads a header from a segment's first bytes.
    ///
    /// # Errors
    /// See [`HeaderError`]; the format number is looked at before the checksum, which another format may keep elsewhere.
    pub fn decode(bytes: &[u8], checksum: Checksum) -> Result<Self, HeaderError> {
        let bytes = bytes.first_chunk::<HEADER_USED_BYTES>().ok_or(HeaderError::NotASegment)?;
        let mut fields = Fields(bytes);
        if fields.take::<8>() != MAGIC {
            return Err(HeaderError::NotASegment);
        }
        let format = fields.u32();
        if format != FORMAT {
            return Err(HeaderError::Format(format));
        }
        let sector = fields.u32();
        let header = Self {
            database: DatabaseId(fields.take()),
            epoch: fields.u64(),
            salt: fields.u64(),
            number: SegmentNumber(fields.u64()),
            first_lsn: Lsn(fields.u64()),
            durable: Lsn(fields.u64()),
            time: Millis(fields.u64()),
            floor: Version(fields.u64()),
            chain: fields.u32(),
        };
        let (covered, _) = bytes.split_at(HEADER_USED_BYTES - 4);
        if checksum(0, covered) != fields.u32() && !planted("segment_header_unchecked") {
            return Err(HeaderError::Checksum);
        }
        if sector != SECTOR {
            return Err(HeaderError::Sector(sector));
        }
        if [header.number.0, header.epoch, header.first_lsn.0].iter().any(|counter| !COUNTERS.contains(counter)) {
            return Err(HeaderError::OutOfRange);
        }
        Ok(header)
    }
}

/// Takes little-endian fields from the front of bytes; zeros where they end, which no caller reaches.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *field
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc32c;

    const HEADER: SegmentHeader = SegmentHeader {
        database: DatabaseId(*b"0123456789abcdef"),
        epoch: 2,
        salt: 3,
        number: SegmentNumber(4),
        first_lsn: Lsn(5),
        durable: Lsn(6),
        time: Millis(7),
        floor: Version(8),
        chain: 9,
    };

    fn encoded_and_decoded(header: &SegmentHeader) -> Result<SegmentHeader, HeaderError> {
        SegmentHeader::decode(&header.encode(crc32c).unwrap(), crc32c)
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        assert_eq!(encoded_and_decoded(&HEADER), Ok(HEADER));
    }

    #[test]
    fn a_segment_that_no_log_comes_to_is_refused() {
        for limit in [0, 1 << 63, u64::MAX] {
            for header in [
                SegmentHeader { number: SegmentNumber(limit), ..HEADER },
                SegmentHeader { epoch: limit, ..HEADER },
                SegmentHeader { first_lsn: Lsn(limit), ..HEADER },
            ] {
                assert_eq!(encoded_and_decoded(&header), Err(HeaderError::OutOfRange), "{header:?}");
            }
        }
    }
}
