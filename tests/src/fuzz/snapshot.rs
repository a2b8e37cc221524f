//! Snapshots that were taken in order and then damaged, or are any bytes at all, with checksums that are right all the same.
//!
//! - The reader doesn't panic, and no claimed length makes it allocate; in one piece or in fragments it comes to the same end; what it calls whole has as many records as its footer says.
//! - Recovery from snapshots and log: see `recovery.rs`; it holds for any damage.
//! - Damage to snapshots that their checksums tell costs nothing as long as one generation is left, and is refused if none is (invariant 9).

use arbitrary::{Arbitrary, Unstructured};
use osprey_core::checksum::crc32c;
use osprey_core::snapshot::reader::Decoded;
use osprey_core::snapshot::{Decoder, Footer, Header, SnapshotError, SnapshotReader};
use osprey_core::storage::{ChunkBytes, SegmentNumber, SnapshotName};
use osprey_core::units::{Lsn, Millis};
use osprey_core::wal::writer::SyncPolicy;

use super::allocation::largest_request;
use super::damage::{Damage, Repair, damage, repair};
use super::history::{Op, Writer};
use super::operations::{all, few};
use super::recovery::{REQUEST_BYTES_MAX, assert_recovers_well};
use super::server::{EntryCopy, Server};
use super::snapshot_damage::{SnapshotDamage, SnapshotRepair, damage_snapshot, repair_snapshots};
use crate::memory_log::MemoryLog;

const NOW: Millis = Millis(1_700_000_000_000);

/// A history, and what happens to its snapshots and log.
#[derive(Arbitrary, Debug)]
pub struct Input {
    batch: bool,
    /// Chunks of so many sectors more than one: small ones, so that snapshots have several blocks.
    sectors: u8,
    /// How many bytes of a snapshot are there at a time.
    fragment: u8,
    repair: Repair,
    repair_snapshots: SnapshotRepair,
    #[arbitrary(with = few)]
    damage: Vec<Damage>,
    #[arbitrary(with = few)]
    to_snapshots: Vec<SnapshotDamage>,
    #[arbitrary(with = all)]
    script: Vec<Step>,
}

/// What makes snapshots, with writes before, while and after they are taken.
#[derive(Arbitrary, Debug)]
enum Step {
    Log(Op),
    /// A snapshot, from its beginning or from where it is, to its end.
    Snapshot,
    /// One is begun, if none is.
    Begin,
    /// A step of its walk.
    Walk,
}

/// See the module.
pub fn check(data: &[u8]) {
    if let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) {
        input.run();
    }
}

impl Input {
    /// See the module.
    pub fn run(&self) {
        let policy = if self.batch { SyncPolicy::Batch { delay_ms: 100, bytes: 4096 } } else { SyncPolicy::Always };
        let mut writer = Writer::new(policy, NOW);
        writer.chunk = ChunkBytes::nearest(512 * (1 + usize::from(self.sectors & 3)));
        writer.restart(true);
        for step in &self.script {
            match step {
                Step::Log(op) => writer.perform(op),
                Step::Snapshot => writer.server.take_snapshot(writer.now),
                Step::Begin => writer.server.begin_snapshot(),
                Step::Walk => writer.server.walk(writer.now),
            }
        }
        writer.server.store();
        let Writer { server, now, .. } = writer;
        let expected = server.live_entries();
        let whole = server.log;
        whole.1.values().for_each(|file| assert!(check_reader(file, 7).is_ok(), "a snapshot that was taken is whole"));

        let mut damaged = whole.clone();
        self.damage.iter().for_each(|one| damage(&mut damaged, one));
        self.to_snapshots.iter().for_each(|one| damage_snapshot(&mut damaged.1, one));
        if self.damage.is_empty() {
            assert_told(&whole, &damaged, &expected, now);
        }
        repair(&mut damaged, self.repair);
        repair_snapshots(&mut damaged.1, self.repair_snapshots);
        for file in damaged.1.values() {
            let _ = check_reader(file, usize::from(self.fragment));
        }
        assert_recovers_well(&damaged, now);
    }
}

/// Whatever has happened to the snapshots, and to them alone, their checksums tell it.
fn assert_told(whole: &MemoryLog, damaged: &MemoryLog, expected: &[EntryCopy], now: Millis) {
    let last = Server::recover(whole.clone(), SyncPolicy::Always, 50, now).1.map(|(server, _)| server.engine.last_lsn());
    let last = last.unwrap_or_else(|error| panic!("an undamaged directory: {error}"));
    let claims_more = damaged.1.keys().any(|name| name.end > last);
    let generation = whole.1.iter().any(|(name, file)| damaged.1.get(name) == Some(file)) || whole.0.contains_key(&SegmentNumber(1));
    match Server::recover(damaged.clone(), SyncPolicy::Always, 51, now).1 {
        Ok((recovered, report)) => {
            assert_eq!(recovered.live_entries(), expected, "damaged snapshots, and other data: {report:?}");
            assert!(!claims_more, "a snapshot names more log than there is");
        }
        Err(error) => assert!(!generation || claims_more, "one generation is whole, and yet: {error}"),
    }
}

/// Reads a file in one piece and in fragments.
fn check_reader(file: &[u8], fragment: usize) -> Result<(Header, Footer), SnapshotError> {
    let (read, request) = largest_request(|| read_whole(file));
    assert!(request <= REQUEST_BYTES_MAX + 4 * file.len(), "asks for {request} bytes at once to read {}", file.len());
    let (in_fragments, request) = largest_request(|| read_in_fragments(file, fragment.max(1)));
    assert!(request <= REQUEST_BYTES_MAX + 4 * file.len(), "asks for {request} bytes at once to read {} in fragments", file.len());
    assert_eq!(read, in_fragments, "in fragments of {fragment} bytes");
    read.map(|(header, footer, records)| {
        assert_eq!(footer.records, records);
        assert!(footer.end >= header.begin);
        (header, footer)
    })
}

type Read = Result<(Header, Footer, u64), SnapshotError>;

fn read_whole(file: &[u8]) -> Read {
    let read = |offset: u64, buffer: &mut [u8]| {
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    };
    let mut reader = SnapshotReader::new(read, crc32c);
    let header = reader.header()?;
    let mut records = 0;
    while let Some(block) = reader.next_block()? {
        records += block.records().map(|record| assert!(!record.key.is_empty(), "a key has a byte at least")).count() as u64;
    }
    let footer = *reader.footer().expect("behind the last block");
    Ok((header, footer, records))
}

fn read_in_fragments(file: &[u8], fragment: usize) -> Read {
    let mut decoder = Decoder::new(crc32c);
    let mut records = 0;
    for piece in file.chunks(fragment) {
        decoder.feed(piece)?;
        loop {
            match decoder.next()? {
                Decoded::More => break,
                Decoded::Block(block) => records += block.records().count() as u64,
                Decoded::Header(_) | Decoded::Footer(_) => {}
            }
        }
    }
    let footer = decoder.end()?;
    Ok((*decoder.header().expect("before the footer"), footer, records))
}

/// Whether a snapshot's epoch or LSNs are near the highest that are accepted, where a log that goes on must end.
pub(super) fn is_near_the_end(name: SnapshotName, file: &[u8]) -> bool {
    let header = file.first_chunk().and_then(|bytes| Header::decode(bytes, crc32c).ok());
    name.end > Lsn(1 << 62) || header.is_some_and(|(header, _)| header.epoch > 1 << 62)
}

#[cfg(test)]
mod tests {
    use super::super::damage::Value;
    use super::super::snapshot_damage::{BlockField, FooterField};
    use super::*;

    const NO_REPAIR: Repair = Repair { headers: false, frames: false, chain: false };
    const EVERYTHING: SnapshotRepair = SnapshotRepair { headers: true, blocks: true, chain: true, counts: true };
    const NOTHING: SnapshotRepair = SnapshotRepair { headers: false, blocks: false, chain: false, counts: false };

    fn set(key: u8) -> Step {
        Step::Log(Op::Set { key, value_bytes: 60, expiry_ms: key.is_multiple_of(5).then_some(9) })
    }

    /// Three snapshots, of which two are kept, writes in the middle of each, and a restart.
    fn script() -> Vec<Step> {
        let mut script = Vec::new();
        for round in 0..3 {
            script.extend((0..16).map(set));
            script.extend([Step::Begin, set(round), Step::Log(Op::Del { key: round + 5 }), Step::Walk, set(round + 1), Step::Snapshot]);
        }
        script.extend([set(1), Step::Log(Op::Restart { orderly: false }), set(2)]);
        script
    }

    fn run(repair_snapshots: SnapshotRepair, to_snapshots: Vec<SnapshotDamage>) {
        let (damage, script) = (vec![], script());
        Input { batch: false, sectors: 0, fragment: 9, repair: NO_REPAIR, repair_snapshots, damage, to_snapshots, script }.run();
    }

    #[test]
    fn the_script_leaves_two_generations_of_several_blocks() {
        let mut writer = Writer::new(SyncPolicy::Always, NOW);
        writer.chunk = ChunkBytes::MIN;
        writer.restart(true);
        for step in script() {
            match step {
                Step::Log(op) => writer.perform(&op),
                Step::Snapshot => writer.server.take_snapshot(NOW),
                Step::Begin => writer.server.begin_snapshot(),
                Step::Walk => writer.server.walk(NOW),
            }
        }
        let MemoryLog(segments, snapshots) = writer.server.log;
        assert!(!snapshots.is_empty() && snapshots.len() <= 2, "{snapshots:?}");
        for (name, file) in &snapshots {
            assert!(name.begin < name.end, "{name}: written to while it was taken");
            assert!(file.windows(4).filter(|window| window == b"OSB1").count() > 1, "{name}");
        }
        assert!(!segments.contains_key(&SegmentNumber(1)));
    }

    #[test]
    fn every_field_of_each_part() {
        for value in [Value::More(1), Value::More(-1), Value::Most, Value::This(0)] {
            for repair in [NOTHING, EVERYTHING] {
                for snapshot in 0..2 {
                    for field in BlockField::ALL {
                        run(repair, vec![SnapshotDamage::Block { snapshot, block: 0, field, value }]);
                    }
                    for field in FooterField::ALL {
                        run(repair, vec![SnapshotDamage::Footer { snapshot, field, value }]);
                    }
                }
            }
        }
    }

    #[test]
    fn without_damage_and_without_all() {
        run(NOTHING, vec![]);
        run(NOTHING, vec![SnapshotDamage::Remove { snapshot: 1 }]);
        run(NOTHING, vec![SnapshotDamage::Remove { snapshot: 0 }, SnapshotDamage::Remove { snapshot: 0 }]);
        run(EVERYTHING, vec![SnapshotDamage::Insert { begin: 0, end: 200, bytes: b"OSPREYSN".to_vec() }]);
    }
}
