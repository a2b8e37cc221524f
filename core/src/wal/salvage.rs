//! Finds every whole frame of a segment, wherever it stands, for tools that look behind damage.
//!
//! Recovery follows one unbroken chain and ends where it breaks. A [`Scanner`] doesn't ask what a frame follows: it gives all that is there,
//! in the order of the file, and what stands between. Only checksums under the segment's salt count, so nothing that a client has stored passes for a frame.

use super::align_up;
use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader};
use super::reader::{Frame, ReadError, SegmentReader};
use super::segment::HEADER_BYTES;
use crate::checksum::Checksum;
use crate::storage::{LogFiles, SegmentNumber};

/// What stands in a segment.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::storage::memory::MemoryStorage;
/// use osprey_core::storage::{SegmentNumber, Storage, StorageOp};
/// use osprey_core::wal::salvage::{Piece, Scanner};
///
/// // A segment with something in it that is no frame.
/// let (mut storage, segment) = (MemoryStorage::new(), SegmentNumber(1));
/// storage.submit(StorageOp::Start { segment, header: vec![0; 4096] });
/// storage.submit(StorageOp::Append { segment, offset: 5000, data: b"rubbish".to_vec(), sync: false });
/// let mut scanner = Scanner::new(segment, 5007, 7, crc32c);
/// let Some(Piece::Unreadable { from, to }) = scanner.next(&mut storage).expect("memory can be read") else { panic!("it is one") };
/// assert_eq!((from, to), (5000, 5007));
/// assert!(scanner.next(&mut storage).expect("memory can be read").is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// A frame whose header is right and whose payload isn't. Which records are lost is known; `payload` is what is left, shorter than it should be at
    /// the segment's end, and nothing in it can be relied on.
    Damaged(Frame<'a>),
    /// Bytes that belong to no frame; the first and the last of them aren't zero.
    Unreadable {
        /// Where they begin.
        from: u64,
        /// Behind the last one.
        to: u64,
    },
}

/// Goes through a segment from its header to its end.
///
/// ```
/// use osprey_core::checksum::crc32c;
/// use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageOp};
/// use osprey_core::wal::salvage::{Piece, Scanner};
/// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
/// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
/// # while engine.drive(&mut storage)? {}
///
/// let (segment, salt) = (SegmentNumber(1), options.entropy.salt);
/// for key in [b"one", b"two"] {
///     engine.incr(Millis(1_000), key, 1).result?;
///     while engine.drive(&mut storage)? {}
/// }
/// // Damage to the first frame: recovery would end there, or refuse; what is behind it is still to be found.
/// let mut bytes = vec![0; storage.bytes()];
/// storage.read(segment, 0, &mut bytes)?;
/// bytes[4096 + 20] ^= 1;
/// storage.submit(StorageOp::Start { segment, header: bytes });
/// let mut scanner = Scanner::new(segment, storage.bytes() as u64, salt, crc32c);
/// let (mut lost, mut found) = (0, 0);
/// while let Some(piece) = scanner.next(&mut storage)? {
///     match piece {
///         Piece::Frame(frame) => found += frame.header.records,
///         Piece::Damaged(frame) => lost += frame.header.records,
///         Piece::Unreadable { from, to } => assert!(from == 4096 && to - from < 100),
///     }
/// }
/// assert_eq!((found, lost), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scanner {
    reader: SegmentReader,
    salt: u64,
    checksum: Checksum,
    length: u64,
    offset: u64,
}

impl Scanner {
    /// A scanner of a segment that is `length` bytes long.
    #[must_use]
    pub fn new(segment: SegmentNumber, length: u64, salt: u64, checksum: Checksum) -> Self {
        let reader = SegmentReader::new(segment, length, salt, checksum);
        Self { reader, salt, checksum, length, offset: HEADER_BYTES }
    }

    /// The next piece; `None` at the end. Reads on over zeros, however many; holds a chunk of the segment, or one frame that is longer.
    ///
    /// # Errors
    /// Storage, or memory for the frame.
    pub fn next(&mut self, files: &mut impl LogFiles) -> Result<Option<Piece<'_>>, ReadError> {
        let mut unreadable: Option<(u64, u64)> = None;
        let header = loop {
            let found = self.look(files, &mut unreadable)?;
            if found.is_some() || self.offset >= self.length {
                break found;
            }
        };
        if let Some((from, to)) = unreadable {
            return Ok(Some(Piece::Unreadable { from, to }));
        }
        let Some(header) = header else { return Ok(None) };
        let offset = self.offset;
        let len = header.frame_len().min(self.length - offset);
        // Its length is covered by the header's checksum. Frames that seem to stand inside are a value that somebody has stored.
        self.offset = align_up(offset.saturating_add(len), FRAME_ALIGN as u64);
        let frame = self.reader.fetch(files, offset, len)?.unwrap_or_default();
        let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let frame = Frame { header, offset, payload };
        Ok(Some(if header.matches(payload, self.salt, self.checksum) { Piece::Frame(frame) } else { Piece::Damaged(frame) }))
    }

    /// Looks for a header in the next chunk, and moves to it or behind the chunk; notes bytes that aren't zero on the way.
    fn look(&mut self, files: &mut impl LogFiles, unreadable: &mut Option<(u64, u64)>) -> Result<Option<FrameHeader>, ReadError> {
        let (begin, step) = (self.offset, self.reader.chunk().get());
        let left = self.length.saturating_sub(begin);
        // Chunks overlap by a header, so that none is missed between two of them.
        let len = left.min((step + FRAME_HEADER_BYTES) as u64);
        let Some(chunk) = self.reader.fetch(files, begin, len)? else {
            self.offset = self.length;
            return Ok(None);
        };
        // The last chunk is looked at to its end.
        let here = if len == left { chunk.len() } else { step };
        let mut at = 0;
        let mut found = None;
        while at < here {
            let rest = chunk.get(at..).unwrap_or_default();
            if rest.starts_with(&FRAME_MAGIC) {
                found = FrameHeader::decode(rest, self.salt, self.checksum);
                if found.is_some() {
                    break;
                }
            }
            let group = rest.get(..FRAME_ALIGN.min(rest.len())).unwrap_or_default();
            if let Some(last) = group.iter().rposition(|&byte| byte != 0) {
                let first = group.iter().position(|&byte| byte != 0).unwrap_or(0);
                let at = begin + at as u64;
                let (from, _) = *unreadable.get_or_insert((at + first as u64, 0));
                *unreadable = Some((from, at + last as u64 + 1));
            }
            at += FRAME_ALIGN;
        }
        self.offset = begin + at as u64;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc32c;
    use crate::storage::StorageError;
    use crate::units::{Lsn, Millis, Version};
    use crate::wal::frame::FrameType;
    use std::vec;
    use std::vec::Vec;

    const SALT: u64 = 7;

    /// One segment in memory.
    struct Bytes(Vec<u8>);

    impl LogFiles for Bytes {
        fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
            Ok(vec![(SegmentNumber(1), self.0.len() as u64)])
        }
        fn read(&mut self, _: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
            let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }
        fn truncate(&mut self, _: SegmentNumber, _: u64) -> Result<(), StorageError> {
            Ok(())
        }
        fn remove(&mut self, _: SegmentNumber) -> Result<(), StorageError> {
            Ok(())
        }
        fn sync(&mut self, _: SegmentNumber) -> Result<(), StorageError> {
            Ok(())
        }
    }

    impl Bytes {
        fn new() -> Self {
            Self(vec![0; usize::try_from(HEADER_BYTES).unwrap()])
        }

        /// A frame with this payload at the next place for one; returns its offset.
        fn frame(&mut self, first_lsn: u64, payload: &[u8]) -> usize {
            let offset = self.0.len().next_multiple_of(FRAME_ALIGN);
            self.0.resize(offset, 0);
            let mut header = FrameHeader {
                kind: FrameType::Data,
                payload_len: u32::try_from(payload.len()).unwrap(),
                records: 1,
                first_lsn: Lsn(first_lsn),
                durable: Lsn(0),
                time: Millis(0),
                floor: Version(0),
                previous: 0,
                payload_crc: 0,
                crc: 0,
            };
            let head = header.seal(SALT, payload, crc32c);
            self.0.extend_from_slice(&head);
            self.0.extend_from_slice(payload);
            offset
        }

        /// `F1` for a whole frame that begins with LSN 1, `D1` for a damaged one with `+` for its payload's length, `U` for what is unreadable.
        fn pieces(&mut self) -> Vec<std::string::String> {
            let mut scanner = Scanner::new(SegmentNumber(1), self.0.len() as u64, SALT, crc32c);
            let mut pieces = Vec::new();
            while let Some(piece) = scanner.next(self).unwrap() {
                pieces.push(match piece {
                    Piece::Frame(frame) => std::format!("F{}", frame.header.first_lsn.0),
                    Piece::Damaged(frame) => std::format!("D{}+{}", frame.header.first_lsn.0, frame.payload.len()),
                    Piece::Unreadable { from, to } => std::format!("U{from}-{to}"),
                });
            }
            pieces
        }
    }

    #[test]
    fn whole_frames_are_found_behind_damaged_ones() {
        let mut bytes = Bytes::new();
        let [_, second, third, _] = [1, 2, 3, 4].map(|lsn| bytes.frame(lsn, b"payload of some length"));
        assert_eq!(bytes.pieces(), ["F1", "F2", "F3", "F4"]);
        *bytes.0.get_mut(second + 8).unwrap() ^= 1;
        *bytes.0.get_mut(third + FRAME_HEADER_BYTES + 3).unwrap() ^= 1;
        let unreadable = std::format!("U{second}-{}", second + FRAME_HEADER_BYTES + 22);
        assert_eq!(bytes.pieces(), ["F1", &unreadable, "D3+22", "F4"]);
    }

    #[test]
    fn a_frame_that_the_end_cuts_is_damaged_and_a_header_that_it_cuts_unreadable() {
        let mut bytes = Bytes::new();
        bytes.frame(1, b"first");
        let second = bytes.frame(2, b"second");
        bytes.0.pop();
        assert_eq!(bytes.pieces(), ["F1", "D2+5"]);
        bytes.0.truncate(second + 20);
        let unreadable = std::format!("U{second}-{}", second + 17);
        assert_eq!(bytes.pieces(), ["F1", &unreadable]);
    }

    #[test]
    fn frames_are_found_wherever_they_stand_and_values_that_look_like_them_are_not() {
        let mut inner = Bytes::new();
        inner.frame(9, b"a frame that somebody has stored as a value");
        const CHUNK_BYTES: usize = 256 << 10;
        for zeros in [0, 8, CHUNK_BYTES - 72, CHUNK_BYTES - 64, CHUNK_BYTES - 8, CHUNK_BYTES, 3 * CHUNK_BYTES] {
            let mut bytes = Bytes::new();
            bytes.0.resize(bytes.0.len() + zeros, 0);
            bytes.frame(1, &inner.0);
            bytes.frame(2, &vec![1; CHUNK_BYTES + 100]);
            bytes.0.resize(bytes.0.len() + zeros, 0);
            assert_eq!(bytes.pieces(), ["F1", "F2"], "{zeros} zeros");
        }
    }

    #[test]
    fn any_bytes_come_to_an_end() {
        let mut random: u32 = 1;
        for len in 0..3000 {
            let mut bytes = Bytes::new();
            for _ in 0..len {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.0.push(b"OSF1\x01\0\0\0"[(random >> 24) as usize % 8]);
            }
            assert!(bytes.pieces().len() <= 1, "{len}");
        }
    }
}
