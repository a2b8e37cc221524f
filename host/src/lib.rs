//! Osprey, the server: the hosted runtime around [`osprey_core`].
//!
//! ```text
//!   main ──▶ args, config, logging
//!     └────▶ server ──▶ dataplane ──▶ osprey_core::engine
//!               │            └──────▶ storage (files)
//!               └─▶ signals
//! ```
//!
//! Beside the server stand [`client`], the library that the client programs are made of, and [`mod@bench`], the load generator.

pub mod args;
pub mod bench;
pub mod client;
pub mod clock;
pub mod config;
mod descriptor_limit;
pub mod go_flags;
pub mod logging;
pub mod server;
pub mod storage;
