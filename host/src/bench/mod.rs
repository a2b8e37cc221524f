//! The load generator: `osprey-bench` as a library.
//!
//! ```text
//! options ── run ──┬── worker (a thread) ──┬── connection (a socket) ── wire (three protocols)
//!                  │     one phase: store,  │     a batch out, its replies in
//!                  │     warm up, measure   ├── request ── zipf      bytes of the next request
//!                  │                        ├── schedule             when a batch is due (--rate)
//!                  │                        └── crate::readiness     epoll
//!                  ├── process (/proc)           tally: counts and latencies, a thread's own, added up by `run`
//!                  └── report, progress
//! ```
//!
//! Nothing is shared between threads while they run but two counters for the display, and nothing is allocated per request.
//! It needs Linux: epoll, and `/proc` for what the server costs.

mod connection;
mod options;
mod process;
mod progress;
mod report;
mod request;
mod run;
mod schedule;
mod tally;
mod wire;
mod worker;
mod zipf;

pub use options::{Distribution, Load, Options, SizeRange};
pub use progress::Display;
pub use report::{Latency, Report, ServerCost};
pub use run::{Failure, run};
pub use wire::Protocol;
