//! The bugs of the museum.

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Exhibit {
    /// What it is called in the code.
    pub name: &'static str,
    /// The file that it is in.
    pub place: &'static str,
    /// What goes wrong, and who had it.
    pub story: &'static str,
    /// Within so many seeds it must be found.
    pub budget: u64,
    /// Where seeds find it too seldom: the saved tape that must.
    pub tape: Option<&'static str>,
    /// Whether it must be found where the crashes of snapshots are enumerated, too; without a budget only there.
    pub enumerated: bool,
    /// Of a broken check: the bug that it finds as long as it is whole. With both planted that bug must get away, or
    /// be found by another check.
    pub witness: Option<&'static str>,
    /// Whether it is one of the few that `--fast` runs.
    pub fast: bool,
}

const fn bug(name: &'static str, place: &'static str, budget: u64, story: &'static str) -> Exhibit {
    Exhibit { name, place, story, budget, tape: None, enumerated: false, witness: None, fast: false }
}

/// A bug that takes too much coming together for seeds.
const fn tape(name: &'static str, place: &'static str, tape: &'static str, story: &'static str) -> Exhibit {
    Exhibit { name, place, story, budget: 0, tape: Some(tape), enumerated: false, witness: None, fast: false }
}

/// A bug of snapshots, found by seeds and by `small_scope::snapshots`.
const fn snapshot(name: &'static str, place: &'static str, budget: u64, story: &'static str) -> Exhibit {
    Exhibit { name, place, story, budget, tape: None, enumerated: true, witness: None, fast: false }
}

/// A check that is broken.
const fn check(name: &'static str, place: &'static str, witness: &'static str, budget: u64, story: &'static str) -> Exhibit {
    Exhibit { name, place, story, budget, tape: None, enumerated: false, witness: Some(witness), fast: false }
}

impl Exhibit {
    const fn fast(self) -> Self {
        Self { fast: true, ..self }
    }
}

const WRITER: &str = "core/src/wal/writer.rs";
const WRITER_APPEND: &str = "core/src/wal/writer/append.rs";
const WRITER_PENDING: &str = "core/src/wal/writer/pending.rs";
const WRITER_ROTATION: &str = "core/src/wal/writer/rotation.rs";
const WRITER_SYNC: &str = "core/src/wal/writer/sync.rs";
const FRAME: &str = "core/src/wal/frame.rs";
const RECOVERY_CHOOSE: &str = "core/src/recovery/choose.rs";
const RECOVERY_REPLAY: &str = "core/src/recovery/replay.rs";
const RECOVERY_TAIL: &str = "core/src/recovery/tail.rs";
const STORE_LOOKUP: &str = "core/src/store/lookup.rs";
const STORE_REPLAY: &str = "core/src/store/replay.rs";
const STORE_SWEEP: &str = "core/src/store/sweep.rs";
const ENGINE: &str = "core/src/engine/mod.rs";
const ENGINE_HAND_OFF: &str = "core/src/engine/hand_off.rs";
const ENGINE_SERVE: &str = "core/src/engine/serve.rs";
const ENGINE_START: &str = "core/src/engine/start.rs";
const EXECUTE: &str = "core/src/engine/execute.rs";
const JOURNAL: &str = "core/src/engine/journal.rs";
const REQUEST: &str = "core/src/protocol/request/mod.rs";
const RETENTION: &str = "core/src/engine/retention.rs";
const SNAPSHOTS: &str = "core/src/engine/snapshots.rs";
const SNAPSHOT_READER: &str = "core/src/snapshot/reader.rs";
const SNAPSHOT_VERIFY: &str = "core/src/engine/snapshots/verify.rs";
const ENUMERATED_DISK: &str = "tests/src/small_scope/disk/operations.rs";
const SIMULATOR: &str = "tests/src/simulator/snapshots.rs";
const HOST: &str = "tests/src/simulator/disk/operations.rs";

/// All of them.
pub const EXHIBITS: &[Exhibit] = &[
    bug("early_acknowledgement", WRITER_APPEND, 100, "`always` answers when the log is written, not when it is synced").fast(),
    bug("acknowledged_before_logged", WRITER, 100, "answers before the log is saved (etcd #14370)"),
    bug("short_length", WRITER_PENDING, 2000, "a record's length loses what is above 16 bits (fjall #68)"),
    bug("gate_a_frame_early", WRITER_PENDING, 100, "a reply waits for the frame under way, and its record is in the next"),
    bug("read_only_for_ever", WRITER, 100, "after a full disk no other reservation is ever tried").fast(),
    bug("closed_before_durable", WRITER, 100, "the orderly end is reported when all is written, not when it is synced"),
    bug("goes_on_poisoned", WRITER, 100, "after a failed append the log goes on (fjall #308)"),
    bug("retried_sync", WRITER, 100, "a failed sync is taken for one that will do better next time (PostgreSQL, 2018)").fast(),
    bug("full_segment_unsynced", WRITER_ROTATION, 1000, "rotation leaves the full segment to the system: its last frames are lost"),
    bug("synced_sector_rewritten", WRITER_APPEND, 1000, "no frame begins in a fresh sector: a torn write reaches synced data").fast(),
    bug("synced_sector_shared", WRITER_SYNC, 1000, "the frame behind a sync beside the loop shares the last sector that was synced"),
    bug("sync_covers_append_under_way", WRITER_SYNC, 1000, "what was appended during a sync counts as synced by it"),
    bug("payload_unchecked", FRAME, 1000, "the payload's checksum is not compared"),
    bug("frame_header_unchecked", FRAME, 1000, "the frame header's checksum is not compared"),
    bug("segment_header_unchecked", "core/src/wal/segment.rs", 1000, "the segment header's checksum is not compared"),
    bug("unsalted", FRAME, 1000, "checksums without salt: a client stores a value that looks like a frame"),
    bug(
        "damage_cut_as_torn",
        RECOVERY_TAIL,
        1000,
        "damage to synced records is cut silently: what tells it from a torn tail is not armed (Pebble #453)",
    )
    .fast(),
    bug("cut_before_refused", RECOVERY_TAIL, 1000, "recovery cuts before it has judged"),
    bug("torn_tail_left", RECOVERY_TAIL, 1000, "a torn tail stays, and the log goes on behind it (fjall #308, LevelDB)"),
    bug("recovered_unsynced", RECOVERY_TAIL, 1000, "a new run builds on what it has read, and that was never synced"),
    bug("segment_reused", RECOVERY_REPLAY, 100, "a new run begins in the last run's segment"),
    bug("chain_of_replaced_segment", RECOVERY_REPLAY, 1000, "an empty segment is replaced by one that continues the wrong frame"),
    bug("version_restart", RECOVERY_REPLAY, 1000, "the version floor is not kept over a restart"),
    bug("deleted_key_back", STORE_REPLAY, 100, "a deletion is not replayed"),
    bug("floor_below_expired", STORE_SWEEP, 100, "the version floor is not raised by a key that expires"),
    bug("version_below_floor", STORE_LOOKUP, 100, "a key in an expired one's place counts on from that one's version"),
    bug("swept_too_early", STORE_SWEEP, 100, "the sweep removes a key that was given a later expiry"),
    bug("move_not_noted", STORE_SWEEP, 1000, "the index still points to where an entry was before memory was gathered"),
    bug("length_not_noted", "core/src/store/slabs/mod.rs", 100, "a value in the place of a longer one keeps its end"),
    bug("walk_skips_split_tables", "core/src/store/index.rs", 1000, "a walk takes every table for as deep as the first").fast(),
    bug("time_forgotten", ENGINE_START, 1000, "the time high-water is ignored: with a clock set back expired keys return").fast(),
    bug("clock_in_replay", ENGINE_START, 1000, "replay looks at the clock and drops what has expired by it"),
    bug("replies_without_bound", ENGINE_SERVE, 100, "a client that does not read makes the server hold more and more"),
    bug("swept_before_certain", ENGINE, 1000, "the sweep removes what has expired by a time that a crash may forget"),
    bug("reads_ungated", JOURNAL, 100, "a read shows a write that is not durable yet").fast(),
    bug("expiry_ungated", JOURNAL, 100, "a reply shows that a key has expired before that is certain"),
    bug("mget_ungated", EXECUTE, 100, "MGET shows writes that are not durable yet"),
    bug("scan_ungated", EXECUTE, 100, "SCAN shows keys whose writes are not durable yet"),
    bug("mset_notes_one_key", EXECUTE, 1000, "reads of the other keys of an MSET do not wait for it"),
    bug("half_an_mset", EXECUTE, 1000, "an MSET that meets the memory limit leaves its first keys"),
    bug("delete_not_logged", EXECUTE, 100, "DEL removes the key from memory only"),
    bug("increment_wraps", EXECUTE, 100, "INCR wraps at the end of its range"),
    bug("expiry_not_logged", EXECUTE, 100, "the record in the log has lost the expiry (KEEPTTL, EX)"),
    bug("relative_expiry_logged", EXECUTE, 100, "EXPIRE logs milliseconds from now"),
    bug("out_of_step", REQUEST, 1000, "after a payload without line end its rest is run as commands"),
    bug("directory_unsynced", HOST, 1000, "a new segment's name is not durable (LevelDB and others: Pillai et al., OSDI 2014)").fast(),
    bug("header_unsynced", HOST, 1000, "a segment is renamed before its header is synced (ext4, 2009)"),
    bug("recycled_segment", HOST, 100, "a reserved segment still holds the frames of an old one (Pebble #864)"),
    tape(
        "recovered_name_unsynced",
        "tests/src/simulator/disk/recovery.rs",
        "header-under-a-lost-name",
        "recovery believes a header whose name a power cut can still take (Osprey, found by the simulator)",
    ),
    bug(
        "append_buffered",
        "tests/src/simulator/disk/mod.rs",
        100,
        "the host keeps appends in a buffer of its own: they go with the process",
    ),
    bug("append_synced_in_name_only", HOST, 100, "the host reports a sync that it has not done"),
    snapshot("published_before_durable", SNAPSHOTS, 100, "a snapshot is published before the log is durable as far as its entries reach")
        .fast(),
    snapshot("older_generation_removed_first", SNAPSHOTS, 0, "an older snapshot makes room before the new one is there"),
    snapshot("snapshot_not_verified", SNAPSHOT_VERIFY, 100, "a snapshot counts as a generation without having been read back"),
    snapshot(
        "spare_gone_unchecked",
        SNAPSHOT_VERIFY,
        0,
        "the older generation makes room without a look whether the newest is still whole",
    ),
    snapshot("no_spare_generation", RETENTION, 100, "only the newest snapshot is kept, with the log behind it"),
    snapshot("segment_of_the_spare_removed", RETENTION, 100, "the older snapshot is kept, and not the log behind it"),
    bug("window_not_kept", RETENTION, 100, "what is to be restorable is removed"),
    bug(
        "snapshot_taken_twice",
        SNAPSHOTS,
        1000,
        "a snapshot of the same name counts as the spare of the one that it replaces (Osprey, found by the simulator)",
    ),
    bug(
        "damaged_one_not_forgotten",
        SNAPSHOT_VERIFY,
        1000,
        "a snapshot in the place of a damaged one of the same name is removed as that (Osprey, found by the simulator)",
    ),
    bug("answered_before_published", "core/src/engine/answer.rs", 100, "SNAPSHOT is answered when the snapshot is begun"),
    bug("snapshot_failure_poisons", ENGINE_HAND_OFF, 100, "a snapshot that can't be written takes the log along"),
    snapshot(
        "replayed_from_the_end",
        RECOVERY_CHOOSE,
        100,
        "the log is replayed from the walk's end, not from its beginning: deleted keys are back",
    )
    .fast(),
    bug(
        "later_version_used_up",
        STORE_REPLAY,
        1000,
        "a deletion that the snapshot is ahead of uses up the version that is still to come (Osprey, found by the simulator)",
    ),
    bug("oldest_snapshot_first", RECOVERY_CHOOSE, 100, "the oldest snapshot is loaded, and more of the log replayed than must be"),
    snapshot("snapshot_floor_lost", RECOVERY_CHOOSE, 1000, "the version floor is not taken from the snapshot"),
    bug("snapshot_time_lost", RECOVERY_CHOOSE, 1000, "the time is not taken from the snapshot"),
    bug("snapshot_claims_nothing", RECOVERY_TAIL, 2000, "a log that ends before a snapshot's S1 is taken for torn"),
    snapshot("snapshot_footer_unchecked", SNAPSHOT_READER, 1000, "a snapshot's footer is not compared with its blocks, nor its checksum"),
    snapshot("snapshot_payload_unchecked", SNAPSHOT_READER, 1000, "the checksum of a block's payload is not compared"),
    snapshot(
        "snapshot_skips_split_tables",
        "core/src/store/index.rs",
        1000,
        "the walk of a snapshot takes every table for as deep as the first",
    ),
    snapshot("snapshot_renamed_unsynced", ENUMERATED_DISK, 1000, "a snapshot gets its name before it is on disk"),
    snapshot("snapshot_name_unsynced", ENUMERATED_DISK, 1000, "a snapshot's name is not durable when older ones are removed"),
    check(
        "check_takes_any_state",
        "tests/src/simulator/restart.rs",
        "deleted_key_back",
        100,
        "whatever was recovered is taken for a prefix",
    )
    .fast(),
    check("check_promises_nothing", "tests/src/simulator/restart.rs", "append_buffered", 1000, "whatever was lost had not been promised"),
    check(
        "check_takes_any_bytes",
        "tests/src/simulator/disk/mod.rs",
        "cut_before_refused",
        1000,
        "the bytes of a refused log are not compared",
    ),
    check("check_takes_any_refusal", "tests/src/simulator/run.rs", "chain_of_replaced_segment", 1000, "every refusal is accepted"),
    check("check_hears_no_claim", "tests/src/simulator/history.rs", "damage_cut_as_torn", 1000, "nothing claims to have been durable"),
    check("check_lets_replies_go", "tests/src/simulator/world.rs", "reads_ungated", 100, "replies may leave at any time"),
    check("check_takes_any_reply", "tests/src/simulator/run.rs", "version_below_floor", 100, "every reply is accepted"),
    check("check_knows_no_bounds", "tests/src/simulator/replies.rs", "replies_without_bound", 100, "unsent replies are not counted"),
    check("check_counts_no_generations", SIMULATOR, "no_spare_generation", 100, "any number of generations is enough"),
    check(
        "check_believes_snapshot",
        SIMULATOR,
        "answered_before_published",
        100,
        "nobody looks whether a snapshot is there when `SNAPSHOT` is answered",
    ),
    check("check_knows_no_window", SIMULATOR, "window_not_kept", 100, "what is to be restorable may go"),
    check(
        "check_knows_no_contract",
        "tests/src/simulator/storage_loop.rs",
        "recycled_segment",
        100,
        "the engine may ask storage for anything",
    ),
    check(
        "check_ends_with_the_tape",
        "tests/src/simulator/world.rs",
        "read_only_for_ever",
        100,
        "nobody looks whether service resumes when faults stop",
    ),
    check(
        "disk_loses_nothing",
        "tests/src/simulator/disk/file.rs",
        "synced_sector_rewritten",
        1000,
        "the power is cut, and nothing is lost",
    ),
    check("clock_never_set_back", "tests/src/simulator/clock.rs", "time_forgotten", 1000, "the clock is set back by nothing"),
];
