//! Finds every whole block of a snapshot, wherever it stands, for tools that look behind damage.
//!
//! A reader ends at the first thing that isn't right. A [`Scanner`] doesn't ask what a block follows: it gives all that are whole, in the order of the file, and what stands between. Only
//! checksums under the snapshot's salt count, so nothing that a client has stored passes for a block.

use alloc::vec::Vec;

use super::SnapshotError;
use super::format::{BLOCK_HEADER_BYTES, BlockHeader, FOOTER_BYTES, Footer, HEADER_BYTES, salted};
use super::reader::Block;
use crate::checksum::Checksum;
use crate::record::{Kind, Record};
use crate::storage::{ChunkBytes, StorageError};
use crate::wal::frame::Records;

/// What stands in a snapshot.
///
/// ```
/// # use osprey_core::checksum::crc32c;
/// # use osprey_core::engine::DatabaseId;
/// # use osprey_core::record::{Kind, Record};
/// # use osprey_core::snapshot::{Header, writer::SnapshotWriter};
/// # use osprey_core::storage::{ChunkBytes, StorageError};
/// # use osprey_core::units::{Lsn, Millis, Version};
/// # let header = Header { database: DatabaseId([3; 16]), epoch: 1, salt: 7, begin: Lsn(4) };
/// # let mut writer = SnapshotWriter::new(&header, crc32c, ChunkBytes::default())?;
/// # let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: b"value" };
/// # let mut bytes = Vec::with_capacity(record.encoded_len());
/// # record.encode(&mut bytes);
/// # writer.add(&bytes)?;
/// # let file = writer.finish(Lsn(5), Version(0), Millis(1_000))?;
/// # let read = |at: u64, buffer: &mut [u8]| -> Result<usize, StorageError> {
/// #     let rest = &file[file.len().min(at as usize)..];
/// #     let len = rest.len().min(buffer.len());
/// #     buffer[..len].copy_from_slice(&rest[..len]);
/// #     Ok(len)
/// # };
/// use osprey_core::snapshot::salvage::{Piece, Scanner};
///
/// let mut scanner = Scanner::new(read, file.len() as u64, header.salt, crc32c);
/// let Some(Piece::Block(block)) = scanner.next()? else { panic!("it is whole") };
/// assert_eq!(block.records().count(), 1);
/// let Some(Piece::Footer(footer)) = scanner.next()? else { panic!("it is whole") };
/// assert_eq!(footer.records, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// A whole block.
    Block(Block<'a>),
    /// A block whose header is right and whose payload isn't, or holds what this version can't read.
    Damaged {
        /// Where it begins.
        from: u64,
        /// How many entries are lost with it.
        records: u32,
        /// What is left of it; nothing in it can be relied on.
        payload: &'a [u8],
    },
    /// Bytes that belong to no block.
    Unreadable {
        /// Where they begin.
        from: u64,
        /// Behind the last one.
        to: u64,
    },
    /// A footer.
    Footer(Footer),
}

/// Goes through a snapshot from behind its header to its end. `read` is as for a [`SnapshotReader`](super::SnapshotReader).
///
/// ```
/// # use osprey_core::checksum::crc32c;
/// # use osprey_core::engine::DatabaseId;
/// # use osprey_core::record::{Kind, Record};
/// # use osprey_core::snapshot::{Header, writer::SnapshotWriter};
/// # use osprey_core::storage::{ChunkBytes, StorageError};
/// # use osprey_core::units::{Lsn, Millis, Version};
/// # let header = Header { database: DatabaseId([3; 16]), epoch: 1, salt: 7, begin: Lsn(4) };
/// # let mut writer = SnapshotWriter::new(&header, crc32c, ChunkBytes::default())?;
/// # let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: b"value" };
/// # let mut bytes = Vec::with_capacity(record.encoded_len());
/// # record.encode(&mut bytes);
/// # writer.add(&bytes)?;
/// # let file = writer.finish(Lsn(5), Version(0), Millis(1_000))?;
/// # let read = |at: u64, buffer: &mut [u8]| -> Result<usize, StorageError> {
/// #     let rest = &file[file.len().min(at as usize)..];
/// #     let len = rest.len().min(buffer.len());
/// #     buffer[..len].copy_from_slice(&rest[..len]);
/// #     Ok(len)
/// # };
/// use osprey_core::snapshot::salvage::{Piece, Scanner};
///
/// let mut damaged = file.clone();
/// damaged[90] ^= 1;
/// let read = |at: u64, buffer: &mut [u8]| {
///     let rest = &damaged[damaged.len().min(at as usize)..];
///     let len = rest.len().min(buffer.len());
///     buffer[..len].copy_from_slice(&rest[..len]);
///     Ok(len)
/// };
/// let mut scanner = Scanner::new(read, damaged.len() as u64, header.salt, crc32c);
/// // The block's header is right: it is known how much is lost.
/// assert!(matches!(scanner.next()?, Some(Piece::Damaged { from: 56, records: 1, .. })));
/// assert!(matches!(scanner.next()?, Some(Piece::Footer(_))));
/// assert!(scanner.next()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scanner<R> {
    read: R,
    checksum: Checksum,
    salted: u32,
    length: u64,
    offset: u64,
    /// Bytes of the file from `fetched` on.
    buffer: Vec<u8>,
    fetched: u64,
}

enum Found {
    Block(BlockHeader),
    Footer(Footer),
}

impl<R: FnMut(u64, &mut [u8]) -> Result<usize, StorageError>> Scanner<R> {
    /// A scanner of a snapshot that is `length` bytes long. Its header has the salt; where that is damaged, it is the one of the run of the server that took it.
    #[must_use]
    pub fn new(read: R, length: u64, salt: u64, checksum: Checksum) -> Self {
        Self { read, checksum, salted: salted(salt, checksum), length, offset: HEADER_BYTES as u64, buffer: Vec::new(), fetched: 0 }
    }

    /// The next piece; `None` at the end. Reads on over what is unreadable, however much; holds a chunk of the file, or one block that is longer.
    ///
    /// # Errors
    /// Storage, or memory for a block.
    #[expect(clippy::should_implement_trait, reason = "it lends from the scanner, which no iterator can")]
    pub fn next(&mut self) -> Result<Option<Piece<'_>>, SnapshotError> {
        let from = self.offset;
        let found = loop {
            if self.offset >= self.length {
                break None;
            }
            let (salted, checksum, at) = (self.salted, self.checksum, self.offset);
            let rest = self.fetch(at, FOOTER_BYTES)?;
            let block = rest.first_chunk().and_then(|bytes| BlockHeader::decode(bytes, salted, checksum)).map(Found::Block);
            let found = block.or_else(|| {
                rest.first_chunk().and_then(|bytes| Footer::decode(bytes, salted, checksum)).map(|(footer, _)| Found::Footer(footer))
            });
            if found.is_some() {
                break found;
            }
            self.offset += 1;
        };
        if self.offset > from {
            return Ok(Some(Piece::Unreadable { from, to: self.offset.min(self.length) }));
        }
        match found {
            None => Ok(None),
            Some(Found::Footer(footer)) => {
                self.offset += FOOTER_BYTES as u64;
                Ok(Some(Piece::Footer(footer)))
            }
            Some(Found::Block(header)) => self.block(from, header).map(Some),
        }
    }

    fn block(&mut self, from: u64, header: BlockHeader) -> Result<Piece<'_>, SnapshotError> {
        let (salted, checksum) = (self.salted, self.checksum);
        // Covered by the checksum of the block's header, and yet no more than there is.
        let whole = (BLOCK_HEADER_BYTES as u64).saturating_add(u64::from(header.payload_len));
        let len = whole.min(self.length.saturating_sub(from));
        self.offset = from.saturating_add(len);
        let bytes = self.fetch(from, usize::try_from(len).map_err(|_| SnapshotError::OutOfMemory)?)?;
        let payload = bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
        let mut records = 0;
        let readable = Records(payload).all(|record| {
            records += 1;
            matches!(record, Ok(Record { kind: Kind::Set, .. }))
        });
        let right = len == whole && checksum(salted, payload) == header.payload_crc && readable && records == header.records;
        Ok(if right { Piece::Block(Block { offset: from, payload }) } else { Piece::Damaged { from, records: header.records, payload } })
    }

    /// So many bytes at a place, or as many as there are.
    fn fetch(&mut self, offset: u64, len: usize) -> Result<&[u8], SnapshotError> {
        let held = |scanner: &Self| {
            let at = usize::try_from(offset.checked_sub(scanner.fetched)?).ok()?;
            let last = scanner.fetched + scanner.buffer.len() as u64 >= scanner.length;
            let rest = scanner.buffer.get(at..)?;
            (rest.len() >= len || last).then_some(at)
        };
        let at = match held(self) {
            Some(at) => at,
            None => {
                let wanted = len.max(ChunkBytes::default().get());
                self.buffer.clear();
                self.buffer.try_reserve(wanted).map_err(|_| SnapshotError::OutOfMemory)?;
                self.buffer.resize(wanted, 0);
                let read = (self.read)(offset, &mut self.buffer)?;
                self.buffer.truncate(read);
                self.fetched = offset;
                0
            }
        };
        let rest = self.buffer.get(at..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc32c;
    use crate::snapshot::Header;
    use crate::snapshot::writer::SnapshotWriter;
    use crate::units::{Lsn, Millis, Version};
    use crate::wal::segment::DatabaseId;
    use std::vec;

    const SALT: u64 = 7;

    /// Four blocks of one entry each; the offsets of the blocks and of the footer.
    fn snapshot(value: &[u8]) -> (Vec<u8>, Vec<usize>) {
        let header = Header { database: DatabaseId([1; 16]), epoch: 1, salt: SALT, begin: Lsn(4) };
        let mut writer = SnapshotWriter::new(&header, crc32c, ChunkBytes::default()).unwrap();
        let mut file = writer.take(Vec::new());
        let mut offsets = vec![file.len()];
        for version in 1..=4 {
            let mut record = Vec::new();
            Record { kind: Kind::Set, version: Version(version), expiry: None, key: b"key", value }.encode(&mut record);
            writer.add(&record).unwrap();
            file.extend(writer.take(Vec::new()));
            offsets.push(file.len());
        }
        file.extend(writer.finish(Lsn(5), Version(9), Millis(1)).unwrap());
        (file, offsets)
    }

    /// `B1` for a whole block whose entry has version 1, `D+` for a damaged one with its payload's length, `U` for what is unreadable, `F` for the footer.
    fn pieces(file: &[u8]) -> Vec<std::string::String> {
        let read = |offset: u64, buffer: &mut [u8]| {
            let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        };
        let mut scanner = Scanner::new(read, file.len() as u64, SALT, crc32c);
        let mut pieces = Vec::new();
        while let Some(piece) = scanner.next().unwrap() {
            pieces.push(match piece {
                Piece::Block(block) => std::format!("B{}", block.records().next().unwrap().version.0),
                Piece::Damaged { records, payload, .. } => std::format!("D{records}+{}", payload.len()),
                Piece::Unreadable { from, to } => std::format!("U{from}-{to}"),
                Piece::Footer(footer) => std::format!("F{}", footer.records),
            });
        }
        pieces
    }

    #[test]
    fn whole_blocks_are_found_behind_damaged_ones() {
        for value in [b"v".as_slice(), &[b'O'; 300_000]] {
            let (file, offsets) = snapshot(value);
            assert_eq!(pieces(&file), ["B1", "B2", "B3", "B4", "F4"]);
            let mut damaged = file.clone();
            damaged[offsets[1] + 5] ^= 1;
            damaged[offsets[2] + BLOCK_HEADER_BYTES + 6] ^= 1;
            let unreadable = std::format!("U{}-{}", offsets[1], offsets[2]);
            let lost = std::format!("D1+{}", offsets[3] - offsets[2] - BLOCK_HEADER_BYTES);
            assert_eq!(pieces(&damaged), ["B1", &unreadable, &lost, "B4", "F4"]);
            // The header's salt is known from elsewhere; the footer is only lost.
            let mut damaged = file.clone();
            damaged[20] ^= 1;
            damaged[offsets[4] + 9] ^= 1;
            assert_eq!(pieces(&damaged), ["B1", "B2", "B3", "B4", &std::format!("U{}-{}", offsets[4], file.len())]);
        }
    }

    #[test]
    fn what_the_end_cuts_is_lost_and_what_a_client_has_stored_is_no_block() {
        let (inner, _) = snapshot(b"inner");
        let (file, offsets) = snapshot(&inner);
        assert_eq!(pieces(&file), ["B1", "B2", "B3", "B4", "F4"]);
        let cut = &file[..offsets[3] + 30];
        assert_eq!(pieces(cut), ["B1", "B2", "B3", "D1+6"]);
        let cut = &file[..offsets[3] + 20];
        assert_eq!(pieces(cut), ["B1", "B2", "B3", &std::format!("U{}-{}", offsets[3], cut.len())]);
    }

    #[test]
    fn any_bytes_come_to_an_end() {
        let mut random: u32 = 1;
        for len in 0..2000 {
            let mut bytes = vec![0; HEADER_BYTES];
            for _ in 0..len {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push(b"OSB1E\x01\0\0"[(random >> 24) as usize % 8]);
            }
            assert!(pieces(&bytes).len() <= 1, "{len}");
        }
    }
}
