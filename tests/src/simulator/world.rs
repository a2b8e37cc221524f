//! The simulated world: an engine, its disk, its clock, its clients, and beside them the oracle. Each chunk of the tape moves it by a step.

use osprey_core::clock::Clock as _;
use osprey_core::engine::{Engine, Next, Options};

use super::clients::Client;
use super::clock::SimulatedClock;
use super::coverage::{Coverage, Mark};
use super::disk::{Crash, Disk, Fault, Loss, Progress};
use super::events::{Event, Keep, Trace};
use super::failure::{Check, Checked, ensure, fail};
use super::history::History;
use super::model::Model;
use super::request::Command;
use super::settings::{self, Settings};
use super::snapshots::Snapshots;
use super::tape::{Choices, Tape};
use super::workload;
use crate::museum::planted;

/// How many connections there are at most.
const CLIENTS_MAX: usize = 4;

/// A poisoned server ends within so many steps.
const STEPS_POISONED: u32 = 6;

/// See the module.
#[derive(Debug)]
pub struct World {
    pub(super) settings: Settings,
    /// Of the present run of the server.
    pub(super) options: Options,
    pub(super) engine: Engine,
    pub(super) disk: Disk,
    pub(super) clock: SimulatedClock,
    pub(super) clients: Vec<Client>,
    pub(super) model: Model,
    pub(super) history: History,
    pub(super) coverage: Coverage,
    pub(super) trace: Trace,
    /// The engine's time, as it should be.
    pub(super) now: u64,
    /// Runs of the server so far.
    pub(super) runs: u64,
    /// Whether the last reservation has failed.
    pub(super) read_only: bool,
    /// Whether this run has started a segment.
    pub(super) started: bool,
    /// Steps since the log was poisoned.
    pub(super) poisoned: Option<u32>,
    /// What a client has seen, as a position of the model.
    pub(super) observed: usize,
    /// The latest time that a client has seen.
    pub(super) observed_time: u64,
    /// Since the last recovery something that the system had taken may have been lost.
    pub(super) power_lost: bool,
    /// An operation has ended since connections that wait for one were served.
    pub(super) storage_ended: bool,
    /// For expected replies.
    pub(super) buffer: Vec<u8>,
    /// Where the last append ended.
    pub(super) appended_to: u64,
    pub(super) snapshots: Snapshots,
    /// The model's position at the S0 of the snapshot that this run has begun with.
    pub(super) base: usize,
}

impl World {
    /// A server on an empty disk.
    pub fn new(settings: Settings, keep: Keep) -> Checked<Self> {
        let mut disk = Disk::default();
        let mut clock = SimulatedClock::default();
        let mut options = settings.options;
        options.entropy.salt = 1;
        let now = clock.now();
        let Ok((engine, _)) = Engine::recover(options, &mut disk, now) else {
            return fail(Check::Refused, || "an empty disk was refused".to_owned());
        };
        Ok(Self {
            settings,
            options,
            engine,
            disk,
            clock,
            clients: Vec::new(),
            model: Model::new(options.limits.reply_bytes_max),
            history: History::default(),
            coverage: Coverage::default(),
            trace: Trace::new(keep),
            now: now.0,
            runs: 1,
            read_only: false,
            started: false,
            poisoned: None,
            observed: 0,
            observed_time: 0,
            power_lost: false,
            storage_ended: false,
            buffer: Vec::new(),
            appended_to: 0,
            snapshots: Snapshots::default(),
            base: 0,
        })
    }

    /// Lets all of a tape happen, and then everything come to its end.
    pub fn play(&mut self, tape: &Tape) -> Checked {
        for mut choices in tape.chunks().skip(1) {
            self.step(&mut choices)?;
        }
        if planted("check_ends_with_the_tape") {
            return Ok(());
        }
        self.finish()
    }

    /// What has happened so far.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What has happened so far, in order.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// One step.
    pub fn step(&mut self, choices: &mut Choices) -> Checked {
        self.coverage.hit(Mark::Step);
        if let Some(steps) = &mut self.poisoned {
            *steps += 1;
            if *steps > STEPS_POISONED {
                let crash = crash(choices);
                return self.go_down(crash, choices);
            }
        }
        match choices.byte() {
            0..=15 => self.turn(),
            16..=175 => self.send_request(choices),
            176..=193 => {
                for _ in 0..=choices.below(4) {
                    let pick = usize::from(choices.byte());
                    self.disk.work(pick);
                }
                self.turn()
            }
            194..=211 => {
                self.clock.advance([1, 0, 7, 40, 120, 250, 1100, 5000][choices.below(8)]);
                self.turn()
            }
            212..=225 => self.deliver_fragment(choices),
            226..=239 => self.move_client(choices),
            240..=247 => {
                let pick = choices.byte();
                let snapshot = pick >> 5 & 1 == 0;
                self.disk.prompt = Progress { append: pick & 3 != 3, sync: pick >> 2 & 1 == 0, reserve: pick >> 3 & 3 != 3, snapshot };
                self.snapshots.steps = [1, 0, 2, usize::MAX][usize::from(pick >> 6)];
                Ok(())
            }
            248..=250 => {
                self.disk.full = !self.disk.full && choices.one_in(4);
                let full = self.disk.full;
                self.trace.note(1, u64::from(full), || Event::Full { full });
                Ok(())
            }
            251 | 252 => {
                self.set_clock(choices);
                self.turn()
            }
            253 => {
                self.arm(choices);
                Ok(())
            }
            254 => match choices.below(8) {
                0 => self.restart(choices),
                // Else what is about snapshots would be met too seldom.
                1..=4 if self.disk.snapshot_under_way().is_some() => {
                    let crash = crash(choices);
                    self.go_down(crash, choices)
                }
                _ => self.turn(),
            },
            255 => match choices.below(2) {
                0 => {
                    let crash = crash(choices);
                    self.go_down(crash, choices)
                }
                _ => self.turn(),
            },
        }
    }

    fn client(&mut self, choices: &mut Choices) -> usize {
        let pick = choices.below(CLIENTS_MAX);
        if self.clients.is_empty() {
            self.connect(0);
        }
        pick % self.clients.len()
    }

    fn connect(&mut self, at: usize) {
        self.coverage.hit(Mark::Connected);
        self.trace.note(2, at as u64, || Event::Connected { client: at });
        if at < self.clients.len() {
            self.clients[at] = Client::default();
            self.model.walks[at] = None;
        } else {
            self.clients.push(Client::default());
            self.model.walks.push(None);
        }
    }

    fn send_request(&mut self, choices: &mut Choices) -> Checked {
        let at = self.client(choices);
        let waits = choices.byte();
        let mut command = workload::command(choices, &self.settings, &self.model, self.now);
        let client = &mut self.clients[at];
        if client.closed || client.half_closed {
            return self.turn();
        }
        if let Command::Scan { cursor, prefix, walk, .. } = &mut command
            && *walk
        {
            *walk = !std::mem::replace(&mut client.walking, true);
            if let (true, Some(begun)) = (*walk, &self.model.walks[at]) {
                *cursor = begun.cursor;
                *prefix = begun.prefix;
            }
        }
        let bytes = client.wire.len();
        self.trace.note(3, at as u64, || Event::Requested { client: at, command: Box::new(command.clone()) });
        self.clients[at].request(command);
        let wire = &self.clients[at].wire;
        self.trace.bytes(&wire[bytes..]);
        if waits & 3 != 3 { self.turn() } else { Ok(()) }
    }

    fn deliver_fragment(&mut self, choices: &mut Choices) -> Checked {
        let at = self.client(choices);
        let bytes = 1 + [0, choices.below(9), choices.below(300)][choices.below(3)];
        if self.clients[at].wire.is_empty() {
            return Ok(());
        }
        self.deliver(at, bytes);
        self.coverage.hit(Mark::Fragment);
        self.serve_one(at)?;
        self.drive()
    }

    fn deliver(&mut self, at: usize, bytes: usize) {
        let client = &mut self.clients[at];
        // A server reads only from those whose turn it is to send.
        if client.closed || !matches!(client.next, Next::Read { .. }) {
            return;
        }
        let bytes = client.deliver(bytes);
        if bytes > 0 {
            self.trace.note(4, bytes as u64, || Event::Delivered { client: at, bytes });
        }
    }

    fn move_client(&mut self, choices: &mut Choices) -> Checked {
        let pick = choices.below(16);
        if pick < 6 {
            let closed = self.clients.iter().position(|client| client.closed);
            match closed {
                Some(at) => self.connect(at),
                None if self.clients.len() < CLIENTS_MAX => self.connect(self.clients.len()),
                None => {}
            }
            return Ok(());
        }
        let at = self.client(choices);
        if self.clients[at].closed {
            return Ok(());
        }
        match pick {
            6 => {
                self.coverage.hit(Mark::Reset);
                self.trace.note(5, at as u64, || Event::Reset { client: at });
                self.clients[at] = Client { closed: true, ..Client::default() };
            }
            7 => {
                self.coverage.hit(Mark::HalfClosed);
                self.trace.note(6, at as u64, || Event::HalfClosed { client: at });
                self.clients[at].half_closed = true;
            }
            8 | 9 => {
                self.coverage.hit(Mark::StoppedReading);
                self.trace.note(7, at as u64, || Event::Reads { client: at, reads: false });
                self.clients[at].reads = false;
            }
            _ => {
                if !self.clients[at].reads {
                    self.trace.note(8, at as u64, || Event::Reads { client: at, reads: true });
                }
                self.clients[at].reads = true;
            }
        }
        self.turn()
    }

    fn set_clock(&mut self, choices: &mut Choices) {
        let ms = [10_000, 300, 3_600_000, 86_400_000][choices.below(4)];
        if choices.one_in(2) {
            self.coverage.hit(Mark::ClockBack);
            self.clock.set_back(ms);
        } else {
            self.coverage.hit(Mark::ClockAhead);
            self.clock.advance(ms);
        }
        let now = self.clock.now().0;
        self.trace.note(9, now, || Event::Clock { now });
    }

    fn arm(&mut self, choices: &mut Choices) {
        let kinds = if self.options.snapshots.is_some() { 8 } else { 4 };
        let fault = match choices.below(kinds) {
            0 => Fault::Reserve,
            1 => Fault::Append(choices.byte()),
            2 => Fault::Sync,
            3 => Fault::Start(choices.byte() & 3),
            4 => Fault::Flip(choices.byte()),
            _ => Fault::Snapshot(choices.byte() & 15),
        };
        self.trace.note(10, choices.word(), || Event::Armed { fault });
        self.disk.fault = Some(fault);
    }

    /// A turn of the server's loop.
    pub(super) fn turn(&mut self) -> Checked {
        for at in 0..self.clients.len() {
            self.deliver(at, usize::MAX);
            self.serve_one(at)?;
        }
        self.storage_ended = false;
        self.slice();
        self.tick()?;
        self.drive()?;
        for at in 0..self.clients.len() {
            self.release(at)?;
        }
        Ok(())
    }

    fn serve_one(&mut self, at: usize) -> Checked {
        let flushed_below = self.options.limits.unsent_bytes_soft_max / 4 + 1;
        let mut client = std::mem::take(&mut self.clients[at]);
        let served = if client.wants_service(self.storage_ended, flushed_below) { self.serve(at, &mut client) } else { Ok(()) };
        self.clients[at] = client;
        served
    }

    pub(super) fn tick(&mut self) -> Checked {
        let before = self.engine.store().expired_total();
        let scattered = self.engine.store().free_bytes();
        self.engine.gauges.connection_bytes = self.clients.iter().map(|client| client.buffer_bytes() as u64).sum();
        let next = self.engine.tick(self.clock.now());
        self.now = self.now.max(self.clock.now().0);
        let now = self.now;
        ensure(self.engine.now().0 == now, Check::Reply, || format!("the engine's time is {}, not {now}", self.engine.now().0))?;
        ensure(next.is_none_or(|next| next.0 > now), Check::Bounds, || format!("at {now} tick wants to be called again at {next:?}"))?;
        if self.engine.store().expired_total() > before {
            self.coverage.hit(Mark::Swept);
        } else if self.engine.store().free_bytes() < scattered {
            self.coverage.hit(Mark::Gathered);
        }
        self.follow_floor()
    }

    /// A sweep raises the floor to the version of a key that has expired.
    fn follow_floor(&mut self) -> Checked {
        let floor = self.engine.store().floor().0;
        if floor != self.model.floor {
            let legitimate = floor > self.model.floor && self.model.has_expired_version(floor, self.now);
            ensure(legitimate, Check::Version, || format!("a sweep moved the floor from {} to {floor}", self.model.floor))?;
            self.model.floor = floor;
        }
        Ok(())
    }

    /// Lets the bytes leave that may.
    pub(super) fn release(&mut self, at: usize) -> Checked {
        let secured = self.history.secured(self.options.sync_policy);
        let client = &mut self.clients[at];
        if client.closed {
            return Ok(());
        }
        let free = client.session.releasable(self.engine.watermark(), client.out.len());
        ensure(free <= client.out.len(), Check::Bounds, || "more may be sent than there is".to_owned())?;
        if free > 0 && client.reads {
            self.trace.note(14, free as u64, || Event::Released { client: at, bytes: free });
            let end = client.released + free as u64;
            while let Some(&reply) = client.replies.front() {
                let shows = reply.shows;
                let early = shows.position > secured.position || shows.time > secured.time;
                if early && !planted("check_lets_replies_go") {
                    return fail(Check::Early, || {
                        format!(
                            "client {at} is shown the write at position {} and time {} when the log is secured through {} and {}",
                            shows.position, shows.time, secured.position, secured.time
                        )
                    });
                }
                self.observed = self.observed.max(shows.position);
                self.observed_time = self.observed_time.max(shows.time);
                if reply.end > end {
                    break;
                }
                client.replies.pop_front();
                if reply.end == end {
                    break;
                }
            }
            client.released = end;
            self.trace.bytes(&client.out[..free.min(32)]);
            client.out.drain(..free);
        }
        let ends = client.next == Next::Close
            || (client.half_closed && client.wire.is_empty() && client.requests.is_empty() && client.input.is_empty());
        if ends && client.out.is_empty() {
            client.closed = true;
            self.coverage.hit(Mark::Closed);
            self.trace.note(15, at as u64, || Event::Closed { client: at });
        }
        Ok(())
    }

    /// For a new run: the random numbers of its own, and sometimes another policy.
    pub(super) fn next_options(&mut self, choices: &mut Choices) -> Options {
        self.runs += 1;
        let mut options = self.options;
        options.entropy.salt = self.runs;
        options.entropy.hash_key[..8].copy_from_slice(&self.runs.to_le_bytes());
        if choices.one_in(4) {
            options.sync_policy = settings::policy(choices);
        }
        options
    }
}

/// How the machine goes down.
pub(super) fn crash(choices: &mut Choices) -> Crash {
    match choices.below(8) {
        0..=2 => Crash::Kill,
        3 => Crash::PowerCut(Loss::All),
        4 => Crash::PowerCut(Loss::None),
        5 => Crash::PowerCut(Loss::Mixed),
        6 => Crash::PowerCut(Loss::Tail),
        _ => Crash::PowerCut(Loss::Head),
    }
}
