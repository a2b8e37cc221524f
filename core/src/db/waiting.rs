//! How a call waits: storage is driven until the log holds what the call depends on. And what is due is done, on the way.

use super::{Db, Error};
use crate::clock::Clock;
use crate::engine::{self, Answer, Engine};
use crate::storage::Storage;
use crate::units::{Lsn, Millis};

impl<S: Storage, C: Clock> Db<S, C> {
    /// The time; unless storage has failed.
    pub(super) fn begin(&mut self) -> Result<Millis, Error> {
        match self.engine.poisoned() {
            Some(poisoned) => Err(Error::Failed(poisoned)),
            None => Ok(self.clock.now()),
        }
    }

    pub(super) fn begin_read(&mut self) -> Result<Millis, Error> {
        let now = self.begin()?;
        if self.tick_at.is_some_and(|due| due <= now) {
            self.attend(now)?;
        }
        Ok(now)
    }

    pub(super) fn write<T>(&mut self, call: impl FnMut(&mut Engine, Millis) -> Answer<T>) -> Result<T, Error> {
        let now = self.begin()?;
        let result = self.call(now, call);
        // Also if it was refused: space and memory come back by what is done here.
        if !self.batching && matches!(result, Ok(_) | Err(Error::Refused(_))) {
            self.attend(now)?;
        }
        result
    }

    /// Calls until storage isn't busy any more, then waits for what the result depends on; also for an error's.
    pub(super) fn call<T>(&mut self, now: Millis, mut call: impl FnMut(&mut Engine, Millis) -> Answer<T>) -> Result<T, Error> {
        loop {
            let Answer { result, after } = call(&mut self.engine, now);
            if matches!(result, Err(engine::Error::Busy)) {
                self.go_on()?;
                continue;
            }
            self.wait_unless_batching(after)?;
            return Ok(result?);
        }
    }

    pub(super) fn wait_unless_batching(&mut self, after: Option<Lsn>) -> Result<bool, Error> {
        let Some(after) = after.filter(|_| !self.batching) else { return Ok(false) };
        self.wait_for(after)?;
        Ok(true)
    }

    pub(super) fn wait_for(&mut self, lsn: Lsn) -> Result<(), Error> {
        while self.engine.watermark() < lsn {
            self.go_on()?;
        }
        Ok(())
    }

    /// Goes on with the log, by one operation at least.
    pub(super) fn go_on(&mut self) -> Result<(), Error> {
        if self.engine.drive(&mut self.storage)? { Ok(()) } else { self.wait_for_storage() }
    }

    /// Waits for one of the operations that are under way.
    pub(super) fn wait_for_storage(&mut self) -> Result<(), Error> {
        if self.storage.under_way == 0 {
            // Only memory can be what it is waiting for.
            return Err(Error::Stalled);
        }
        match self.storage.wait() {
            Some(done) => self.engine.storage_done(done)?,
            None => core::hint::spin_loop(),
        }
        Ok(())
    }

    /// Does what is due, and a step of a snapshot. Returns whether storage has done anything.
    pub(super) fn attend(&mut self, now: Millis) -> Result<bool, Error> {
        self.tick_at = self.engine.tick(now);
        if self.engine.wants_snapshot_slice() {
            let mut steps = 1..=1;
            self.engine.snapshot_slice(now, || steps.next().is_some());
        }
        let driven = self.engine.drive(&mut self.storage)?;
        if driven {
            // What has ended may have set a deadline.
            self.tick_at = self.engine.tick(now);
        }
        Ok(driven)
    }
}
