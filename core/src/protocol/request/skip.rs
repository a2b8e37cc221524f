//! Staying in step: passing over what belongs to a refused request.

use memchr::memchr;

use super::Step;

/// What is still to be skipped of a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// A payload of so many bytes, and its line end.
    Payload(u64),
    /// Everything up to the next LF.
    Line,
}

impl Skip {
    /// Skips what there is of it at the beginning of `input`; with what is left to be skipped.
    pub(super) fn step(self, input: &[u8]) -> (Step<'static>, Option<Self>) {
        let (consumed, left) = match self {
            Self::Payload(0) => match line_end(input) {
                LineEnd::Here(bytes) => (bytes, None),
                LineEnd::Perhaps(at_least) => return (Step::Incomplete { at_least }, Some(self)),
                LineEnd::Not => return Self::Line.step(input),
            },
            Self::Payload(bytes) => {
                let consumed = usize::try_from(bytes).map_or(input.len(), |bytes| bytes.min(input.len()));
                (consumed, Some(Self::Payload(bytes - consumed as u64)))
            }
            Self::Line => memchr(b'\n', input).map_or((input.len(), Some(self)), |at| (at + 1, None)),
        };
        let step = if consumed == 0 { Step::Incomplete { at_least: 1 } } else { Step::Skip { consumed } };
        (step, left)
    }
}

/// What stands behind a payload.
pub(super) enum LineEnd {
    /// Of so many bytes.
    Here(usize),
    /// So many bytes must be there to tell.
    Perhaps(usize),
    Not,
}

/// Whether a line end stands at the beginning.
#[inline]
pub(super) fn line_end(input: &[u8]) -> LineEnd {
    match input {
        [b'\r', b'\n', ..] => LineEnd::Here(2),
        [b'\n', ..] => LineEnd::Here(1),
        [] => LineEnd::Perhaps(1),
        [b'\r'] => LineEnd::Perhaps(2),
        _ => LineEnd::Not,
    }
}
