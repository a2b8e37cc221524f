//! The whole core in a world that is simulated, faults included, beside a model that says what is right.
//!
//! ```text
//!   seed ──▶ tape ──▶ world ──┬──▶ clients ── requests ──▶ engine (osprey-core) ──▶ replies ──┐
//!             ▲               ├──▶ clock ─────────────────▶   │   ▲                           ├──▶ checked
//!             │               └──▶ disk ◀── operations ───────┘   │ recovery                  │
//!             │                      crash, damage ───────────────┘                           │
//!          shrink ◀── failure ◀── model, history (what must be there after a crash) ◀─────────┘
//! ```
//! - [`tape`]: the bytes that decide everything; [`settings`]: limits, policy; [`workload`], [`request`], [`keys`]: what clients ask.
//! - [`clients`], [`clock`], [`disk`]: the world around the engine.
//! - [`model`], [`walk`]: what replies must be; [`history`]: what must survive; [`snapshots`]: what a recovery must be able to begin with.
//! - [`world`] moves all of it, `replies`, `storage_loop` and `restart` hold the checks; [`failure`]: what can fail.
//! - [`events`]: what happened; [`coverage`]: how often.
//! - [`run`](run::run), [`shrink`](shrink::shrink): a tape in, what was found out.
//!
//! `docs/SIMULATOR.md` lists faults and checks, and says how to read a failure.

pub mod clients;
pub mod clock;
pub mod coverage;
mod digits;
pub mod disk;
pub mod events;
pub mod failure;
pub mod history;
pub mod keys;
pub mod model;
mod replies;
pub mod request;
mod restart;
pub mod run;
pub mod settings;
pub mod shrink;
pub mod snapshots;
mod storage_loop;
pub mod tape;
pub mod walk;
pub mod workload;
pub mod world;
