//! Makes a failing tape short and plain: chunks are left out, then set to zero, as long as the same check fails.

use super::failure::{Check, Failure};
use super::tape::{CHUNK_BYTES, Tape};

/// So many runs at most.
const RUNS_MAX: usize = 4000;

/// A shorter tape that fails in the same check, and how. `judge` runs a tape and says how it fails.
#[must_use]
pub fn shrink(tape: &Tape, failure: &Failure, judge: impl FnMut(&Tape) -> Option<Failure>) -> (Tape, Failure) {
    let mut shrinking = Shrinking { tape: tape.clone(), failure: failure.clone(), check: failure.check.clone(), judge, runs: 0 };
    loop {
        let before = shrinking.tape.clone();
        shrinking.leave_out();
        shrinking.zero_chunks();
        shrinking.zero_bytes();
        if shrinking.tape == before || shrinking.runs >= RUNS_MAX {
            return (shrinking.tape, shrinking.failure);
        }
    }
}

struct Shrinking<J> {
    tape: Tape,
    failure: Failure,
    check: Check,
    judge: J,
    runs: usize,
}

impl<J: FnMut(&Tape) -> Option<Failure>> Shrinking<J> {
    /// Keeps a candidate that still fails.
    fn keep_if_it_fails(&mut self, candidate: Vec<u8>) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let candidate = Tape(candidate);
        match (self.judge)(&candidate) {
            Some(failure) if failure.check == self.check => {
                self.tape = candidate;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }

    fn leave_out(&mut self) {
        let mut len = (self.tape.0.len() / CHUNK_BYTES / 2).next_power_of_two() * CHUNK_BYTES;
        while len >= CHUNK_BYTES {
            // From the end: what is behind the failure goes at once. The first chunk is the settings.
            let mut end = self.tape.0.len();
            while end > CHUNK_BYTES {
                let begin = end.saturating_sub(len).max(CHUNK_BYTES);
                let mut candidate = self.tape.0.clone();
                candidate.drain(begin..end);
                self.keep_if_it_fails(candidate);
                end = begin;
            }
            len /= 2;
        }
    }

    fn zero_chunks(&mut self) {
        for begin in (0..self.tape.0.len()).step_by(CHUNK_BYTES) {
            self.zero(begin..(begin + CHUNK_BYTES).min(self.tape.0.len()));
        }
    }

    fn zero_bytes(&mut self) {
        for at in 0..self.tape.0.len() {
            self.zero(at..at + 1);
        }
    }

    fn zero(&mut self, range: std::ops::Range<usize>) {
        let mut candidate = self.tape.0.clone();
        if candidate[range.clone()].iter().any(|&byte| byte != 0) {
            candidate[range].fill(0);
            self.keep_if_it_fails(candidate);
        }
    }
}
