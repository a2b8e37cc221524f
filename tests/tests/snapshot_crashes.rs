//! Snapshots: every place where the machine may go down while they are taken, published, verified, and what they make needless is removed; everything that a power cut may leave there
//! (invariants 2, 3, 5, 6, 7, 9). What is counted is asserted, so that nothing shrinks silently.

use std::collections::BTreeSet;

use osprey_tests::small_scope::snapshots::{SCENES, Seen, explore};

/// Crash points, images, recoveries; crash points with an operation on snapshots under way; images with a damaged snapshot.
type Counts = (u64, u64, u64, u64, u64);

fn counts(seen: &Seen) -> Counts {
    (seen.tally.crash_points, seen.tally.images, seen.tally.recovered, seen.under_way.values().sum(), seen.damaged)
}

#[test]
fn whatever_a_crash_leaves_recovers_and_has_two_generations() {
    let expected: [Counts; SCENES.len()] = [
        (357, 446, 221, 48, 1059),
        (345, 526, 237, 72, 1059),
        (387, 3000, 1418, 56, 1059),
        (378, 3275, 1431, 90, 1059),
        (351, 433, 208, 42, 0),
        (339, 504, 219, 60, 0),
        (363, 2967, 1395, 42, 0),
        (354, 3222, 1400, 66, 0),
        (160, 240, 120, 0, 0),
        (589, 808, 403, 180, 0),
        (354, 525, 237, 69, 0),
        (399, 3248, 1554, 60, 0),
        (354, 530, 238, 70, 0),
        (399, 3228, 1542, 60, 0),
    ];
    let mut under_way = BTreeSet::new();
    for ((scene, policy, schedule), expected) in SCENES.into_iter().zip(expected) {
        let seen = explore(scene, policy, schedule).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(counts(&seen), expected, "{scene:?}, {policy:?}, {schedule:?}");
        under_way.extend(seen.under_way.into_keys());
    }
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
