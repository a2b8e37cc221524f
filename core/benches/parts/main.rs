//! What the parts of the core cost, each alone: `cargo bench`, or of one part `cargo bench -- store`.
//!
//! - [`requests`]: the parser, beside a scan by hand of the same grammar.
//! - [`replies`]: formatting, beside `core::fmt`.
//! - [`store`]: keys put, found, deleted and swept.
//! - [`log`]: frames sealed and verified, with two checksums.
//! - [`recovery`]: a log replayed.
//!
//! The engine as a whole is measured by `tests/examples/request_cost.rs`; `docs/BENCHMARKING.md` says what to use when.
#![expect(clippy::unwrap_used, reason = "in a bench a failure is the finding")]

mod hand_scan;
mod log;
#[path = "../../examples/embed/memory_log.rs"]
mod memory_log;
mod recovery;
mod replies;
mod requests;
mod store;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let criterion = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let mut criterion = criterion.configure_from_args();
    requests::bench(&mut criterion);
    replies::bench(&mut criterion);
    store::bench(&mut criterion);
    log::bench(&mut criterion);
    recovery::bench(&mut criterion);
    criterion.final_summary();
}

/// A key of 16 bytes.
fn key(number: usize) -> [u8; 16] {
    *format!("key:{number:012}").as_bytes().first_chunk().unwrap()
}

/// A value of 100 bytes.
const VALUE: [u8; 100] = [b'v'; 100];

/// How checksums can be computed.
const CHECKSUMS: [(&str, osprey_core::checksum::Checksum); 2] =
    [("table", osprey_core::checksum::crc32c), ("instruction", crc32c::crc32c_append)];
