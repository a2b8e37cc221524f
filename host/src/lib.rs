//! Osprey, the server: the hosted runtime around [`osprey_core`].
//!
//! ```text
//!   main ──▶ server ──▶ dataplane ──▶ osprey_core::engine
//!               │            └──────▶ storage (files)
//!               └─▶ signals
//! ```
//!
//! Beside the server stands [`mod@bench`], the load generator.

pub mod bench;
pub mod clock;
mod descriptor_limit;
pub mod go_flags;
pub mod server;
pub mod storage;
