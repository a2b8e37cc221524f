//! Osprey, the server.

pub mod args;
pub mod config;
pub mod go_flags;
pub mod logging;
pub mod server;
