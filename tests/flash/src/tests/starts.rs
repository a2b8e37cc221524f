//! The power is cut after every page and block of a start, and in the start after that again: the one that gets through has all that was acknowledged (invariants 2, 3, 10).

use std::format;
use std::string::String;

use osprey_core::engine::Engine;
use osprey_core::wal::writer::SyncPolicy;

use super::nor::Nor;
use super::power_cuts::{Bench, Client, SLOT_BYTES, SLOTS, Stop, drive};
use crate::FlashLog;
use crate::planted::PLANTED;

const WRITE: usize = 4;

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Starts that were cut short, and starts after one that were.
    cut: u64,
    cut_again: u64,
    /// Blocks whose erasure was torn in them.
    torn_erases: u32,
    through: u64,
}

/// A start, up to where the first request could be served. Whether the power lasted.
fn start(nor: &mut Nor<WRITE>, client: &mut Client, fuel: u64) -> Result<bool, String> {
    nor.power(fuel);
    let lasted = |nor: &Nor<WRITE>, what| if nor.powered() { Err(format!("it cannot be {what}")) } else { Ok(false) };
    let Ok(mut log) = FlashLog::mount(&mut *nor, SLOT_BYTES) else { return lasted(nor, "mounted") };
    let options = client.options(log.segment_bytes());
    let Ok((mut engine, _)) = Engine::recover(options, &mut log, client.now) else {
        drop(log);
        return lasted(nor, "recovered");
    };
    // From here on it may be shown.
    client.judge(&engine)?;
    let driven = drive(&mut engine, &mut log, client.now);
    drop(log);
    match driven {
        Ok(()) => Ok(nor.powered()),
        Err(Stop::Wrong(error)) => Err(error),
        Err(Stop::Storage(_)) => lasted(nor, "written to"),
    }
}

/// Cuts the power everywhere in the start that follows on `rounds` rounds, and as often somewhere in the start after that.
fn cut_everywhere(seed: u64, rounds: u64) -> Result<Seen, String> {
    let mut bench = Bench::<WRITE>::new(SLOTS, seed, SyncPolicy::Always);
    for _ in 0..rounds {
        bench.round()?;
    }
    let mut seen = Seen::default();
    let mut rng = fastrand::Rng::with_seed(seed);
    let erases_torn = bench.nor.torn_erases;
    for fuel in 1.. {
        let (mut nor, mut client) = (bench.nor.clone(), bench.client.clone());
        if start(&mut nor, &mut client, fuel)? {
            break;
        }
        seen.cut += 1;
        for again in [rng.u64(1..fuel + 2), rng.u64(1..fuel + 2), u64::MAX] {
            let (mut nor, mut client) = (nor.clone(), client.clone());
            if !start(&mut nor, &mut client, again)? {
                seen.cut_again += 1;
                assert!(start(&mut nor, &mut client, u64::MAX)?, "the power lasts");
            }
            seen.through += 1;
            seen.torn_erases += nor.torn_erases - erases_torn;
        }
    }
    Ok(seen)
}

fn cut_everywhere_in_many(seeds: u64) -> Result<Seen, String> {
    let mut all = Seen::default();
    for seed in 0..seeds {
        let seen = cut_everywhere(seed, 8 + seed % 40).map_err(|error| format!("seed {seed}: {error}"))?;
        all.cut += seen.cut;
        all.cut_again += seen.cut_again;
        all.torn_erases += seen.torn_erases;
        all.through += seen.through;
    }
    Ok(all)
}

#[test]
fn a_start_may_be_cut_short_anywhere_and_the_next_one_too() {
    let seen = cut_everywhere_in_many(10).unwrap_or_else(|error| panic!("{error}"));
    std::println!("{seen:?}");
    assert!(seen.cut > 500 && seen.cut_again > 800 && seen.torn_erases > 500, "{seen:?}");
}

/// What a start makes certain is needed by the one after it.
#[test]
fn a_start_that_makes_nothing_certain_is_found() {
    let run = || {
        PLANTED.set("last_segment_believed");
        cut_everywhere_in_many(10)
    };
    // A panic is what the flash says to a write that it doesn't take.
    assert!(!std::thread::spawn(run).join().is_ok_and(|seen| seen.is_ok()), "the bug is not found");
}
