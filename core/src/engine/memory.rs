//! An engine whose memory is set aside when it is opened: how much that is, part by part, and for how much data.
//!
//! Nothing is allocated afterwards. So what [`Options::footprint`] says is known before, is never exceeded, and can't be used up by anybody else; and an allocator has nothing to scatter.

use core::fmt;

use super::execute::{LINE_END_BYTES, Undo};
use super::{Engine, Options, Session};
use crate::protocol::reply::VALUE_LINE_BYTES_MAX;
use crate::record::{HEADER_BYTES_MAX, HEADER_BYTES_USUAL};
use crate::recovery::Room;
use crate::storage::{SegmentNumber, SnapshotName};
use crate::store::Store;
use crate::store::fixed::{ENTRY_BYTES_MAX, KEYS_MAX, SLAB_BYTES_MAX, STEP_KEYS_MAX, records_of, slab_bytes_for};
use crate::units::Lsn;
use crate::wal::frame::{FRAME_HEADER_BYTES, RECORD_LENGTH_BYTES};
use crate::wal::segment::HEADER_BYTES;

/// `STATS` takes no more, bytes.
const STATS_BYTES_MAX: usize = 3072;

/// Room that a reply asks for beyond what it needs, bytes.
const REPLY_ROOM_BYTES: usize = 256;

/// What a snapshot's chunk has beside entries, bytes: headers of blocks, its own, its footer.
const CHUNK_MORE_BYTES: usize = 512;

/// Memory for data that is set aside when an engine is opened, and neither grows nor shrinks: [`Options::memory`], made by [`Options::within`] best.
///
/// Entries are held in slabs, each of which has slots of one size, in steps of an eighth. Slabs go from one size to another as they are needed, so what there is room for depends only on the sizes of
/// the entries that there are: each size takes as many slabs as it fills, and so its last one may be nearly empty.
///
/// ```
/// use osprey_core::engine::{DatabaseId, FixedMemory, Entropy, Options};
/// use osprey_core::protocol::request::Limits;
///
/// let mut options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// options.limits.request = Limits { key_bytes_max: 32, value_bytes_max: 256, line_bytes_max: 256, words_max: 16 };
/// options.limits.recent_slots_log2 = 6;
/// options.chunk = osprey_core::storage::ChunkBytes::MIN;
/// // Smaller slabs than would be chosen, for entries of many sizes.
/// options.memory = Some(FixedMemory { slab_bytes: 512, ..FixedMemory::default() });
/// let memory = options.within(64 << 10, 0, 16 + 32)?.memory.expect("it was given");
/// assert_eq!((memory.slab_bytes, memory.segments_max), (512, 16));
/// assert!(memory.slabs > 50 && memory.keys_max == memory.slabs * 9, "nine of such entries to a slab");
/// # Ok::<(), osprey_core::engine::OptionsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedMemory {
    /// The most keys. Each costs 6.25 bytes, whether it is there or not.
    pub keys_max: usize,
    /// How many slabs there are.
    pub slabs: usize,
    /// How large they are, bytes: so large that the largest entry fits, and 32 KiB at most. Smaller ones serve many sizes better.
    pub slab_bytes: usize,
    /// How many segments of the log storage will hold at most. With more, lists become longer than [`Options::footprint`] says.
    pub segments_max: usize,
    /// How many snapshots, as well.
    pub snapshots_max: usize,
}

/// For [`Options::within`] to fill in: 16 segments, three snapshots, slabs of whatever size goes with the memory.
impl Default for FixedMemory {
    fn default() -> Self {
        Self { keys_max: 0, slabs: 0, slab_bytes: 0, segments_max: 16, snapshots_max: 3 }
    }
}

/// Why options can't hold together. Nothing was changed.
///
/// ```
/// use osprey_core::engine::{DatabaseId, FixedMemory, Entropy, Options};
/// use osprey_core::protocol::request::Limits;
///
/// let mut options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// options.limits.request = Limits { key_bytes_max: 32, value_bytes_max: 256, line_bytes_max: 256, words_max: 16 };
/// options.limits.recent_slots_log2 = 6;
/// options.chunk = osprey_core::storage::ChunkBytes::MIN;
/// options.memory = Some(FixedMemory { keys_max: 100, slabs: 20, slab_bytes: 256, ..FixedMemory::default() });
/// let refused = osprey_core::engine::Engine::recover(options, &mut osprey_core::storage::memory::MemoryStorage::new(), osprey_core::units::Millis(1));
/// let error = refused.expect_err("a value of 256 bytes doesn't fit with its key").to_string();
/// assert!(error.contains("the largest entry needs 320; make it larger"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// [`FixedMemory::keys_max`] is out of range.
    Keys(usize),
    /// There are no slabs.
    NoSlabs,
    /// The largest entry that the limits allow doesn't fit into a slab.
    SlabTooSmall {
        /// [`FixedMemory::slab_bytes`].
        slab_bytes: usize,
        /// What it has to be.
        needed: usize,
    },
    /// A slab can't be so large.
    SlabTooLarge(usize),
    /// The limits allow an entry that is too large for fixed memory.
    EntryTooLarge(usize),
    /// What everything but data takes leaves no room for any.
    TooLittle {
        /// What there is.
        bytes: usize,
        /// What is needed with one slab, at least.
        needed: usize,
    },
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "memory.keys_max is {keys}; it has to be 1 to {KEYS_MAX}"),
            Self::NoSlabs => f.write_str("memory.slabs is 0; there has to be one at least"),
            Self::SlabTooSmall { slab_bytes, needed } => write!(
                f,
                "memory.slab_bytes is {slab_bytes}, and the largest entry needs {needed}; make it larger, or limits.request.key_bytes_max and value_bytes_max smaller"
            ),
            Self::SlabTooLarge(bytes) => write!(f, "memory.slab_bytes is {bytes}; it has to be {SLAB_BYTES_MAX} at most"),
            Self::EntryTooLarge(bytes) => write!(
                f,
                "the largest entry has {bytes} bytes, and fixed memory holds entries of {ENTRY_BYTES_MAX} at most; make limits.request.value_bytes_max smaller"
            ),
            Self::TooLittle { bytes, needed } => write!(
                f,
                "{bytes} bytes are too little, {needed} are needed; give more, or make limits.request, reply_bytes_max, unsent_bytes_soft_max, recent_slots_log2, chunk or the number of sessions smaller"
            ),
        }
    }
}

impl core::error::Error for OptionsError {}

/// What an engine with [fixed memory](Options::memory) takes, in bytes, part by part: [`Options::footprint`].
///
/// ```
/// use osprey_core::engine::{DatabaseId, Entropy, Options};
/// use osprey_core::protocol::request::Limits;
///
/// let mut options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
/// options.limits.request = Limits { key_bytes_max: 32, value_bytes_max: 256, line_bytes_max: 256, words_max: 16 };
/// options.limits.recent_slots_log2 = 6;
/// options.chunk = osprey_core::storage::ChunkBytes::MIN;
/// (options.limits.reply_bytes_max, options.limits.unsent_bytes_soft_max) = (512, 512);
/// assert_eq!(options.footprint(), None, "it takes what it needs");
/// let footprint = options.within(64 << 10, 2, 16 + 32)?.footprint().expect("its memory is fixed");
/// assert!(footprint.store > 20_000 && footprint.total(2) <= 64 << 10);
/// assert!(footprint.session > options.request_bytes_max() + options.replies_bytes_max());
/// # Ok::<(), osprey_core::engine::OptionsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The [`Engine`] itself, wherever it is kept.
    pub engine: usize,
    /// Slabs and index.
    pub store: usize,
    /// Two frames, one on its way while the other is filled. A recovery reads through them, too.
    pub log: usize,
    /// Two chunks of snapshots; nothing without snapshots.
    pub snapshots: usize,
    /// Which keys were written lately, which segments and snapshots there are, what an `MSET` replaces.
    pub lists: usize,
    /// What a recovery holds beside all this while it lasts: lists of segments and snapshots. Given back before the first request.
    pub recovery: usize,
    /// For each connection: its [`Session`], and buffers for its input and its replies, which the host makes: of [`Options::request_bytes_max`] and [`Options::replies_bytes_max`]. Calls
    /// without a protocol need none.
    pub session: usize,
    /// In how many allocations all of it but [`Footprint::engine`] and [`Footprint::session`] comes: what an allocator takes for each is not in these figures.
    pub allocations: usize,
}

impl Footprint {
    /// All of it, with so many connections. The stack comes on top, and what the allocator takes for itself.
    #[must_use]
    pub fn total(&self, sessions: usize) -> usize {
        let sessions = self.session.saturating_mul(sessions);
        let parts = [self.engine, self.store, self.log, self.snapshots, self.lists, self.recovery, sessions];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

/// How large the buffers are that are set aside, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BufferBytes {
    pub(super) frame: usize,
    pub(super) chunk: usize,
}

impl Options {
    /// These options, with [`Options::memory`] for as much data as `bytes` of memory have room for, with everything else that the engine takes and with buffers for so many `sessions`; divided
    /// between index and slabs for entries of about `entry_bytes`, key and value together. Of `memory`, or its default, the numbers of keys and slabs are filled in, and the slabs' size if it is 0.
    ///
    /// ```
    /// use osprey_core::engine::{DatabaseId, Engine, Entropy, Options};
    /// use osprey_core::protocol::request::Limits;
    /// use osprey_core::storage::memory::MemoryStorage;
    /// use osprey_core::units::Millis;
    ///
    /// let mut options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// options.limits.request = Limits { key_bytes_max: 32, value_bytes_max: 256, line_bytes_max: 256, words_max: 16 };
    /// options.limits.recent_slots_log2 = 6;
    /// options.chunk = osprey_core::storage::ChunkBytes::MIN;
    /// let options = options.within(64 << 10, 0, 16 + 32)?;
    /// let footprint = options.footprint().expect("its memory is fixed");
    /// assert!(footprint.total(0) <= 64 << 10);
    /// // A connection would take this, and a little more.
    /// assert!(footprint.session > options.request_bytes_max() + options.replies_bytes_max());
    /// assert!(options.memory.is_some_and(|memory| memory.keys_max > 500));
    /// let (engine, _) = Engine::recover(options, &mut MemoryStorage::new(), Millis(1))?;
    /// # assert!(engine.store().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// It is too little, or the limits don't go with it.
    pub fn within(self, bytes: usize, sessions: usize, entry_bytes: usize) -> Result<Self, OptionsError> {
        let largest = self.record_bytes_max();
        if largest > ENTRY_BYTES_MAX {
            return Err(OptionsError::EntryTooLarge(largest));
        }
        let slab_bytes = (bytes / 128).clamp(1024, 4096).max(slab_bytes_for(largest)).next_multiple_of(8);
        let asked = self.memory.unwrap_or_default();
        let asked = if asked.slab_bytes == 0 { FixedMemory { slab_bytes, ..asked } } else { asked };
        let each = records_of(asked.slab_bytes, HEADER_BYTES_USUAL.saturating_add(entry_bytes)).max(1);
        let with = |slabs: usize| {
            let memory = FixedMemory { keys_max: slabs.saturating_mul(each).min(KEYS_MAX), slabs, ..asked };
            let options = Self { memory: Some(memory), ..self };
            let total = options.footprint().map_or(usize::MAX, |footprint| footprint.total(sessions));
            (options, total)
        };
        let (_, needed) = with(1);
        if needed > bytes {
            return Err(OptionsError::TooLittle { bytes, needed });
        }
        // The first number of slabs that is too large is found by halves.
        let (mut fits, mut too_many) = (1, bytes / asked.slab_bytes.max(1) + 1);
        while too_many - fits > 1 {
            let slabs = fits.midpoint(too_many);
            *(if with(slabs).1 <= bytes { &mut fits } else { &mut too_many }) = slabs;
        }
        let (options, _) = with(fits);
        options.check_memory()?;
        Ok(options)
    }

    /// What an engine with these options takes, if its [memory](Options::memory) is fixed: all that it ever does, at any moment, its start included.
    #[must_use]
    pub fn footprint(&self) -> Option<Footprint> {
        let options = self.clamped();
        let FixedMemory { keys_max, slabs, slab_bytes, segments_max, snapshots_max } = options.memory?;
        let BufferBytes { frame, chunk } = options.buffer_bytes();
        let with_snapshots = options.snapshots.is_some();
        let (kept, recovery) = Room::list_bytes(segments_max, snapshots_max);
        let removals = snapshots_max.saturating_mul(size_of::<SnapshotName>()) + segments_max.saturating_mul(size_of::<SegmentNumber>());
        let recent = 1_usize.checked_shl(options.limits.recent_slots_log2).unwrap_or(usize::MAX).saturating_mul(size_of::<Lsn>());
        let undo = options.pairs_max().saturating_mul(size_of::<Undo>());
        let lists = [recent, undo, kept, if with_snapshots { removals } else { 0 }].into_iter().fold(0, usize::saturating_add);
        Some(Footprint {
            engine: size_of::<Engine>(),
            store: Store::fixed_bytes(keys_max, slabs, slab_bytes),
            log: frame.saturating_mul(2),
            snapshots: if with_snapshots { chunk.saturating_mul(2) } else { 0 },
            lists,
            recovery,
            session: size_of::<Session>().saturating_add(options.request_bytes_max()).saturating_add(options.replies_bytes_max()),
            // Slabs and their two lists, the index's two; frames; recent writes, replaced entries, three lists of segments and snapshots, and storage's two.
            allocations: slabs.saturating_add(4 + 2 + 2 + 3 + 2 + if with_snapshots { 4 } else { 0 }),
        })
    }

    /// The longest request, bytes: room that a connection's input needs.
    #[must_use]
    pub fn request_bytes_max(&self) -> usize {
        let request = &self.clamped().limits.request;
        request.line_bytes_max.saturating_add(request.value_bytes_max).saturating_add(4)
    }

    /// The most unsent replies of a connection, bytes: a buffer with so much room never grows.
    #[must_use]
    pub fn replies_bytes_max(&self) -> usize {
        let limits = &self.clamped().limits;
        let request = &limits.request;
        let value = VALUE_LINE_BYTES_MAX.saturating_add(request.key_bytes_max).saturating_add(request.value_bytes_max);
        let reply = value.max(self.scan_bytes_max()).max(STATS_BYTES_MAX);
        limits.unsent_bytes_soft_max.saturating_add(reply).saturating_add(2 * REPLY_ROOM_BYTES)
    }

    /// The longest list of keys, bytes: it ends behind the step with which it has the size that was asked for.
    pub(super) fn scan_bytes_max(&self) -> usize {
        let limits = &self.clamped().limits;
        let step = (limits.request.key_bytes_max + LINE_END_BYTES).saturating_mul(STEP_KEYS_MAX);
        limits.reply_bytes_max.saturating_add(step)
    }

    /// How large an entry's record can be, bytes.
    pub(super) fn record_bytes_max(&self) -> usize {
        let request = &self.clamped().limits.request;
        HEADER_BYTES_MAX.saturating_add(request.key_bytes_max).saturating_add(request.value_bytes_max)
    }

    /// How many pairs an `MSET` can have.
    pub(super) fn pairs_max(&self) -> usize {
        self.limits.request.words_max / 2 + 1
    }

    pub(super) fn buffer_bytes(&self) -> BufferBytes {
        let chunk = self.chunk.get();
        // A snapshot is taken apart in one: a block that isn't whole yet, and the chunk that follows. A chunk that is filled may be longer by a step of the walk, and by an entry.
        let of_snapshots =
            chunk.saturating_mul(2).saturating_add(RECORD_LENGTH_BYTES + CHUNK_MORE_BYTES).saturating_add(self.record_bytes_max());
        let header = usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX);
        let request = usize::try_from(self.largest_frame()).unwrap_or(usize::MAX);
        let frame = header.max(request).max(chunk.saturating_add(FRAME_HEADER_BYTES));
        BufferBytes { frame: if self.snapshots.is_some() { frame.max(of_snapshots) } else { frame }, chunk: of_snapshots }
    }

    /// Whether the memory that was asked for goes with the limits.
    pub(super) fn check_memory(&self) -> Result<(), OptionsError> {
        let Some(FixedMemory { keys_max, slabs, slab_bytes, .. }) = self.memory else { return Ok(()) };
        let largest = self.record_bytes_max();
        if !(1..=KEYS_MAX).contains(&keys_max) {
            return Err(OptionsError::Keys(keys_max));
        }
        if slabs == 0 {
            return Err(OptionsError::NoSlabs);
        }
        if slab_bytes > SLAB_BYTES_MAX {
            return Err(OptionsError::SlabTooLarge(slab_bytes));
        }
        if largest > ENTRY_BYTES_MAX {
            return Err(OptionsError::EntryTooLarge(largest));
        }
        if records_of(slab_bytes, largest) == 0 {
            return Err(OptionsError::SlabTooSmall { slab_bytes, needed: slab_bytes_for(largest) });
        }
        Ok(())
    }
}
