//! Snapshots: every place where the machine may go down while they are taken, published, verified, and what they make needless is removed; everything that a power cut may leave there
//! (invariants 2, 3, 5, 6, 7, 9). What is counted is asserted, so that nothing shrinks silently.

use std::collections::BTreeSet;

use osprey_tests::small_scope::snapshots::{SCENES, Seen, explore};

/// Crash points, images, recoveries, those that were cut short; crash points with an operation on snapshots under way; images with a damaged snapshot.
type Counts = (u64, u64, u64, u64, u64, u64);

fn counts(seen: &Seen) -> Counts {
    let tally = seen.tally;
    (tally.crash_points, tally.images, tally.recovered, tally.cut_short, seen.under_way.values().sum(), seen.damaged)
}

#[test]
fn whatever_a_crash_leaves_recovers_and_has_two_generations() {
    let expected: [Counts; SCENES.len()] = [
        (357, 446, 221, 0, 48, 1059),
        (345, 526, 237, 0, 72, 1059),
        (387, 3000, 1418, 0, 56, 1059),
        (378, 3275, 1431, 0, 90, 1059),
        (351, 433, 208, 0, 42, 0),
        (339, 504, 219, 0, 60, 0),
        (363, 2967, 1395, 0, 42, 0),
        (354, 3222, 1400, 0, 66, 0),
        (405, 3018, 1442, 0, 44, 1059),
        (405, 3293, 1455, 0, 70, 1059),
        (357, 446, 221, 3379, 48, 0),
        (405, 3293, 1455, 24_389, 70, 0),
        (1988, 3103, 1495, 0, 28, 0),
        (1728, 2910, 1194, 0, 24, 0),
        (160, 240, 120, 0, 0, 0),
        (589, 808, 403, 0, 180, 0),
        (354, 525, 237, 0, 69, 0),
        (399, 3248, 1554, 0, 60, 0),
        (354, 530, 238, 0, 70, 0),
        (399, 3228, 1542, 0, 60, 0),
    ];
    let mut under_way = BTreeSet::new();
    let found = SCENES.map(|(scene, policy, schedule)| {
        let seen = explore(scene, policy, schedule).unwrap_or_else(|failure| panic!("{failure}"));
        let counts = counts(&seen);
        under_way.extend(seen.under_way.into_keys());
        println!("{counts:?}, // {scene:?}, {policy:?}, {schedule:?}");
        counts
    });
    assert_eq!(found, expected);
    // Every operation, after each of its steps but the last.
    let all = [
        ("append", 0),
        ("create", 0),
        ("discard", 0),
        ("publish", 0),
        ("publish", 1),
        ("publish", 2),
        ("read", 0),
        ("remove", 0),
        ("remove", 1),
        ("remove segment", 0),
        ("remove segment", 1),
    ];
    assert_eq!(under_way, BTreeSet::from(all));
}
