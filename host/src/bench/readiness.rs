//! Which sockets can be read or written: level-triggered epoll, by rustix.
//!
//! Not by `polling`, as in the server: there a wait is five system calls (3.11: its timer, its notifier), and registering a
//! socket is `unsafe`. A load generator that shares no poller needs neither.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// Sockets, each under a number of the caller's.
#[derive(Debug)]
pub(crate) struct Readiness {
    epoll: OwnedFd,
}

/// What a socket is ready for. One that is broken or closed is readable, so that reading shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) number: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Events taken at a time; the others come with the next call.
const EVENTS_MAX: usize = 256;

impl Readiness {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a socket for input.
    pub(crate) fn add(&self, socket: &TcpStream, number: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, data(number), epoll::EventFlags::IN)?)
    }

    /// Watches a socket for input and, if `too`, for room to write.
    pub(crate) fn watch_writable(&self, socket: &TcpStream, number: usize, too: bool) -> io::Result<()> {
        let writable = if too { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        Ok(epoll::modify(&self.epoll, socket, data(number), epoll::EventFlags::IN | writable)?)
    }

    /// Waits until a socket is ready, or `timeout` has passed; the sockets that are, in `ready`.
    ///
    /// The kernel counts whole milliseconds: a timeout is shortened to them, so that nothing due at its end is late.
    pub(crate) fn wait(&self, timeout: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX / 2).min(1 << 30);
        let timeout = Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 };
        ready.clear();
        let mut events = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        let events = match epoll::wait(&self.epoll, events.as_mut_slice(), Some(&timeout)) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            Ready {
                number: usize::try_from(data.u64()).expect("it was a usize when it was added"),
                readable: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP),
                writable: flags.contains(epoll::EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

fn data(number: usize) -> epoll::EventData {
    epoll::EventData::new_u64(number as u64)
}
