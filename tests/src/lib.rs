//! What the tests share.
//!
//! ```text
//!   transcript ──▶ machine (engine + memory_storage, virtual time)
//!        └───────▶ client ──▶ server_process (the real binary, TCP, files)
//! ```
//! - [`memory_storage`]: a disk in memory that can be late, fail, lose power.
//! - [`faulty_storage`]: storage that breaks a rule of its contract.
//! - [`db`]: a `Db`, what is in it, and a clock for it.
//! - [`machine`]: an engine over it with connections and a clock, driven by hand.
//! - [`transcript`]: what is sent and what must come back, as text.
//! - [`server_process`]: the real server, on a free port and a directory of its own.
//! - [`program`]: the project's programs, built with the tests.
//! - [`refusing_allocator`]: refuses memory where a test says so.
//! - [`client`]: a blocking connection to it.
//! - [`load`]: connections that write until it is gone, and what must be there when it is back.
//! - [`power_cut`]: what a power cut leaves of its files.
//! - [`sample_log`]: a log of two runs for the tools to work on, and where things are in it.
//! - [`sample_snapshots`]: directories with snapshots, written by the server, and damage to them.
//! - [`tool`]: the tools as programs; [`tool_crashes`]: and crashes of them.
//! - [`small_disk`]: a file system of its own for it, which can be full.
//! - [`directory`]: what it has written.
//! - [`fuzz`]: what the fuzz targets do, for plain tests too.
//! - [`memory_log`]: a log in memory without faults, on `alloc` alone.
//! - [`simulator`]: the whole core under faults, everything decided by a seed.
//! - [`museum`]: the bugs that it must find, and how it finds them.
//! - [`small_scope`]: all short programs, all places to go down, all that a disk may leave there.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

extern crate alloc;

pub mod client;
pub mod db;
pub mod directory;
pub mod faulty_storage;
pub mod fuzz;
pub mod load;
pub mod machine;
pub mod memory_log;
pub mod memory_storage;
pub mod museum;
pub mod power_cut;
pub mod program;
pub mod refusing_allocator;
pub mod sample_log;
pub mod sample_snapshots;
pub mod server_process;
pub mod simulator;
pub mod small_disk;
pub mod small_scope;
pub mod tool;
pub mod tool_crashes;
pub mod transcript;
