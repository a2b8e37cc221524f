//! A log replayed from memory: what a start costs beside reading the disk. Times are for one record.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use osprey_core::engine::{Engine, Entropy, Options, Session};
use osprey_core::storage::Storage as _;
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;

use crate::memory_log::MemoryLog;
use crate::{CHECKSUMS, VALUE, key};

const RECORDS: usize = 200_000;

/// How many requests go into one frame, as under load.
const FRAME_RECORDS: usize = 22;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(RECORDS as u64));
    for (name, keys) in [("each of its own key", RECORDS), ("of 1000 keys", 1000)] {
        let mut log = written(keys);
        for (checksum_name, checksum) in CHECKSUMS {
            group.bench_function(BenchmarkId::new(format!("200,000 records {name}"), checksum_name), |bencher| {
                bencher.iter_with_large_drop(|| {
                    let (engine, report) = Engine::recover(Options { checksum, ..options() }, &mut log, Millis(2)).unwrap();
                    assert_eq!((report.records, engine.store().len()), (RECORDS as u64, keys));
                    engine
                });
            });
        }
    }
    group.finish();
}

fn options() -> Options {
    let entropy = Entropy { hash_key: [7; 16], salt: 0x5A17, database: DatabaseId([1; 16]) };
    Options { sync_policy: SyncPolicy::Os, ..Options::new(entropy) }
}

/// A log as a server leaves it that has stored values under so many keys.
fn written(keys: usize) -> MemoryLog {
    let mut log = MemoryLog::default();
    let (mut engine, _) = Engine::recover(options(), &mut log, Millis(1)).unwrap();
    drive(&mut engine, &mut log);
    let (mut session, mut out) = (Session::new(), Vec::new());
    for first in (0..RECORDS).step_by(FRAME_RECORDS) {
        let request = |number| [b"SET ".as_slice(), &key(number % keys), b" 100\r\n", &VALUE, b"\r\n"].concat();
        let input: Vec<u8> = (first..RECORDS.min(first + FRAME_RECORDS)).flat_map(request).collect();
        assert_eq!(engine.serve(Millis(1), &mut session, &input, &mut out).consumed, input.len());
        drive(&mut engine, &mut log);
        let sent = session.releasable(engine.watermark(), out.len());
        assert_eq!(sent, out.len());
        out.clear();
    }
    log
}

fn drive(engine: &mut Engine, log: &mut MemoryLog) {
    while let Some(op) = engine.poll_storage() {
        engine.storage_done(log.submit(op).unwrap()).unwrap();
    }
}
