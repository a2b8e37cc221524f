//! Snapshots: all entries in one file, so that the log before it isn't needed any more.
//!
//! ```text
//!  snap-00000120-00000188.osnap
//! ┌────────┬───────┬───────┬┄┄┄┬───────┬────────┐
//! │ header │ block │ block │   │ block │ footer │
//! └────────┴───────┴───────┴┄┄┄┴───────┴────────┘
//! ```
//! A snapshot is *fuzzy*: its entries were copied while writes went on. Each is as it was at some moment between two LSNs, of which the first, S0, was the
//! log's last before the first entry was copied, and the second, S1, its last after the last one was. Replaying the records behind S0 gives the state at S1 and at every later
//! LSN, and nothing less than S1: a log that ends before it is not enough.
//!
//! Each block names the checksum of what stands before it, so that the file is one chain from header to footer; only a footer makes
//! it whole. The [writer] makes the bytes, the [reader] takes them apart and believes none of them; [salvage] looks for what is left in one that is damaged. [format] describes them, the project's `docs/FORMAT.md` every one.

pub mod format;
pub mod reader;
pub mod salvage;
pub mod writer;

pub use format::{Footer, Header};
pub use reader::{Decoder, SnapshotError, SnapshotReader, verify};
