//! Writes a segment from front to back, as the core's reader expects it: for tools that make or remake a log. Nobody knows the file before it is finished, so
//! no frame needs a sector of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crc32c::crc32c_append;
use osprey_core::record::{Kind, Record};
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::frame::{FRAME_ALIGN, FrameHeader, FrameType, RECORD_LENGTH_BYTES};
use osprey_core::wal::segment::{HEADER_BYTES, SegmentHeader};

use crate::museum::planted;

/// A frame is written at the latest when it has this size, bytes.
const FRAME_BYTES: usize = 1 << 20;

/// So many marks in one frame.
const MARKS_MAX: u64 = 100_000;

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct SegmentFile {
    file: BufWriter<File>,
    salt: u64,
    /// Behind the last frame.
    pub(super) offset: u64,
    /// The last frame's checksum.
    pub(super) chain: u32,
    pub(super) next_lsn: Lsn,
    /// What the next frame says; raised by what is written.
    pub(super) time: Millis,
    pub(super) floor: Version,
    payload: Vec<u8>,
    records: u32,
}

impl SegmentFile {
    pub(super) fn create(path: &Path, header: &SegmentHeader) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&header.encode(crc32c_append).map_err(|_| io::ErrorKind::OutOfMemory)?)?;
        let SegmentHeader { salt, chain, first_lsn, time, floor, .. } = *header;
        let payload = Vec::new();
        Ok(Self { file, salt, offset: HEADER_BYTES, chain, next_lsn: first_lsn, time, floor, payload, records: 0 })
    }

    /// How long the segment will be with what was written to it, bytes, but for the SEAL.
    pub(super) fn bytes(&self) -> u64 {
        self.offset + self.payload.len() as u64
    }

    /// A record, in a frame with those before.
    pub(super) fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        if self.payload.len() >= FRAME_BYTES {
            self.end_frame()?;
        }
        let len = u32::try_from(record.encoded_len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.payload.try_reserve(RECORD_LENGTH_BYTES + record.encoded_len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.payload.extend_from_slice(&len.to_le_bytes());
        record.encode(&mut self.payload);
        self.records += 1;
        Ok(())
    }

    /// So many records that say nothing, in place of some that are lost: those behind them keep their LSNs.
    pub(super) fn marks(&mut self, count: u64) -> io::Result<()> {
        let mark = Record { kind: Kind::Mark, version: Version::NONE, expiry: None, key: &[], value: &[] };
        for at in 0..count {
            if at % MARKS_MAX == 0 {
                self.end_frame()?;
            }
            self.record(&mark)?;
        }
        self.end_frame()
    }

    /// A frame of another segment, behind the one before it here. Unchanged to the byte if it has followed that one there too.
    pub(super) fn copy(&mut self, header: &FrameHeader, payload: &[u8]) -> io::Result<()> {
        self.end_frame()?;
        self.time = self.time.max(header.time);
        self.floor = self.floor.max(header.floor);
        self.frame(*header, payload)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        let mut payload = std::mem::take(&mut self.payload);
        let header = self.own(FrameType::Data, payload.len(), self.records)?;
        self.frame(header, &payload)?;
        payload.clear();
        self.payload = payload;
        self.records = 0;
        Ok(())
    }

    /// A header for what this file adds of its own.
    fn own(&self, kind: FrameType, payload_len: usize, records: u32) -> io::Result<FrameHeader> {
        Ok(FrameHeader {
            kind,
            payload_len: u32::try_from(payload_len).map_err(|_| io::ErrorKind::FileTooLarge)?,
            records,
            first_lsn: self.next_lsn,
            durable: Lsn(self.next_lsn.0.saturating_sub(1)),
            time: self.time,
            floor: self.floor,
            previous: self.chain,
            payload_crc: 0,
            crc: 0,
        })
    }

    fn frame(&mut self, mut header: FrameHeader, payload: &[u8]) -> io::Result<()> {
        let offset = self.offset.next_multiple_of(FRAME_ALIGN as u64);
        let padding = usize::try_from(offset - self.offset).unwrap_or(0);
        self.file.write_all([0; FRAME_ALIGN].get(..padding).unwrap_or_default())?;
        header.previous = self.chain;
        header.first_lsn = self.next_lsn;
        let head = header.seal(self.salt, payload, crc32c_append);
        self.file.write_all(&head)?;
        self.file.write_all(payload)?;
        self.chain = header.crc;
        self.next_lsn = header.next_lsn();
        self.offset = offset + header.frame_len();
        Ok(())
    }

    /// Makes it durable under the name that it was created with; `seal`: as one to which nothing is missing. Returns the chain.
    pub(super) fn finish(mut self, seal: bool) -> io::Result<u32> {
        self.end_frame()?;
        if seal {
            let header = self.own(FrameType::Seal, 0, 0)?;
            self.frame(header, &[])?;
        }
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        if !planted("renamed_unsynced") {
            file.sync_all()?;
        }
        Ok(self.chain)
    }
}
