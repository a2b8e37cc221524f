//! Storage, and how much of it is under way: with nothing under way there is nothing to wait for.

use crate::storage::{Storage, StorageDone, StorageOp};

#[derive(Debug)]
pub(super) struct Counted<S> {
    pub(super) storage: S,
    pub(super) under_way: usize,
}

impl<S: Storage> Storage for Counted<S> {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        let done = self.storage.submit(op);
        self.under_way += usize::from(done.is_none());
        done
    }

    fn poll(&mut self) -> Option<StorageDone> {
        let done = self.storage.poll();
        self.under_way -= usize::from(done.is_some()).min(self.under_way);
        done
    }

    fn wait(&mut self) -> Option<StorageDone> {
        let done = self.storage.wait();
        self.under_way -= usize::from(done.is_some()).min(self.under_way);
        done
    }
}
