//! Replies to bytes, beside `core::fmt`.

use std::hint::black_box;
use std::io::Write as _;

use criterion::{BenchmarkId, Criterion};
use osprey_core::protocol::reply;
use osprey_core::units::{Millis, Version};

use crate::VALUE;

const VERSION: Version = Version(123_456);
const EXPIRY: Millis = Millis(1_700_000_000_000);

type Format = fn(&mut Vec<u8>);

/// Names, as the core formats, and as `core::fmt` does.
const REPLIES: [(&str, Format, Format); 4] = [
    ("ok", |out| reply::ok_version(out, black_box(VERSION)).unwrap(), |out| write!(out, "OK {}\r\n", black_box(VERSION).0).unwrap()),
    (
        "integer",
        |out| reply::integer(out, black_box(-9_876_543_210)).unwrap(),
        |out| {
            write!(out, "{}\r\n", black_box(-9_876_543_210_i64)).unwrap();
        },
    ),
    (
        "value",
        |out| reply::value(out, black_box(&VALUE), black_box(VERSION), None).unwrap(),
        |out| {
            write!(out, "VALUE {} {} -1\r\n", black_box(&VALUE).len(), black_box(VERSION).0).unwrap();
            out.extend_from_slice(black_box(&VALUE));
            out.extend_from_slice(b"\r\n");
        },
    ),
    (
        "value with expiry",
        |out| reply::value(out, black_box(&VALUE), black_box(VERSION), Some(black_box(EXPIRY))).unwrap(),
        |out| {
            write!(out, "VALUE {} {} {}\r\n", black_box(&VALUE).len(), black_box(VERSION).0, black_box(EXPIRY).0).unwrap();
            out.extend_from_slice(black_box(&VALUE));
            out.extend_from_slice(b"\r\n");
        },
    ),
];

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replies");
    let mut out = Vec::with_capacity(1024);
    for (name, ours, with_fmt) in REPLIES {
        let [ours_text, fmt_text] = [ours, with_fmt].map(|format| {
            let mut out = Vec::new();
            format(&mut out);
            out
        });
        assert_eq!(ours_text, fmt_text, "{name}");
        for (how, format) in [("itoa", ours), ("core::fmt", with_fmt)] {
            group.bench_function(BenchmarkId::new(how, name), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    format(&mut out);
                    black_box(&out);
                });
            });
        }
    }
    group.finish();
}
