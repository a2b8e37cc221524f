//! The text protocol: requests in, replies out.

pub mod command;
