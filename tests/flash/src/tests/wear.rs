//! How blocks wear: one key is overwritten ten thousand times, beside data that never changes. Each block must be erased about as often as the others, those that hold the data that rests too, and
//! as seldom as what is written allows.

use std::format;
use std::vec::Vec;

use osprey_core::engine::{Engine, Session};
use osprey_core::wal::writer::SyncPolicy;

use super::nor::{BLOCK_BYTES, Nor};
use super::power_cuts::{Bench, Client, SLOT_BYTES, SLOTS, Stop, drive};
use crate::FlashLog;
use crate::planted::PLANTED;

const OVERWRITES: u32 = 10_000;

/// How often blocks were erased.
#[derive(Clone, Copy, Debug)]
struct Wear {
    least: u32,
    most: u32,
    total: u64,
    written_bytes: u64,
}

impl Wear {
    fn of<const WRITE: usize>(nor: &Nor<WRITE>) -> Self {
        let erases = || nor.erases.iter().copied();
        let (least, most) = (erases().min().unwrap(), erases().max().unwrap());
        Self { least, most, total: erases().map(u64::from).sum(), written_bytes: nor.written_bytes }
    }
}

/// Ten thousand values of 40 bytes for one key, one by one, beside `resting` keys with 100 bytes each; with `starts` starts in all.
fn overwrite<const WRITE: usize>(resting: u32, starts: u32) -> Wear {
    let Bench::<WRITE> { mut nor, mut client } = Bench::new(SLOTS, 1, SyncPolicy::Always);
    for start in 0..starts {
        let mut log = FlashLog::mount(&mut nor, SLOT_BYTES).unwrap();
        let (mut engine, _) = Engine::recover(client.options(log.segment_bytes()), &mut log, client.now).unwrap();
        let _ = drive(&mut engine, &mut log, client.now);
        for key in 0..if start == 0 { resting } else { 0 } {
            ask(&mut client, &mut engine, &mut log, &format!("SET resting-{key} 100\r\n{key:0100}\r\n"));
        }
        for count in 0..OVERWRITES / starts {
            ask(&mut client, &mut engine, &mut log, &format!("SET hot 40\r\n{count:040}\r\n"));
        }
        assert_eq!(engine.store().len(), resting as usize + 1);
    }
    Wear::of(&nor)
}

fn ask<const WRITE: usize>(client: &mut Client, engine: &mut Engine, log: &mut FlashLog<&mut Nor<WRITE>>, request: &str) {
    client.now.0 += 1;
    let (mut session, mut replies) = (Session::new(), Vec::new());
    while replies.is_empty() {
        engine.serve(client.now, &mut session, request.as_bytes(), &mut replies);
        engine.tick(client.now);
        let driven = drive(engine, log, client.now);
        assert!(driven.is_ok() || !matches!(driven, Err(Stop::Storage(_))), "storage has failed");
    }
    assert!(replies.starts_with(b"OK"), "{}", replies.escape_ascii());
}

impl Wear {
    /// Whether blocks wear alike, and the bytes that are erased for each that is written are few.
    fn is_even(self) -> bool {
        let Self { least, most, .. } = self;
        // It has come round to every block, also to those with data at rest.
        least > 5 && most <= 2 * least
    }
}

#[test]
fn ten_thousand_overwrites_wear_all_blocks_alike() {
    for (resting, starts) in [(0, 1), (200, 1), (200, 50)] {
        let wear = overwrite::<16>(resting, starts);
        std::println!("beside {resting} keys at rest, {starts} starts: {wear:?}");
        assert!(wear.is_even(), "beside {resting} keys at rest, {starts} starts: {wear:?}");
        let erased_bytes = wear.total * BLOCK_BYTES as u64;
        assert!(erased_bytes < 6 * wear.written_bytes, "what is erased is mostly full: {wear:?}");
    }
}

#[test]
fn blocks_that_are_not_used_in_turn_are_found() {
    PLANTED.set("first_free_taken");
    let wear = overwrite::<16>(200, 1);
    PLANTED.set("");
    assert!(!wear.is_even(), "the bug is not seen: {wear:?}");
}
