//! At a crash point: every image that the disk may leave is recovered, and judged.

use osprey_core::engine::{Engine, Session};
use osprey_core::recovery::Report;
use osprey_core::storage::{LogFiles as _, SnapshotOp, StorageDone, StorageOp};
use osprey_core::units::Millis;

use super::host::{Host, Promise, State};
use super::interrupted::cut_short;
use crate::memory_log::MemoryLog;
use crate::simulator::failure::{Check, Checked, Failure, ensure, fail};
use crate::simulator::keys;
use crate::simulator::model::Entry;
use crate::simulator::request::{Command, Expiry, Presence};

/// The bound: a crash point with more images is an error, not cut short.
pub const IMAGES_MAX: usize = 4096;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Programs run.
    pub programs: u64,
    /// Places in them where the machine may go down.
    pub crash_points: u64,
    /// What it may leave there, all of it judged.
    pub images: u64,
    /// Recoveries for that: an image that the next crash point has, too, is recovered once.
    pub recovered: u64,
    /// The most images of a crash point.
    pub images_of_one_max: u64,
    /// Crash points behind a rotation.
    pub rotated: u64,
    /// Recoveries that were cut short.
    pub cut_short: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.programs += other.programs;
        self.crash_points += other.crash_points;
        self.images += other.images;
        self.recovered += other.recovered;
        self.images_of_one_max = self.images_of_one_max.max(other.images_of_one_max);
        self.rotated += other.rotated;
        self.cut_short += other.cut_short;
    }
}

/// What a recovery has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its last record.
    pub lsn: u64,
    /// The model's position there.
    pub position: usize,
    /// The engine's time, with a clock that is far behind.
    pub now: Millis,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Judge {
    /// What was done.
    pub tally: Tally,
    /// Of the disk's present generation.
    outcomes: Vec<Outcome>,
    generation: Option<u64>,
}

impl Judge {
    /// Another program begins: another disk.
    pub fn begin(&mut self) {
        self.tally.programs += 1;
        self.generation = None;
    }

    /// Judges a crash point.
    pub fn at(&mut self, host: &Host) -> Checked {
        if self.generation != Some(host.disk.generation()) {
            self.recover_all(host)?;
            self.generation = Some(host.disk.generation());
        }
        self.tally.crash_points += 1;
        self.tally.rotated += u64::from(host.rotations > 0);
        self.tally.images += self.outcomes.len() as u64;
        self.tally.images_of_one_max = self.tally.images_of_one_max.max(self.outcomes.len() as u64);
        let cut = host.promised_over_power_cut();
        for (image, outcome) in self.outcomes.iter().enumerate() {
            outcome.keeps(&cut).map_err(|failure| failure.at(format_args!("a power cut leaves image {image}")))?;
        }
        if let Some(shown) = self.outcomes.last() {
            shown.keeps(&host.promised_over_kill()).map_err(|failure| failure.at("the process is killed"))?;
        }
        Ok(())
    }

    fn recover_all(&mut self, host: &Host) -> Checked {
        let images = host.disk.images();
        ensure(images <= IMAGES_MAX, Check::Bounds, || format!("{images} images: choose a smaller scope"))?;
        self.outcomes.clear();
        for image in 0..images {
            let at = |failure: Box<Failure>| failure.at(format_args!("image {image} of {images}"));
            let log = host.disk.image(image);
            let outcome = recover(host, log.clone()).map_err(at)?;
            self.outcomes.push(outcome);
            if host.cuts_recovery_short {
                self.tally.cut_short += recover_cut_short(host, &log, outcome).map_err(at)?;
            }
        }
        self.tally.recovered += images as u64;
        for image in host.disk.shown_in_the_last_write() {
            self.tally.images += 1;
            self.tally.recovered += 1;
            let outcome = recover(host, image).and_then(|outcome| outcome.keeps(&host.promised_over_kill()));
            outcome.map_err(|failure| failure.at("the process is killed in the middle of a write"))?;
        }
        Ok(())
    }
}

impl Outcome {
    /// All that was promised is there.
    pub fn keeps(&self, promise: &Promise) -> Checked {
        let kept = self.lsn >= promise.reach.lsn && self.position >= promise.observed && self.now.0 >= promise.observed_time;
        ensure(kept, Check::Lost, || format!("{self:?}, but {promise:?}"))
    }
}

/// Recovers what a crash has left, with a clock that is far behind. Whatever was promised, it must be the model's state behind one frame; recovering
/// again must give the same; and the server must go on from there, with versions that its keys haven't had.
pub fn recover(host: &Host, mut log: MemoryLog) -> Checked<Outcome> {
    let clock = Millis(0);
    let mut options = host.options;
    options.entropy.salt += 1;
    let mut recover = |log: &mut MemoryLog| {
        options.entropy.salt += 1;
        let recovered = Engine::recover(options, log, clock);
        recovered.or_else(|error| fail(Check::Refused, || format!("a log that only a crash has touched is refused: {error}")))
    };
    let (first, report) = recover(&mut log)?;
    let lsn = first.last_lsn().0;
    let Some((position, state)) = host.state_at(lsn) else {
        return fail(Check::Prefix, || format!("recovered through LSN {lsn}, where no frame has ended: {report:?}"));
    };
    check_recovered(&first, &report, state)?;
    ensure(host.damaged || report.unusable.is_none(), Check::Damage, || format!("a crash leaves half a snapshot: {report:?}"))?;

    let ahead = first.now() > host.now;
    ensure(!ahead, Check::Damage, || format!("the time is {:?}, and has been {:?} at most", first.now(), host.now))?;

    let once = log.clone();
    let (mut engine, again) = recover(&mut log)?;
    ensure(log == once && again.torn.is_none(), Check::Twice, || format!("the second recovery has changed the log: {again:?}"))?;
    let facts = |engine: &Engine| (engine.last_lsn(), engine.now(), engine.store().floor());
    ensure(facts(&engine) == facts(&first), Check::Twice, || format!("first {:?}, then {:?}", facts(&first), facts(&engine)))?;
    check_recovered(&engine, &again, state)?;

    let two = !host.one_generation || log.1.len() > 1;
    if !host.damaged
        && two
        && let Some(spare) = without_newest_snapshot(&log)
    {
        let (from_spare, report) = recover(&mut spare.clone()).map_err(|failure| failure.at("with the newest snapshot damaged"))?;
        let same = from_spare.last_lsn() == first.last_lsn();
        ensure(same, Check::Damage, || format!("with the newest snapshot damaged: {report:?}"))?;
        check_recovered(&from_spare, &report, state).map_err(|failure| failure.at("with the newest snapshot damaged"))?;
    }

    let mut written = state.clone();
    for &key in &host.keys {
        let set = Command::Set { key, value: b"9".to_vec(), expiry: Expiry::Clear, presence: Presence::Any, version: None };
        let version = write(&mut engine, &mut log, &set)?;
        let highest = host.highest_version(key, position);
        ensure(version > highest, Check::Version, || format!("key {key} gets version {version}, and has had {highest}"))?;
        written.insert(key, Entry { value: b"9".to_vec(), version, expiry: None });
    }
    let (mut last, report) = recover(&mut log)?;
    check_recovered(&last, &report, &written)?;
    if host.options.snapshots.is_some() {
        take_snapshot(&mut last, &mut log)?;
        let newest = last.newest_snapshot();
        let (last, report) = recover(&mut log)?;
        let used = newest.is_some() && report.snapshot.map(|(name, _)| name) == newest;
        ensure(used, Check::Damage, || format!("a recovered server has taken {newest:?}: {report:?}"))?;
        check_recovered(&last, &report, &written)?;
        if let Some(mut spare) = without_newest_snapshot(&log) {
            let (last, report) = recover(&mut spare).map_err(|failure| failure.at("with a recovered server's snapshot damaged"))?;
            check_recovered(&last, &report, &written)?;
        }
    }
    Ok(Outcome { lsn, position, now: first.now() })
}

/// However far a recovery comes, the next one gives the same.
fn recover_cut_short(host: &Host, log: &MemoryLog, whole: Outcome) -> Checked<u64> {
    let mut options = host.options;
    options.entropy.salt += 50;
    cut_short(options, Millis(0), log, |left| {
        let outcome = recover(host, left)?;
        ensure(outcome == whole, Check::Twice, || format!("{outcome:?}, and without it {whole:?}"))
    })
}

/// The same with the newest snapshot damaged in its middle, if there is one: whenever the machine goes down, there is another generation.
fn without_newest_snapshot(log: &MemoryLog) -> Option<MemoryLog> {
    let mut log = log.clone();
    let mut newest = log.1.last_entry()?;
    let middle = newest.get().len() / 2;
    *newest.get_mut().get_mut(middle)? ^= 1;
    Some(log)
}

/// As [`check_state`]; but a snapshot needn't hold a key that had been swept, as long as the time and the floor are kept that say so.
fn check_recovered(engine: &Engine, report: &Report, state: &State) -> Checked {
    if report.snapshot.is_none() {
        return check_state(engine, state);
    }
    let (now, floor) = (engine.now(), engine.store().floor());
    let swept = |entry: &Entry| entry.expiry.is_some_and(|expiry| expiry <= now.0) && entry.version <= floor.0;
    let held = |key: keys::Key| {
        let found = engine.store().lookup(engine.store().hash(keys::name(key)), keys::name(key), now);
        found.live().or_else(|| found.expired()).is_some()
    };
    let mut left = state.clone();
    left.retain(|&key, entry| !swept(entry) || held(key));
    check_state(engine, &left)
}

/// A recovered server takes a snapshot, and removes what isn't needed any more.
fn take_snapshot(engine: &mut Engine, log: &mut MemoryLog) -> Checked {
    let mut draft = Vec::new();
    let _ = engine.request_snapshot();
    loop {
        let now = engine.now();
        engine.snapshot_slice(now, || true);
        let Some(mut op) = engine.poll_storage() else { break };
        let result = match &mut op {
            StorageOp::Snapshot(op) => {
                match op {
                    SnapshotOp::Create { .. } | SnapshotOp::Discard => draft.clear(),
                    SnapshotOp::Append { data, .. } => draft.extend_from_slice(data),
                    SnapshotOp::Publish { name } => drop(log.1.insert(*name, std::mem::take(&mut draft))),
                    SnapshotOp::Read { name, offset, buffer } => {
                        let read = log.read_snapshot(*name, *offset, buffer);
                        buffer.truncate(read.unwrap_or(0));
                    }
                    SnapshotOp::Remove { name } => drop(log.1.remove(name)),
                    SnapshotOp::RemoveSegment { segment } => drop(log.0.remove(segment)),
                }
                Ok(())
            }
            op => log.execute(op),
        };
        let ended = engine.storage_done(StorageDone { op, result });
        ended.or_else(|poisoned| fail(Check::Stuck, || format!("a recovered server: {poisoned}")))?;
    }
    ensure(!engine.taking_snapshot(), Check::Stuck, || "a recovered server doesn't end its snapshot".to_owned())
}

/// A write, with storage at work; returns the version.
fn write(engine: &mut Engine, log: &mut MemoryLog, command: &Command) -> Checked<u64> {
    let mut input = Vec::new();
    command.encode(&mut input);
    let (mut session, mut out) = (Session::new(), Vec::new());
    for _ in 0..2 {
        if out.is_empty() {
            engine.serve(engine.now(), &mut session, &input, &mut out);
        }
        while let Some(op) = engine.poll_storage() {
            let result = log.execute(&op);
            let ended = engine.storage_done(StorageDone { op, result });
            ended.or_else(|poisoned| fail(Check::Stuck, || format!("a recovered server: {poisoned}")))?;
        }
    }
    let version = out.strip_prefix(b"OK ").and_then(|rest| std::str::from_utf8(rest).ok()?.trim().parse().ok());
    let Some(version) = version else {
        return fail(Check::Stuck, || format!("a recovered server answers {}", out.escape_ascii()));
    };
    Ok(version)
}

/// The engine holds exactly this, keys that have expired included.
pub fn check_state(engine: &Engine, state: &State) -> Checked {
    let mut wrong = None;
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = engine.store().walk(at, |record| {
            let expected = keys::of_name(record.key).and_then(|key| state.get(&key));
            let same = expected.is_some_and(|entry| {
                entry.value == record.value && entry.version == record.version.0 && entry.expiry == record.expiry.map(|expiry| expiry.0)
            });
            if !same {
                wrong = Some(format!("{record:?} was recovered, not {expected:?}"));
            }
        });
    }
    if let Some(wrong) = wrong {
        return fail(Check::Prefix, || wrong);
    }
    let keys = engine.store().len();
    ensure(keys == state.len(), Check::Prefix, || format!("{keys} keys were recovered, not {}", state.len()))
}
