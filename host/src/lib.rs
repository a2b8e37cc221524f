//! Osprey, the server: the hosted runtime around [`osprey_core`].
//!
//! ```text
//!   main ──▶ server ──▶ dataplane ──▶ osprey_core::engine
//!               │            └──────▶ storage (files)
//!               └─▶ signals
//! ```
//!
//! Beside the server stands [`client`], the library that the client programs are made of.

pub mod client;
pub mod clock;
pub mod go_flags;
pub mod server;
pub mod storage;
