//! What is in the segments of a directory, damage and all, without asking whether it makes a log.

use std::path::Path;

use crc32c::crc32c_append;
use osprey_core::snapshot::{SnapshotError, format};
use osprey_core::storage::{LogFiles as _, SegmentNumber, SnapshotName};
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::frame::{FrameHeader, FrameType, Records};
use osprey_core::wal::reader::{Frame, ReadError};
use osprey_core::wal::salvage::{Piece, Scanner};
use osprey_core::wal::segment::{HEADER_BYTES, HEADER_USED_BYTES, HeaderError, SegmentHeader};

use super::directory::Files;
use super::failure::Failure;

/// A segment's file.
#[derive(Debug)]
pub(super) struct Segment {
    /// By its name.
    pub(super) name: SegmentNumber,
    pub(super) length: u64,
    pub(super) header: Result<SegmentHeader, HeaderError>,
    /// The header, or what the frames and the other segments tell of it.
    pub(super) known: Option<SegmentHeader>,
    pub(super) runs: Vec<Run>,
    /// Another version of Osprey has written it.
    pub(super) other_format: bool,
}

/// What follows each other in a segment.
#[derive(Debug)]
pub(super) enum Run {
    /// Whole frames, each behind the one before.
    Frames(Frames),
    /// A frame that is not whole, or whose records can't be read: where, and the keys that can be made out.
    Lost { from: u64, header: FrameHeader, malformed: bool, keys: Vec<Vec<u8>> },
    /// Bytes that are no frame.
    Unreadable { from: u64, to: u64 },
}

/// Whole frames, each behind the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) frames: u64,
    pub(super) first_lsn: Lsn,
    pub(super) next_lsn: Lsn,
    /// The checksum that the first one expects.
    pub(super) previous: u32,
    pub(super) chain: u32,
    /// The highest that any of them names.
    pub(super) durable: Lsn,
    pub(super) time: Millis,
    pub(super) floor: Version,
    pub(super) sealed: bool,
}

impl Frames {
    pub(super) fn records(&self) -> u64 {
        self.next_lsn.0 - self.first_lsn.0
    }
}

impl Run {
    /// The durable LSN that it names.
    pub(super) fn claim(&self) -> Lsn {
        match self {
            Self::Frames(frames) => frames.durable,
            Self::Lost { header, .. } => header.durable,
            Self::Unreadable { .. } => Lsn(0),
        }
    }

    fn opening(&self) -> Option<(Lsn, u32, Lsn, Millis, Version)> {
        match self {
            Self::Frames(f) => Some((f.first_lsn, f.previous, f.durable, f.time, f.floor)),
            Self::Lost { header: h, .. } => Some((h.first_lsn, h.previous, h.durable, h.time, h.floor)),
            Self::Unreadable { .. } => None,
        }
    }
}

impl Segment {
    /// Frames and records that can be read, and the LSNs from and behind.
    pub(super) fn totals(&self) -> (u64, u64, Option<(Lsn, Lsn)>) {
        let frames = self.runs.iter().filter_map(|run| if let Run::Frames(frames) = run { Some(frames) } else { None });
        let mut totals = (0, 0, None::<(Lsn, Lsn)>);
        for run in frames {
            totals.0 += run.frames;
            totals.1 += run.records();
            if run.records() > 0 {
                totals.2 = Some((totals.2.map_or(run.first_lsn, |(first, _)| first), Lsn(run.next_lsn.0 - 1)));
            }
        }
        totals
    }

    /// Whether the last thing in it is a SEAL.
    pub(super) fn sealed(&self) -> bool {
        matches!(self.runs.last(), Some(Run::Frames(frames)) if frames.sealed)
    }
}

/// Files that another version of Osprey has written are no damage, and nothing for this one to repair.
pub(super) fn of_other_version(path: &Path, segments: &[Segment], snapshots: &[(SnapshotName, SnapshotError)]) -> Option<Failure> {
    let segment = segments
        .iter()
        .filter(|segment| segment.other_format)
        .find_map(|segment| Some((segment.name.to_string(), segment.header.err()?.to_string())));
    let of_snapshot = |error: &SnapshotError| matches!(error, SnapshotError::Header(format::HeaderError::Format(_)));
    let snapshot = || snapshots.iter().find(|(_, error)| of_snapshot(error)).map(|(name, error)| (name.to_string(), error.to_string()));
    let (name, why) = segment.or_else(snapshot)?;
    Some(Failure::damaged(format!(
        "{}: {name}: {why}: another version of Osprey has written it, and reads it; nothing was changed",
        path.display()
    )))
}

/// Reads all segments.
pub(super) fn survey(files: &mut Files) -> Result<Vec<Segment>, ReadError> {
    let mut segments = Vec::new();
    for (name, length) in files.segments()? {
        let mut bytes = [0; HEADER_USED_BYTES];
        let read = files.read(name, 0, &mut bytes)?;
        let header = SegmentHeader::decode(bytes.get(..read).unwrap_or_default(), crc32c_append);
        let runs = match &header {
            Ok(header) => runs(files, name, length, header.salt)?,
            Err(_) => Vec::new(),
        };
        let other_format = is_other_format(&bytes, header);
        segments.push((bytes, Segment { name, length, known: header.ok(), header, runs, other_format }));
    }
    let readable: Vec<SegmentHeader> = segments.iter().filter_map(|(_, segment)| segment.header.ok()).collect();
    for (bytes, segment) in &mut segments {
        if segment.header.is_err() && !segment.other_format {
            reconstruct(files, bytes, segment, &readable)?;
        }
    }
    Ok(segments.into_iter().map(|(_, segment)| segment).collect())
}

/// Whether another version of Osprey has written it, rather than that the number is damaged.
fn is_other_format(bytes: &[u8; HEADER_USED_BYTES], header: Result<SegmentHeader, HeaderError>) -> bool {
    let (covered, crc) = bytes.split_at(HEADER_USED_BYTES - 4);
    let whole = crc32c_append(0, covered).to_le_bytes() == crc;
    whole && matches!(header, Err(HeaderError::Format(_) | HeaderError::Sector(_)))
}

/// What the header must have said: it again but for a bit; or frames found by the salts that it could have, and what they say.
fn reconstruct(
    files: &mut Files,
    bytes: &[u8; HEADER_USED_BYTES],
    segment: &mut Segment,
    readable: &[SegmentHeader],
) -> Result<(), ReadError> {
    if let Some(header) = but_for_one_bit(bytes) {
        segment.runs = runs(files, segment.name, segment.length, header.salt)?;
        segment.known = Some(header);
        return Ok(());
    }
    let number = |at: usize| bytes.get(at..at + 8).and_then(|field| Some(u64::from_le_bytes(field.try_into().ok()?))).unwrap_or(0);
    // The nearest first: most often the damaged one is of the same epoch.
    let mut near: Vec<&SegmentHeader> = readable.iter().collect();
    near.sort_by_key(|other| other.number.0.abs_diff(segment.name.0));
    let own = SegmentHeader {
        database: near.first().map_or_else(
            || osprey_core::wal::segment::DatabaseId(bytes.get(16..32).and_then(|id| id.try_into().ok()).unwrap_or_default()),
            |other| other.database,
        ),
        epoch: number(32).clamp(1, 1 << 62),
        salt: number(40),
        number: segment.name,
        first_lsn: Lsn(1),
        durable: Lsn(0),
        time: Millis(0),
        floor: Version(0),
        chain: 0,
    };
    let candidates = near.into_iter().map(|other| SegmentHeader { number: segment.name, ..*other }).chain([own]);
    for candidate in candidates {
        let runs = runs(files, segment.name, segment.length, candidate.salt)?;
        let Some((first_lsn, chain, durable, time, floor)) = runs.iter().find_map(Run::opening) else { continue };
        segment.known = Some(SegmentHeader { first_lsn, chain, durable, time, floor, ..candidate });
        segment.runs = runs;
        return Ok(());
    }
    if segment.length > HEADER_BYTES {
        segment.runs = vec![Run::Unreadable { from: 0, to: segment.length }];
    }
    Ok(())
}

/// The header that differs in a single bit and is right: its checksum leaves no other.
fn but_for_one_bit(bytes: &[u8; HEADER_USED_BYTES]) -> Option<SegmentHeader> {
    (0..bytes.len() * 8).find_map(|bit| {
        let mut bytes = *bytes;
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
        SegmentHeader::decode(&bytes, crc32c_append).ok()
    })
}

fn runs(files: &mut Files, name: SegmentNumber, length: u64, salt: u64) -> Result<Vec<Run>, ReadError> {
    let mut scanner = Scanner::new(name, length, salt, crc32c_append);
    let mut runs = Vec::new();
    while let Some(piece) = scanner.next(files)? {
        match piece {
            Piece::Frame(frame) if is_well_formed(&frame) => add(&mut runs, &frame),
            Piece::Frame(frame) => runs.push(lost(&frame, true)),
            Piece::Damaged(frame) => runs.push(lost(&frame, false)),
            Piece::Unreadable { from, to } => runs.push(Run::Unreadable { from, to }),
        }
    }
    Ok(runs)
}

fn is_well_formed(frame: &Frame<'_>) -> bool {
    let mut records = 0_u32;
    Records(frame.payload).all(|record| {
        records += 1;
        record.is_ok()
    }) && records == frame.header.records
}

fn lost(frame: &Frame<'_>, malformed: bool) -> Run {
    let keys = Records(frame.payload).map_while(Result::ok).map(|record| record.key.to_vec()).filter(|key| !key.is_empty()).collect();
    Run::Lost { from: frame.offset, header: frame.header, malformed, keys }
}

fn add(runs: &mut Vec<Run>, Frame { header, offset, .. }: &Frame<'_>) {
    let to = offset + header.frame_len();
    let sealed = header.kind == FrameType::Seal;
    match runs.last_mut() {
        Some(Run::Frames(run)) if run.chain == header.previous && run.next_lsn == header.first_lsn && !run.sealed => {
            run.to = to;
            run.frames += 1;
            run.next_lsn = header.next_lsn();
            run.chain = header.crc;
            run.durable = run.durable.max(header.durable);
            run.time = run.time.max(header.time);
            run.floor = run.floor.max(header.floor);
            run.sealed = sealed;
        }
        _ => runs.push(Run::Frames(Frames {
            from: *offset,
            to,
            frames: 1,
            first_lsn: header.first_lsn,
            next_lsn: header.next_lsn(),
            previous: header.previous,
            chain: header.crc,
            durable: header.durable,
            time: header.time,
            floor: header.floor,
            sealed,
        })),
    }
}
