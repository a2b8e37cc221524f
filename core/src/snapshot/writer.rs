//! Makes a snapshot's bytes, a chunk at a time. Knows neither where the entries come from nor where the bytes go.

use alloc::vec::Vec;

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, FOOTER_BYTES, Footer, Header, put_at};
use crate::checksum::Checksum;
use crate::record::OutOfMemory;
use crate::storage::ChunkBytes;
use crate::units::{Lsn, Millis, Version};
use crate::wal::frame::RECORD_LENGTH_BYTES;

/// A block is ended when it has this size, bytes, or with smaller chunks theirs; one entry may make it larger.
pub(super) const BLOCK_BYTES_SOFT_MAX: usize = 64 << 10;

/// A buffer larger than this isn't used again, bytes.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// See the module.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::engine::DatabaseId;
/// use osprey_core::record::{Kind, Record};
/// use osprey_core::snapshot::{self, Header, writer::SnapshotWriter};
/// use osprey_core::storage::ChunkBytes;
/// use osprey_core::units::{Lsn, Millis, Version};
///
/// let header = Header { database: DatabaseId([3; 16]), epoch: 1, salt: 7, begin: Lsn(4) };
/// let mut writer = SnapshotWriter::new(&header, crc32c, ChunkBytes::default())?;
/// let mut file = Vec::new();
/// for number in 0..10_000 {
///     let key = format!("user:{number}");
///     let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: key.as_bytes(), value: b"Ada" };
///     let mut bytes = Vec::with_capacity(record.encoded_len());
///     record.encode(&mut bytes);
///     writer.add(&bytes)?;
///     if number % 1_000 == 0 {
///         file.extend(writer.take(Vec::new())); // what there is so far goes to the disk
///     }
/// }
/// file.extend(writer.finish(Lsn(5), Version(0), Millis(1_000))?);
/// assert_eq!((writer.records(), writer.bytes()), (10_000, file.len() as u64));
///
/// let (_, footer) = snapshot::verify(|at, buffer| std::io::Read::read(&mut &file[at as usize..], buffer).map_err(|_| unreachable!()), crc32c)?;
/// assert_eq!(footer.records, 10_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SnapshotWriter {
    checksum: Checksum,
    block_bytes_max: usize,
    salted: u32,
    chain: u32,
    chunk: Vec<u8>,
    /// Where in the chunk the block begins that isn't ended yet.
    block: Option<usize>,
    block_records: u32,
    blocks: u32,
    records: u64,
    bytes: u64,
}

impl SnapshotWriter {
    /// A snapshot that begins with `header`, to be [taken](Self::take) in chunks of this size.
    ///
    /// # Errors
    /// No memory.
    pub fn new(header: &Header, checksum: Checksum, chunk_bytes: ChunkBytes) -> Result<Self, OutOfMemory> {
        let (bytes, crc) = header.encode(checksum);
        let block_bytes_max = BLOCK_BYTES_SOFT_MAX.min(chunk_bytes.get());
        let mut chunk = Vec::new();
        chunk.try_reserve(2 * block_bytes_max).map_err(|_| OutOfMemory)?;
        chunk.extend_from_slice(&bytes);
        let salted = header.salted(checksum);
        Ok(Self { checksum, block_bytes_max, salted, chain: crc, chunk, block: None, block_records: 0, blocks: 0, records: 0, bytes: 0 })
    }

    /// Adds an entry: the bytes of its record. Copies them, and now and then computes the checksum of a block, some 64 KiB.
    ///
    /// # Errors
    /// No memory: nothing has changed.
    pub fn add(&mut self, record: &[u8]) -> Result<(), OutOfMemory> {
        let begins = if self.block.is_none() { BLOCK_HEADER_BYTES } else { 0 };
        self.chunk.try_reserve(begins + RECORD_LENGTH_BYTES + record.len()).map_err(|_| OutOfMemory)?;
        let block = *self.block.get_or_insert(self.chunk.len());
        self.chunk.resize(self.chunk.len() + begins, 0);
        self.chunk.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.chunk.extend_from_slice(record);
        self.block_records += 1;
        if self.chunk.len() - block >= self.block_bytes_max {
            self.end_block();
        }
        Ok(())
    }

    fn end_block(&mut self) {
        let Some(at) = self.block.take() else { return };
        let payload = self.chunk.get(at + BLOCK_HEADER_BYTES..).unwrap_or_default();
        let mut header = BlockHeader {
            payload_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            records: core::mem::take(&mut self.block_records),
            previous: self.chain,
            payload_crc: (self.checksum)(self.salted, payload),
            crc: 0,
        };
        let bytes = header.seal(self.salted, self.checksum);
        put_at(&mut self.chunk, at, &bytes);
        self.chain = header.crc;
        self.blocks += 1;
        self.records += u64::from(header.records);
    }

    /// How many bytes wait to be taken.
    #[must_use]
    pub(crate) fn pending(&self) -> usize {
        self.chunk.len()
    }

    /// How many entries were added.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records + u64::from(self.block_records)
    }

    /// How many bytes there have been in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes + self.chunk.len() as u64
    }

    /// Takes all that there is, which ends the present block; the next bytes go into `spare`, which is emptied.
    pub fn take(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        self.end_block();
        self.bytes += self.chunk.len() as u64;
        spare.clear();
        if spare.capacity() > SPARE_BYTES_MAX {
            spare = Vec::new();
        }
        core::mem::replace(&mut self.chunk, spare)
    }

    /// The end: all that is left, and the footer.
    ///
    /// # Errors
    /// No memory.
    pub fn finish(&mut self, end: Lsn, floor: Version, time: Millis) -> Result<Vec<u8>, OutOfMemory> {
        self.end_block();
        self.chunk.try_reserve(FOOTER_BYTES).map_err(|_| OutOfMemory)?;
        let footer = Footer { blocks: self.blocks, end, records: self.records, floor, time };
        self.chunk.extend_from_slice(&footer.encode(self.chain, self.salted, self.checksum));
        Ok(self.take(Vec::new()))
    }
}
