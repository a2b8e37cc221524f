//! Osprey, the server: the hosted runtime around [`osprey_core`].
//!
//! ```text
//!   main ──▶ args, config, logging
//!     └────▶ server ──▶ dataplane ──▶ osprey_core::engine
//!               │            └──────▶ storage (files)
//!               └─▶ signals
//! ```
//!
//! Without the server: [`open`] opens a data directory in the program that uses it, a [`Db`]. Beside the server stand [`client`], the library that the client programs are made of, [`mod@bench`], the load generator, and [`tools`], which work on
//! the data directory of a server that is stopped.

#![forbid(unsafe_code)]

pub mod args;
pub mod bench;
pub mod client;
pub mod clock;
pub mod config;
pub mod db;
mod descriptor_limit;
mod entropy;
pub mod go_flags;
pub mod logging;
#[cfg(museum)]
pub mod museum;
#[cfg(not(museum))]
mod museum;
mod readiness;
pub mod server;
pub mod storage;
pub mod tools;

pub use db::{Db, open, open_with};
pub use osprey_core;

/// The example of the README compiles; it would open a directory and a connection.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
