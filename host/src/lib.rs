//! Osprey on an operating system: a library for programs, and what the server is made of.
//!
//! - [`open`] opens a data directory in the program that uses it: a [`Db`], the store without the server.
//! - [`client`] talks to a server, blocking or `async`, with pipelines.
//! - [`storage`] and [`clock`] are the server's files and its time, for an engine of one's own ([`osprey_core::engine`]).
//!
//! The programs of the package are made of the same crate. Their parts are public for them alone and hidden here; nothing of them is promised:
//!
//! ```text
//!   main ──▶ args, config, logging
//!     └────▶ server ──▶ dataplane ──▶ osprey_core::engine        tools: on the data directory of a server that is stopped
//!               │            └──────▶ storage (files)            bench: the load generator
//!               └─▶ signals
//! ```

#![forbid(unsafe_code)]

// What is hidden is the programs' own, and public only for them: nothing of it is promised.
#[doc(hidden)]
pub mod args;
#[doc(hidden)]
pub mod bench;
pub mod client;
pub mod clock;
#[doc(hidden)]
pub mod config;
pub mod db;
mod descriptor_limit;
mod entropy;
#[doc(hidden)]
pub mod go_flags;
#[doc(hidden)]
pub mod logging;
#[cfg(museum)]
pub mod museum;
#[cfg(not(museum))]
mod museum;
mod readiness;
#[doc(hidden)]
pub mod server;
pub mod storage;
#[doc(hidden)]
pub mod tools;

pub use db::{Db, open, open_with};
pub use osprey_core;

/// The example of the README compiles; it would open a directory and a connection.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
