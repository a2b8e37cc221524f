//! The write-ahead log: segments of frames of records.
//!
//! ```text
//!  wal-00000001.oswal                          wal-00000002.oswal
//! ┌────────┬───────┬───────┬┄┄┄┬──────┐       ┌────────┬───────┬───────┬┄┄┄┄┄┄┄┄┄┄┄┄┐
//! │ header │ frame │ frame │   │ SEAL │ ────▶ │ header │ frame │ frame │ (reserved) │
//! └────────┴───────┴───────┴┄┄┄┴──────┘       └────────┴───────┴───────┴┄┄┄┄┄┄┄┄┄┄┄┄┘
//! ```
//! A [frame] is one group commit: all that was logged while the frame before it was being written. Each names
//! the checksum of the frame before, so the log is one chain; a [segment]'s header carries the chain over
//! from the segment before. The [writer] turns records into storage operations and says what is
//! written and what is durable; the [reader] walks a segment's frames and tells a torn tail from damage; [salvage] looks behind damage, for
//! tools.
//! Every byte is described in the project's `docs/FORMAT.md`.

pub mod frame;
pub mod reader;
pub mod salvage;
pub mod segment;
pub mod writer;

/// What a disk writes at once, bytes. A frame that follows synced data begins in a fresh sector, so that a torn write of it can't
/// reach what was promised.
///
/// ```
/// use osprey_core::wal::SECTOR_BYTES;
///
/// // Where the next frame begins if everything up to here was synced.
/// let end = 4096_u64 + 75;
/// assert_eq!(end.next_multiple_of(SECTOR_BYTES), 4608);
/// ```
pub const SECTOR_BYTES: u64 = 512;

/// `offset` or the next multiple of `unit` (a power of two).
#[must_use]
pub(crate) const fn align_up(offset: u64, unit: u64) -> u64 {
    offset.saturating_add(unit - 1) & !(unit - 1)
}
