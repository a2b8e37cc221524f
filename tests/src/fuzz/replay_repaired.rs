//! Recovery of a log that was written in order and then damaged, with checksums that are right all the same.
//!
//! - See `recovery.rs`: it holds for any damage.
//! - Without damage nothing is lost: the data is what it was.

use arbitrary::{Arbitrary, Unstructured};
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;

use super::damage::{Damage, Repair, damage, repair};
use super::operations::{all, few};
use super::recovery::assert_recovers_well;
use super::server::Server;
use crate::memory_log::MemoryLog;

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

/// What makes frames of all kinds.
#[derive(Arbitrary, Debug)]
enum Op {
    Set {
        key: u8,
        value_bytes: u8,
        expiry_ms: Option<u8>,
    },
    Mset {
        key: u8,
    },
    Del {
        key: u8,
    },
    Expire {
        key: u8,
        ms: u8,
    },
    Persist {
        key: u8,
    },
    /// What is logged goes out as one frame.
    Store,
    /// Time passes, and what is due is done: syncs, marks.
    Wait {
        ms: u8,
    },
    /// The process is killed, or ends in order, and starts again.
    Restart {
        orderly: bool,
    },
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
        let mut writer = Writer { server: start(MemoryLog::default(), policy, 0, NOW), policy, now: NOW, runs: 1 };
        self.script.iter().for_each(|op| writer.perform(op));
        writer.server.store();

        let Writer { server, now, runs, .. } = writer;
        if self.damage.is_empty() {
            let recovered = start(server.log.clone(), policy, runs, now);
            assert_eq!(recovered.live_entries(), server.live_entries(), "nothing happened to the log, and its data is other data");
        }
        let mut log = server.log;
        self.damage.iter().for_each(|one| damage(&mut log, one));
        repair(&mut log, self.repair);
        assert_recovers_well(&log, now);
    }
}

fn start(log: MemoryLog, policy: SyncPolicy, run: u64, now: Millis) -> Server {
    let (_, recovered) = Server::recover(log, policy, 100 + run, now);
    let (mut server, report) = recovered.unwrap_or_else(|error| panic!("an undamaged log: {error}"));
    assert_eq!(report.torn, None, "an undamaged log");
    server.store();
    server
}

struct Writer {
    server: Server,
    policy: SyncPolicy,
    now: Millis,
    runs: u64,
}

impl Writer {
    fn perform(&mut self, op: &Op) {
        // Few keys, so that they meet again.
        let request = match *op {
            Op::Set { key, value_bytes, expiry_ms } => {
                let value = "v".repeat(usize::from(value_bytes & 63));
                let expiry = expiry_ms.map_or(String::new(), |ms| format!(" EX {}", u16::from(ms) * 16 + 1));
                format!("SET {} {}{expiry}\n{value}\n", key & 15, value.len())
            }
            Op::Mset { key } => format!("MSET {} 1 {} 0 {0} 2\nabc\n", key & 15, key >> 4),
            Op::Del { key } => format!("DEL {}\n", key & 15),
            Op::Expire { key, ms } => format!("EXPIRE {} {ms}\n", key & 15),
            Op::Persist { key } => format!("PERSIST {}\n", key & 15),
            Op::Store => return self.server.store(),
            Op::Wait { ms } => {
                self.now.0 += u64::from(ms) * 16;
                let _ = self.server.engine.tick(self.now);
                return self.server.store();
            }
            Op::Restart { orderly } => return self.restart(orderly),
        };
        if self.server.ask(request.as_bytes(), self.now).is_none() {
            self.server.store();
            assert!(self.server.ask(request.as_bytes(), self.now).is_some(), "storage has done all that it was asked for");
        }
    }

    fn restart(&mut self, orderly: bool) {
        if orderly {
            self.server.close();
        }
        self.runs += 1;
        self.server = start(core::mem::take(&mut self.server.log), self.policy, self.runs, self.now);
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
                let mut writer = Writer { server: start(MemoryLog::default(), policy, 0, NOW), policy, now: NOW, runs: 1 };
                history.iter().for_each(|op| writer.perform(op));
                writer.server.store();
                let log = writer.server.log;
                let name = format!("{directory}/history-{at}-{}", if policy == SyncPolicy::Os { "os" } else { "always" });
                std::fs::write(name, super::super::replay::pack(&log)).unwrap();
            }
        }
    }
}
