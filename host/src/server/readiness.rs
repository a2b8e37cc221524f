//! Sockets whose readiness is watched, level-triggered.
//!
//! The only unsafe code of the host: `polling` must not outlive the descriptors that it watches. [`Watched`] owns its socket and takes
//! it off the poller before it is closed, so that safe code can't get this wrong.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use polling::{Event, PollMode, Poller};

/// A socket that is watched by a poller as long as it lives.
#[derive(Debug)]
pub(super) struct Watched<S: AsFd> {
    socket: S,
    poller: Arc<Poller>,
    key: usize,
    interest: Interest,
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    pub(super) const READ: Self = Self { read: true, write: false };

    fn event(self, key: usize) -> Event {
        Event::new(key, self.read, self.write)
    }
}

impl<S: AsFd + AsRawFd> Watched<S> {
    /// Begins to watch for something to read. Events carry `key`.
    pub(super) fn new(poller: &Arc<Poller>, socket: S, key: usize) -> io::Result<Self> {
        let interest = Interest::READ;
        // SAFETY: the source must be taken off the poller before it is closed. `socket` is owned by the value that is made
        // here, is never given out but by reference, and `drop` deletes it from the poller, which the Arc keeps alive,
        // before the field is dropped. If the value is leaked instead, the socket stays open.
        unsafe { poller.add_with_mode(&socket, interest.event(key), PollMode::Level)? };
        Ok(Self { socket, poller: Arc::clone(poller), key, interest })
    }

    /// Watches for something else from now on. A system call only if it is a change.
    pub(super) fn watch(&mut self, interest: Interest) -> io::Result<()> {
        if interest != self.interest {
            self.poller.modify_with_mode(&self.socket, interest.event(self.key), PollMode::Level)?;
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

impl<S: AsFd> Drop for Watched<S> {
    fn drop(&mut self) {
        // Can only fail if it isn't watched, which is what is wanted.
        let _ = self.poller.delete(&self.socket);
    }
}
