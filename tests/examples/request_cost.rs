//! What the engine alone costs per request: no socket, no disk. For profilers, and for `make instructions`, which counts its instructions.
//!
//!     cargo run --release -p osprey-tests --example request_cost -- get|set|incr PIPELINE REQUESTS [KEYS]
//!
//! Everything is the same in every run, and what comes before the requests is the same however many they are: so the difference between two
//! runs is what the requests cost.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use osprey_core::engine::{Engine, Next, Options, Session};
use osprey_core::storage::StorageDone;
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine;
use osprey_tests::memory_storage::Disk;

const VALUE: &str = "a value of a hundred bytes, as the load generator of the comparison with other servers sends them -----";

fn main() {
    let mut args = std::env::args().skip(1);
    let op = args.next().expect("what: get, set or incr");
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().expect("a number"));
    let (pipeline, requests, keys) = (number(16), number(1_000_000), number(10_000));
    let mut server = Server::new();
    for key in 0..keys {
        server.serve(&request(if op == "incr" { "incr" } else { "set" }, key));
    }
    // A fixed sequence that jumps about, and asks for each key about once before it begins again.
    let batches: Vec<String> = (0..keys.div_ceil(pipeline))
        .map(|batch| (0..pipeline).map(|at| request(&op, (batch * pipeline + at).wrapping_mul(2_654_435_761) % keys)).collect())
        .collect();
    let count = requests / pipeline;
    let begin = Instant::now();
    for batch in batches.iter().cycle().take(count) {
        server.serve(batch);
    }
    let took = begin.elapsed();
    println!("{op} pipeline {pipeline} keys {keys}: {:.1} ns a request", took.as_nanos() as f64 / (count * pipeline) as f64);
}

fn request(op: &str, key: usize) -> String {
    let mut request = String::new();
    match op {
        "get" => write!(request, "GET key:{key:012}\r\n"),
        "set" => write!(request, "SET key:{key:012} {}\r\n{VALUE}\r\n", VALUE.len()),
        "incr" => write!(request, "INCR key:{key:012}\r\n"),
        other => panic!("{other} is no operation: get, set or incr"),
    }
    .expect("a String can be written to");
    request
}

/// An engine whose storage does everything at once, and keeps nothing.
struct Server {
    engine: Engine,
    session: Session,
    out: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        let options = Options { segment_bytes: 1 << 40, checksum: crc32c::crc32c_append, ..machine::options(SyncPolicy::Os) };
        let (engine, _) = Engine::recover(options, &mut Disk::default(), Millis(1)).expect("an empty disk can be recovered");
        let mut server = Self { engine, session: Session::new(), out: Vec::new() };
        server.drive_storage();
        server
    }

    #[inline(never)]
    fn serve(&mut self, input: &str) {
        let served = self.engine.serve(Millis(1), &mut self.session, input.as_bytes(), &mut self.out);
        assert_eq!((served.consumed, served.next), (input.len(), Next::Read { at_least: 1 }));
        self.drive_storage();
        let sent = self.session.releasable(self.engine.watermark(), self.out.len());
        assert_eq!(sent, self.out.len());
        black_box(&self.out);
        self.out.clear();
    }

    fn drive_storage(&mut self) {
        while let Some(op) = self.engine.poll_storage() {
            self.engine.storage_done(StorageDone { op: black_box(op), result: Ok(()) }).expect("this storage doesn't fail");
        }
    }
}
