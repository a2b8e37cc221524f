//! A client for Osprey, in two front ends over one machine.
//!
//! [`blocking::Client`] uses `std::net` and suits scripts and threads; [`Client`] is `async` over smol's sockets, which run
//! under any executor. Both have the same methods and give the same [`Reply`] and [`Error`] values. What is in them is only
//! the calls on the socket: the wire format is `osprey_core`'s, and when to write, when to read and which bytes answer which
//! request is decided by one machine without I/O.
//!
//! ```text
//!   client.get(…)          Pipeline ──► batch: encoded requests, each with what must answer it
//!   client.pipeline()…run() ───┘              │
//!                                            link: what to write, how much to read, what has been answered
//!                              ┌──────────────┴─────────────┐
//!                     blocking: TcpStream         async: smol::net::TcpStream
//! ```
//!
//! ```no_run
//! use osprey::client::{SetExpiry, SetOptions, blocking::Client};
//!
//! let mut client = Client::connect("localhost:7070")?;
//! let version = client.set("user:1", "alice", &SetOptions::default())?;
//! if let Some(entry) = client.get("user:1")? {
//!     assert!(entry.version >= version);
//! }
//! // Kept for five seconds.
//! client.set("session", "…", &SetOptions { expiry: SetExpiry::In(5_000), ..SetOptions::default() })?;
//! # Ok::<(), osprey::client::Error>(())
//! ```
//!
//! The same with `async`:
//!
//! ```no_run
//! use osprey::client::{Client, SetOptions};
//!
//! # smol::block_on(async {
//! let mut client = Client::connect("localhost:7070").await?;
//! client.set("user:1", "alice", &SetOptions::default()).await?;
//! println!("{:?}", client.get("user:1").await?);
//! # Ok::<(), osprey::client::Error>(())
//! # });
//! ```
//!
//! # When something goes wrong
//! `ERR` from the server and a request that cannot be encoded ([`Error::Server`], [`Error::Request`]) leave the connection
//! usable. Everything else (a timeout, a lost connection, a reply out of grammar, an `async` call dropped half way) leaves
//! no way to tell which reply belongs to which request: the connection is closed, and every later call says so with
//! [`Error::Closed`]. Connect anew; whether the requests without a reply were carried out is not known.

mod address;
mod assemble;
mod batch;
pub mod blocking;
mod error;
mod input;
mod link;
mod nonblocking;
mod options;
mod pipeline;
mod reply;

pub use address::server_address;
pub use error::{Activity, Error, ProtocolViolation};
pub use nonblocking::Client;
pub use options::Options;
pub use osprey_core::protocol::client::EncodeError;
pub use osprey_core::protocol::command::{Presence, SetExpiry, SetOptions};
pub use osprey_core::protocol::error::ErrorCode;
pub use osprey_core::units::{Millis, Version};
pub use pipeline::Pipeline;
pub use reply::{Entry, Reply, ScanPage, Ttl};
