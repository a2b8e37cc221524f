//! Bytes to commands, beside the same by hand.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use osprey_core::engine::Limits;
use osprey_core::protocol::command::{Command, SetOptions};
use osprey_core::protocol::request::{self, Parser, Step};

use crate::hand_scan::{Scan, scan};
use crate::{VALUE, key};

const PIPELINE: usize = 16;

pub(crate) fn bench(criterion: &mut Criterion) {
    let limits = Limits::default().request;
    check(&limits);
    let mut group = criterion.benchmark_group("requests");
    for (name, input, requests) in inputs() {
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(BenchmarkId::new("parser", name), |bencher| {
            bencher.iter(|| assert_eq!(parse_all(&limits, black_box(&input)), requests));
        });
        group.bench_function(BenchmarkId::new("by hand", name), |bencher| {
            bencher.iter(|| assert_eq!(scan_all(&limits, black_box(&input)), requests));
        });
    }
    // What the scan by hand doesn't know.
    let options = [b"SET ".as_slice(), &key(1), b" 100 EX 60000 NX VER 7\r\n", &VALUE, b"\r\n"].concat();
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("parser", "set with options"), |bencher| {
        bencher.iter(|| assert_eq!(parse_all(&limits, black_box(&options)), 1));
    });
    group.finish();
}

fn get(number: usize) -> Vec<u8> {
    [b"GET ".as_slice(), &key(number), b"\r\n"].concat()
}

fn set(number: usize) -> Vec<u8> {
    [b"SET ".as_slice(), &key(number), b" 100\r\n", &VALUE, b"\r\n"].concat()
}

fn mget(keys: usize) -> Vec<u8> {
    let keys: Vec<u8> = (0..keys).flat_map(|number| [b" ".as_slice(), &key(number)].concat()).collect();
    [b"MGET", keys.as_slice(), b"\r\n"].concat()
}

/// Names, bytes, and how many requests they are.
fn inputs() -> [(&'static str, Vec<u8>, usize); 5] {
    [
        ("get", get(1), 1),
        ("get pipelined", (0..PIPELINE).flat_map(get).collect(), PIPELINE),
        ("set", set(1), 1),
        ("set pipelined", (0..PIPELINE).flat_map(set).collect(), PIPELINE),
        ("mget of 16 keys", mget(PIPELINE), 1),
    ]
}

fn parse_all(limits: &request::Limits, mut input: &[u8]) -> usize {
    let (mut parser, mut requests) = (Parser::default(), 0);
    while !input.is_empty() {
        let Step::Request { command, consumed } = parser.next(limits, input) else { panic!("no request") };
        black_box(&command);
        (input, requests) = (&input[consumed..], requests + 1);
    }
    requests
}

fn scan_all(limits: &request::Limits, mut input: &[u8]) -> usize {
    let mut requests = 0;
    while !input.is_empty() {
        let found = scan(limits, input);
        let (Scan::Get { consumed, .. } | Scan::Set { consumed, .. } | Scan::Mget { consumed, .. }) = found else { panic!("no request") };
        black_box(&found);
        (input, requests) = (&input[consumed..], requests + 1);
    }
    requests
}

/// Both find the same: in all beginnings of the inputs, and where an input is changed in one byte.
fn check(limits: &request::Limits) {
    let limits = request::Limits { key_bytes_max: 16, value_bytes_max: 100, ..*limits };
    for (_, input, _) in inputs() {
        for end in 0..=input.len() {
            compare(&limits, &input[..end]);
        }
        for at in 0..input.len().min(64) {
            for byte in 0..=u8::MAX {
                let mut changed = input.clone();
                changed[at] = byte;
                compare(&limits, &changed);
            }
        }
    }
    for input in
        ["  get \t k \n", "SET k 0\n\n", "SET k 1\nv\r\n", "SET k 01\nv\r\n", "MGET\n", "MGET a\tb  \r\n", "SET k 101\n", "GET a b\n"]
    {
        compare(&limits, input.as_bytes());
    }
}

fn compare(limits: &request::Limits, input: &[u8]) {
    let parsed = Parser::default().next(limits, input);
    let same = match scan(limits, input) {
        Scan::Get { key, consumed } => parsed == Step::Request { command: Command::Get { key }, consumed },
        Scan::Set { key, value, consumed } => {
            parsed == Step::Request { command: Command::Set { key, value, options: SetOptions::default() }, consumed }
        }
        Scan::Mget { keys, consumed } => {
            matches!(parsed, Step::Request { command: Command::Mget { keys: parsed }, consumed: parsed_consumed }
                if parsed_consumed == consumed && parsed.len() == keys.len && parsed.iter().eq(keys.iter()))
        }
        Scan::Incomplete => matches!(parsed, Step::Incomplete { .. }),
        Scan::Other => match parsed {
            Step::Request { command: Command::Set { options, .. }, .. } => options != SetOptions::default(),
            Step::Request { command, .. } => !matches!(command, Command::Get { .. } | Command::Mget { .. }),
            Step::Reject { .. } | Step::Skip { .. } => true,
            // A SET with options, or another command, without its payload.
            Step::Incomplete { .. } => input.contains(&b'\n'),
        },
    };
    assert!(same, "{}: {parsed:?}", input.escape_ascii());
}
