//! Snapshots, and every place where the machine may go down while they are taken.
//!
//! One program, in which four are: between writes, with writes while the walk is under way, and with nothing behind the last but an expiry that was swept. Every step of
//! every operation of storage is a crash point. Beside what [`super::judge`] asks for, every image has two generations, and no snapshot that isn't whole.

use std::collections::BTreeMap;

use osprey_core::engine::{Options, SnapshotOptions};
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;

use super::explore::{POLICIES, options};
use super::host::{Host, Schedule, Visit};
use super::judge::{Judge, Tally, recover};
use crate::simulator::failure::{Check, Checked, ensure, fail};
use crate::simulator::keys::Key;
use crate::simulator::request::{Command, Expiry, Presence};

const BEGIN: Millis = Millis(1_000_000_000);

/// How long a key with an expiry lives, ms.
const SHORT_MS: u64 = 50;

/// As long that an idle log says what time it is, and what has expired is swept, ms.
const IDLE_MS: u64 = 1100;

/// Keys whose values are so long that the walk takes more than one step.
const LARGE: std::ops::Range<Key> = 0..10;

const LARGE_BYTES: usize = 2500;

/// As many, beside [`LARGE`], that a snapshot is written in more than one chunk.
const MORE: std::ops::Range<Key> = 20..130;

/// Keys with short values.
const COUNTER: Key = 10;
const EXPIRING: Key = 11;
const DELETED: Key = 12;
const SHORT: Key = 13;

/// The first of many keys, which make the index's tables split.
const MANY: std::ops::Range<Key> = 20..1640;

/// What is done before the crash points that are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Values that make the walk take several steps.
    Large,
    /// The same, and every recovery is cut short, too, wherever it can be.
    CutShort,
    /// The same, and the power was cut before: where something about snapshots was under way. What the recovered server does then is judged.
    Twice,
    /// As the first, and every snapshot but the first is damaged on its way to the disk.
    Damaged,
    /// So many of them that a snapshot is written in two chunks.
    Chunks,
    /// As the first, but the older generation makes room before a snapshot is begun.
    OneGeneration,
    /// The same, and before the third snapshot the second is damaged where it lies: it must not be what everything is given up for.
    Decayed,
    /// So many keys that the index's tables split; only what is behind each snapshot is judged.
    Many,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Crash points and images.
    pub tally: Tally,
    /// Of the crash points, those at which an operation about snapshots was under way, with so many of its steps done.
    pub under_way: BTreeMap<(&'static str, usize), u64>,
    /// Images of the end in which the newest snapshot was damaged.
    pub damaged: u64,
}

fn snapshot_options(scene: Scene, policy: SyncPolicy) -> Options {
    let mut options = options(policy);
    options.limits.request.value_bytes_max = LARGE_BYTES;
    let stored_percent_max = u64::from(scene.gives_way());
    Options {
        snapshots: Some(SnapshotOptions { automatic: false, log_bytes_max: 0, stored_percent_max, ..SnapshotOptions::default() }),
        ..options
    }
}

impl Scene {
    /// Whether log and snapshots always take more than they should.
    fn gives_way(self) -> bool {
        matches!(self, Self::OneGeneration | Self::Decayed)
    }
}

/// Runs the program, and judges it.
///
/// # Errors
/// The first finding, with what led to it.
pub fn explore(scene: Scene, policy: SyncPolicy, schedule: Schedule) -> Checked<Seen> {
    let explored = if scene == Scene::Twice { twice(policy, schedule) } else { run(scene, policy, schedule) };
    explored.map_err(|failure| failure.at(format_args!("{scene:?}, {policy:?}, {schedule:?}")))
}

fn run(scene: Scene, policy: SyncPolicy, schedule: Schedule) -> Checked<Seen> {
    let mut host = begin(scene, policy)?;
    host.schedule = schedule;
    let (mut judge, mut under_way) = (Judge::default(), BTreeMap::new());
    judge.begin();
    let judged = &mut |host: &Host| {
        if let Some(at) = host.disk.snapshot_under_way() {
            *under_way.entry(at).or_insert(0) += 1;
        }
        judge.at(host)
    };
    if scene == Scene::Many {
        many(&mut host, judged)?;
    } else {
        for round in 0..3 {
            if scene == Scene::Decayed && round == 2 {
                host.damaged = true;
                host.disk.damage_newest_snapshot();
            }
            one_round(&mut host, round, judged)?;
        }
        last_round(&mut host, judged)?;
    }
    let damaged = if scene == Scene::Large { damage(&mut host)? } else { 0 };
    Ok(Seen { tally: judge.tally, under_way, damaged })
}

fn set(key: Key, value: &[u8], expiry: Expiry) -> Command {
    Command::Set { key, value: value.to_vec(), expiry, presence: Presence::Any, version: None }
}

/// A server that has some keys, all of them on disk.
fn begin(scene: Scene, policy: SyncPolicy) -> Checked<Host> {
    let unjudged = &mut |_: &Host| Ok(());
    let mut options = snapshot_options(scene, policy);
    if scene == Scene::Many {
        // With this one the first table isn't the first to split: a walk that takes it for all of them misses some.
        options.entropy.hash_key = [1; 16];
    }
    let mut host = Host::new(options, Schedule::Prompt, BEGIN)?;
    host.keys = LARGE.chain(COUNTER..=SHORT).collect();
    host.cuts_recovery_short = scene == Scene::CutShort;
    host.damaged = scene == Scene::Damaged;
    host.one_generation = scene.gives_way();
    host.disk.damages_snapshots_from = (scene == Scene::Damaged).then_some(1);
    host.finish(unjudged)?;
    if scene == Scene::Many {
        for key in MANY {
            host.ask(&set(key, b"before", Expiry::Clear), unjudged)?;
        }
    } else {
        let more = if scene == Scene::Chunks { MORE } else { MORE.start..MORE.start };
        for key in more.chain(LARGE) {
            host.ask(&set(key, &[b'l'; LARGE_BYTES], Expiry::Clear), unjudged)?;
        }
    }
    host.ask(&set(DELETED, b"before", Expiry::Clear), unjudged)?;
    host.finish(unjudged)?;
    host.disk.write_back();
    Ok(host)
}

/// A snapshot, with writes before it, during its walk, and behind it.
fn one_round(host: &mut Host, round: Key, judged: Visit<'_>) -> Checked {
    let count = Command::Add { key: COUNTER, delta: 1, negated: false };
    let delete = Command::Del { key: DELETED, version: None };
    host.disk.write_back();
    host.ask(&count, judged)?;
    host.ask(&set(SHORT, b"1", Expiry::Clear), judged)?;
    host.ask(&set(EXPIRING, b"2", Expiry::In(SHORT_MS)), judged)?;
    host.ask(&delete, judged)?;
    host.request_snapshot(judged)?;
    host.finish(judged)?;
    host.slice(1, judged)?;
    // Some of these the walk has been to, some not.
    host.ask(&Command::Del { key: round, version: None }, judged)?;
    host.ask(&Command::Del { key: round + 3, version: None }, judged)?;
    host.ask(&count, judged)?;
    host.ask(&set(DELETED, b"3", Expiry::Clear), judged)?;
    ensure(host.engine.wants_snapshot_slice(), Check::Stuck, || "the walk has one step only".to_owned())?;
    host.slice(1, judged)?;
    host.ask(&set(round + 6, b"4", Expiry::Clear), judged)?;
    end_walk(host, judged)?;
    host.ask(&set(SHORT, b"5", Expiry::Clear), judged)?;
    host.finish(judged)?;
    host.wait(SHORT_MS + 10, judged)?;
    host.ask(&Command::Mget(vec![COUNTER, EXPIRING, DELETED]), judged)?;
    host.finish(judged)?;
    host.wait(IDLE_MS, judged)?;
    host.finish(judged)?;
    let unjudged = &mut |_: &Host| Ok(());
    for key in [round, round + 3, round + 6] {
        host.ask(&set(key, &[b'm'; LARGE_BYTES], Expiry::Clear), unjudged)?;
        host.finish(unjudged)?;
    }
    host.disk.write_back();
    Ok(())
}

/// A key has had versions that no other key has had, and is swept; then a snapshot is all that knows it.
fn last_round(host: &mut Host, judged: Visit<'_>) -> Checked {
    for _ in 0..3 {
        host.ask(&set(EXPIRING, b"6", Expiry::In(SHORT_MS)), judged)?;
    }
    host.finish(judged)?;
    for _ in 0..3 {
        host.wait(IDLE_MS, judged)?;
        host.finish(judged)?;
    }
    for _ in 0..2 {
        host.request_snapshot(judged)?;
        end_walk(host, judged)?;
        host.finish(judged)?;
    }
    Ok(())
}

/// A slice ends where a chunk is full, too: there are two at most.
fn end_walk(host: &mut Host, judged: Visit<'_>) -> Checked {
    for _ in 0..3 {
        host.slice(usize::MAX, judged)?;
    }
    ensure(!host.engine.wants_snapshot_slice(), Check::Stuck, || "the walk doesn't end".to_owned())
}

/// What the first power cut of [`Scene::Twice`] is told by.
const FIRST_CUT: &str = "the power is cut";

/// The power is cut at each crash point of a third round at which something about snapshots is under way, and a second time wherever it can be.
fn twice(policy: SyncPolicy, schedule: Schedule) -> Checked<Seen> {
    let mut seen = Seen::default();
    let mut judge = Judge::default();
    for first in 0.. {
        // What was written last has reached the platter, or nothing of it.
        for reached in [false, true] {
            let Some((mut host, at)) = first_cut(policy, schedule, first)? else {
                seen.tally = judge.tally;
                return Ok(seen);
            };
            *seen.under_way.entry(at).or_insert(0) += 1;
            let left = host.disk.image(if reached { host.disk.images() - 1 } else { 0 });
            host.restart(left, true)?;
            judge.begin();
            after_first_cut(&mut host, &mut |host| judge.at(host))?;
        }
    }
    Ok(seen)
}

/// A server at the crash point of this number; `None`: there are not so many.
fn first_cut(policy: SyncPolicy, schedule: Schedule, number: u32) -> Checked<Option<(Host, (&'static str, usize))>> {
    let mut host = begin(Scene::Twice, policy)?;
    host.schedule = schedule;
    for round in 0..2 {
        one_round(&mut host, round, &mut |_| Ok(()))?;
    }
    let (mut left, mut before, mut cut_at) = (number, None, None);
    let ended = one_round(&mut host, 2, &mut |host: &Host| {
        let (Some(at), generation) = (host.disk.snapshot_under_way(), host.disk.generation()) else { return Ok(()) };
        if before.replace(generation) == Some(generation) {
            return Ok(());
        }
        if left == 0 {
            cut_at = Some(at);
            return fail(Check::Stuck, || FIRST_CUT.to_owned());
        }
        left -= 1;
        Ok(())
    });
    match (ended, cut_at) {
        (Err(cut), Some(at)) if cut.message == FIRST_CUT => Ok(Some((host, at))),
        (ended, _) => ended.map(|()| None),
    }
}

/// The recovered server takes a snapshot, with writes before, while and behind.
fn after_first_cut(host: &mut Host, judged: Visit<'_>) -> Checked {
    let count = Command::Add { key: COUNTER, delta: 1, negated: false };
    host.finish(judged)?;
    host.ask(&count, judged)?;
    host.ask(&set(DELETED, b"7", Expiry::Clear), judged)?;
    host.request_snapshot(judged)?;
    host.finish(judged)?;
    host.slice(1, judged)?;
    host.ask(&Command::Del { key: DELETED, version: None }, judged)?;
    end_walk(host, judged)?;
    host.ask(&count, judged)?;
    host.finish(judged)
}

/// Many keys, of which some are new and split tables while the walk is on its way.
fn many(host: &mut Host, judged: Visit<'_>) -> Checked {
    let unjudged = &mut |_: &Host| Ok(());
    for round in 0..20 {
        host.request_snapshot(unjudged)?;
        host.finish(unjudged)?;
        host.slice(1, unjudged)?;
        for key in (MANY.end + round * 20)..(MANY.end + (round + 1) * 20) {
            host.ask(&set(key, b"new", Expiry::Clear), unjudged)?;
        }
        end_walk(host, unjudged)?;
        host.finish(unjudged)?;
        host.disk.write_back();
        host.ask(&set(SHORT, b"behind", Expiry::Clear), judged)?;
        host.finish(judged)?;
    }
    Ok(())
}

/// Every byte of the newest snapshot is damaged: another generation serves, with the same.
fn damage(host: &mut Host) -> Checked<u64> {
    host.damaged = true;
    let log = host.disk.shown();
    let expected = recover(host, log.clone())?;
    let Some((&name, bytes)) = log.1.last_key_value() else { return Ok(0) };
    let mut images = 0;
    // The header, the first blocks and the footer, and a sample of the values between.
    for at in (0..bytes.len()).filter(|at| *at < 256 || at % 61 == 0 || bytes.len() - at < 400) {
        let mut image = log.clone();
        image.1.entry(name).and_modify(|bytes| bytes[at] ^= 1);
        let outcome = recover(host, image).map_err(|failure| failure.at(format_args!("byte {at} of {name} is damaged")))?;
        ensure(outcome.lsn == expected.lsn, Check::Damage, || format!("byte {at} of {name} is damaged: {outcome:?}"))?;
        images += 1;
    }
    host.damaged = false;
    Ok(images)
}

const BATCH: SyncPolicy = POLICIES[1];

/// Every scene, policy and schedule.
pub const SCENES: [(Scene, SyncPolicy, Schedule); 20] = [
    (Scene::Large, SyncPolicy::Always, Schedule::Prompt),
    (Scene::Large, SyncPolicy::Always, Schedule::Late),
    (Scene::Large, SyncPolicy::Os, Schedule::Prompt),
    (Scene::Large, SyncPolicy::Os, Schedule::Late),
    (Scene::Damaged, SyncPolicy::Always, Schedule::Prompt),
    (Scene::Damaged, SyncPolicy::Always, Schedule::Late),
    (Scene::Damaged, SyncPolicy::Os, Schedule::Prompt),
    (Scene::Damaged, SyncPolicy::Os, Schedule::Late),
    (Scene::Large, BATCH, Schedule::Prompt),
    (Scene::Large, BATCH, Schedule::Late),
    (Scene::CutShort, SyncPolicy::Always, Schedule::Prompt),
    (Scene::CutShort, BATCH, Schedule::Late),
    (Scene::Twice, SyncPolicy::Always, Schedule::Late),
    (Scene::Twice, BATCH, Schedule::Prompt),
    (Scene::Many, SyncPolicy::Os, Schedule::Prompt),
    (Scene::Chunks, SyncPolicy::Always, Schedule::Late),
    (Scene::OneGeneration, SyncPolicy::Always, Schedule::Late),
    (Scene::OneGeneration, SyncPolicy::Os, Schedule::Prompt),
    (Scene::Decayed, SyncPolicy::Always, Schedule::Late),
    (Scene::Decayed, SyncPolicy::Os, Schedule::Prompt),
];
