//! Recovery of a log that was written in order and then damaged, with checksums that are right all the same.
//!
//! - See `recovery.rs`: it holds for any damage.
//! - Without damage nothing is lost: the data is what it was.

use arbitrary::{Arbitrary, Unstructured};
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;

use super::damage::{Damage, Repair, damage, repair};
use super::history::{Op, Writer};
use super::operations::{all, few};
use super::recovery::assert_recovers_well;

const NOW: Millis = Millis(1_700_000_000_000);

/// A history, and what happens to its log.
#[derive(Arbitrary, Debug)]
pub struct Input {
    batch: bool,
    repair: Repair,
    #[arbitrary(with = few)]
    damage: Vec<Damage>,
    #[arbitrary(with = all)]
    script: Vec<Op>,
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
        self.script.iter().for_each(|op| writer.perform(op));
        writer.server.store();

        if self.damage.is_empty() {
            let recovered = writer.recovered();
            assert_eq!(recovered.live_entries(), writer.server.live_entries(), "nothing happened to the log, and its data is other data");
        }
        let Writer { server, now, .. } = writer;
        let mut log = server.log;
        self.damage.iter().for_each(|one| damage(&mut log, one));
        repair(&mut log, self.repair);
        assert_recovers_well(&log, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::damage::{FrameField, HeaderField, Value};
    use super::*;

    const EVERYTHING: Repair = Repair { headers: true, frames: true, chain: false };

    fn set(key: u8) -> Op {
        Op::Set { key, value_bytes: 20, expiry_ms: key.is_multiple_of(3).then_some(9) }
    }

    /// Its frames could be read, since they continued what the header said; what was written behind them couldn't.
    #[test]
    fn a_first_segment_that_continues_another() {
        let chain = Damage::Header { segment: 0, field: HeaderField::Chain, value: Value::This(7) };
        let previous = Damage::Frame { segment: 0, frame: 0, field: FrameField::Previous, value: Value::This(7) };
        Input { batch: false, repair: EVERYTHING, damage: vec![chain.clone()], script: vec![] }.run();
        Input { batch: false, repair: EVERYTHING, damage: vec![chain, previous], script: vec![set(1), Op::Store] }.run();
    }

    /// A new segment would have replaced it.
    #[test]
    fn a_segment_with_the_last_number() {
        let number = Damage::Number { segment: 0, value: Value::Most };
        Input { batch: false, repair: EVERYTHING, damage: vec![number], script: vec![set(1), Op::Store] }.run();
    }

    #[test]
    fn a_frame_that_claims_to_be_longer_than_its_segment() {
        for value in [Value::More(1), Value::More(64), Value::Most] {
            let length = Damage::Frame { segment: 0, frame: 0, field: FrameField::PayloadLength, value };
            Input { batch: false, repair: EVERYTHING, damage: vec![length], script: vec![set(1), Op::Store, set(2)] }.run();
        }
    }

    #[test]
    fn a_frame_that_claims_other_records_than_it_has() {
        for value in [Value::More(-1), Value::More(1), Value::Most] {
            let records = Damage::Frame { segment: 0, frame: 0, field: FrameField::Records, value };
            Input { batch: false, repair: EVERYTHING, damage: vec![records], script: vec![set(1), Op::Store] }.run();
        }
    }

    /// `cargo test -p osprey-tests -- --ignored write_seeds` writes the seeds of `replay` into its corpus.
    #[test]
    #[ignore = "writes into fuzz/corpus; needed when the format has changed"]
    fn write_seeds() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/replay");
        std::fs::create_dir_all(directory).unwrap();
        let histories = [
            vec![],
            vec![set(1), set(2), Op::Del { key: 1 }],
            vec![set(3), Op::Store, Op::Expire { key: 3, ms: 9 }, Op::Store, Op::Persist { key: 3 }],
            vec![Op::Mset { key: 0x21 }, Op::Wait { ms: 90 }, Op::Wait { ms: 90 }],
            vec![set(1), Op::Restart { orderly: true }, set(2), Op::Restart { orderly: false }, set(3)],
            (0..60).flat_map(|key| [set(key), Op::Store]).collect(),
        ];
        for (at, history) in histories.iter().enumerate() {
            for policy in [SyncPolicy::Os, SyncPolicy::Always] {
                let mut writer = Writer::new(policy, NOW);
                history.iter().for_each(|op| writer.perform(op));
                writer.server.store();
                let log = writer.server.log;
                let name = format!("{directory}/history-{at}-{}", if policy == SyncPolicy::Os { "os" } else { "always" });
                std::fs::write(name, super::super::replay::pack(&log)).unwrap();
            }
        }
    }
}
