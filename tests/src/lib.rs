//! What the tests share.
//!
//! ```text
//!   transcript ──▶ machine (engine + memory_storage, virtual time)
//!        └───────▶ client ──▶ server_process (the real binary, TCP, files)
//! ```
//! - [`memory_storage`]: a disk in memory that can be late, fail, lose power.
//! - [`machine`]: an engine over it with connections and a clock, driven by hand.
//! - [`transcript`]: what is sent and what must come back, as text.
//! - [`server_process`]: the real server, on a free port and a directory of its own.
//! - [`client`]: a blocking connection to it.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

pub mod client;
pub mod machine;
pub mod memory_storage;
pub mod server_process;
pub mod transcript;
