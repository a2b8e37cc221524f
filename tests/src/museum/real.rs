//! Bugs of the server and the tools, and those of the core that matter to them. No simulator sees them: each is to be found by a test of the real programs, which runs once with the
//! bug planted, and must fail.

/// A planted bug, and the test that finds it.
#[derive(Clone, Copy, Debug)]
pub struct RealExhibit {
    /// What it is called in the code.
    pub name: &'static str,
    /// The file that it is in.
    pub place: &'static str,
    /// What goes wrong.
    pub story: &'static str,
    /// In which file of `tests/tests` the test is.
    pub file: &'static str,
    /// Which it is.
    pub test: &'static str,
}

const fn bug(name: &'static str, place: &'static str, (file, test): (&'static str, &'static str), story: &'static str) -> RealExhibit {
    RealExhibit { name, place, story, file, test }
}

const STORAGE: &str = "host/src/storage.rs";
const DRAFTS: &str = "host/src/storage/snapshots.rs";
const SURVIVES: (&str, &str) = ("power_cut", "a_snapshot_that_was_acknowledged_survives");
const ANSWERED: (&str, &str) = ("snapshot_server", "snapshot_is_answered_when_it_is_there_and_others_are_served_meanwhile");
const SHORTER: (&str, &str) = ("snapshot_server", "the_log_is_shorter_after_the_next_one");
const KEPT: (&str, &str) = ("snapshot_server", "what_is_to_be_kept_can_be_restored_and_no_more");
const SIGNALLED: (&str, &str) = ("snapshot_server", "sigusr1_asks_for_one");
const KILLED: (&str, &str) = ("kill", "nothing_acknowledged_is_lost_while_snapshots_are_taken");
const NO_ROOM: (&str, &str) = ("full_disk", "a_disk_without_room_for_a_snapshot_serves_until_the_log_is_full_and_then_reads");
const GIVEN_UP: (&str, &str) = ("full_disk", "a_snapshot_that_meets_a_full_disk_is_given_up_and_poisons_nothing");

/// All of them.
pub const REAL_EXHIBITS: &[RealExhibit] = &[
    bug("draft_published_unsynced", DRAFTS, SURVIVES, "a snapshot gets its name before its bytes are on disk"),
    bug("published_name_unsynced", DRAFTS, SURVIVES, "SNAPSHOT is answered when the snapshot's name may still be lost"),
    bug("draft_left", DRAFTS, GIVEN_UP, "what was written of a snapshot that is given up stays, and takes the space"),
    bug("draft_under_its_name", DRAFTS, KILLED, "a snapshot has its name as soon as it is begun"),
    bug("segment_not_removed", DRAFTS, SHORTER, "the log is not cut"),
    bug("reserved_in_name_only", STORAGE, NO_ROOM, "space for the log is not set aside: the full disk is met in the middle of an append"),
    bug("answered_before_published", "core/src/engine/execute.rs", ANSWERED, "SNAPSHOT is answered when the snapshot is begun"),
    bug("snapshot_failure_poisons", "core/src/engine/mod.rs", GIVEN_UP, "a snapshot that can't be written takes the log along"),
    bug("replayed_from_the_end", "core/src/recovery.rs", KILLED, "the log is replayed from the walk's end, not from its beginning"),
    bug("hours_not_kept", "host/src/server/settings.rs", KEPT, "wal_keep_hours keeps nothing"),
    bug("signal_unheard", "host/src/server/signals.rs", SIGNALLED, "SIGUSR1 is said, and nothing done"),
];
