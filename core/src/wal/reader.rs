//! Walks the frames of one segment, and looks behind the first bad one for what speaks against a torn tail.

use alloc::vec::Vec;
use core::fmt;

use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, FrameType};
use super::segment::HEADER_BYTES;
use super::{SECTOR_BYTES, align_up};
use crate::checksum::Checksum;
use crate::storage::{ChunkBytes, LogFiles, SegmentNumber, StorageError};
use crate::units::Lsn;

/// Why a segment can't be read any further.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::{SegmentNumber, StorageError};
/// use osprey_core::units::Lsn;
/// use osprey_core::wal::reader::{ReadError, SegmentReader, Tail};
///
/// let mut reader = SegmentReader::new(SegmentNumber(1), 8_192, 7, crc32c);
/// let read = reader.next(&mut MemoryStorage::new(), &mut Tail { next_lsn: Lsn(1), chain: 0 });
/// assert_eq!(read.err(), Some(ReadError::Storage(StorageError::Io(None))), "there is no such segment");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Storage failed.
    Storage(StorageError),
    /// No memory for a frame.
    OutOfMemory,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::OutOfMemory => f.write_str("no memory for a frame"),
        }
    }
}

impl core::error::Error for ReadError {}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Where a log has been read up to: what the next frame must continue.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::storage::{LogFiles, SegmentNumber};
/// use osprey_core::units::Lsn;
/// use osprey_core::wal::reader::{SegmentReader, Tail};
/// use osprey_core::wal::segment::SegmentHeader;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// engine.incr(Millis(1_000), b"visits", 1).result?;
/// while engine.drive(&mut storage)? {}
/// let mut bytes = [0; 4096];
/// storage.read(SegmentNumber(1), 0, &mut bytes)?;
/// let header = SegmentHeader::decode(&bytes, crc32c)?;
/// let mut tail = Tail { next_lsn: header.first_lsn, chain: header.chain };
/// let mut reader = SegmentReader::new(header.number, storage.bytes() as u64, header.salt, crc32c);
/// while reader.next(&mut storage, &mut tail)?.is_some() {}
/// assert_eq!(tail.next_lsn, Lsn(2), "what the next frame has to continue");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The LSN that comes next.
    pub next_lsn: Lsn,
    /// The last frame's checksum.
    pub chain: u32,
}

/// What stands behind the last good frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remainder {
    /// The highest durable LSN that any frame there names.
    pub claimed: Lsn,
    /// How many bytes up to the last one that isn't zero.
    pub bytes: u64,
}

/// A frame that continues the log.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::storage::SegmentNumber;
/// use osprey_core::wal::frame::Records;
/// use osprey_core::wal::salvage::{Piece, Scanner};
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// engine.set(Millis(1_000), b"key", b"value", &SetOptions::default()).result?;
/// while engine.drive(&mut storage)? {}
/// let mut scanner = Scanner::new(SegmentNumber(1), storage.bytes() as u64, options.entropy.salt, crc32c);
/// let Some(Piece::Frame(frame)) = scanner.next(&mut storage)? else { panic!("it was appended") };
/// assert_eq!((frame.offset, frame.header.records), (4096, 1));
/// assert_eq!(Records(frame.payload).next().expect("a record")?.value, b"value");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it says of itself.
    pub header: FrameHeader,
    /// Where in the segment it stands.
    pub offset: u64,
    /// Its records.
    pub payload: &'a [u8],
}

/// Reads one segment from its first frame on.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::storage::{LogFiles, SegmentNumber};
/// use osprey_core::wal::frame::Records;
/// use osprey_core::wal::reader::{SegmentReader, Tail};
/// use osprey_core::wal::segment::SegmentHeader;
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// engine.incr(Millis(1_000), b"visits", 41).result?;
/// while engine.drive(&mut storage)? {}
/// engine.incr(Millis(1_000), b"visits", 1).result?;
/// engine.close();
/// while engine.drive(&mut storage)? {}
///
/// let mut bytes = [0; 4096];
/// storage.read(SegmentNumber(1), 0, &mut bytes)?;
/// let header = SegmentHeader::decode(&bytes, crc32c)?;
/// let mut tail = Tail { next_lsn: header.first_lsn, chain: header.chain };
/// let mut reader = SegmentReader::new(header.number, storage.bytes() as u64, header.salt, crc32c);
/// let mut values = Vec::new();
/// while let Some(frame) = reader.next(&mut storage, &mut tail)? {
///     for record in Records(frame.payload) {
///         values.push(record?.value.to_vec());
///     }
/// }
/// assert_eq!(values, [b"41", b"42"]);
/// assert!(reader.sealed(), "the run has ended in order");
/// assert_eq!(reader.end(), storage.bytes() as u64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SegmentReader {
    segment: SegmentNumber,
    length: u64,
    salt: u64,
    checksum: Checksum,
    /// Behind the last good frame.
    end: u64,
    sealed: bool,
    chunk: ChunkBytes,
    buffer: Vec<u8>,
    /// How much of the buffer was read, and from where.
    filled: usize,
    buffer_offset: u64,
}

impl SegmentReader {
    /// A reader of a segment that is `length` bytes long.
    #[must_use]
    pub fn new(segment: SegmentNumber, length: u64, salt: u64, checksum: Checksum) -> Self {
        let (chunk, buffer) = (ChunkBytes::default(), Vec::new());
        Self { segment, length, salt, checksum, end: HEADER_BYTES, sealed: false, chunk, buffer, filled: 0, buffer_offset: 0 }
    }

    /// Reads so much at once, into this buffer, which may have served another reader.
    #[must_use]
    pub(crate) fn with_buffer(mut self, chunk: ChunkBytes, buffer: Vec<u8>) -> Self {
        (self.chunk, self.buffer) = (chunk, buffer);
        self
    }

    /// Gives back the buffer.
    #[must_use]
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    pub(super) fn chunk(&self) -> ChunkBytes {
        self.chunk
    }

    /// Behind the last good frame: where the next would begin, and where a torn tail is cut.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether the last good frame was a SEAL.
    #[must_use]
    pub fn sealed(&self) -> bool {
        self.sealed
    }

    /// The next frame that continues `tail`; `tail` moves on. `None` where there is none. Reads a [chunk](ChunkBytes) at once, or one frame that is longer, and holds as much.
    ///
    /// # Errors
    /// Storage, or memory for the frame.
    pub fn next(&mut self, files: &mut impl LogFiles, tail: &mut Tail) -> Result<Option<Frame<'_>>, ReadError> {
        if self.sealed {
            return Ok(None);
        }
        let adjacent = align_up(self.end, FRAME_ALIGN as u64);
        let fresh = align_up(self.end, SECTOR_BYTES);
        let mut found = None;
        for offset in [adjacent, fresh] {
            if let Some(header) = self.frame_at(files, offset, *tail)? {
                found = Some((header, offset));
                break;
            }
        }
        let Some((header, offset)) = found else { return Ok(None) };
        self.end = offset + header.frame_len();
        self.sealed = header.kind == FrameType::Seal;
        *tail = Tail { next_lsn: header.next_lsn(), chain: header.crc };
        let payload = self.buffered(offset, header.frame_len()).and_then(|frame| frame.get(FRAME_HEADER_BYTES..)).unwrap_or_default();
        Ok(Some(Frame { header, offset, payload }))
    }

    /// The header of a whole, right frame at `offset` that continues `tail`; its bytes are in the buffer then.
    fn frame_at(&mut self, files: &mut impl LogFiles, offset: u64, tail: Tail) -> Result<Option<FrameHeader>, ReadError> {
        let (salt, checksum) = (self.salt, self.checksum);
        let Some(header) =
            self.fetch(files, offset, FRAME_HEADER_BYTES as u64)?.and_then(|bytes| FrameHeader::decode(bytes, salt, checksum))
        else {
            return Ok(None);
        };
        if header.previous != tail.chain || header.first_lsn != tail.next_lsn {
            return Ok(None);
        }
        let Some(frame) = self.fetch(files, offset, header.frame_len())? else { return Ok(None) };
        let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        Ok(header.matches(payload, salt, checksum).then_some(header))
    }

    /// Looks at everything from `from` on: for frames that name something durable, and for the last byte that isn't zero.
    ///
    /// # Errors
    /// Storage, or memory.
    pub(crate) fn remainder(&mut self, files: &mut impl LogFiles, from: u64) -> Result<Remainder, ReadError> {
        let mut found = Remainder::default();
        let (salt, checksum, step) = (self.salt, self.checksum, self.chunk.get());
        let mut offset = align_up(from, FRAME_ALIGN as u64);
        let begin = offset;
        while offset < self.length {
            // Chunks overlap by a header, so that none is missed between two of them.
            let len = (self.length - offset).min((step + FRAME_HEADER_BYTES) as u64);
            let Some(chunk) = self.fetch(files, offset, len)? else { break };
            if let Some(last) = chunk.iter().rposition(|&byte| byte != 0) {
                found.bytes = offset - begin + last as u64 + 1;
            }
            let mut rest = chunk;
            while rest.len() >= FRAME_HEADER_BYTES {
                if rest.starts_with(&FRAME_MAGIC)
                    && let Some(header) = FrameHeader::decode(rest, salt, checksum)
                {
                    found.claimed = found.claimed.max(header.durable);
                }
                rest = rest.get(FRAME_ALIGN..).unwrap_or_default();
            }
            offset += step as u64;
        }
        Ok(found)
    }

    /// `len` bytes at `offset`, read if they aren't there yet; `None` where the segment is shorter.
    pub(super) fn fetch(&mut self, files: &mut impl LogFiles, offset: u64, len: u64) -> Result<Option<&[u8]>, ReadError> {
        if offset.checked_add(len).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        if self.buffered(offset, len).is_none() {
            let ahead = (self.length - offset).min(self.chunk.get() as u64);
            let want = usize::try_from(len.max(ahead)).map_err(|_| ReadError::OutOfMemory)?;
            (self.filled, self.buffer_offset) = (0, offset);
            let room = make_room(&mut self.buffer, want)?;
            let wanted = room.len();
            self.filled = files.read(self.segment, offset, room)?.min(wanted);
        }
        Ok(self.buffered(offset, len))
    }

    fn buffered(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.buffer_offset)?).ok()?;
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        self.buffer.get(..self.filled)?.get(from..to)
    }
}

/// The first `len` bytes of a buffer, which is made larger if it has to be; what it held is lost. It isn't held twice meanwhile.
fn make_room(buffer: &mut Vec<u8>, len: usize) -> Result<&mut [u8], ReadError> {
    if buffer.capacity() < len {
        *buffer = Vec::new();
        buffer.try_reserve_exact(len).map_err(|_| ReadError::OutOfMemory)?;
    }
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    Ok(buffer.get_mut(..len).unwrap_or_default())
}
