//! `osprey check` and `osprey repair` on damaged directories, as programs: what is saved, what is named lost, and that a server starts afterwards (invariant 9).
//!
//! The oracle knows nothing of repairing: it replays the undamaged log's records, as `osprey log` prints them, without those that the damage has taken.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use osprey_core::checksum::crc32c;
use osprey_core::record::{Kind, Record};
use osprey_core::storage::SegmentNumber;
use osprey_core::units::{Lsn, Version};
use osprey_core::wal::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameType};
use osprey_core::wal::segment::{HEADER_USED_BYTES, SegmentHeader};
use osprey_tests::sample_log::{MIDDLE, Segments, directory, frames, lsns_of, segments};
use osprey_tests::server_process::Setup;
use osprey_tests::tool::{self, Ran, text};

/// A tool, and the directory before its flags.
fn osprey(arguments: &[&str], directory: &Path) -> Ran {
    let (tool, flags) = arguments.split_first().expect("a tool");
    tool::osprey([&[*tool, text(directory)], flags].concat())
}

/// A record as `osprey log --json` prints it.
#[derive(Clone, Debug)]
struct Logged(serde_json::Value);

impl Logged {
    fn lsn(&self) -> u64 {
        self.0["lsn"].as_u64().expect("a number")
    }
}

fn logged(directory: &Path) -> Vec<Logged> {
    let ran = osprey(&["log", "--json"], directory);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.out.lines().map(|line| Logged(serde_json::from_str(line).expect("JSON"))).collect()
}

/// What tells a value from all others.
fn begin(value: &serde_json::Value) -> String {
    value.as_str().expect("a text").trim_end_matches('x').to_owned()
}

/// The keys with value and expiry after some records.
fn replayed<'a>(records: impl Iterator<Item = &'a Logged>) -> BTreeMap<String, (String, Option<u64>)> {
    let mut state = BTreeMap::new();
    for Logged(record) in records {
        let key = || record["key"].as_str().expect("a key").to_owned();
        let expiry = record["expiry"].as_u64();
        match record["kind"].as_str().expect("a kind") {
            "SET" => drop(state.insert(key(), (begin(&record["value"]), expiry))),
            "DEL" => drop(state.remove(&key())),
            "EXPIRE" => drop(state.get_mut(&key()).map(|entry: &mut (String, _)| entry.1 = expiry)),
            _ => {}
        }
    }
    state
}

fn dumped(directory: &Path) -> BTreeMap<String, (String, Option<u64>)> {
    let ran = osprey(&["dump"], directory);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let lines = ran.out.lines().skip(1).map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    lines.map(|entry| (text(&entry["key"]), (begin(&entry["value"]), entry["expiry"].as_u64()))).collect()
}

/// The LSNs that a repair names as lost.
fn named_lost(out: &str) -> Vec<u64> {
    let ranges = out.lines().filter_map(|line| line.strip_prefix("lost: LSN ")?.split(',').next());
    let ends = |range: &str| {
        let (first, last) = range.split_once('–').unwrap_or((range, range));
        first.parse::<u64>().expect("a number")..=last.parse().expect("a number")
    };
    ranges.flat_map(ends).collect()
}

/// Damage, and the LSNs that it takes.
fn check_damage(name: &str, damage: impl FnOnce(&mut Segments) -> Vec<u64>) -> String {
    let mut segments = segments();
    let original = directory(&segments);
    let records = logged(original.path());
    let lost = damage(&mut segments);
    let damaged = directory(&segments);
    let path = damaged.path();

    let checked = osprey(&["check"], path);
    assert_eq!(checked.code, Some(1), "{name}: {}{}", checked.out, checked.err);
    assert!(checked.out.contains("osprey repair"), "{name}: {}", checked.out);
    let refused = Setup::new(path).try_start().expect_err("damage is refused");
    assert_eq!(refused.status.code(), Some(1), "{name}: {}", refused.log);
    let asked = osprey(&["repair"], path);
    assert_eq!(asked.code, Some(1), "{name}: without an answer: {}{}", asked.out, asked.err);

    let repaired = osprey(&["repair", "--yes"], path);
    assert_eq!(repaired.code, Some(0), "{name}: {}{}", repaired.out, repaired.err);
    assert_eq!(named_lost(&repaired.out), lost, "{name}: {}", repaired.out);
    let checked = osprey(&["check"], path);
    assert_eq!(checked.code, Some(0), "{name}: {}", checked.out);
    assert_eq!(dumped(path), replayed(records.iter().filter(|record| !lost.contains(&record.lsn()))), "{name}");
    // The records that are left have kept their LSNs.
    let kept = |records: &[Logged]| -> Vec<u64> { records.iter().filter(|r| r.0["kind"] != "MARK").map(Logged::lsn).collect() };
    let expected: Vec<u64> = kept(&records).into_iter().filter(|lsn| !lost.contains(lsn)).collect();
    assert_eq!(kept(&logged(path)), expected, "{name}");
    // What was replaced is in the quarantine, all of it and as it was.
    let quarantine =
        fs::read_dir(path).expect("a directory").flatten().find(|entry| entry.file_name().to_string_lossy().starts_with("quarantine-"));
    let quarantine = quarantine.expect("a quarantine").path();
    let of_report =
        |line: &str| line.strip_suffix(": written anew").or_else(|| line.strip_suffix(": moved to quarantine")).map(str::to_owned);
    for file in repaired.out.lines().filter_map(of_report) {
        let number: u64 =
            file.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".oswal")).expect("a segment").parse().expect("a number");
        assert_eq!(quarantine.join(&file).exists(), segments.contains_key(&number), "{name}: {file}");
    }
    for entry in fs::read_dir(&quarantine).expect("a directory").flatten() {
        let file = entry.file_name().into_string().expect("UTF-8");
        if let Some(number) = file.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".oswal")) {
            assert!(fs::read(entry.path()).expect("a file") == segments[&number.parse().expect("a number")], "{name}: {file}");
        }
    }
    let again = osprey(&["repair"], path);
    assert_eq!((again.code, again.out.contains("nothing to repair")), (Some(0), true), "{name}: {}", again.out);
    Setup::new(path).start().stop();
    repaired.out
}

#[test]
fn a_bit_in_a_frames_payload() {
    let out = check_damage("payload", |segments| {
        let bytes = segments.get_mut(&MIDDLE).unwrap();
        let (offset, header) = frames(bytes)[1];
        bytes[offset + FRAME_HEADER_BYTES + 200] ^= 4;
        vec![header.first_lsn.0]
    });
    assert!(out.contains("lost: a write to key:"), "{out}");
}

#[test]
fn a_bit_in_a_frames_header() {
    check_damage("frame header", |segments| {
        let bytes = segments.get_mut(&MIDDLE).unwrap();
        let (offset, header) = frames(bytes)[2];
        bytes[offset + 8] ^= 1;
        vec![header.first_lsn.0]
    });
}

#[test]
fn a_bit_in_any_field_of_a_segments_header() {
    for field in [0, 8, 12, 16, 32, 40, 48, 56, 64, 72, 80, 88, 92] {
        check_damage(&format!("segment header, byte {field}"), |segments| {
            segments.get_mut(&MIDDLE).unwrap()[field] ^= 1;
            vec![]
        });
    }
}

#[test]
fn a_segment_that_is_missing() {
    check_damage("missing", |segments| lsns_of(&segments.remove(&MIDDLE).unwrap()).collect());
}

#[test]
fn the_first_segment_that_is_missing() {
    check_damage("first missing", |segments| lsns_of(&segments.remove(&1).unwrap()).collect());
}

#[test]
fn a_segment_that_is_cut_short() {
    check_damage("cut short", |segments| {
        let bytes = segments.get_mut(&MIDDLE).unwrap();
        let (offset, header) = frames(bytes)[3];
        let lost = header.first_lsn.0..=*lsns_of(bytes).end();
        bytes.truncate(offset + FRAME_HEADER_BYTES + 1);
        lost.collect()
    });
}

#[test]
fn pages_of_zeros() {
    check_damage("zeros", |segments| {
        let bytes = segments.get_mut(&MIDDLE).unwrap();
        bytes[8192..12288].fill(0);
        let lost = frames(&segments[&MIDDLE]);
        let present: Vec<u64> = lost.iter().map(|(_, header)| header.first_lsn.0).collect();
        // Frames that begin before or in the page.
        let whole = segments_lsns();
        whole.into_iter().filter(|lsn| !present.contains(lsn) || touched(&segments[&MIDDLE], *lsn)).collect()
    });
    fn segments_lsns() -> Vec<u64> {
        lsns_of(&segments()[&MIDDLE]).collect()
    }
    fn touched(bytes: &[u8], lsn: u64) -> bool {
        let salt = SegmentHeader::decode(bytes, crc32c).unwrap().salt;
        frames(bytes).into_iter().filter(|(_, header)| header.first_lsn.0 == lsn && header.records > 0).any(|(offset, header)| {
            let payload = bytes.get(offset + FRAME_HEADER_BYTES..offset + usize::try_from(header.frame_len()).unwrap());
            !header.matches(payload.unwrap_or_default(), salt, crc32c)
        })
    }
}

#[test]
fn two_segments_whose_names_are_swapped() {
    check_damage("swapped", |segments| {
        let (a, b) = (segments.remove(&2).unwrap(), segments.remove(&MIDDLE).unwrap());
        segments.extend([(MIDDLE, a), (2, b)]);
        vec![]
    });
}

#[test]
fn a_segment_of_another_database() {
    let out = check_damage("other database", |segments| {
        let bytes = segments.get_mut(&MIDDLE).unwrap();
        let lost = lsns_of(bytes).collect();
        let mut header = SegmentHeader::decode(bytes, crc32c).unwrap();
        header.database.0[0] ^= 1;
        let head = header.encode(crc32c).unwrap();
        bytes[..head.len()].copy_from_slice(&head);
        lost
    });
    assert!(out.contains("it belongs to another database"), "{out}");
}

#[test]
fn the_seal_between_two_runs() {
    check_damage("seal", |segments| {
        let epoch = |bytes: &[u8]| SegmentHeader::decode(bytes, crc32c).unwrap().epoch;
        let last = *segments.iter().rfind(|(_, bytes)| epoch(bytes) == 1).unwrap().0;
        let bytes = segments.get_mut(&last).unwrap();
        let (offset, header) = *frames(bytes).last().unwrap();
        assert_eq!(header.records, 0);
        bytes[offset + 20] ^= 1;
        vec![]
    });
}

#[test]
fn a_segment_of_which_nothing_can_be_read() {
    check_damage("garbage", |segments| {
        let bytes = segments.get_mut(&MIDDLE).unwrap();
        let lost = lsns_of(bytes).collect();
        let mut random = fastrand::Rng::with_seed(1);
        bytes.fill_with(|| random.u8(..));
        lost
    });
}

#[test]
fn the_last_frame_before_an_orderly_end() {
    check_damage("last frame", |segments| {
        let bytes = segments.values_mut().next_back().unwrap();
        let frames = frames(bytes);
        let (offset, header) = frames[frames.len() - 2];
        bytes[offset + FRAME_HEADER_BYTES + 5] ^= 1;
        vec![header.first_lsn.0]
    });
}

#[test]
fn a_frame_with_records_that_cannot_be_read() {
    check_damage("malformed", |segments| {
        let bytes = segments.get_mut(&MIDDLE).unwrap();
        let salt = SegmentHeader::decode(bytes, crc32c).unwrap().salt;
        let (offset, mut header) = frames(bytes)[1];
        let end = offset + usize::try_from(header.frame_len()).unwrap();
        bytes[offset + FRAME_HEADER_BYTES + 4] |= 0x40;
        let head = header.seal(salt, &bytes[offset + FRAME_HEADER_BYTES..end], crc32c);
        bytes[offset..offset + FRAME_HEADER_BYTES].copy_from_slice(&head);
        vec![header.first_lsn.0]
    });
}

#[test]
fn several_places_at_once() {
    check_damage("several", |segments| {
        let last = *segments.keys().next_back().unwrap();
        let mut lost = Vec::new();
        for number in [1, MIDDLE, last - 1] {
            let bytes = segments.get_mut(&number).unwrap();
            let (offset, header) = frames(bytes)[1];
            bytes[offset + FRAME_HEADER_BYTES + 9] ^= 1;
            lost.push(header.first_lsn.0);
        }
        segments.get_mut(&2).unwrap()[90] ^= 1;
        lost
    });
}

/// One to four bits at random: what the check calls sound is the state at some record; what it calls damaged is repaired, and nothing is lost that was not named.
#[test]
fn bits_anywhere() {
    let segments = segments();
    let original = directory(&segments);
    let records = logged(original.path());
    let prefixes: Vec<_> = (0..=records.len()).map(|len| replayed(records.iter().take(len))).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut repaired = 0;
    for round in 0..150 {
        let mut flipped = segments.clone();
        for _ in 0..random.u32(1..=4) {
            let at = random.usize(..flipped.len());
            let bytes = flipped.values_mut().nth(at).expect("a segment");
            // As often in headers as in values.
            let frames = frames_or_none(bytes);
            let place = match frames.get(random.usize(..=frames.len())) {
                Some(&(offset, _)) if random.bool() => offset + random.usize(..80),
                _ if random.bool() => random.usize(..HEADER_USED_BYTES),
                _ => random.usize(..bytes.len()),
            };
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << random.u32(..8);
            }
        }
        let damaged = directory(&flipped);
        let checked = osprey(&["check"], damaged.path());
        if checked.code == Some(0) {
            assert!(prefixes.contains(&dumped(damaged.path())), "round {round}: {}", checked.out);
            continue;
        }
        assert_eq!(checked.code, Some(1), "round {round}: {}{}", checked.out, checked.err);
        let ran = osprey(&["repair", "--yes"], damaged.path());
        assert_eq!(ran.code, Some(0), "round {round}: {}{}{}", checked.out, ran.out, ran.err);
        let lost = named_lost(&ran.out);
        assert_eq!(dumped(damaged.path()), replayed(records.iter().filter(|r| !lost.contains(&r.lsn()))), "round {round}: {}", ran.out);
        repaired += 1;
    }
    assert!(repaired > 100, "{repaired} were damage");
}

fn frames_or_none(bytes: &[u8]) -> Vec<(usize, FrameHeader)> {
    if SegmentHeader::decode(bytes, crc32c).is_ok() { frames(bytes) } else { Vec::new() }
}

#[test]
fn a_cut_leaves_the_state_of_one_moment_and_names_what_it_gives_up() {
    let mut segments = segments();
    let records = logged(directory(&segments).path());
    let bytes = segments.get_mut(&MIDDLE).unwrap();
    let (offset, header) = frames(bytes)[1];
    bytes[offset + FRAME_HEADER_BYTES + 200] ^= 4;
    let damaged = directory(&segments);
    let repaired = osprey(&["repair", "--cut", "--yes"], damaged.path());
    assert_eq!(repaired.code, Some(0), "{}{}", repaired.out, repaired.err);
    let first = header.first_lsn.0;
    let last = records.last().unwrap().lsn();
    assert_eq!(named_lost(&repaired.out), (first..=last).collect::<Vec<_>>(), "{}", repaired.out);
    assert_eq!(dumped(damaged.path()), replayed(records.iter().filter(|record| record.lsn() < first)));
    for record in records.iter().filter(|record| record.lsn() > first && record.0["kind"] != "MARK") {
        let key = record.0["key"].as_str().unwrap();
        assert!(repaired.out.contains(&format!("lost: a write to {key}\n")), "{key}: {}", repaired.out);
    }
    Setup::new(damaged.path()).start().stop();
}

#[test]
fn a_torn_tail_is_no_damage() {
    let mut segments = segments();
    let bytes = segments.values_mut().next_back().unwrap();
    let frames = frames(bytes);
    let (offset, _) = frames[frames.len() - 2];
    bytes.truncate(offset + 50);
    let torn = directory(&segments);
    let checked = osprey(&["check"], torn.path());
    assert_eq!(checked.code, Some(0), "{}", checked.out);
    assert!(checked.out.contains("torn by a crash") && checked.out.contains("never promised"), "{}", checked.out);
    let repaired = osprey(&["repair"], torn.path());
    assert_eq!((repaired.code, repaired.out.as_str()), (Some(0), "nothing to repair: the data is sound\n"));
    assert!(
        fs::read(torn.path().join(SegmentNumber(*segments.keys().next_back().unwrap()).to_string())).unwrap()
            == *segments.values().next_back().unwrap()
    );
}

/// Behind the log of two runs an empty segment that a start has left, and one more that begins at the same LSN, with some writes: recovery leaves an empty one where only its header says how the log goes on.
fn with_an_empty_segment() -> (Segments, u64) {
    let mut segments = segments();
    let (&last, bytes) = segments.last_key_value().unwrap();
    let header = SegmentHeader::decode(bytes, crc32c).unwrap();
    let seal = frames(bytes).pop().unwrap().1;
    for (number, salt) in (last + 1..).zip([11, 12]) {
        let epoch = header.epoch + number - last;
        let header = SegmentHeader {
            number: SegmentNumber(number),
            epoch,
            salt,
            first_lsn: seal.first_lsn,
            durable: Lsn(seal.first_lsn.0 - 1),
            chain: seal.crc,
            time: seal.time,
            floor: seal.floor,
            ..header
        };
        segments.insert(number, header.encode(crc32c).unwrap());
    }
    let (salt, mut chain) = (12, seal.crc);
    for at in 0..4 {
        let value = at.to_string();
        let record = Record { kind: Kind::Set, version: Version(1000 + at), expiry: None, key: b"late", value: value.as_bytes() };
        let mut payload = u32::try_from(record.encoded_len()).unwrap().to_le_bytes().to_vec();
        record.encode(&mut payload);
        let first_lsn = Lsn(seal.first_lsn.0 + at);
        let durable = Lsn(first_lsn.0 - 1);
        let (kind, records) = (FrameType::Data, 1);
        let mut header =
            FrameHeader { kind, records, first_lsn, durable, previous: chain, payload_len: payload.len().try_into().unwrap(), ..seal };
        let bytes = segments.get_mut(&(last + 2)).unwrap();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(header.seal(salt, &payload, crc32c));
        bytes.extend(payload);
        chain = header.crc;
    }
    (segments, last + 1)
}

#[test]
fn two_segments_that_begin_at_the_same_lsn() {
    let (segments, empty) = with_an_empty_segment();
    let data = directory(&segments);
    let records = logged(data.path());
    let state = replayed(records.iter());
    assert_eq!(state["late"].0, "3");
    let checked = osprey(&["check"], data.path());
    assert_eq!(checked.code, Some(0), "{}", checked.out);
    assert!(checked.out.contains(&format!("{}: 4096 bytes, 0 frames, 0 records; open", SegmentNumber(empty))), "{}", checked.out);
    assert_eq!(dumped(data.path()), state);
    // A copy, whole, and as of moments in front of the empty one, at it, and behind.
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy");
    tool::done(["backup", text(&copy), text(data.path())]);
    let last = records.last().unwrap().lsn();
    for lsn in last - 6..=last {
        let restored = copies.path().join(lsn.to_string());
        tool::done(["restore", text(&copy), text(&restored), "--at", &lsn.to_string()]);
        assert_eq!(dumped(&restored), replayed(records.iter().filter(|record| record.lsn() <= lsn)), "{lsn}");
        assert_eq!(osprey(&["check"], &restored).code, Some(0), "{lsn}");
        Setup::new(&restored).start().stop();
    }
    // Damage in front of it, in it, behind it, and without it.
    for (number, at, lost) in
        [(empty - 1, 4096 + 100, true), (empty, 40, false), (empty, 60, false), (empty + 1, 4096 + 70, true), (empty + 1, 40, false)]
    {
        let mut damaged = segments.clone();
        damaged.get_mut(&number).unwrap()[at] ^= 1;
        check_repair(&format!("byte {at} of segment {number}"), &damaged, &records, lost);
    }
    // Salt and epoch of the last run are in this header only: where more than a bit of it is damaged, nobody can tell what was there.
    let mut damaged = segments.clone();
    damaged.get_mut(&(empty + 1)).unwrap()[40..48].fill(0xFF);
    let ran = osprey(&["repair", "--yes"], directory(&damaged).path());
    let said =
        format!("whether records are lost behind LSN {} cannot be told: nothing in {} can be read\n", last - 4, SegmentNumber(empty + 1));
    assert!(ran.out.contains(&said) && !ran.out.contains("no record is lost"), "{}", ran.out);
    let mut damaged = segments.clone();
    damaged.remove(&empty);
    check_repair("without it", &damaged, &records, false);
    Setup::new(data.path()).start().stop();
    assert_eq!(dumped(data.path()), state);
}

/// Repairs, and looks whether all is there that isn't named.
fn check_repair(what: &str, damaged: &Segments, records: &[Logged], loses: bool) {
    let data = directory(damaged);
    let checked = osprey(&["check"], data.path());
    assert_eq!(checked.code, Some(1), "{what}: {}", checked.out);
    let repaired = osprey(&["repair", "--yes"], data.path());
    assert_eq!(repaired.code, Some(0), "{what}: {}{}", repaired.out, repaired.err);
    let lost = named_lost(&repaired.out);
    assert_eq!(!lost.is_empty(), loses, "{what}: {}", repaired.out);
    assert_eq!(dumped(data.path()), replayed(records.iter().filter(|record| !lost.contains(&record.lsn()))), "{what}: {}", repaired.out);
    assert_eq!(osprey(&["check"], data.path()).code, Some(0), "{what}");
    Setup::new(data.path()).start().stop();
}

#[test]
fn a_running_server_is_left_alone() {
    let directory = directory(&segments());
    let server = Setup::new(directory.path()).start();
    for tool in [&["check"][..], &["repair", "--yes"], &["dump"], &["log"]] {
        let ran = osprey(tool, directory.path());
        assert_eq!(ran.code, Some(2), "{tool:?}: {}", ran.out);
        assert!(ran.err.contains(&format!("is in use by another server (process {})", server.pid())), "{tool:?}: {}", ran.err);
    }
    server.stop();
    assert_eq!(osprey(&["check"], &directory.path().join("none")).code, Some(2));
}
