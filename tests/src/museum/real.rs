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

const SEGMENTS: &str = "host/src/storage/segment_file.rs";
const DRAFTS: &str = "host/src/storage/snapshots.rs";
const SURVIVES: (&str, &str) = ("power_cut", "a_snapshot_that_was_acknowledged_survives");
const ANSWERED: (&str, &str) = ("snapshot_server", "snapshot_is_answered_when_it_is_there_and_others_are_served_meanwhile");
const SHORTER: (&str, &str) = ("snapshot_server", "the_log_is_shorter_after_the_next_one");
const KEPT: (&str, &str) = ("snapshot_server", "what_is_to_be_kept_can_be_restored_and_no_more");
const SIGNALLED: (&str, &str) = ("snapshot_server", "sigusr1_asks_for_one");
const KILLED: (&str, &str) = ("kill", "nothing_acknowledged_is_lost_while_snapshots_are_taken");
const EMBEDDED: (&str, &str) = ("db_snapshot_crashes", "snapshots_lose_nothing_wherever_the_machine_goes_down");
const DUMP: &str = "tools_dump";
const BACKUP: &str = "tools_backup";
const DAMAGED_SNAPSHOTS: &str = "tools_snapshots";
const REPAIR: &str = "tools_repair";
const SET_ASIDE: (&str, &str) = ("tools_crashes", "a_repair_that_writes_one_segment_anew_and_sets_a_snapshot_aside");
const CUT: (&str, &str) = ("tools_crashes", "a_repair_that_cuts");
const REPAIR_CRASHES: (&str, &str) = ("tools_crashes", "a_repair_of_segments_with_wrong_names");
const NO_ROOM: (&str, &str) = ("full_disk", "a_disk_without_room_for_a_snapshot_serves_until_the_log_is_full_and_then_reads");
const GIVEN_UP: (&str, &str) = ("full_disk", "a_snapshot_that_meets_a_full_disk_is_given_up_and_poisons_nothing");

/// All of them.
pub const REAL_EXHIBITS: &[RealExhibit] = &[
    bug("draft_published_unsynced", DRAFTS, SURVIVES, "a snapshot gets its name before its bytes are on disk"),
    bug("published_name_unsynced", DRAFTS, SURVIVES, "SNAPSHOT is answered when the snapshot's name may still be lost"),
    bug("draft_left", DRAFTS, GIVEN_UP, "what was written of a snapshot that is given up stays, and takes the space"),
    bug("draft_under_its_name", DRAFTS, KILLED, "a snapshot has its name as soon as it is begun"),
    bug("segment_not_removed", DRAFTS, SHORTER, "the log is not cut"),
    bug("reserved_in_name_only", SEGMENTS, NO_ROOM, "space for the log is not set aside: the full disk is met in the middle of an append"),
    bug("answered_before_published", "core/src/engine/answer.rs", ANSWERED, "SNAPSHOT is answered when the snapshot is begun"),
    bug("snapshot_failure_poisons", "core/src/engine/hand_off.rs", GIVEN_UP, "a snapshot that can't be written takes the log along"),
    bug("replayed_from_the_end", "core/src/recovery/choose.rs", KILLED, "the log is replayed from the walk's end, not from its beginning"),
    bug(
        "snapshot_returned_early",
        "core/src/db/upkeep.rs",
        EMBEDDED,
        "Db::snapshot returns when the walk is done, and the snapshot has no name yet",
    ),
    bug("hours_not_kept", "host/src/server/settings.rs", KEPT, "wal_keep_hours keeps nothing"),
    bug(
        "salvage_forgets_floor",
        "host/src/tools/salvage.rs",
        (DAMAGED_SNAPSHOTS, "of_damaged_snapshots_whole_blocks_are_saved"),
        "versions that lost entries had are given again",
    ),
    bug(
        "spare_unchecked",
        "host/src/tools/generations.rs",
        (DAMAGED_SNAPSHOTS, "damage_to_what_only_the_older_generation_needs_is_warned_of"),
        "check does not look at what a start does not need",
    ),
    bug(
        "snapshots_unchecked",
        "host/src/tools/directory.rs",
        (DAMAGED_SNAPSHOTS, "a_damaged_snapshot_is_set_aside_and_nothing_is_lost"),
        "check does not look at the spare snapshot",
    ),
    bug(
        "restored_one_record_more",
        "host/src/tools/restore.rs",
        (BACKUP, "a_backup_is_restored_whole_or_as_of_an_earlier_moment"),
        "restore --at goes one LSN too far",
    ),
    bug(
        "backup_without_snapshots",
        "host/src/tools/backup.rs",
        (BACKUP, "snapshots_are_checked_and_backed_up_with_the_log"),
        "a backup is the log alone",
    ),
    bug(
        "dumped_as_text",
        "host/src/tools/line.rs",
        (DUMP, "a_dump_loaded_and_dumped_again_is_the_same"),
        "bytes that are no text are lost in a dump",
    ),
    bug(
        "floor_not_loaded",
        "host/src/tools/target.rs",
        (DUMP, "a_dump_loaded_and_dumped_again_is_the_same"),
        "load forgets the version floor",
    ),
    bug("nothing_set_aside", "host/src/tools/repair.rs", (REPAIR, "a_bit_in_a_frames_payload"), "repair keeps no copy of what it replaces"),
    bug("repair_not_carried_on", "host/src/tools/repair.rs", REPAIR_CRASHES, "a repair that was interrupted is forgotten"),
    bug(
        "filled_without_a_note",
        "host/src/tools/new_directory.rs",
        ("tools_crashes", "a_restore_half_way_is_no_database"),
        "a directory that is half restored looks like one that is empty",
    ),
    bug("set_aside_unsynced", "host/src/tools/repair.rs", SET_ASIDE, "repair changes names before what it has set aside is on disk"),
    bug("what_stays_unsynced", "host/src/tools/repair.rs", REPAIR_CRASHES, "repair builds on segments that are not on disk"),
    bug("note_unsynced", "host/src/tools/repair.rs", CUT, "repair changes names before the note of what is to be done is on disk"),
    bug(
        "renamed_unsynced",
        "host/src/tools/segment_file.rs",
        REPAIR_CRASHES,
        "a segment that was written anew gets its name before it is on disk",
    ),
    bug("signal_unheard", "host/src/server/signals.rs", SIGNALLED, "SIGUSR1 is said, and nothing done"),
];
