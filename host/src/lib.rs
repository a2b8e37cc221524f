//! Osprey, the server: the hosted runtime around [`osprey_core`].
//!
//! ```text
//!   main ──▶ server ──▶ dataplane ──▶ osprey_core::engine
//!               │            └──────▶ storage (files)
//!               └─▶ signals
//! ```
//!
//! Beside the server stand [`client`], the library that the client programs are made of, and [`mod@bench`], the load generator.

pub mod bench;
pub mod client;
pub mod clock;
mod descriptor_limit;
pub mod go_flags;
pub mod server;
pub mod storage;
