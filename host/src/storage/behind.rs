//! When the kernel is asked to write what the page cache has of the log.

use std::ops::Range;

use osprey_core::storage::SegmentNumber;

use super::segment_file::WRITE_BEHIND_BYTES;

/// How far the kernel has been asked to write the page cache's part of a segment.
#[derive(Debug, Default)]
pub(super) struct Behind {
    segment: SegmentNumber,
    /// Asked for; half of it a second time, as it is written by then and can be forgotten.
    asked: Range<u64>,
}

impl Behind {
    /// What is to be asked for when `segment` is written up to `end`.
    pub(super) fn due(&mut self, segment: SegmentNumber, end: u64) -> Option<Range<u64>> {
        if segment != self.segment {
            *self = Self { segment, asked: 0..0 };
        }
        if end < self.asked.end + WRITE_BEHIND_BYTES {
            return None;
        }
        let due = self.asked.start..end;
        self.asked = self.asked.end..end;
        Some(due)
    }
}
