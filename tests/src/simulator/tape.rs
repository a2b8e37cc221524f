//! The tape: the bytes that decide everything in a run. A seed expands to one, and so does any input of a fuzzer.
//!
//! It is read in chunks of eight bytes, one for each step of the world, so that a shrunk tape is the same run with steps left out: what
//! is deleted moves no other decision. A step that needs more than its chunk has gets bytes that are computed from it.
//! Zero is always the plainest choice.

/// What one step reads, bytes.
pub const CHUNK_BYTES: usize = 8;

/// How many steps a seed's tape has.
pub const SEED_STEPS: usize = 2000;

/// A run's decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape(pub Vec<u8>);

impl Tape {
    /// The tape of a seed: `steps` chunks of random bytes.
    #[must_use]
    pub fn from_seed(seed: u64, steps: usize) -> Self {
        let mut random = Stream(mix(seed.wrapping_add(1)));
        let mut bytes = Vec::with_capacity(steps * CHUNK_BYTES);
        for _ in 0..steps {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        Self(bytes)
    }

    /// The chunks in order; a last one that isn't whole is filled up with zeros.
    pub fn chunks(&self) -> impl Iterator<Item = Choices> + '_ {
        self.0.chunks(CHUNK_BYTES).map(|bytes| {
            let mut chunk = [0; CHUNK_BYTES];
            chunk[..bytes.len()].copy_from_slice(bytes);
            Choices::new(chunk)
        })
    }
}

/// The decisions of one step.
#[derive(Clone, Debug)]
pub struct Choices {
    chunk: [u8; CHUNK_BYTES],
    at: usize,
    more: Stream,
}

impl Choices {
    /// The decisions in a chunk.
    #[must_use]
    pub fn new(chunk: [u8; CHUNK_BYTES]) -> Self {
        // Without its first byte, which says what the step is: a step of zeros stays one of zeros.
        let rest = u64::from_le_bytes(chunk) >> 8;
        Self { chunk, at: 0, more: Stream(if rest == 0 { 0 } else { mix(rest) }) }
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> u8 {
        if let Some(&byte) = self.chunk.get(self.at) {
            self.at += 1;
            return byte;
        }
        self.more.next().to_be_bytes()[0]
    }

    /// Eight bytes that are computed from the chunk, for what needs many.
    #[inline]
    pub fn word(&mut self) -> u64 {
        self.more.next()
    }

    /// A number below `bound`, which is at least 1.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 | 1 => 0,
            2..=256 => (usize::from(self.byte()) * bound) >> 8,
            _ => ((usize::from(self.byte()) << 8 | usize::from(self.byte())) * bound) >> 16,
        }
    }

    /// Whether the one case of `cases` has come up.
    #[inline]
    pub fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) + 1 == cases
    }
}

/// xorshift64*, which stays at zero if it begins there (Marsaglia, 2003; Vigna, 2016).
#[derive(Clone, Debug)]
struct Stream(u64);

impl Stream {
    #[inline]
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// splitmix64's finalizer, so that neighbouring seeds have nothing in common (Steele, Lea, Flood, 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
