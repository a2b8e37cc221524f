//! Osprey, the server.

pub mod go_flags;
