//! The text protocol: requests in, replies out. The contract is the project's `docs/PROTOCOL.md`.
//!
//! ```text
//!  server:  bytes ──▶ request::Parser ──▶ command::Command      reply::… ──▶ bytes
//!  client:  client::… ──▶ bytes                    bytes ──▶ client::parse_reply
//! ```
//! Everything here borrows from the bytes it is given, keeps at most a few words of state, and knows neither keys that
//! exist nor connections.

pub mod client;
pub mod command;
pub mod error;
mod line;
mod number;
pub mod reply;
pub mod request;
