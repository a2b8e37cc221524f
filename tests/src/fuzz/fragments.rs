//! A stream of bytes that arrives in fragments, whose lengths the fuzzer chooses.

/// So many fragment lengths precede the stream; they repeat.
const LENGTHS: usize = 4;

/// A stream with the lengths of its fragments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragmented<'a> {
    lengths: &'a [u8; LENGTHS],
    pub(super) stream: &'a [u8],
}

impl<'a> Fragmented<'a> {
    /// Takes input apart: four bytes of lengths, then the stream.
    pub(super) fn new(data: &'a [u8]) -> Option<Self> {
        let (lengths, stream) = data.split_first_chunk()?;
        Some(Self { lengths, stream })
    }

    /// How much of the stream has arrived after each fragment: ascending, the whole of it last.
    pub(super) fn arrivals(self) -> impl Iterator<Item = usize> {
        let mut lengths = self.lengths.iter().cycle();
        let mut arrived = 0;
        let mut next = move || {
            let length = lengths.next().map_or(1, |&length| usize::from(length) + 1);
            arrived = self.stream.len().min(arrived + length);
            arrived
        };
        core::iter::from_fn(move || Some(next())).take_while({
            let mut whole = false;
            move |&arrived| !core::mem::replace(&mut whole, arrived == self.stream.len())
        })
    }
}
