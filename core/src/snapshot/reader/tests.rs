//! What was written is read; what was changed in any bit, cut or lengthened is refused.

use super::*;
use crate::checksum::crc32c;
use crate::snapshot::writer::{BLOCK_BYTES_SOFT_MAX, SnapshotWriter};
use crate::units::{Lsn, Millis, Version};
use crate::wal::segment::DatabaseId;
use alloc::format;
use alloc::string::String;

const HEADER: Header = Header { database: DatabaseId(*b"0123456789abcdef"), epoch: 3, salt: 0x5A17, begin: Lsn(7) };

fn write(entries: &[(String, usize)], taken_every: usize) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(&HEADER, crc32c, ChunkBytes::default()).unwrap();
    let mut file = Vec::new();
    for (at, (key, len)) in entries.iter().enumerate() {
        let value = alloc::vec![b'v'; *len];
        let record = Record { kind: Kind::Set, version: Version(at as u64), expiry: None, key: key.as_bytes(), value: &value };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        writer.add(&bytes).unwrap();
        if at % taken_every == taken_every - 1 {
            file.append(&mut writer.take(Vec::new()));
        }
    }
    file.append(&mut writer.finish(Lsn(9), Version(4), Millis(5)).unwrap());
    file
}

fn small() -> Vec<u8> {
    write(&[("a".into(), 3), ("bb".into(), 0), ("c".into(), 9)], 2)
}

/// A key, and how long its value is.
type Read = (Vec<u8>, usize);

fn read(file: &[u8]) -> Result<(Header, Footer, Vec<Read>), SnapshotError> {
    let mut reader = SnapshotReader::new(
        |offset: u64, buffer: &mut [u8]| {
            let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            buffer.get_mut(..len).unwrap().copy_from_slice(rest.get(..len).unwrap());
            Ok(len)
        },
        crc32c,
    );
    let header = reader.header()?;
    let mut entries = Vec::new();
    while let Some(block) = reader.next_block()? {
        entries.extend(block.records().map(|record| (record.key.to_vec(), record.value.len())));
    }
    Ok((header, *reader.footer().unwrap(), entries))
}

#[test]
fn what_was_written_is_read() {
    let sizes = [0, 1, 300, 5000, BLOCK_BYTES_SOFT_MAX, ChunkBytes::default().get() + 1];
    let entries: Vec<(String, usize)> =
        (0..2000).map(|at| (format!("key{at}"), if at % 97 == 0 { sizes[at / 97 % 6] } else { at % 60 })).collect();
    for taken_every in [1, 100, 5000] {
        let (header, footer, read) = read(&write(&entries, taken_every)).unwrap();
        assert_eq!((header, footer.end, footer.records, footer.floor, footer.time), (HEADER, Lsn(9), 2000, Version(4), Millis(5)));
        let expected: Vec<(Vec<u8>, usize)> = entries.iter().map(|(key, len)| (key.clone().into_bytes(), *len)).collect();
        assert!(read == expected, "taken every {taken_every}");
    }
    assert_eq!(read(&write(&[], 1)).unwrap().1.records, 0, "an empty one");
}

#[test]
fn every_bit_that_is_another_is_noticed() {
    let file = small();
    for bit in 0..8 * file.len() {
        let mut file = file.clone();
        *file.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        assert!(read(&file).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
    }
}

#[test]
fn every_cut_is_noticed_and_so_is_what_was_put_behind() {
    let file = small();
    for len in 0..file.len() {
        assert!(read(file.get(..len).unwrap()).is_err(), "cut to {len} bytes");
    }
    let longer = [file.as_slice(), &[0]].concat();
    assert_eq!(read(&longer).unwrap_err(), SnapshotError::Trailing(file.len() as u64));
}

#[test]
fn blocks_cannot_be_left_out_or_exchanged() {
    let file = small();
    let first = HEADER_BYTES..HEADER_BYTES + BLOCK_HEADER_BYTES + 2 * 4 + (4 + 1 + 3) + (4 + 2);
    let second = first.end..file.len() - FOOTER_BYTES;
    let (head, foot) = (file.get(..HEADER_BYTES).unwrap(), file.get(second.end..).unwrap());
    let [first, second] = [first, second].map(|range| file.get(range).unwrap());
    assert!(read(&[head, first, second, foot].concat()).is_ok());
    for blocks in [[first, &[]], [second, &[]], [&[], &[]], [second, first], [first, first]] {
        let [a, b] = blocks;
        assert!(read(&[head, a, b, foot].concat()).is_err());
    }
}

#[test]
fn another_format_is_refused_by_its_number() {
    let mut file = small();
    *file.get_mut(8).unwrap() = 2;
    assert_eq!(read(&file).unwrap_err(), SnapshotError::Header(HeaderError::Format(2)));
}

#[test]
fn bytes_may_come_one_by_one() {
    let file = small();
    let mut decoder = Decoder::new(crc32c);
    let mut blocks = 0;
    for byte in &file {
        decoder.feed(core::slice::from_ref(byte)).unwrap();
        while let found = decoder.next().unwrap()
            && !matches!(found, Decoded::More)
        {
            blocks += usize::from(matches!(found, Decoded::Block(_)));
        }
    }
    assert_eq!((blocks, decoder.end().unwrap().records), (2, 3));
}

#[test]
fn a_length_that_is_only_claimed_takes_no_memory() {
    // A block of 4 GiB, whose header is right, and a file that ends there.
    let mut header = BlockHeader { payload_len: u32::MAX, records: 1, previous: HEADER.encode(crc32c).1, payload_crc: 0, crc: 0 };
    let file = [&HEADER.encode(crc32c).0[..], &header.seal(HEADER.salted(crc32c), crc32c)].concat();
    assert_eq!(read(&file).unwrap_err(), SnapshotError::Truncated(file.len() as u64));
}
