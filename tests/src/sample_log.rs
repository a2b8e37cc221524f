//! A log of two runs in memory, and where things are in it: for tools to work on, and to be damaged.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use osprey_core::checksum::crc32c;
use osprey_core::storage::SegmentNumber;
use osprey_core::units::Millis;
use osprey_core::wal::frame::FrameHeader;
use osprey_core::wal::segment::{HEADER_BYTES, SegmentHeader};
use osprey_core::wal::writer::SyncPolicy;
use tempfile::TempDir;

use crate::machine::{BEGIN, Machine, small_options};

/// Segments by number.
pub type Segments = BTreeMap<u64, Vec<u8>>;

/// The third segment, one in the middle of the first run.
pub const MIDDLE: u64 = 3;

/// Two runs, of which the first had an orderly end; every write has a frame, and every segment some of them.
///
/// # Panics
/// The machine doesn't do what it should.
#[must_use]
pub fn segments() -> Segments {
    let mut machine = Machine::new(small_options(SyncPolicy::Always));
    write(&mut machine, 1);
    let disk = machine.shut_down();
    let (mut machine, _) = Machine::recover(small_options(SyncPolicy::Always), disk, Millis(BEGIN.0 + 1000)).unwrap();
    write(&mut machine, 2);
    let segments: Segments = machine.shut_down().segments().map(|(number, bytes)| (number.0, bytes.to_vec())).collect();
    assert!(segments.len() >= 6, "{} segments", segments.len());
    segments
}

fn write(machine: &mut Machine, run: u32) {
    let client = machine.connect();
    for at in 0..80 {
        let value = format!("{run}-{at}-{}", "x".repeat(900));
        let request = match at % 8 {
            5 => format!("DEL key:{}", at % 7),
            6 => format!("EXPIRE key:{} 9000000000000", at % 11),
            _ => format!("SET key:{} {}\n{value}", at % 13, value.len()),
        };
        assert!(!machine.ask(client, &request).starts_with("ERR"));
    }
}

/// Writes them to files.
///
/// # Panics
/// They can't be written.
pub fn write_to(directory: &Path, segments: &Segments) {
    fs::create_dir_all(directory).unwrap();
    for (&number, bytes) in segments {
        fs::write(directory.join(SegmentNumber(number).to_string()), bytes).unwrap();
    }
}

/// A directory with them.
///
/// # Panics
/// They can't be written.
#[must_use]
pub fn directory(segments: &Segments) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_to(directory.path(), segments);
    directory
}

/// The frames of a segment: offset, header.
///
/// # Panics
/// Its header can't be read.
#[must_use]
pub fn frames(bytes: &[u8]) -> Vec<(usize, FrameHeader)> {
    let salt = SegmentHeader::decode(bytes, crc32c).unwrap().salt;
    let offsets = (usize::try_from(HEADER_BYTES).unwrap()..bytes.len()).step_by(8);
    offsets.filter_map(|offset| Some((offset, FrameHeader::decode(&bytes[offset..], salt, crc32c)?))).collect()
}

/// The LSNs of its records.
///
/// # Panics
/// Its header can't be read, or it has no frame.
#[must_use]
pub fn lsns_of(bytes: &[u8]) -> RangeInclusive<u64> {
    let frames = frames(bytes);
    frames.first().unwrap().1.first_lsn.0..=frames.last().unwrap().1.next_lsn().0 - 1
}
