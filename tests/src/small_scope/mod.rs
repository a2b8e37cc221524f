//! Small scope, all of it: every program of a few operations on two keys, every place where the machine may go down, everything that a disk may
//! leave there. What the simulator meets by chance, here is enumerated, and counted.
//!
//! ```text
//!   programs ──▶ host (engine + model + history) ──▶ disk ──▶ crash points ──▶ images ──▶ recovered, judged
//! ```
//! - [`program`]: the alphabet. [`explore::Start`]: what has happened before: an empty disk, a segment that is nearly full, an earlier run.
//! - [`host`]: a server with one client, whose replies are held against the simulator's model. [`host::Schedule`]: operations end at once, or overlap.
//! - [`disk`]: every sector, name and length that isn't synced, with all it may be.
//! - [`judge`]: what must hold for every image.
//! - [`snapshots`]: a longer program, in which snapshots are taken; [`interrupted`]: recoveries that are cut short.
//!
//! A program's crash points before its last operation are those of the program without it, and so are counted there.
//! What is left out: sectors that are torn inside or hold garbage; in the short programs crashes during recovery, and more than one crash. The simulator has these.

pub mod disk;
pub mod explore;
pub mod host;
pub mod interrupted;
pub mod judge;
pub mod program;
pub mod snapshots;
