//! Takes a snapshot apart. Nothing of it is believed before its checksum matches, and it is only whole when its footer was read.
//!
//! [`Decoder`] is fed bytes as they come; [`SnapshotReader`] fetches them itself:
//!
//! ```
//! use osprey_core::checksum::crc32c;
//! use osprey_core::snapshot::SnapshotReader;
//! use osprey_core::storage::StorageError;
//!
//! fn list(file: &[u8]) -> Result<u64, osprey_core::snapshot::SnapshotError> {
//!     let read = |offset: u64, buffer: &mut [u8]| -> Result<usize, StorageError> {
//!         let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
//!         let len = rest.len().min(buffer.len());
//!         buffer[..len].copy_from_slice(&rest[..len]);
//!         Ok(len)
//!     };
//!     let mut reader = SnapshotReader::new(read, crc32c);
//!     while let Some(block) = reader.next_block()? {
//!         for record in block.records() {
//!             println!("{} = {}", record.key.escape_ascii(), record.value.escape_ascii());
//!         }
//!     }
//!     Ok(reader.footer().map_or(0, |footer| footer.records)) // the whole snapshot is as it was written
//! }
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, FOOTER_BYTES, Footer, HEADER_BYTES, Header, HeaderError, is_footer};
use crate::checksum::Checksum;
use crate::museum::planted;
use crate::record::{Kind, OutOfMemory, Record};
use crate::storage::{ChunkBytes, StorageError};
use crate::wal::frame::Records;

/// Why a snapshot is of no use.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::snapshot::{self, SnapshotError};
///
/// let nothing = snapshot::verify(|_, _| Ok(0), crc32c);
/// assert_eq!(nothing, Err(SnapshotError::Truncated(0)));
/// assert_eq!(SnapshotError::Damaged(56).to_string(), "it is damaged at byte 56");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// Storage failed.
    Storage(StorageError),
    /// No memory for a block, or for its entries.
    OutOfMemory,
    /// Its header can't be read.
    Header(HeaderError),
    /// A block, or what should be one, is damaged: where it begins.
    Damaged(u64),
    /// A block is whole, but doesn't hold entries that this version can read: where it begins.
    Malformed(u64),
    /// The footer is damaged, or doesn't fit to what is before it: where it begins.
    Footer(u64),
    /// The file ends here, before there was a footer.
    Truncated(u64),
    /// There is something behind the footer: where it begins.
    Trailing(u64),
    /// Its name isn't that of what it holds.
    Misnamed,
    /// It belongs to another database than the log.
    OtherDatabase,
    /// The log behind it begins too late.
    LogMissing,
}

impl From<StorageError> for SnapshotError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<OutOfMemory> for SnapshotError {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::OutOfMemory => f.write_str("not enough memory to read it"),
            Self::Header(error) => error.fmt(f),
            Self::Damaged(offset) => write!(f, "it is damaged at byte {offset}"),
            Self::Malformed(offset) => write!(f, "the block at byte {offset} is whole, but holds what this version cannot read"),
            Self::Footer(offset) => write!(f, "its footer at byte {offset} is damaged, or does not fit to the blocks before it"),
            Self::Truncated(offset) => write!(f, "it ends at byte {offset}, without a footer"),
            Self::Trailing(offset) => write!(f, "it goes on behind its footer, at byte {offset}"),
            Self::Misnamed => f.write_str("its name is not that of what it holds"),
            Self::OtherDatabase => f.write_str("it belongs to another database than the log"),
            Self::LogMissing => f.write_str("the log that has to be replayed behind it is not there any more"),
        }
    }
}

impl core::error::Error for SnapshotError {}

/// A block whose checksums match, and whose records are well formed.
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
/// use osprey_core::snapshot::{Decoder, reader::Decoded};
///
/// let mut decoder = Decoder::new(crc32c);
/// decoder.feed(&file)?;
/// assert!(matches!(decoder.next()?, Decoded::Header(_)));
/// let Decoded::Block(block) = decoder.next()? else { panic!("there is one") };
/// assert_eq!(block.offset, 56);
/// assert_eq!(block.records().map(|record| record.value).collect::<Vec<_>>(), [b"value"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Where in the file it begins.
    pub offset: u64,
    pub(super) payload: &'a [u8],
}

impl<'a> Block<'a> {
    /// Its entries: [`Kind::Set`] records.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        Records(self.payload).filter_map(Result::ok)
    }
}

/// What was found next.
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
/// use osprey_core::snapshot::{Decoder, SnapshotError, reader::Decoded};
///
/// let mut decoder = Decoder::new(crc32c);
/// let (mut bytes, mut seen) = (file.chunks(10), Vec::new());
/// loop {
///     seen.push(match decoder.next()? {
///         Decoded::Header(_) => "header",
///         Decoded::Block(_) => "block",
///         Decoded::Footer(_) => "footer",
///         Decoded::More => match bytes.next() {
///             Some(more) => {
///                 decoder.feed(more)?;
///                 continue;
///             }
///             None => break,
///         },
///     });
/// }
/// assert_eq!(seen, ["header", "block", "footer"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum Decoded<'a> {
    /// Nothing: more bytes are needed.
    More,
    /// The header.
    Header(Header),
    /// A block.
    Block(Block<'a>),
    /// The footer: the end, if nothing follows.
    Footer(Footer),
}

enum Found {
    More,
    Header(Header),
    Block(u64, Range<usize>),
    Footer(Footer),
}

/// See the module.
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
/// use osprey_core::snapshot::{Decoder, SnapshotError, reader::Decoded};
///
/// let mut decoder = Decoder::new(crc32c);
/// for bytes in file.chunks(64) {
///     decoder.feed(bytes)?;
///     while !matches!(decoder.next()?, Decoded::More) {}
/// }
/// assert_eq!((decoder.records(), decoder.offset()), (1, file.len() as u64));
/// assert_eq!(decoder.header().map(|header| header.begin), Some(Lsn(4)));
/// // Nothing that was read counts before this.
/// assert_eq!(decoder.end().as_ref(), Ok(decoder.footer().expect("it was read")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    checksum: Checksum,
    buffer: Vec<u8>,
    /// Where in `buffer` the next item begins.
    at: usize,
    /// Where in the file.
    offset: u64,
    header: Option<Header>,
    salted: u32,
    chain: u32,
    blocks: u32,
    records: u64,
    footer: Option<Footer>,
}

impl Decoder {
    /// Before the first byte.
    #[must_use]
    pub fn new(checksum: Checksum) -> Self {
        Self { checksum, buffer: Vec::new(), at: 0, offset: 0, header: None, salted: 0, chain: 0, blocks: 0, records: 0, footer: None }
    }

    /// The next bytes of the file. Take everything out ([`Decoder::next`]) before there are more: what is held is a block that isn't whole yet.
    ///
    /// # Errors
    /// No memory.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Makes room for so many of the next bytes, to be filled in.
    fn room(&mut self, len: usize) -> Result<&mut [u8], OutOfMemory> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let held = self.buffer.len();
        self.buffer.try_reserve(len).map_err(|_| OutOfMemory)?;
        self.buffer.resize(held + len, 0);
        Ok(self.buffer.get_mut(held..).unwrap_or_default())
    }

    /// What stands next in the bytes that there are.
    ///
    /// # Errors
    /// The snapshot is of no use. Calling on is of none, either.
    #[expect(clippy::should_implement_trait, reason = "it lends from the decoder, which no iterator can")]
    pub fn next(&mut self) -> Result<Decoded<'_>, SnapshotError> {
        Ok(match self.find()? {
            Found::More => Decoded::More,
            Found::Header(header) => Decoded::Header(header),
            Found::Block(offset, range) => Decoded::Block(self.block(offset, range)),
            Found::Footer(footer) => Decoded::Footer(footer),
        })
    }

    fn block(&self, offset: u64, range: Range<usize>) -> Block<'_> {
        Block { offset, payload: self.buffer.get(range).unwrap_or_default() }
    }

    fn find(&mut self) -> Result<Found, SnapshotError> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        if self.footer.is_some() {
            return if rest.is_empty() { Ok(Found::More) } else { Err(SnapshotError::Trailing(self.offset)) };
        }
        let Some(header) = &self.header else {
            let Some(bytes) = rest.first_chunk() else { return Ok(Found::More) };
            let (header, crc) = Header::decode(bytes, self.checksum).map_err(SnapshotError::Header)?;
            (self.chain, self.salted, self.header) = (crc, header.salted(self.checksum), Some(header));
            self.pass(HEADER_BYTES);
            return Ok(Found::Header(header));
        };
        debug_assert!(header.begin.0 < u64::MAX);
        if is_footer(rest) {
            let Some(bytes) = rest.first_chunk() else { return Ok(Found::More) };
            let wrong = SnapshotError::Footer(self.offset);
            let (footer, previous) = Footer::decode(bytes, self.salted, self.checksum).ok_or(wrong)?;
            let fits = (footer.blocks, footer.records, previous) == (self.blocks, self.records, self.chain) && footer.end >= header.begin;
            if !fits && !planted("snapshot_footer_unchecked") {
                return Err(wrong);
            }
            self.footer = Some(footer);
            self.pass(FOOTER_BYTES);
            return Ok(Found::Footer(footer));
        }
        let Some(bytes) = rest.first_chunk() else { return Ok(Found::More) };
        let offset = self.offset;
        let damaged = SnapshotError::Damaged(offset);
        let block = BlockHeader::decode(bytes, self.salted, self.checksum).ok_or(damaged)?;
        if block.previous != self.chain {
            return Err(damaged);
        }
        let len = usize::try_from(block.payload_len).map_err(|_| SnapshotError::OutOfMemory)?;
        let Some(payload) = rest.get(BLOCK_HEADER_BYTES..).and_then(|behind| behind.get(..len)) else { return Ok(Found::More) };
        if (self.checksum)(self.salted, payload) != block.payload_crc && !planted("snapshot_payload_unchecked") {
            return Err(damaged);
        }
        let mut records = 0;
        for record in Records(payload) {
            match record {
                Ok(Record { kind: Kind::Set, .. }) => records += 1,
                _ => return Err(SnapshotError::Malformed(offset)),
            }
        }
        if records != block.records || records == 0 {
            return Err(SnapshotError::Malformed(offset));
        }
        self.chain = block.crc;
        self.blocks = self.blocks.wrapping_add(1);
        self.records += u64::from(records);
        let begin = self.at + BLOCK_HEADER_BYTES;
        self.pass(BLOCK_HEADER_BYTES + len);
        Ok(Found::Block(offset, begin..begin + len))
    }

    fn pass(&mut self, len: usize) {
        self.at += len;
        self.offset += len as u64;
    }

    /// The header, once it was read.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The footer, once it was read.
    #[must_use]
    pub fn footer(&self) -> Option<&Footer> {
        self.footer.as_ref()
    }

    /// How many bytes of the file are done with.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many entries there were so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// No more bytes follow.
    ///
    /// # Errors
    /// Some are missing.
    pub fn end(&self) -> Result<Footer, SnapshotError> {
        self.footer.ok_or(SnapshotError::Truncated(self.offset + (self.buffer.len() - self.at) as u64))
    }
}

/// Reads a snapshot from front to back. `read` is asked for bytes at an offset, and says how many there were: less than asked only at the file's end.
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
/// use osprey_core::snapshot::SnapshotReader;
///
/// let mut reader = SnapshotReader::new(read, crc32c);
/// assert_eq!(reader.header()?.begin, Lsn(4));
/// let mut keys = Vec::new();
/// while let Some(block) = reader.next_block()? {
///     keys.extend(block.records().map(|record| record.key.to_vec()));
/// }
/// assert_eq!((keys, reader.reached()), (vec![b"key".to_vec()], (file.len() as u64, 1)));
/// assert_eq!(reader.footer().map(|footer| footer.end), Some(Lsn(5)), "it is whole");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SnapshotReader<R> {
    read: R,
    decoder: Decoder,
    chunk: ChunkBytes,
    read_to: u64,
    ended: bool,
}

impl<R: FnMut(u64, &mut [u8]) -> Result<usize, StorageError>> SnapshotReader<R> {
    /// A reader before the file's first byte.
    #[must_use]
    pub fn new(read: R, checksum: Checksum) -> Self {
        Self { read, decoder: Decoder::new(checksum), chunk: ChunkBytes::default(), read_to: 0, ended: false }
    }

    /// Reads so much at once.
    #[must_use]
    pub(crate) fn with_chunk(mut self, chunk: ChunkBytes) -> Self {
        self.chunk = chunk;
        self
    }

    /// The header; it is read if it wasn't yet.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn header(&mut self) -> Result<Header, SnapshotError> {
        while self.decoder.header.is_none() {
            if let Found::More = self.decoder.find()? {
                self.fetch()?;
            }
        }
        self.decoder.header.ok_or(SnapshotError::Truncated(0))
    }

    /// The next block. `None`: the footer was reached, all of the snapshot is right, and nothing follows it. Reads some chunks of the file at most, as many as a block takes, and holds them.
    ///
    /// # Errors
    /// See [`SnapshotError`]. What was read before is right all the same, as far as it goes.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, SnapshotError> {
        let (offset, range) = loop {
            match self.decoder.find()? {
                Found::Block(offset, range) => break (offset, range),
                Found::Header(_) | Found::Footer(_) => {}
                Found::More if self.ended => return self.decoder.end().map(|_| None),
                Found::More => self.fetch()?,
            }
        };
        Ok(Some(self.decoder.block(offset, range)))
    }

    fn fetch(&mut self) -> Result<(), SnapshotError> {
        if self.ended {
            return self.decoder.end().map(drop);
        }
        let (read, at) = (&mut self.read, self.read_to);
        let room = self.decoder.room(self.chunk.get())?;
        let len = read(at, room)?;
        let missing = room.len() - len.min(room.len());
        self.decoder.buffer.truncate(self.decoder.buffer.len() - missing);
        self.read_to += len as u64;
        self.ended = missing > 0;
        Ok(())
    }

    /// The footer, once everything was read.
    #[must_use]
    pub fn footer(&self) -> Option<&Footer> {
        self.decoder.footer()
    }

    /// How many bytes of the file are done with, and how many entries there were in them.
    #[must_use]
    pub fn reached(&self) -> (u64, u64) {
        (self.decoder.offset, self.decoder.records)
    }
}

/// Reads all of a snapshot, and says what it is; nothing is kept. Takes as long as reading it does, and the memory of a block.
///
/// # Errors
/// See [`SnapshotError`].
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
/// use osprey_core::snapshot;
///
/// let (header, footer) = snapshot::verify(read, crc32c)?;
/// assert_eq!((header.begin, footer.end, footer.records), (Lsn(4), Lsn(5), 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(
    read: impl FnMut(u64, &mut [u8]) -> Result<usize, StorageError>,
    checksum: Checksum,
) -> Result<(Header, Footer), SnapshotError> {
    let mut reader = SnapshotReader::new(read, checksum);
    let header = reader.header()?;
    while reader.next_block()?.is_some() {}
    let footer = reader.decoder.end()?;
    Ok((header, footer))
}

#[cfg(test)]
mod tests;
