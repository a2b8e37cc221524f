//! A server on such a disk, with one client, and beside them what must hold: the model, and how far the log has come.

use std::collections::{BTreeMap, VecDeque};

use osprey_core::engine::{Engine, Next, Options, Session};
use osprey_core::recovery::Report;
use osprey_core::storage::StorageOp;
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;

use super::disk::Disk;
use super::program::KEYS;
use crate::memory_log::MemoryLog;
use crate::simulator::failure::{Check, Checked, ensure, fail};
use crate::simulator::history::{Frame, History, Reach};
use crate::simulator::keys::Key;
use crate::simulator::model::{Change, Entry, Expected, Model, Shows};
use crate::simulator::request::Command;

/// All keys, expired ones included: what a log says.
pub type State = BTreeMap<Key, Entry>;

/// When operations end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Before anything else happens.
    Prompt,
    /// As late as possible: an operation's last step is done when the next thing has been asked and is under way, too.
    Late,
}

/// Is called at every crash point: whenever the machine may go down in a way that makes a difference.
pub type Visit<'a> = &'a mut dyn FnMut(&Host) -> Checked;

/// What must be there after the machine has gone down.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// Records and time that the log must have kept.
    pub reach: Reach,
    /// The model's position that a client has seen.
    pub observed: usize,
    /// The time that a client has seen to have come.
    pub observed_time: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Host {
    /// Of the present run.
    pub options: Options,
    /// The core.
    pub engine: Engine,
    /// Its disk.
    pub disk: Disk,
    /// The time that the engine is told.
    pub now: Millis,
    /// How far the log has come.
    pub history: History,
    /// Whether storage has failed.
    pub poisoned: bool,
    /// Whether the last reservation has failed.
    pub read_only: bool,
    /// Segments that were started behind another one of the same run.
    pub rotations: u64,
    /// When operations end.
    pub schedule: Schedule,
    /// The keys that programs use.
    pub keys: Vec<Key>,
    /// Whether every recovery is cut short, too, wherever it can be.
    pub cuts_recovery_short: bool,
    /// Whether snapshots may be damaged: then the log or an older one has to serve.
    pub damaged: bool,
    /// Whether the older generation goes before a snapshot is begun: then there is just one while it is taken.
    pub one_generation: bool,
    model: Model,
    /// The model's state at each position; `None` in the middle of a command.
    states: Vec<Option<State>>,
    observed: usize,
    observed_time: u64,
    session: Session,
    out: Vec<u8>,
    /// Replies that haven't left: where each ends, and what it shows.
    replies: VecDeque<(u64, Shows)>,
    produced: u64,
    released: u64,
    round: u32,
    /// Whether this run has started a segment.
    started: bool,
}

impl Host {
    /// A server on an empty disk. Its log isn't ready yet.
    pub fn new(options: Options, schedule: Schedule, now: Millis) -> Checked<Self> {
        let Ok((engine, _)) = Engine::recover(options, &mut MemoryLog::default(), now) else {
            return fail(Check::Refused, || "an empty disk was refused".to_owned());
        };
        Ok(Self {
            options,
            engine,
            disk: Disk::default(),
            now,
            history: History::default(),
            poisoned: false,
            read_only: false,
            rotations: 0,
            schedule,
            keys: KEYS.to_vec(),
            cuts_recovery_short: false,
            damaged: false,
            one_generation: false,
            model: Model::new(options.limits.reply_bytes_max),
            states: vec![Some(State::new())],
            observed: 0,
            observed_time: 0,
            session: Session::new(),
            out: Vec::new(),
            replies: VecDeque::new(),
            produced: 0,
            released: 0,
            round: 0,
            started: false,
        })
    }

    /// The process has ended and begins again with what is on `log`.
    pub fn restart(&mut self, mut log: MemoryLog, power_lost: bool) -> Checked<Report> {
        self.options.entropy.salt += 1;
        let recovered = Engine::recover(self.options, &mut log, self.now);
        let (engine, report) = recovered.or_else(|error| fail(Check::Refused, || format!("not recovered: {error}")))?;
        self.restarted(engine, log, power_lost)?;
        Ok(report)
    }

    /// As [`Host::restart`], where the engine has recovered `log` already.
    pub fn restarted(&mut self, engine: Engine, log: MemoryLog, power_lost: bool) -> Checked {
        let lsn = engine.last_lsn().0;
        let Some((frames, frame)) = self.history.frame_at(lsn) else {
            return fail(Check::Prefix, || format!("recovered through LSN {lsn}, where no frame has ended"));
        };
        let position = frame.map_or(0, |frame| frame.position);
        self.model.roll_back(position);
        self.model.floor = engine.store().floor().0;
        self.states.truncate(position + 1);
        self.history
            .recovered(frames, power_lost, |segment| log.0.iter().find(|(number, _)| number.0 == segment).map(|(_, bytes)| bytes.len()));
        self.observed = position;
        self.observed_time = 0;
        self.engine = engine;
        self.now = self.engine.now();
        self.disk.reload(log);
        self.session = Session::new();
        self.out.clear();
        self.replies.clear();
        (self.produced, self.released) = (0, 0);
        (self.poisoned, self.read_only, self.started) = (false, false, false);
        Ok(())
    }

    /// The model's state behind the frame that ends with this record, if there is one.
    #[must_use]
    pub fn state_at(&self, lsn: u64) -> Option<(usize, &State)> {
        let position = self.history.frame_at(lsn)?.1.map_or(0, |frame| frame.position);
        Some((position, self.states.get(position)?.as_ref()?))
    }

    /// The highest version that a key had had at a position.
    #[must_use]
    pub fn highest_version(&self, key: Key, position: usize) -> u64 {
        let states = self.states.iter().take(position + 1).flatten();
        states.filter_map(|state| state.get(&key)).map(|entry| entry.version).max().unwrap_or(0)
    }

    /// What must be there if the process dies now.
    #[must_use]
    pub fn promised_over_kill(&self) -> Promise {
        Promise { reach: self.history.written(), observed: self.observed, observed_time: self.observed_time }
    }

    /// What must be there if the power fails now.
    #[must_use]
    pub fn promised_over_power_cut(&self) -> Promise {
        let reach = self.history.durable();
        if self.options.sync_policy == SyncPolicy::Always {
            Promise { reach, observed: self.observed, observed_time: self.observed_time }
        } else {
            Promise { reach, observed: 0, observed_time: 0 }
        }
    }

    /// The client asks, and the server's loop turns once.
    pub fn ask(&mut self, command: &Command, visit: Visit<'_>) -> Checked {
        let mut input = Vec::new();
        command.encode(&mut input);
        self.round += 1;
        loop {
            let begin = self.out.len();
            let served = self.engine.serve(self.now, &mut self.session, &input, &mut self.out);
            if served.consumed == input.len() {
                self.answered(command, begin)?;
                break;
            }
            let waits = served.next == Next::Storage && served.consumed == 0 && self.out.len() == begin;
            ensure(waits, Check::Stuck, || format!("{command:?}: {served:?}"))?;
            if self.poisoned {
                return Ok(());
            }
            self.submit(&mut *visit)?;
            let worked = self.work(u32::MAX, &mut *visit)?;
            ensure(worked || self.poisoned, Check::Stuck, || format!("{command:?} waits, and storage has nothing to do"))?;
        }
        self.turn(visit)
    }

    /// Time passes.
    pub fn wait(&mut self, ms: u64, visit: Visit<'_>) -> Checked {
        self.round += 1;
        self.now.0 += ms;
        self.turn(visit)
    }

    /// A snapshot is asked for. It comes to be in what follows: [`Host::slice`].
    pub fn request_snapshot(&mut self, visit: Visit<'_>) -> Checked {
        self.round += 1;
        let _ = self.engine.request_snapshot();
        self.turn(visit)
    }

    /// The walk of a snapshot goes on by so many steps.
    pub fn slice(&mut self, steps: usize, visit: Visit<'_>) -> Checked {
        self.round += 1;
        let mut steps = 0..steps;
        self.engine.snapshot_slice(self.now, || steps.next().is_some());
        self.turn(visit)
    }

    /// The server ends in order.
    pub fn close(&mut self, visit: Visit<'_>) -> Checked {
        self.round += 1;
        self.engine.close();
        self.turn(&mut *visit)?;
        self.finish(visit)?;
        ensure(self.poisoned || self.engine.closed(), Check::Stuck, || "the orderly end doesn't come".to_owned())
    }

    /// Storage ends whatever it was asked for, and all replies leave.
    pub fn finish(&mut self, visit: Visit<'_>) -> Checked {
        loop {
            self.submit(&mut *visit)?;
            if !self.work(u32::MAX, &mut *visit)? {
                break;
            }
        }
        let answered = self.out.is_empty() || self.poisoned;
        ensure(answered, Check::Stuck, || format!("{} bytes of replies don't leave", self.out.len()))
    }

    fn turn(&mut self, visit: Visit<'_>) -> Checked {
        self.engine.tick(self.now);
        self.follow_floor()?;
        let round = if self.schedule == Schedule::Prompt { u32::MAX } else { self.round };
        self.release()?;
        visit(self)?;
        loop {
            self.submit(&mut *visit)?;
            if !self.work(round, &mut *visit)? {
                return Ok(());
            }
        }
    }

    fn submit(&mut self, visit: Visit<'_>) -> Checked {
        while let Some(op) = self.engine.poll_storage() {
            ensure(!self.poisoned, Check::Contract, || format!("{op:?} of a log that is poisoned"))?;
            let (lsn, position) = (self.engine.last_lsn().0, self.model.position());
            self.history.submitted(&op, Frame { lsn, position, floor: self.model.floor, time: self.engine.now().0 });
            if let StorageOp::Start { .. } = op {
                self.rotations += u64::from(std::mem::replace(&mut self.started, true));
            }
            self.disk.submit(op, self.round);
            visit(self)?;
        }
        Ok(())
    }

    /// One step of the disk; whether there was one.
    fn work(&mut self, round: u32, visit: Visit<'_>) -> Checked<bool> {
        let Some(ended) = self.disk.step(round) else { return Ok(false) };
        visit(self)?;
        self.disk.step_is_over();
        if let Some(done) = ended {
            let is_reservation = matches!(done.op, StorageOp::Reserve { .. });
            let failed = done.result.is_err();
            if is_reservation {
                self.read_only = failed;
            }
            if !failed {
                self.history.done(&done.op);
            }
            let poisons = failed && !is_reservation;
            let said = self.engine.storage_done(done).is_err();
            self.poisoned |= poisons;
            ensure(said == self.poisoned, Check::Contract, || format!("poisoned: {said}, when it should be {}", self.poisoned))?;
            self.release()?;
            visit(self)?;
        }
        Ok(true)
    }

    /// A sweep raises the floor to the version of a key that has expired.
    fn follow_floor(&mut self) -> Checked {
        let floor = self.engine.store().floor().0;
        let now = self.engine.now().0;
        let legitimate = floor == self.model.floor || (floor > self.model.floor && self.model.has_expired_version(floor, now));
        ensure(legitimate, Check::Version, || format!("a sweep moved the floor from {} to {floor}", self.model.floor))?;
        self.model.floor = floor;
        Ok(())
    }

    /// The engine has answered; so does the model.
    fn answered(&mut self, command: &Command, begin: usize) -> Checked {
        let now = self.engine.now().0;
        let mut expected = Vec::new();
        let decision = self.model.decide(command, now, &mut expected);
        let reply = &self.out[begin..];
        let mut shows = decision.shows;
        let error = |code: &str| reply.starts_with(b"ERR ") && reply[4..].starts_with(code.as_bytes());
        if self.read_only && error("READONLY") {
            shows = Shows::default();
        } else {
            let right = match decision.expected {
                Expected::Exactly => reply == expected,
                Expected::Error(code) => error(code),
                _ => false,
            };
            let should = || format!("{command:?}: `{}`, not `{}`", reply.escape_ascii(), expected.escape_ascii());
            ensure(right, Check::Reply, should)?;
            if !matches!(decision.change, Change::None) {
                let changed = self.model.apply(decision.change, now);
                changed.or_else(|(key, version)| fail(Check::Version, || format!("key {key} gets version {version} again")))?;
                shows.position = self.model.position();
                self.states.resize(self.model.position(), None);
                self.states.push(Some(self.model.entries().clone()));
            }
        }
        if self.read_only {
            // No mark can be logged: what a reply shows of expiries isn't certain then, as documented.
            shows.time = 0;
        }
        self.produced += (self.out.len() - begin) as u64;
        self.replies.push_back((self.produced, shows));
        Ok(())
    }

    /// Lets the bytes leave that may, and checks that all they show is secured.
    fn release(&mut self) -> Checked {
        let free = self.session.releasable(self.engine.watermark(), self.out.len());
        self.out.drain(..free);
        self.released += free as u64;
        let secured = self.history.secured(self.options.sync_policy);
        while let Some(&(end, shows)) = self.replies.front().filter(|(end, _)| *end <= self.released) {
            let early = shows.position > secured.position || shows.time > secured.time;
            ensure(!early, Check::Early, || format!("the reply that ends at {end} shows {shows:?}; secured is {secured:?}"))?;
            self.observed = self.observed.max(shows.position);
            self.observed_time = self.observed_time.max(shows.time);
            self.replies.pop_front();
        }
        Ok(())
    }
}
