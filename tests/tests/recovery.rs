//! What is there after a crash, and what happens to logs that are torn or damaged. The state must be the model's at one prefix of
//! the log (invariant 2), damage must be refused by name or do no harm (invariant 9), and recovery is idempotent (invariant 7).

use osprey_core::engine::Engine;
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::SegmentNumber;
use osprey_core::wal::segment::HEADER_BYTES;
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, ClientId, Machine, State, small_options};
use osprey_tests::memory_storage::{Disk, Work};

const BATCH: SyncPolicy = SyncPolicy::Batch { delay_ms: 100, bytes: 4096 };
const POLICIES: [SyncPolicy; 3] = [SyncPolicy::Os, BATCH, SyncPolicy::Always];

fn recover(policy: SyncPolicy, disk: &Disk) -> Result<(Machine, osprey_core::recovery::Report), RecoveryError> {
    Machine::recover(small_options(policy), disk.clone(), BEGIN)
}

/// A random write that is accepted: some key gets, changes or loses something.
fn write(machine: &mut Machine, client: ClientId, random: &mut fastrand::Rng) {
    let key = format!("key:{}", random.u32(0..12));
    let value = "x".repeat(random.usize(0..60));
    let request = match random.u32(0..10) {
        0 => format!("DEL {key}"),
        1 => format!("EXPIRE {key} {}", random.u32(0..200)),
        2 => format!("PERSIST {key}"),
        3 => format!("MSET {key} {} other 1\n{value}y", value.len()),
        4 => format!("INCR counter:{key}"),
        5 => format!("SET {key} {} EX {}\n{value}", value.len(), random.u32(1..200)),
        6 => format!("SET {key} 1000\n{:1000}", random.u32(..)),
        _ => format!("SET {key} {}\n{value}", value.len()),
    };
    let reply = machine.ask(client, &request);
    assert!(!reply.is_empty() && !reply.starts_with("ERR"), "{request}: {reply}");
}

/// The state after none, one, two, … writes, with the log's last segment and its length then.
type History = Vec<(State, (SegmentNumber, usize))>;

/// A log of some writes, each in a frame of its own.
fn logged(policy: SyncPolicy, writes: usize, seed: u64) -> (Machine, History) {
    let mut machine = Machine::new(small_options(policy));
    let client = machine.connect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut history = vec![(machine.state(), machine.storage.disk.last())];
    for _ in 0..writes {
        write(&mut machine, client, &mut random);
        history.push((machine.state(), machine.storage.disk.last()));
    }
    (machine, history)
}

/// Who waits for a long recovery is told from the beginning how much there is to read.
#[test]
fn progress_is_told_of_the_whole() {
    let (machine, _) = logged(SyncPolicy::Os, 300, 2);
    let mut disk = machine.kill();
    let mut told = Vec::new();
    Engine::recover_with(small_options(SyncPolicy::Os), &mut disk, BEGIN, &mut |progress| told.push(progress)).expect("an undamaged log");
    let (first, last) = (told.first().expect("300 frames"), told.last().expect("300 frames"));
    assert!(first.bytes * 10 < first.bytes_total, "{first:?}");
    assert!(told.iter().all(|progress| progress.bytes_total == first.bytes_total && progress.bytes <= progress.bytes_total));
    assert!(last.bytes * 4 > last.bytes_total * 3 && last.keys > 0, "{last:?}");
}

#[test]
fn a_log_of_many_segments_is_recovered() {
    for policy in POLICIES {
        let (machine, history) = logged(policy, 1500, 1);
        let (state, _) = history.last().expect("the last state");
        let segments = machine.storage.disk.segments().count();
        assert!(segments > 10, "{segments} segments of 16 KiB");
        assert!(machine.storage.disk.segments().all(|(_, bytes)| bytes.len() <= 16 << 10));
        let (recovered, report) = recover(policy, &machine.kill()).expect("an undamaged log");
        assert_eq!(&recovered.state(), state, "{policy:?}");
        assert_eq!(report.torn, None);
        assert_eq!(report.segments, segments as u64);
    }
}

/// Under each policy a power cut leaves a prefix of the history, with everything that was synced, whatever else the disk had kept.
#[test]
fn a_power_cut_leaves_a_prefix() {
    for policy in POLICIES {
        for writes in 1..60 {
            let (mut machine, history) = logged(policy, writes, 2);
            if writes % 3 == 0 {
                machine.advance(50);
            }
            let (recovered, _) = recover(policy, &machine.cut_power()).expect("an undamaged log");
            let state = recovered.state();
            let reached = history.iter().rposition(|(before, _)| *before == state);
            assert!(reached.is_some(), "{policy:?}, {writes} writes: a state that never was");
            if policy == SyncPolicy::Always {
                assert_eq!(reached, Some(writes), "everything was acknowledged");
            }
        }
    }
}

/// An MSET is there whole or not at all, wherever the log was torn.
#[test]
fn mset_is_all_or_nothing_at_every_byte() {
    for policy in POLICIES {
        let mut machine = Machine::new(small_options(policy));
        let client = machine.connect();
        machine.ask(client, "MSET a 1 b 1 c 1\n123");
        let before = machine.state();
        let (segment, from) = machine.storage.disk.last();
        assert_eq!(machine.ask(client, "MSET a 3 b 3 c 3 d 3 e 3\nAAABBBCCCDDDEEE"), "OK 5");
        let after = machine.state();
        let (_, to) = machine.storage.disk.last();
        let disk = machine.kill();
        for length in from..=to {
            let (recovered, report) = recover(policy, &disk.cut(segment, length)).expect("a torn tail");
            let expected = if length == to { &after } else { &before };
            assert_eq!(&recovered.state(), expected, "{policy:?}: cut at {length}");
            let whole = length == to || disk.segments().all(|(_, bytes)| bytes[from..length].iter().all(|&byte| byte == 0));
            assert_eq!(report.torn.is_none(), whole, "{policy:?}: what is cut is reported");
        }
    }
}

/// Cut anywhere in its last segment, a log gives the state of the frames that are whole; what is cut off is reported, and is zeros
/// or less than a frame.
#[test]
fn a_torn_tail_is_cut_and_reported() {
    for policy in POLICIES {
        let (machine, history) = logged(policy, 40, 3);
        let disk = machine.kill();
        let (segment, end) = disk.last();
        let first_frame = usize::try_from(HEADER_BYTES).expect("4096");
        for length in (first_frame..end).step_by(3) {
            let torn = disk.cut(segment, length);
            let (recovered, report) = recover(policy, &torn).expect("a torn tail");
            let whole = history.iter().rposition(|(_, (number, end))| (*number, *end) <= (segment, length)).expect("at least none");
            assert_eq!(recovered.state(), history[whole].0, "{policy:?}: cut at {length}");
            let (frames_end_in, frames_end) = history[whole].1;
            let bytes = torn.segments().last().expect("the torn one").1;
            let behind = if frames_end_in == segment { &bytes[frames_end..] } else { &bytes[first_frame..] };
            let zeros = behind.iter().all(|&byte| byte == 0);
            assert_eq!(report.torn.is_none(), zeros, "{policy:?}: cut at {length}");
            if let Some(torn) = report.torn {
                assert_eq!(torn.segment, segment);
                assert!(torn.offset <= length as u64 && torn.offset + torn.bytes + 512 > length as u64, "{torn:?} for {length}");
            }
        }
    }
}

/// Whoever refuses says which file, and for damaged frames from where.
fn check_refusal(error: &RecoveryError, segment: SegmentNumber, offset: usize) {
    let text = error.to_string();
    match *error {
        RecoveryError::Corrupt { segment: named, offset: from, first_lsn, last_lsn } => {
            assert_eq!(named, segment, "{text}");
            assert!(from <= offset as u64, "{text}, but byte {offset} is damaged");
            assert!(first_lsn <= last_lsn);
            assert!(text.contains(&format!("byte {from}")), "{text}");
        }
        RecoveryError::Header(named, _) => {
            assert_eq!(named, segment, "{text}");
            assert!(offset < 96, "{text}, but byte {offset} is damaged");
        }
        ref other => panic!("byte {offset} of {segment} is damaged, and the refusal is {other:?}"),
    }
    assert!(text.contains(&segment.to_string()), "{text}");
}

/// Invariant 9. After an orderly end everything on disk was promised: any damage is refused, or does no harm.
#[test]
fn any_damage_to_a_sealed_log_is_refused_or_harmless() {
    for policy in POLICIES {
        let (machine, history) = logged(policy, 8, 4);
        let state = &history.last().expect("the last state").0;
        let disk = machine.shut_down();
        let (segment, end) = disk.last();
        let mut refused = 0;
        for offset in 0..end {
            match recover(policy, &disk.flipped(segment, offset, 1 << (offset % 8))) {
                Ok((recovered, _)) => assert_eq!(&recovered.state(), state, "{policy:?}: byte {offset} is damaged"),
                Err(error) => {
                    check_refusal(&error, segment, offset);
                    refused += 1;
                }
            }
        }
        let used: usize = disk.segments().map(|(_, bytes)| bytes.iter().filter(|&&byte| byte != 0).count()).sum();
        assert!(refused > used / 2, "{policy:?}: {refused} of {used} bytes that carry something");
    }
}

/// The same after `kill -9`, when the log had been idle for a while: then a last frame says that all before it was durable.
#[test]
fn any_damage_to_an_idle_log_is_refused_or_harmless() {
    let (mut machine, _) = logged(SyncPolicy::Always, 8, 5);
    machine.advance(5000);
    let state = machine.state();
    let now = machine.now;
    let disk = machine.kill();
    let (segment, end) = disk.last();
    for offset in 0..end {
        match Machine::recover(small_options(SyncPolicy::Always), disk.flipped(segment, offset, 0x81), now) {
            Ok((recovered, _)) => assert_eq!(recovered.state(), state, "byte {offset} is damaged"),
            Err(error) => check_refusal(&error, segment, offset),
        }
    }
}

/// And right after the last write: that one frame nothing vouches for yet. Where it is lost, the loss is reported.
#[test]
fn damage_to_a_busy_log_is_never_silent() {
    let (machine, history) = logged(SyncPolicy::Always, 8, 6);
    let disk = machine.kill();
    let (segment, end) = disk.last();
    let (last, _) = history.last().expect("the last state");
    // Some writes change nothing, and so have no frame.
    let (last_but_one, (_, begin)) = history.iter().rfind(|(_, (_, reached))| *reached < end).expect("a state before the last frame");
    for offset in 0..end {
        match recover(SyncPolicy::Always, &disk.flipped(segment, offset, 0x40)) {
            Ok((recovered, report)) if offset < *begin || recovered.state() == *last => {
                assert_eq!(&recovered.state(), last, "byte {offset} is damaged");
                assert_eq!(report.torn, None);
            }
            Ok((recovered, report)) => {
                assert_eq!(&recovered.state(), last_but_one, "byte {offset} is damaged");
                assert!(report.torn.is_some_and(|torn| torn.offset >= *begin as u64 && torn.bytes > 0), "byte {offset} is damaged");
            }
            Err(error) => check_refusal(&error, segment, offset),
        }
    }
}

/// Segments that aren't the last were durable before the one after the next began: damage in them is refused wherever it is.
#[test]
fn damage_in_an_earlier_segment_is_refused() {
    for policy in POLICIES {
        let (machine, history) = logged(policy, 300, 7);
        let state = &history.last().expect("the last state").0;
        let disk = machine.kill();
        assert!(disk.segments().count() >= 4);
        let mut refused = 0;
        for (segment, bytes) in disk.segments().take(disk.segments().count() - 2) {
            for offset in (0..bytes.len()).step_by(29) {
                match recover(policy, &disk.flipped(segment, offset, 0x10)) {
                    Ok((recovered, report)) => {
                        assert_eq!(&recovered.state(), state, "{policy:?}: byte {offset} of {segment} is damaged");
                        assert_eq!(report.torn, None);
                    }
                    Err(error) => {
                        check_refusal(&error, segment, offset);
                        refused += 1;
                    }
                }
            }
            assert!(
                matches!(recover(policy, &disk.without(segment)), Err(RecoveryError::Missing(missing)) if missing == segment),
                "{policy:?}: {segment} is missing"
            );
            let error = recover(policy, &disk.cut(segment, bytes.len() / 2)).expect_err("half a segment is missing");
            assert!(matches!(error, RecoveryError::Corrupt { segment: named, .. } if named == segment), "{policy:?}: {error}");
        }
        assert!(refused > 100, "{policy:?}: {refused}");
    }
}

/// A SEAL holds nothing: where it alone is damaged, everything behind it, which was acknowledged, is still there.
#[test]
fn a_damaged_seal_costs_nothing() {
    for policy in POLICIES {
        for writes in (30..150).step_by(7) {
            let (machine, history) = logged(policy, writes, 9);
            let (state, _) = history.last().expect("the last state");
            let disk = machine.kill();
            let segments: Vec<_> = disk.segments().map(|(number, bytes)| (number, bytes.len())).collect();
            for &(sealed, length) in segments.split_last().map(|(_, sealed)| sealed).unwrap_or_default() {
                for damaged in [disk.flipped(sealed, length - 20, 1), disk.cut(sealed, length - 1), disk.cut(sealed, length - 64)] {
                    let (recovered, report) = recover(policy, &damaged).expect("no record is missing");
                    assert_eq!(&recovered.state(), state, "{policy:?}, {writes} writes, {sealed}");
                    assert_eq!(report.torn, None);
                }
            }
        }
    }
}

/// A log is one chain: what is right in itself is not accepted in another place, or in another log.
#[test]
fn frames_are_accepted_in_their_place_only() {
    let log = |values: [&str; 4]| {
        let mut machine = Machine::new(small_options(SyncPolicy::Always));
        let client = machine.connect();
        let ends = values.map(|value| {
            machine.ask(client, &format!("SET {value} 1\nx"));
            machine.storage.disk.last().1.next_multiple_of(512)
        });
        (machine.kill(), ends)
    };
    let (disk, [first, second, third, _]) = log(["a", "b", "c", "d"]);
    let (segment, end) = disk.last();
    let (other, _) = log(["a", "B", "c", "d"]);
    let stranger = other.segments().last().expect("the only one").1[second..third].to_vec();

    // One is missing, and those behind it stand in its place.
    let error = recover(SyncPolicy::Always, &disk.with(segment, |bytes| drop(bytes.drain(first..second)))).expect_err("a gap");
    check_refusal(&error, segment, first);
    // Two have changed places.
    let swapped = disk.with(segment, |bytes| bytes[first..third].rotate_left(second - first));
    check_refusal(&recover(SyncPolicy::Always, &swapped).expect_err("disorder"), segment, first);
    // One is there twice.
    let twice = disk.with(segment, |bytes| bytes.copy_within(first..second, second));
    check_refusal(&recover(SyncPolicy::Always, &twice).expect_err("an old one"), segment, second);
    // One is of another history; with nothing behind it, it is a torn tail.
    let strange = disk.with(segment, |bytes| bytes[second..third].copy_from_slice(&stranger));
    check_refusal(&recover(SyncPolicy::Always, &strange).expect_err("another history"), segment, second);
    let (recovered, report) = recover(SyncPolicy::Always, &strange.cut(segment, third.min(end))).expect("a torn tail");
    assert_eq!(recovered.state().into_keys().collect::<Vec<_>>(), [b"a", b"b"]);
    assert!(report.torn.is_some());
}

/// Garbage behind the end, of any kind, is a torn tail: cut, reported, gone.
#[test]
fn garbage_behind_the_end_is_cut() {
    let (machine, history) = logged(BATCH, 20, 8);
    let state = &history.last().expect("the last state").0;
    let disk = machine.kill();
    let (segment, end) = disk.last();
    // An old frame of the same log, which would be right if it weren't for its place in the chain.
    let old_frame = disk.segments().next().expect("the first").1[usize::try_from(HEADER_BYTES).expect("4096")..][..512].to_vec();
    for garbage in [vec![0xFF; 10], vec![0x00; 3000], b"OSF1".repeat(100), old_frame, vec![1]] {
        let dirty = disk.with(segment, |bytes| {
            bytes.resize(end.next_multiple_of(512), 0);
            bytes.extend(&garbage);
        });
        let (recovered, report) = recover(BATCH, &dirty).expect("a torn tail");
        assert_eq!(&recovered.state(), state);
        assert_eq!(report.torn.is_some(), garbage.iter().any(|&byte| byte != 0));
    }
}

/// A value can hold anything, frames of a log included. What a client has stored must not be taken for one (the salt): here, for one
/// that speaks against a torn tail.
#[test]
fn frames_inside_values_are_not_frames() {
    let (machine, history) = logged(SyncPolicy::Always, 30, 9);
    let (segment, end) = machine.storage.disk.last();
    let begin = history.iter().map(|(_, at)| *at).rfind(|at| *at < (segment, end)).expect("a frame before the last").1;
    // The last frame, which names more than twenty records durable.
    let disk = machine.kill();
    let bytes = disk.segments().last().expect("the last").1;
    let frame = &bytes[begin.next_multiple_of(512)..];
    assert!(frame.starts_with(b"OSF1"));
    // At one of these places it begins where a frame may begin.
    for shift in 0..8 {
        let mut options = small_options(BATCH);
        options.entropy.salt = 77;
        let mut machine = Machine::new(options);
        let client = machine.connect();
        let request = format!("SET k {}\n{}", shift + frame.len(), "x".repeat(shift));
        machine.send(client, &[request.as_bytes(), frame, b"\n"].concat());
        assert_eq!(machine.replies(client), "OK 1");
        let state = machine.state();
        let (segment, end) = machine.storage.disk.last();
        let disk = machine.kill();
        let (recovered, report) = recover(BATCH, &disk).expect("an undamaged log");
        assert_eq!((recovered.state(), report.torn), (state, None));
        let (recovered, report) = recover(BATCH, &disk.cut(segment, end - 1)).expect("a torn tail");
        assert_eq!(recovered.state(), State::new());
        assert!(report.torn.is_some());
    }
}

/// Invariant 7: recovering what was recovered changes nothing, also where the process died right after.
#[test]
fn recovering_twice_gives_identical_bytes() {
    for policy in POLICIES {
        let (machine, _) = logged(policy, 150, 10);
        let disk = machine.kill();
        let (segment, end) = disk.last();
        for length in (usize::try_from(HEADER_BYTES).expect("4096")..=end).step_by(37) {
            let options = small_options(policy);
            let mut once = disk.cut(segment, length);
            let (engine, _) = Engine::recover(options, &mut once, BEGIN).expect("a torn tail");
            let last = engine.last_lsn();
            let mut twice = once.clone();
            let (engine, report) = Engine::recover(options, &mut twice, BEGIN).expect("what was just recovered");
            assert_eq!(engine.last_lsn(), last);
            assert_eq!(report.torn, None, "{policy:?}: cut at {length}");
            assert!(once == twice, "{policy:?}: cut at {length}");
        }
    }
}

/// Servers that are started often and asked nothing don't fill the directory.
#[test]
fn starting_often_keeps_the_number_of_segments() {
    for end in [Machine::kill, Machine::shut_down, Machine::cut_power] as [fn(Machine) -> Disk; 3] {
        let (machine, history) = logged(SyncPolicy::Always, 5, 11);
        let mut disk = end(machine);
        for _ in 0..20 {
            let (machine, _) = recover(BATCH, &disk).expect("an undamaged log");
            assert_eq!(machine.state(), history[5].0);
            disk = end(machine);
        }
        assert!(disk.segments().count() <= 3, "{}", disk.segments().count());
    }
}

/// Many runs, each of which ends in a crash and a torn tail: every one goes on where the one before was left (invariants 2, 3).
#[test]
fn one_crash_after_another() {
    for (policy, seed) in [(SyncPolicy::Os, 12), (BATCH, 13), (SyncPolicy::Always, 14), (SyncPolicy::Always, 15)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut disk = Disk::default();
        let mut now = BEGIN;
        let mut state = State::new();
        for run in 0..80 {
            let (mut machine, _) = Machine::recover(small_options(policy), disk, now).unwrap_or_else(|error| panic!("run {run}: {error}"));
            assert_eq!(machine.state(), state, "{policy:?}, run {run}");
            let client = machine.connect();
            let mut history = vec![(state, machine.engine.durable_lsn())];
            for _ in 0..random.u32(0..30) {
                write(&mut machine, client, &mut random);
                history.push((machine.state(), machine.engine.last_lsn()));
                if random.u32(0..4) == 0 {
                    machine.advance(random.u64(0..40));
                    history.push((machine.state(), machine.engine.last_lsn()));
                }
            }
            // The last write is lost on its way in some runs: nobody has been told that it is there.
            if random.bool() {
                machine.storage.hold(Work::Append);
                machine.send(client, b"SET key:0 4\nlost\n");
                assert!(machine.received(client).is_empty());
            }
            now = machine.now;
            let durable = machine.engine.durable_lsn();
            let all = machine.storage.disk.clone();
            disk = match random.u32(0..4) {
                0 => machine.kill(),
                1 => machine.cut_power(),
                // The power is cut, and the disk had kept more than it had to, but not all of it, and garbage behind.
                torn => {
                    let synced = machine.cut_power();
                    let ((segment, from), (newest, to)) = (synced.last(), all.last());
                    if segment == newest {
                        let kept = random.usize(from..=to);
                        all.with(segment, |bytes| {
                            bytes.truncate(kept);
                            let garbage = if torn == 3 { random.usize(0..700) } else { 0 };
                            bytes.extend((0..garbage).map(|_| random.u8(..)));
                        })
                    } else {
                        synced
                    }
                }
            };
            let (recovered, _) =
                Machine::recover(small_options(policy), disk.clone(), now).unwrap_or_else(|error| panic!("run {run}: {error}"));
            state = recovered.state();
            let reached = history.iter().rposition(|(before, _)| live(before, now) == state);
            let reached = reached.unwrap_or_else(|| panic!("{policy:?}, run {run}: a state that never was"));
            let lost = history.get(reached + 1).map(|(_, lsn)| *lsn);
            assert!(lost.is_none_or(|lsn| lsn > durable), "{policy:?}, run {run}: lost {lost:?}, which was durable ({durable:?})");
        }
    }
}

/// What of `state` is still there at `now`.
fn live(state: &State, now: osprey_core::units::Millis) -> State {
    state.iter().filter(|(_, (_, _, expiry))| expiry.is_none_or(|expiry| expiry > now)).map(|(k, v)| (k.clone(), v.clone())).collect()
}
