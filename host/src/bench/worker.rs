//! One thread of load: an event loop over its connections.
//!
//! A connection has one batch under way at a time. Without a schedule the next begins as soon as the last reply has come
//! (a closed loop); with one it begins when it is due, or late if the connection is still waiting (an open loop), and what
//! it was late by is part of its latency.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::connection::{Broken, Connection, Source, Spare};
use super::request::Requests;
use super::schedule::Schedule;
use super::tally::{Live, Tally};
use crate::readiness::{Event, Events, Interest, Readiness};

/// One part of a run: storing the keys, warming up, or measuring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) goal: Goal,
    /// Tells the phases' random numbers apart: what is measured must not depend on how much warming up was done before.
    pub(crate) stream: u64,
    /// Requests a batch.
    pub(crate) depth: u64,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) start: Instant,
    /// A batch that is not answered within this time ends the run.
    pub(crate) timeout: Duration,
}

/// When a phase is over. The replies of what has been sent are always awaited.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Every key of the keyspace is stored.
    Stored { keys: u64 },
    /// So many requests are sent, evenly over the connections.
    Sent { requests: u64 },
    /// So much time has passed.
    Passed(Duration),
}

/// Why a run ended before its time.
#[derive(Debug)]
pub(crate) enum Abort {
    Broken(Broken),
    Silent(Duration),
    /// Another thread has a reason of its own.
    Stopped,
}

/// What a thread brings back from a phase.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// When the last reply came.
    pub(crate) last: Instant,
    pub(crate) abort: Option<Abort>,
}

/// A thread's connections. They stay from phase to phase.
#[derive(Debug)]
pub(crate) struct Worker {
    connections: Vec<Connection>,
    requests: Requests,
    spare: Spare,
    readiness: Readiness,
    /// The number of this thread's first connection among all, and their number.
    first: u64,
    total: u64,
}

/// How often the loop looks for batches without an answer and for the word to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Worker {
    /// `first`: the number of the first of these connections among the `total` of all threads.
    pub(crate) fn new(connections: Vec<Connection>, requests: Requests, first: u64, total: u64) -> io::Result<Self> {
        let readiness = Readiness::new()?;
        for (number, connection) in connections.iter().enumerate() {
            readiness.add(&connection.stream, number, Interest::READ)?;
        }
        Ok(Self { connections, requests, spare: Spare::default(), readiness, first, total })
    }

    /// Works through a phase. Ends early, with what was counted so far, if the run must end.
    pub(crate) fn run(&mut self, phase: &Phase, stop: &AtomicBool, live: &Live) -> Outcome {
        let mut state =
            PhaseState { phase, tally: Tally::new(), plans: self.plans(phase), calendar: BinaryHeap::new(), busy: 0, last: phase.start };
        state.calendar.reserve(self.connections.len());
        for connection in &mut self.connections {
            connection.reseed(phase.stream);
        }
        let result = self.work(&mut state, stop, live);
        live.publish(&state.tally);
        if result.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        state.tally.unsent = state.plans.iter().map(|plan| plan.unsent).sum();
        Outcome { tally: state.tally, last: state.last, abort: result.err() }
    }

    fn work(&mut self, state: &mut PhaseState<'_>, stop: &AtomicBool, live: &Live) -> Result<(), Abort> {
        let mut events = Events::new();
        let mut looked = state.phase.start;
        for number in 0..self.connections.len() {
            self.next(state, number, Instant::now())?;
        }
        while state.busy > 0 || !state.calendar.is_empty() {
            let now = Instant::now();
            if now.duration_since(looked) >= LOOK_EVERY {
                looked = now;
                if stop.load(Ordering::Relaxed) {
                    return Err(Abort::Stopped);
                }
                live.publish(&state.tally);
                self.refuse_silence(state.phase.timeout, now)?;
            }
            self.begin_due(state, now)?;
            let wait = state.calendar.peek().map_or(LOOK_EVERY, |Reverse((due, _))| due.saturating_duration_since(now).min(LOOK_EVERY));
            // Whole milliseconds, as the kernel counts them, so that nothing due at the end is late.
            let wait = Duration::from_secs(wait.as_secs()) + Duration::from_millis(wait.subsec_millis().into());
            self.readiness.wait(Some(wait), &mut events).map_err(Broken::Io)?;
            for event in events.iter() {
                self.serve(state, event)?;
            }
        }
        Ok(())
    }

    /// Reads and writes what a socket is ready for, and goes on to the connection's next batch.
    fn serve(&mut self, state: &mut PhaseState<'_>, event: Event) -> Result<(), Abort> {
        let connection = &mut self.connections[event.key];
        if event.writable && connection.flush(&mut self.spare)? {
            self.readiness.change(&connection.stream, event.key, Interest::READ).map_err(Broken::Io)?;
        }
        if event.readable {
            let was_busy = connection.is_busy();
            let now = connection.receive(&mut self.spare, &mut state.tally)?;
            if was_busy {
                state.last = now;
                if !connection.is_busy() {
                    state.busy -= 1;
                    self.next(state, event.key, now)?;
                }
            }
        }
        Ok(())
    }

    /// Begins a connection's next batch now, or notes when it is due; neither if it has no more to send.
    fn next(&mut self, state: &mut PhaseState<'_>, number: usize, now: Instant) -> Result<(), Abort> {
        let plan = &mut state.plans[number];
        match &state.phase.schedule {
            Some(schedule) => {
                if plan.left > 0 {
                    let due = state.phase.start + schedule.due(self.first + number as u64, plan.turn);
                    state.calendar.push(Reverse((due, number)));
                }
                Ok(())
            }
            None => {
                if state.phase.goal.is_over(state.phase.start, now) || plan.left == 0 {
                    return Ok(());
                }
                self.begin(state, number, None)
            }
        }
    }

    /// Begins the batches whose time has come.
    fn begin_due(&mut self, state: &mut PhaseState<'_>, now: Instant) -> Result<(), Abort> {
        while let Some(&Reverse((due, number))) = state.calendar.peek() {
            if due > now {
                break;
            }
            state.calendar.pop();
            self.begin(state, number, Some(due))?;
        }
        if state.phase.schedule.is_some() && state.phase.goal.is_over(state.phase.start, now) {
            state.give_up_backlog();
        }
        Ok(())
    }

    fn begin(&mut self, state: &mut PhaseState<'_>, number: usize, due: Option<Instant>) -> Result<(), Abort> {
        let plan = &mut state.plans[number];
        let count = state.phase.depth.min(plan.left);
        plan.left -= count;
        plan.turn += 1;
        state.busy += 1;
        let connection = &mut self.connections[number];
        if !connection.begin(&mut self.requests, &mut plan.source, count, due, &mut self.spare)? {
            self.readiness.change(&connection.stream, number, Interest::READ_AND_WRITE).map_err(Broken::Io)?;
        }
        Ok(())
    }

    fn refuse_silence(&self, timeout: Duration, now: Instant) -> Result<(), Abort> {
        let silent = |connection: &Connection| connection.is_busy() && now.saturating_duration_since(connection.begun()) > timeout;
        if self.connections.iter().any(silent) { Err(Abort::Silent(timeout)) } else { Ok(()) }
    }

    /// What each connection is to send in a phase.
    fn plans(&self, phase: &Phase) -> Vec<Plan> {
        let plan = |connection: u64| {
            // The first connections take one more where the number does not divide.
            let share = |all: u64| all / self.total + u64::from(connection < all % self.total);
            let source = self.requests.source(connection, self.total);
            match phase.goal {
                Goal::Stored { keys } => {
                    let next = connection * (keys / self.total) + connection.min(keys % self.total);
                    Plan { source: Source::Store { next }, left: share(keys), turn: 0, unsent: 0 }
                }
                Goal::Sent { requests } => Plan { source, left: share(requests), turn: 0, unsent: 0 },
                Goal::Passed(time) => {
                    let left =
                        phase.schedule.map_or(u64::MAX, |schedule| schedule.turns_before(connection, time).saturating_mul(phase.depth));
                    Plan { source, left, turn: 0, unsent: 0 }
                }
            }
        };
        (self.first..).take(self.connections.len()).map(plan).collect()
    }
}

/// The state of a phase.
struct PhaseState<'a> {
    phase: &'a Phase,
    tally: Tally,
    plans: Vec<Plan>,
    /// Connections that wait for a time, the soonest first.
    calendar: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Connections that wait for replies.
    busy: usize,
    last: Instant,
}

/// What a connection has left to send.
#[derive(Clone, Copy, Debug)]
struct Plan {
    source: Source,
    /// Requests.
    left: u64,
    /// Number of its next batch.
    turn: u64,
    unsent: u64,
}

impl PhaseState<'_> {
    /// The time is over. A connection may still send its last batch, which fell due while it waited; one that is further
    /// behind than that does not catch up any more: what it had still to send is counted instead.
    fn give_up_backlog(&mut self) {
        for plan in &mut self.plans {
            let backlog = plan.left.saturating_sub(self.phase.depth);
            plan.left -= backlog;
            plan.unsent += backlog;
        }
    }
}

impl Goal {
    fn is_over(self, start: Instant, now: Instant) -> bool {
        matches!(self, Self::Passed(time) if now.saturating_duration_since(start) >= time)
    }
}

impl From<Broken> for Abort {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => broken.fmt(f),
            Self::Silent(timeout) => write!(f, "the server did not answer within {timeout:?}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}
