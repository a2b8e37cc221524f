//! Frames of the log: encoded, sealed, verified, taken apart; with the portable checksum and with the processor's instruction.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use osprey_core::checksum::Checksum;
use osprey_core::record::{Kind, Record};
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameType, Records};

use crate::{CHECKSUMS, VALUE};

const SALT: u64 = 0x5A17;

/// Records of 100-byte values in a frame: one alone, what gathers during a sync, and what fills a frame.
const RECORDS: [u32; 3] = [1, 22, 8000];

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    for records in RECORDS {
        let mut payload = Vec::new();
        encode(&mut payload, records);
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(BenchmarkId::new("encode", records), |bencher| {
            bencher.iter(|| {
                payload.clear();
                encode(&mut payload, black_box(records));
                black_box(&payload);
            });
        });
        for (name, checksum) in CHECKSUMS {
            let (header, bytes) = seal(records, &payload, checksum);
            assert!(verify(&bytes, &payload, checksum) == Some(records) && verify(&bytes, &payload[1..], checksum).is_none());
            group.bench_function(BenchmarkId::new(format!("seal, {name}"), records), |bencher| {
                bencher.iter(|| seal(records, black_box(&payload), checksum));
            });
            group.bench_function(BenchmarkId::new(format!("verify, {name}"), records), |bencher| {
                bencher.iter(|| assert_eq!(verify(black_box(&bytes), black_box(&payload), checksum), Some(header.records)));
            });
        }
    }
    group.finish();
}

/// As the log's writer does: each record behind its length.
fn encode(payload: &mut Vec<u8>, records: u32) {
    for version in 1..=records {
        let key = black_box(*b"key:000000000001");
        let record = Record { kind: Kind::Set, version: Version(version.into()), expiry: None, key: &key, value: &VALUE };
        payload.extend_from_slice(&u32::try_from(record.encoded_len()).unwrap().to_le_bytes());
        record.encode(payload);
    }
}

fn seal(records: u32, payload: &[u8], checksum: Checksum) -> (FrameHeader, [u8; FRAME_HEADER_BYTES]) {
    let mut header = FrameHeader {
        kind: FrameType::Data,
        payload_len: u32::try_from(payload.len()).unwrap(),
        records,
        first_lsn: Lsn(1),
        durable: Lsn(0),
        time: Millis(1),
        floor: Version(0),
        previous: 0,
        payload_crc: 0,
        crc: 0,
    };
    let bytes = header.seal(SALT, payload, checksum);
    (header, bytes)
}

/// How many records there are; `None` where anything is wrong.
fn verify(header: &[u8], payload: &[u8], checksum: Checksum) -> Option<u32> {
    let header = FrameHeader::decode(header, SALT, checksum)?;
    let records = header.matches(payload, SALT, checksum).then_some(Records(payload))?;
    records.into_iter().try_fold(0, |count, record| black_box(record).ok().map(|_| count + 1))
}
