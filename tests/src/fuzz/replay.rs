//! Recovery of a directory that is any bytes at all: see `recovery.rs` for what is checked.
//!
//! Input: segments, each a number (1 byte), a count of pieces (1 byte) and the pieces; a piece is a count of zeros (2 bytes), a length
//! (2 bytes, little-endian) and bytes. So the zeros that a segment is full of take no space in a corpus.

use osprey_core::storage::SegmentNumber;
use osprey_core::units::Millis;

use super::recovery::assert_recovers_well;
use crate::memory_log::MemoryLog;

/// Like the time of a server that wrote the corpus.
const NOW: Millis = Millis(1_700_000_000_000);

/// See the module.
pub fn check(data: &[u8]) {
    assert_recovers_well(&unpack(data), NOW);
}

fn unpack(mut data: &[u8]) -> MemoryLog {
    let mut log = MemoryLog::default();
    while let Some(([number, pieces], rest)) = data.split_first_chunk() {
        data = rest;
        let file = log.0.entry(SegmentNumber(u64::from(*number))).or_default();
        for _ in 0..*pieces {
            let Some(([a, b, c, d], rest)) = data.split_first_chunk() else { break };
            let (zeros, len) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            let (bytes, rest) = rest.split_at(rest.len().min(usize::from(len)));
            data = rest;
            file.resize(file.len() + usize::from(zeros), 0);
            file.extend_from_slice(bytes);
        }
    }
    log
}

/// A directory as input of this target. Segments have numbers below 256.
#[must_use]
pub fn pack(log: &MemoryLog) -> Vec<u8> {
    let mut data = Vec::new();
    for (number, file) in &log.0 {
        let mut pieces = Vec::new();
        let mut rest = file.as_slice();
        while !rest.is_empty() {
            let zeros = rest.iter().take(usize::from(u16::MAX)).take_while(|&&byte| byte == 0).count();
            let (_, behind) = rest.split_at(zeros);
            // Up to the next long run of zeros.
            let len = behind.windows(8).position(|window| window == [0; 8]).unwrap_or(behind.len()).min(usize::from(u16::MAX));
            let (bytes, behind) = behind.split_at(len);
            pieces.push((zeros, bytes));
            rest = behind;
        }
        data.push(number.0.to_le_bytes()[0]);
        data.push(pieces.len().to_le_bytes()[0]);
        for (zeros, bytes) in pieces {
            for length in [zeros, bytes.len()] {
                data.extend_from_slice(&length.to_le_bytes()[..2]);
            }
            data.extend_from_slice(bytes);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_directory_is_unpacked_as_it_was() {
        let long = [&[1; 90][..], &[0; 70_000], &[2, 0, 3], &[0; 8], &[4; 66_000], &[0; 9]].concat();
        let log = MemoryLog([(SegmentNumber(1), long), (SegmentNumber(3), vec![5]), (SegmentNumber(4), Vec::new())].into(), [].into());
        assert_eq!(unpack(&pack(&log)), log);
    }
}
