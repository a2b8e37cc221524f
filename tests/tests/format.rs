//! The worked example of `docs/FORMAT.md` is what the code writes, and the code reads from it what the page says.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use osprey_core::checksum::crc32c;
use osprey_core::record::{Kind, Record};
use osprey_core::recovery::recover;
use osprey_core::snapshot::writer::SnapshotWriter;
use osprey_core::snapshot::{self, SnapshotReader};
use osprey_core::storage::{ChunkBytes, SegmentNumber, Storage as _};
use osprey_core::store::Store;
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::{LogPosition, LogWriter, SyncPolicy, WriterOptions};

#[path = "../../core/examples/embed/memory_log.rs"]
mod memory_log;
use memory_log::MemoryLog;

const PAGE: &str = include_str!("../../docs/FORMAT.md");
const SEGMENT: SegmentNumber = SegmentNumber(1);
const WRITTEN_AT: Millis = Millis(1_700_000_000_000);
const EXPIRY: Millis = Millis(1_700_000_060_000);

const RECORDS: [Record<'static>; 4] = [
    Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"lang", value: b"rust" },
    Record { kind: Kind::Set, version: Version(300), expiry: Some(EXPIRY), key: b"n", value: b"-7" },
    Record { kind: Kind::Expire, version: Version(300), expiry: None, key: b"n", value: b"" },
    Record { kind: Kind::Del, version: Version(1), expiry: None, key: b"lang", value: b"" },
];

/// A log of one frame with [`RECORDS`] and a SEAL, as the page says.
fn write_example() -> Vec<u8> {
    let options = WriterOptions {
        database: DatabaseId(*b"osprey format 1!"),
        epoch: 1,
        salt: 0x0123_4567_89AB_CDEF,
        segment_bytes: 64 << 10,
        policy: SyncPolicy::Always,
        checksum: crc32c,
    };
    let start = LogPosition { next_segment: SEGMENT, last_lsn: Lsn(0), chain: 0, time: Millis(0) };
    let (mut writer, mut log) = (LogWriter::new(options, start), MemoryLog::default());
    let mut drive = |writer: &mut LogWriter, floor| {
        while let Some(op) = writer.poll(WRITTEN_AT, Version(floor)) {
            let done = log.submit(op).expect("a log in memory is done at once");
            writer.done(done, WRITTEN_AT).unwrap();
        }
    };
    drive(&mut writer, 0);
    for record in &RECORDS {
        writer.make_room(1, record.encoded_len()).unwrap();
        writer.log(record);
    }
    drive(&mut writer, 1);
    writer.close();
    drive(&mut writer, 1);
    assert!(writer.closed());
    log.0.remove(&SEGMENT).unwrap()
}

/// Lines of an address and 16 bytes in hexadecimal; a line that is left out is zero.
fn dump(bytes: &[u8]) -> String {
    let mut lines = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate().filter(|(_, chunk)| chunk.iter().any(|&byte| byte != 0)) {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = chunk.iter().map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' }).collect();
        writeln!(lines, "{:08x}  {:47}  |{text}|", line * 16, hex.join(" ")).unwrap();
    }
    lines
}

/// The lines of a part of the page that a dump is made of.
fn dump_of(part: &'static str) -> Vec<&'static str> {
    let is_address = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    part.lines().filter(|line| line.split("  ").next().is_some_and(is_address)).collect()
}

/// Of the log, and of the snapshot.
fn parts() -> (&'static str, &'static str) {
    PAGE.split_once("\n## Snapshot\n").unwrap()
}

fn dump_on_the_page() -> Vec<&'static str> {
    dump_of(parts().0)
}

fn bytes_on_the_page() -> Vec<u8> {
    bytes_of(&dump_on_the_page())
}

fn bytes_of(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let mut columns = line.split("  ");
        bytes.resize(usize::from_str_radix(columns.next().unwrap(), 16).unwrap(), 0);
        bytes.extend(columns.next().unwrap().split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

/// A snapshot with one of [`RECORDS`], as the page says.
fn write_snapshot() -> Vec<u8> {
    let header = snapshot::Header { database: DatabaseId(*b"osprey format 1!"), epoch: 1, salt: 0x0123_4567_89AB_CDEF, begin: Lsn(2) };
    let mut writer = SnapshotWriter::new(&header, crc32c, ChunkBytes::default()).unwrap();
    let mut record = Vec::new();
    RECORDS[1].encode(&mut record);
    writer.add(&record).unwrap();
    writer.finish(Lsn(4), Version(1), WRITTEN_AT).unwrap()
}

#[test]
fn the_snapshot_on_the_page_is_what_the_code_writes_and_reads() {
    let written = dump(&write_snapshot());
    let lines = dump_of(parts().1);
    assert_eq!(lines.join("\n"), written.trim_end(), "docs/FORMAT.md should have:\n{written}");

    let bytes = bytes_of(&lines);
    let mut reader = SnapshotReader::new(
        |offset: u64, buffer: &mut [u8]| {
            let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        },
        crc32c,
    );
    let header = reader.header().unwrap();
    assert_eq!((header.epoch, header.begin), (1, Lsn(2)));
    let block = reader.next_block().unwrap().unwrap();
    assert_eq!((block.offset, block.records().collect::<Vec<_>>()), (0x38, vec![RECORDS[1]]));
    assert!(reader.next_block().unwrap().is_none());
    let footer = reader.footer().unwrap();
    assert_eq!((footer.end, footer.records, footer.floor, footer.time), (Lsn(4), 1, Version(1), WRITTEN_AT));
}

#[test]
fn the_code_writes_the_bytes_on_the_page() {
    let written = dump(&write_example());
    assert_eq!(dump_on_the_page().join("\n"), written.trim_end(), "docs/FORMAT.md should have:\n{written}");
}

#[test]
fn the_code_reads_from_the_page_what_it_says() {
    let mut log = MemoryLog(BTreeMap::from([(SEGMENT, bytes_on_the_page())]));
    let mut store = Store::new([0; 16]).unwrap();
    let recovered = recover(&mut log, &mut store, crc32c, ChunkBytes::default(), &mut |_| ()).unwrap();

    assert!(recovered.report.sealed);
    assert_eq!((recovered.report.frames, recovered.report.records, recovered.report.torn), (2, 4, None));
    assert_eq!(recovered.position.last_lsn, Lsn(4));
    assert_eq!(recovered.position.time, WRITTEN_AT);
    assert_eq!(store.floor(), Version(1));
    let mut keys = Vec::new();
    store.walk(0, |record| keys.push((record.key.to_vec(), record.value.to_vec(), record.version, record.expiry)));
    assert_eq!(keys, [(b"n".to_vec(), b"-7".to_vec(), Version(300), None)]);
}

#[test]
fn one_wrong_bit_on_the_page_would_be_noticed() {
    const FRAMES: usize = 0x1000;
    const PADDING: std::ops::Range<usize> = 0x1076..0x1200;
    let page = bytes_on_the_page();
    for at in (0..96).chain(FRAMES..page.len()).filter(|at| !PADDING.contains(at)) {
        let mut bytes = page.clone();
        bytes[at] ^= 1;
        let mut log = MemoryLog(BTreeMap::from([(SEGMENT, bytes)]));
        let recovered = recover(&mut log, &mut Store::new([0; 16]).unwrap(), crc32c, ChunkBytes::default(), &mut |_| ());
        assert!(!recovered.is_ok_and(|recovered| recovered.report.sealed), "byte {at:#x}");
    }
}
