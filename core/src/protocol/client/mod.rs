//! The client's half: requests to bytes, and bytes to replies.
//!
//! Replies come in the order of the requests and don't say what they answer, so the reader says for each piece what it
//! [expects](Expect). Lists (`MGET`, `SCAN`, `STATS`) are read piece by piece, so that no reply has to be in memory whole.
//! A request takes time and memory for its own bytes, appended to a buffer of the caller; a reply is borrowed from the bytes that came, and nothing is allocated for it.
//!
//! ```
//! use osprey_core::protocol::client::{self, Expect, Reply, ReplyLimits, Step};
//! use osprey_core::protocol::command::SetOptions;
//! use osprey_core::units::Version;
//!
//! let mut request = Vec::new();
//! client::set(&mut request, b"mykey", b"hello", &SetOptions::default()).unwrap();
//! assert_eq!(request, b"SET mykey 5\r\nhello\r\n");
//!
//! let step = client::parse_reply(Expect::Stored, b"OK 1\r\n", &ReplyLimits::default());
//! assert_eq!(step, Ok(Step::Complete { reply: Reply::Stored(Version(1)), consumed: 6 }));
//! ```

mod encode;
mod parse;

pub use encode::{EncodeError, decr, del, exists, expire, get, incr, mget, mset, persist, ping, quit, scan, set, snapshot, stats, ttl};
pub use parse::{Expect, Found, Malformed, Reply, ReplyLimits, Step, parse_reply};
