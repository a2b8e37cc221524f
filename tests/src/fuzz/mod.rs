//! What the fuzz targets check. Each target is a function over the fuzzer's bytes that panics where its property fails, so
//! that `fuzz/` (libFuzzer, nightly) only passes bytes on, and plain `cargo test` replays the committed corpora.

mod allocation;
mod damage;
mod fragments;
mod history;
mod model;
mod operations;
pub mod parser;
mod recovery;
pub mod replay;
pub mod replay_repaired;
pub mod reply;
pub mod round_trip;
mod server;
pub mod simulator;
pub mod snapshot;
mod snapshot_damage;
pub mod store;

pub use allocation::NotingAllocator;

/// A target.
pub type Target = fn(&[u8]);

/// All targets, under the names that they have in `fuzz/fuzz_targets` and `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("parser", parser::check),
    ("replay", replay::check),
    ("replay_repaired", replay_repaired::check),
    ("reply", reply::check),
    ("round_trip", round_trip::check),
    ("simulator", simulator::check),
    ("snapshot", snapshot::check),
    ("store", store::check),
];
