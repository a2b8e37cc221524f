//! Every program of up to three operations on two keys, on three kinds of beginnings, under every sync policy, with operations of storage that end at once and that
//! overlap; every crash point in them; everything that a power cut may leave there, sector by sector (invariants 1 to 7). What is counted is asserted,
//! so that nothing shrinks silently: a change of what is written or of its order changes these numbers, a change of anything else doesn't.
//!
//! Four operations take a minute or two:
//! `cargo test --release -p osprey-tests --test small_scope -- --ignored --nocapture`

use osprey_tests::small_scope::explore::{POLICIES, STARTS, explore};
use osprey_tests::small_scope::host::Schedule;
use osprey_tests::small_scope::judge::Tally;
use osprey_tests::small_scope::program::{ALPHABET, programs};

/// All starts and schedules under one of the policies.
fn explore_all(policy: usize, operations_max: u32) -> Tally {
    let mut sum = Tally::default();
    for start in STARTS {
        for schedule in [Schedule::Prompt, Schedule::Late] {
            sum += explore(start, POLICIES[policy], schedule, operations_max).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
    println!("{:?}, up to {operations_max} operations: {sum:?}", POLICIES[policy]);
    sum
}

/// The numbers of programs: each of them runs from 3 starts under 2 schedules.
#[test]
fn no_program_is_left_out() {
    // Eleven operations, of which one can only be the last.
    let (all, inner) = (ALPHABET.len(), ALPHABET.len() - 1);
    assert_eq!(programs(3).count(), 1 + all + inner * all + inner * inner * all);
    let mut distinct: Vec<String> = programs(3).map(|program| format!("{program:?}")).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 1222);
}

#[test]
fn os() {
    let expected = Tally {
        programs: 6 * 1222,
        crash_points: 38_295,
        images: 248_153,
        recovered: 135_991,
        images_of_one_max: 96,
        rotated: 14_797,
        cut_short: 0,
    };
    assert_eq!(explore_all(0, 3), expected);
}

#[test]
fn batch() {
    let expected = Tally {
        programs: 6 * 1222,
        crash_points: 43_492,
        images: 226_620,
        recovered: 123_910,
        images_of_one_max: 96,
        rotated: 16_072,
        cut_short: 0,
    };
    assert_eq!(explore_all(1, 3), expected);
}

#[test]
fn always() {
    let expected = Tally {
        programs: 6 * 1222,
        crash_points: 51_790,
        images: 85_871,
        recovered: 56_768,
        images_of_one_max: 64,
        rotated: 21_185,
        cut_short: 0,
    };
    assert_eq!(explore_all(2, 3), expected);
}

#[test]
#[ignore = "takes a minute or two in release, and much longer without"]
fn four_operations() {
    let mut sum = Tally::default();
    for policy in 0..POLICIES.len() {
        sum += explore_all(policy, 4);
    }
    println!("{sum:?}");
    let images = Tally { images: 5_702_859, recovered: 3_208_849, images_of_one_max: 432, ..Tally::default() };
    assert_eq!(sum, Tally { programs: 3 * 6 * (1222 + 11_000), crash_points: 1_231_658, rotated: 476_400, ..images });
}
