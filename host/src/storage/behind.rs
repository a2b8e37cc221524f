//! When the kernel is asked to write what the page cache has of the log.

use std::ops::Range;

use osprey_core::storage::SegmentNumber;

use super::segment_file::{PAGE_BYTES, WRITE_BEHIND_BYTES};

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
        // The page that is being filled would be written again.
        let end = end - end % PAGE_BYTES as u64;
        if end < self.asked.end + WRITE_BEHIND_BYTES {
            return None;
        }
        let due = self.asked.start..end;
        self.asked = self.asked.end..end;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_ends_with_a_whole_page() {
        let (segment, page) = (SegmentNumber(1), PAGE_BYTES as u64);
        let mut behind = Behind::default();
        assert_eq!(behind.due(segment, WRITE_BEHIND_BYTES - 1), None);
        assert_eq!(behind.due(segment, WRITE_BEHIND_BYTES + page - 1), Some(0..WRITE_BEHIND_BYTES));
        assert_eq!(behind.due(segment, 2 * WRITE_BEHIND_BYTES - 1), None, "its last page is being filled");
        // What was asked for last is asked for once more: it is written by now, and can be forgotten.
        assert_eq!(behind.due(segment, 2 * WRITE_BEHIND_BYTES + 1), Some(0..2 * WRITE_BEHIND_BYTES));
        assert_eq!(behind.due(segment, 3 * WRITE_BEHIND_BYTES + page), Some(WRITE_BEHIND_BYTES..3 * WRITE_BEHIND_BYTES + page));
        assert_eq!(behind.due(SegmentNumber(2), WRITE_BEHIND_BYTES), Some(0..WRITE_BEHIND_BYTES), "each segment from its beginning");
    }
}
