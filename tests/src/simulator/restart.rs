//! Going down, coming up again, and what must hold then (invariants 2, 3, 5, 6, 7, 9, 10).

use osprey_core::clock::Clock as _;
use osprey_core::engine::Engine;
use osprey_core::recovery::{RecoveryError, Report};
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;

use super::coverage::Mark;
use super::disk::{Crash, Damage, Damaged, Disk, Fuse, Loss, Progress, Step};
use super::events::Event;
use super::failure::{Check, Checked, ensure, fail};
use super::history::Reach;
use super::keys;
use super::tape::Choices;
use super::world::{World, crash};
use crate::museum::planted;

/// So often a recovery is cut short at most, before it is let through.
const NESTED_MAX: u32 = 4;

/// An orderly end, or answering everything that was asked, takes so many turns at most.
const TURNS_MAX: u32 = 400;

/// What had been promised when the machine went down.
struct Promise {
    reach: Reach,
    observed: usize,
    observed_time: u64,
    floor: u64,
    now: u64,
    last_lsn: u64,
}

impl World {
    /// The machine goes down and comes up again.
    pub(super) fn go_down(&mut self, kind: Crash, choices: &mut Choices) -> Checked {
        self.crash(kind, choices);
        self.come_up(choices, true).map(|_| ())
    }

    fn crash(&mut self, kind: Crash, choices: &mut Choices) {
        self.trace.note(20, self.engine.last_lsn().0, || Event::Down { crash: kind });
        self.coverage.hit(match kind {
            Crash::Kill => Mark::Kill,
            Crash::PowerCut(Loss::All) => Mark::PowerCutAll,
            Crash::PowerCut(Loss::None) => Mark::PowerCutNone,
            Crash::PowerCut(Loss::Mixed) => Mark::PowerCutMixed,
            Crash::PowerCut(Loss::Tail) => Mark::PowerCutTail,
            Crash::PowerCut(Loss::Head) => Mark::PowerCutHead,
        });
        self.count_snapshot_crash();
        if self.disk.under_way() > 0 {
            self.coverage.hit(Mark::CrashUnderWay);
        }
        if self.disk.starting().is_some_and(|step| step > 0) {
            self.coverage.hit(Mark::HalfStarted);
        }
        self.power_lost |= self.disk.crash(kind, choices);
        self.clients.clear();
        self.model.walks.clear();
    }

    /// The server starts, if need be several times, until it serves. `faults`: while it does, more may happen.
    fn come_up(&mut self, choices: &mut Choices, faults: bool) -> Checked<Report> {
        let always = self.options.sync_policy == SyncPolicy::Always;
        let mut damaged = if faults && choices.one_in(6) { self.damage(choices) } else { None };
        let mut nested = 0;
        loop {
            if faults && choices.one_in(4) {
                self.clock.set_back([50, 5000, 100_000_000][choices.below(3)]);
            }
            let now = self.clock.now();
            let options = self.next_options(choices);
            if faults && damaged.is_none() && nested < NESTED_MAX && choices.one_in(3) {
                let left = Some(u32::try_from(choices.below(6)).unwrap_or(0));
                let in_reads = choices.one_in(if options.snapshots.is_some() { 2 } else { 8 });
                self.disk.fuse =
                    Fuse { changes_left: left.filter(|_| !in_reads), reads_left: left.filter(|_| in_reads), ..Fuse::default() };
            }
            let before = damaged.is_some().then(|| self.disk.copy());
            let promise = Promise {
                reach: if self.power_lost { self.history.durable() } else { self.history.written() },
                observed: if always || !self.power_lost { self.observed } else { 0 },
                observed_time: if always || !self.power_lost { self.observed_time } else { 0 },
                floor: self.model.floor,
                now: self.now,
                last_lsn: self.history.last_lsn(),
            };
            match Engine::recover(options, &mut self.disk, now) {
                Ok((engine, report)) => {
                    self.disk.fuse = Fuse::default();
                    self.options = options;
                    self.engine = engine;
                    self.check_recovered(&promise, &report, now, damaged.as_ref())?;
                    if choices.one_in(4) {
                        self.recover_again()?;
                    }
                    self.begin_run();
                    return Ok(report);
                }
                Err(_) if self.disk.fuse.burnt => {
                    nested += 1;
                    self.interrupted(choices);
                }
                Err(error) => {
                    self.trace.note(22, 0, || Event::Refused { message: error.to_string() });
                    let (Some(damage), Some(before)) = (damaged.take(), before) else {
                        return fail(Check::Refused, || format!("a log that only crashes have touched is refused: {error}"));
                    };
                    let others = self.disk.generations(None, |snapshot| snapshot.whole);
                    let has_reason = others == 0 || damage.segment().is_some();
                    ensure(has_reason, Check::Refused, || format!("{damage:?} is refused, and there is another generation: {error}"))?;
                    let unchanged = self.disk.shows_the_same(&before);
                    ensure(unchanged, Check::Damage, || format!("a log that was refused has changed: {error}"))?;
                    self.coverage.hit(match error {
                        RecoveryError::Missing(_) => Mark::RefusedMissing,
                        RecoveryError::Header(..) | RecoveryError::Misnamed { .. } => Mark::RefusedHeader,
                        RecoveryError::Snapshot(..) => Mark::RefusedSnapshot,
                        _ => Mark::RefusedCorrupt,
                    });
                    self.disk.repair(&damage);
                }
            }
        }
    }

    fn damage(&mut self, choices: &mut Choices) -> Option<Damaged> {
        let damaged = self.disk.damage(choices)?;
        self.coverage.hit(match damaged.kind {
            Damage::Bit => Mark::DamageBit,
            Damage::Zeros => Mark::DamageZeros,
            Damage::Garbage => Mark::DamageGarbage,
            Damage::Misdirected => Mark::DamageMisdirected,
            Damage::Cut => Mark::DamageCut,
            Damage::Removed => Mark::DamageRemoved,
        });
        if damaged.segment().is_none() {
            self.coverage.hit(Mark::DamageOfSnapshot);
        }
        let Damaged { kind, name, from, to, .. } = damaged;
        self.trace.note(21, from as u64, || Event::Damaged { kind, name, from, to });
        Some(damaged)
    }

    /// A recovery was cut short.
    fn interrupted(&mut self, choices: &mut Choices) {
        let during = self.disk.fuse.during;
        self.coverage.hit(match during {
            Some(Step::Truncate) => Mark::CrashInTruncate,
            Some(Step::Remove) => Mark::CrashInRemove,
            Some(Step::Sync) => Mark::CrashInSync,
            Some(Step::Load) => Mark::LoadCutShort,
            Some(Step::Read) | None => Mark::ReadFailed,
        });
        self.disk.fuse = Fuse::default();
        let goes_down = match during {
            Some(Step::Read) => false,
            Some(Step::Load) => choices.one_in(2),
            _ => true,
        };
        if goes_down {
            let kind = crash(choices);
            self.crash(kind, choices);
        }
    }

    fn begin_run(&mut self) {
        self.disk.prompt = Progress::default();
        self.now = self.engine.now().0;
        self.read_only = false;
        self.started = false;
        self.poisoned = None;
        self.power_lost = false;
        self.begin_snapshots();
    }

    /// What was recovered is the model's state at one prefix of history, with everything in it that was promised.
    fn check_recovered(&mut self, promise: &Promise, report: &Report, clock: Millis, damage: Option<&Damaged>) -> Checked {
        let lsn = self.engine.last_lsn().0;
        let now = self.engine.now().0;
        let (base, torn, sealed) = (report.snapshot.map(|(name, _)| name), report.torn.is_some(), report.sealed);
        self.trace.note(23, lsn, || Event::Recovered { lsn, now, snapshot: base, torn, sealed });
        let Some((frames, frame)) = self.history.frame_at(lsn) else {
            return fail(Check::Prefix, || format!("recovered through LSN {lsn}, where no frame has ended"));
        };
        let replayed = lsn.saturating_sub(base.map_or(0, |base| base.begin.0));
        ensure(report.records == replayed, Check::Prefix, || format!("{} records were replayed, through LSN {lsn}", report.records))?;
        let position = frame.map_or(0, |frame| frame.position);
        let promised = promise.reach;
        let is_short = (lsn < promised.lsn || position < promise.observed) && !planted("check_promises_nothing");
        let segment = damage.and_then(|damage| Some((damage, damage.segment()?)));
        match segment {
            Some((damage, segment)) if is_short => {
                let by_snapshots = self.disk.snapshots().map(|snapshot| snapshot.name.end.0).max().unwrap_or(0);
                let claimed = self.history.claimed(segment, damage.from, damage.to, self.power_lost).max(by_snapshots);
                ensure(lsn >= claimed, Check::Damage, || {
                    format!("{damage:?} is served: recovered through LSN {lsn}, and {claimed} is claimed to have been durable")
                })?;
                let certain = self.history.is_behind_a_later_run(segment, self.power_lost);
                ensure(!certain, Check::Damage, || format!("{damage:?} is taken for a torn tail, and a later run follows"))?;
                self.coverage.hit(Mark::DamageCutOff);
            }
            Some(_) => self.coverage.hit(Mark::DamageHarmless),
            None => ensure(!is_short, Check::Lost, || {
                format!(
                    "recovered through LSN {lsn} (position {position}); LSN {} was promised, and position {} seen",
                    promised.lsn, promise.observed
                )
            })?,
        }
        let time = frame.map_or(0, |frame| frame.time).max(clock.0).max(base.map_or(0, |base| self.disk.time_of(base)));
        ensure((time..=promise.now.max(clock.0)).contains(&now), Check::Back, || format!("time is {now}, which was {}", promise.now))?;
        // A header that is gone takes along the time that it alone held.
        let time_is_short = is_short || damage.is_some_and(Damaged::takes_header);
        // So does a snapshot that is damaged.
        let of_snapshot = damage.is_some_and(|damage| damage.segment().is_none());
        let known = if of_snapshot { self.history.time_of_log() } else { u64::MAX };
        let seen = if time_is_short { 0 } else { promise.observed_time.min(known) };
        ensure(now >= seen, Check::Back, || format!("time is {now}, and a key was seen to have expired at {seen}"))?;
        self.observed = position;
        self.observed_time = seen;
        self.model.roll_back(position);
        self.check_floor(promise, frame.map_or(0, |frame| frame.floor))?;
        self.base = self.check_base(report, damage)?;
        self.check_state()?;
        let disk = &self.disk;
        let length = |segment| disk.segments().find(|(number, _)| *number == segment).map(|(_, bytes)| bytes.len());
        self.history.recovered(frames, self.power_lost, length);
        self.history.recovered_from_snapshot(base.map_or(0, |base| self.disk.time_of(base)));
        self.count_recovery(promise, report, lsn, now > clock.0);
        Ok(())
    }

    fn check_floor(&mut self, promise: &Promise, least: u64) -> Checked {
        let floor = self.engine.store().floor().0;
        let bounds = least..=promise.floor;
        ensure(bounds.contains(&floor), Check::Version, || format!("the floor is {floor}, it must be in {bounds:?}"))?;
        if floor > self.model.logged_floor {
            self.coverage.hit(Mark::FloorRecovered);
        }
        self.model.floor = floor;
        Ok(())
    }

    fn count_recovery(&mut self, promise: &Promise, report: &Report, lsn: u64, behind: bool) {
        self.coverage.hit(Mark::Recovery);
        let mut hit = |happened: bool, mark| {
            if happened {
                self.coverage.hit(mark);
            }
        };
        hit(report.torn.is_some(), Mark::TornTail);
        hit(report.torn.is_some_and(|torn| torn.segments_removed > 0), Mark::SegmentRemoved);
        hit(lsn < promise.last_lsn, Mark::UnpromisedLost);
        hit(behind, Mark::ClockBehindLog);
        let last_is_empty =
            self.disk.segments().next_back().is_some_and(|(_, bytes)| bytes.get(4096..4100).is_none_or(|frame| frame != b"OSF1"));
        hit(last_is_empty, Mark::EmptyReplaced);
    }

    /// The engine holds exactly what the model does, keys that have expired included: a log says nothing of their end.
    fn check_state(&self) -> Checked {
        let store = self.engine.store();
        let entries = self.model.entries();
        let mut wrong = None;
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            cursor = store.walk(at, |record| {
                let expected = keys::of_name(record.key).and_then(|key| entries.get(&key));
                let same = expected.is_some_and(|entry| {
                    entry.value == record.value && entry.version == record.version.0 && entry.expiry == record.expiry.map(|expiry| expiry.0)
                });
                if !same && wrong.is_none() {
                    wrong = Some(format!("{record:?} was recovered, not {expected:?}"));
                }
            });
        }
        if planted("check_takes_any_state") {
            return Ok(());
        }
        if let Some(wrong) = wrong {
            return fail(Check::Prefix, || wrong);
        }
        if store.len() < entries.len() {
            return self.check_missing();
        }
        ensure(store.len() == entries.len(), Check::Prefix, || format!("{} keys were recovered, not {}", store.len(), entries.len()))
    }

    /// A snapshot needn't hold a key that had been swept, as long as the time and the floor are there that say so. What is behind S0 the log has.
    fn check_missing(&self) -> Checked {
        let store = self.engine.store();
        let (now, floor) = (self.engine.now(), store.floor().0);
        for (&key, entry) in self.model.entries() {
            let name = keys::name(key);
            let found = store.lookup(store.hash(name), name, now);
            if found.live().or_else(|| found.expired()).is_some() {
                continue;
            }
            let may_be_swept = entry.expiry.is_some_and(|expiry| expiry <= now.0) && entry.version <= floor;
            let swept = may_be_swept && !self.model.written_behind(key, self.base);
            ensure(swept, Check::Prefix, || format!("key {key} was not recovered, which is {entry:?}"))?;
        }
        Ok(())
    }

    /// Recovering what was recovered changes nothing and gives the same.
    fn recover_again(&mut self) -> Checked {
        self.coverage.hit(Mark::RecoveredTwice);
        let mut copy: Disk = self.disk.copy();
        let now = self.clock.now();
        let again = Engine::recover(self.options, &mut copy, now);
        let Ok((again, report)) = again else { return fail(Check::Twice, || format!("the second recovery fails: {again:?}")) };
        ensure(report.torn.is_none(), Check::Twice, || format!("the second recovery cuts {:?}", report.torn))?;
        ensure(copy.shows_the_same(&self.disk), Check::Twice, || "the second recovery has changed the log".to_owned())?;
        let facts = |engine: &Engine| (engine.last_lsn(), engine.now(), engine.store().floor(), engine.store().len());
        let (first, second) = (facts(&self.engine), facts(&again));
        ensure(first == second, Check::Twice, || format!("the second recovery gives {second:?}, the first gave {first:?}"))?;
        let first = std::mem::replace(&mut self.engine, again);
        let same = self.check_state();
        self.engine = first;
        same
    }

    /// The server ends in order, and starts again.
    pub(super) fn restart(&mut self, choices: &mut Choices) -> Checked {
        if self.poisoned.is_some() {
            return Ok(());
        }
        if self.options.snapshots.is_some() {
            self.stop_snapshots();
            self.turn()?;
            if self.poisoned.is_some() {
                return Ok(());
            }
        }
        self.trace.note(24, 0, || Event::Closing);
        self.engine.close();
        let mut turns = 0;
        while !self.engine.closed() {
            turns += 1;
            ensure(turns < TURNS_MAX, Check::Stuck, || "the orderly end doesn't come".to_owned())?;
            self.disk.work(turns as usize);
            self.tick()?;
            self.drive()?;
            if self.poisoned.is_some() {
                return Ok(());
            }
        }
        for client in &mut self.clients {
            client.reads = true;
        }
        for at in 0..self.clients.len() {
            self.release(at)?;
            let client = &self.clients[at];
            ensure(client.closed || client.out.is_empty(), Check::Stuck, || format!("client {at} doesn't get all its replies at the end"))?;
        }
        let durable = self.history.durable().lsn;
        let last = self.engine.last_lsn().0;
        ensure(durable == last, Check::Lost, || format!("closed, and durable through LSN {durable} of {last}"))?;
        let was_started = self.started;
        self.coverage.hit(Mark::Restart);
        // Nothing may depend on what wasn't synced.
        self.crash(Crash::PowerCut(Loss::All), choices);
        let faults = choices.one_in(2);
        let report = self.come_up(choices, faults)?;
        if !faults && was_started {
            ensure(report.sealed && report.torn.is_none(), Check::Prefix, || format!("after an orderly end: {report:?}"))?;
        }
        Ok(())
    }

    /// The faults stop. Everything that was asked is answered, the server ends in order, and its log is whole (invariant 10).
    pub(super) fn finish(&mut self) -> Checked {
        let mut plain = Choices::new([0; 8]);
        if self.poisoned.is_some() {
            self.crash(Crash::Kill, &mut plain);
            self.come_up(&mut plain, false)?;
        }
        self.disk.full = false;
        self.disk.fault = None;
        self.disk.prompt = Progress::default();
        self.snapshots.steps = usize::MAX;
        self.clock.at_least(self.engine.now());
        for client in &mut self.clients {
            client.reads = true;
        }
        for turn in 0.. {
            let open = || self.clients.iter().filter(|client| !client.closed);
            let waiting = open().any(|client| !client.requests.is_empty() || !client.out.is_empty());
            if !waiting && !self.engine.starting() && !self.read_only {
                break;
            }
            ensure(turn < TURNS_MAX, Check::Stuck, || "without faults not everything is answered".to_owned())?;
            self.disk.work(turn as usize);
            self.clock.advance(100);
            self.turn()?;
        }
        if self.options.snapshots.is_some() {
            self.take_last_snapshot()?;
        }
        self.restart_in_order(&mut plain)
    }

    /// Without faults there is a snapshot when one is asked for.
    fn take_last_snapshot(&mut self) -> Checked {
        let last = self.engine.last_lsn();
        for turn in 0..TURNS_MAX {
            if self.engine.newest_snapshot().is_some_and(|newest| newest.end >= last) {
                return Ok(());
            }
            // Again and again: one that is under way may be spoilt already.
            let asked = self.engine.request_snapshot();
            ensure(asked.is_ok(), Check::Stuck, || format!("no snapshot can be asked for: {asked:?}"))?;
            self.disk.work(turn as usize);
            self.clock.advance(100);
            self.turn()?;
        }
        fail(Check::Stuck, || format!("without faults there is no snapshot: {:?}", self.engine.snapshot_failure()))
    }

    fn restart_in_order(&mut self, plain: &mut Choices) -> Checked {
        let last = self.engine.last_lsn();
        self.restart(plain)?;
        let recovered = self.engine.last_lsn();
        // An idle log may have been marked meanwhile.
        ensure(recovered >= last, Check::Lost, || format!("recovered through {recovered:?} of {last:?} after an orderly end"))
    }
}
