//! Osprey, the server.

pub mod config;
pub mod go_flags;
pub mod logging;
