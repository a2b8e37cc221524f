//! Which sockets can be read or written: epoll, by rustix, and a bell by which other threads end a wait.
//!
//! Not by `polling`: there a wait is five system calls (3.11: its timer, its notifier) instead of one, and to watch a socket is `unsafe`.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

/// So many events are taken with one wait; the others come with the next. So few that what the kernel keeps of their sockets is still in the
/// processor's cache when the replies are sent.
const EVENTS_MAX: usize = 64;

/// No wait is longer; who has waited for nothing waits again.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The bell's key.
const BELL: u64 = u64::MAX;

/// Sockets, each under a key of the caller's.
#[derive(Debug)]
pub(crate) struct Readiness {
    epoll: OwnedFd,
    bell: OwnedFd,
    rung: AtomicBool,
}

/// What a socket is watched for. That it is broken is told in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest(EventFlags);

impl Interest {
    pub(crate) const NONE: Self = Self(EventFlags::empty());
    pub(crate) const READ: Self = Self(EventFlags::IN);
    pub(crate) const READ_AND_WRITE: Self = Self(EventFlags::IN.union(EventFlags::OUT));
    /// That something has come, that there is room again where there was none, and that the other side has closed: each is told once, and the rest
    /// is for the caller to remember. The kernel then needn't look at each socket twice.
    pub(crate) const CHANGES: Self = Self(Self::READ_AND_WRITE.0.union(EventFlags::RDHUP).union(EventFlags::ET));
}

/// What a socket is ready for. One that is broken is readable, so that reading shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) broken: bool,
    /// Nothing comes any more behind what can be read. Told only of who is watched for [`Interest::CHANGES`].
    pub(crate) ending: bool,
}

/// What a wait has brought.
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS_MAX))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
        self.0.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Event {
                key: usize::try_from(data.u64()).expect("it was a usize when it was added"),
                readable: broken || flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                broken,
                ending: broken || flags.contains(EventFlags::RDHUP),
            }
        })
    }
}

impl Readiness {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: each ring is told once, and nobody has to read it.
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, bell, rung: AtomicBool::new(false) })
    }

    /// Ends the wait that is under way, or the next one. What was written before the call is seen by who has waited.
    pub(crate) fn ring(&self) {
        // Once is enough until the wait has ended.
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Can only fail when the counter is full, after 2^64 times.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Watches a socket, until it is closed. The key isn't `usize::MAX`.
    pub(crate) fn add(&self, socket: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(key as u64), interest.0)?)
    }

    /// Watches a socket for something else from now on.
    pub(crate) fn change(&self, socket: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(key as u64), interest.0)?)
    }

    /// Waits until a socket is ready, the bell is rung, or `timeout` has passed, which the kernel counts in milliseconds, rounded up.
    pub(crate) fn wait(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        events.0.clear();
        let timeout = Timespec::try_from(timeout.map_or(WAIT_MAX, |timeout| timeout.min(WAIT_MAX))).ok();
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Before anything is looked at: who rings from here on ends the next wait.
        self.rung.swap(false, Ordering::AcqRel);
        events.0.retain(|event| {
            let data = event.data;
            data.u64() != BELL
        });
        Ok(())
    }
}

/// A socket that is watched as long as it is open.
#[derive(Debug)]
pub(crate) struct Watched<S: AsFd> {
    socket: S,
    readiness: Arc<Readiness>,
    key: usize,
    interest: Interest,
}

impl<S: AsFd> Watched<S> {
    /// Begins to watch. Events carry `key`.
    pub(crate) fn new(readiness: &Arc<Readiness>, socket: S, key: usize, interest: Interest) -> io::Result<Self> {
        readiness.add(&socket, key, interest)?;
        Ok(Self { socket, readiness: Arc::clone(readiness), key, interest })
    }

    /// Watches the socket for something else from now on. A system call only if it is a change.
    pub(crate) fn watch(&mut self, interest: Interest) -> io::Result<()> {
        if interest != self.interest {
            self.readiness.change(&self.socket, self.key, interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}

impl<S: AsFd> Deref for Watched<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn a_ring_before_the_wait_ends_it_and_only_it() {
        let readiness = Readiness::new().unwrap();
        let mut events = Events::new();
        for _ in 0..3 {
            readiness.ring();
            readiness.ring();
            let begin = Instant::now();
            readiness.wait(LONG, &mut events).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(30), "the ring wasn't heard");
            assert!(events.is_empty(), "it is told to nobody");
            let begin = Instant::now();
            readiness.wait(Some(Duration::from_millis(20)), &mut events).unwrap();
            assert!(begin.elapsed() >= Duration::from_millis(20), "it was heard twice");
        }
    }

    #[test]
    fn every_ring_is_heard_by_who_looks_before_it_waits_again() {
        let readiness = Arc::new(Readiness::new().unwrap());
        let (give, take) = std::sync::mpsc::channel();
        let other = Arc::clone(&readiness);
        let ringer = thread::spawn(move || {
            for number in 0..20_000 {
                give.send(number).unwrap();
                other.ring();
            }
        });
        let (mut events, mut taken) = (Events::new(), 0);
        while taken < 20_000 {
            let begin = Instant::now();
            readiness.wait(LONG, &mut events).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(30), "a ring was lost behind number {taken}");
            taken += take.try_iter().count();
        }
        ringer.join().unwrap();
    }
}
