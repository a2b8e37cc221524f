//! Tasks that run beside the loop, on its thread: polled by it when they were woken, never waited for.
//!
//! A loop that were a task itself would have to register epoll's descriptor with smol's and a timer each time that it has nothing to do;
//! one that waits by itself has only to be woken for the tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use super::control::Control;

/// See the module.
pub(super) struct Beside<'a> {
    tasks: Pin<Box<dyn Future<Output = ()> + 'a>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Notes that a task was woken, and sees to it that the loop doesn't sleep over it.
struct Bell {
    rung: AtomicBool,
    control: Arc<Control>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Once is enough until the loop has been there.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.control.wake();
        }
    }
}

impl<'a> Beside<'a> {
    /// All tasks are one future, such as that of an executor, which doesn't end. It is polled first when the loop begins.
    pub(super) fn new(tasks: impl Future<Output = ()> + 'a, control: &Arc<Control>) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), control: Arc::clone(control) });
        Self { tasks: Box::pin(tasks), waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// The tasks that were woken run until they wait again.
    pub(super) fn poll(&mut self) {
        if self.bell.rung.load(Ordering::Acquire) {
            // Before they run: who is woken meanwhile rings again.
            self.bell.rung.store(false, Ordering::Release);
            let _ = self.tasks.as_mut().poll(&mut Context::from_waker(&self.waker));
        }
    }
}
