//! Damage to snapshots, and checksums that are right all the same: as `damage.rs`, for what is described in [`osprey_core::snapshot::format`].

use std::collections::BTreeMap;
use std::ops::Range;

use arbitrary::Arbitrary;
use osprey_core::checksum::crc32c;
use osprey_core::snapshot::format::HEADER_BYTES;
use osprey_core::storage::SnapshotName;
use osprey_core::units::Lsn;

use super::damage::{Value, put};

/// What stands before a block's payload.
const BLOCK_HEADER_BYTES: usize = 24;

const FOOTER_BYTES: usize = 48;

type Snapshots = BTreeMap<SnapshotName, Vec<u8>>;

/// One thing that happens to a snapshot. Snapshots and blocks are counted from 0, past the last from the beginning again.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum SnapshotDamage {
    /// A field of the header gets another value.
    Header { snapshot: u8, field: HeaderField, value: Value },
    /// A field of what stands before a block gets another value.
    Block { snapshot: u8, block: u8, field: BlockField, value: Value },
    /// A byte of a block's payload gets another value.
    Payload { snapshot: u8, block: u8, offset: u8, byte: u8 },
    /// A field of the footer gets another value.
    Footer { snapshot: u8, field: FooterField, value: Value },
    /// A byte anywhere gets another value.
    Byte { snapshot: u8, offset: u16, byte: u8 },
    /// It ends earlier.
    Cut { snapshot: u8, by: u16 },
    /// It goes on behind its end.
    Append { snapshot: u8, bytes: Vec<u8> },
    /// A block stands there twice.
    Repeat { snapshot: u8, block: u8 },
    /// A block is gone.
    Drop { snapshot: u8, block: u8 },
    /// It is gone.
    Remove { snapshot: u8 },
    /// Its bytes are another's.
    Copy { from: u8, to: u8 },
    /// It has another name; header and footer say the same if they can.
    Name { snapshot: u8, begin: Value, end: Value },
    /// There is another, of any bytes.
    Insert { begin: u8, end: u8, bytes: Vec<u8> },
}

/// The header's fields.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum HeaderField {
    Format,
    Database,
    Epoch,
    Salt,
    Begin,
}

impl HeaderField {
    fn bytes(self) -> Range<usize> {
        match self {
            Self::Format => 8..12,
            Self::Database => 16..24,
            Self::Epoch => 32..40,
            Self::Salt => 40..48,
            Self::Begin => 48..56,
        }
    }
}

/// The fields of what stands before a block.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum BlockField {
    Magic,
    PayloadLength,
    Records,
    Previous,
}

impl BlockField {
    #[cfg(test)]
    pub(super) const ALL: [Self; 4] = [Self::Magic, Self::PayloadLength, Self::Records, Self::Previous];

    fn bytes(self) -> Range<usize> {
        match self {
            Self::Magic => 0..4,
            Self::PayloadLength => 4..8,
            Self::Records => 8..12,
            Self::Previous => 12..16,
        }
    }
}

/// The footer's fields.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum FooterField {
    Magic,
    Blocks,
    End,
    Records,
    Floor,
    Time,
    Previous,
}

impl FooterField {
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [Self::Magic, Self::Blocks, Self::End, Self::Records, Self::Floor, Self::Time, Self::Previous];

    fn bytes(self) -> Range<usize> {
        match self {
            Self::Magic => 0..4,
            Self::Blocks => 4..8,
            Self::End => 8..16,
            Self::Records => 16..24,
            Self::Floor => 24..32,
            Self::Time => 32..40,
            Self::Previous => 40..44,
        }
    }
}

/// Where everything is, as the lengths say.
struct Layout {
    blocks: Vec<Range<usize>>,
    footer: Option<usize>,
}

fn layout(file: &[u8]) -> Layout {
    let (mut blocks, mut at) = (Vec::new(), HEADER_BYTES);
    while let Some(rest) = file.get(at..).filter(|rest| rest.starts_with(b"OSB1")) {
        let Some(len) = rest.get(BlockField::PayloadLength.bytes()).and_then(|len| len.first_chunk()) else { break };
        let end = at.saturating_add(BLOCK_HEADER_BYTES).saturating_add(u32::from_le_bytes(*len) as usize);
        if end > file.len() {
            break;
        }
        blocks.push(at..end);
        at = end;
    }
    let footer = file.get(at..).is_some_and(|rest| rest.len() >= FOOTER_BYTES).then_some(at);
    Layout { blocks, footer }
}

/// Does it; nothing where there is no such place.
pub(super) fn damage_snapshot(snapshots: &mut Snapshots, damage: &SnapshotDamage) {
    let _ = try_damage(snapshots, damage);
}

fn try_damage(snapshots: &mut Snapshots, damage: &SnapshotDamage) -> Option<()> {
    match *damage {
        SnapshotDamage::Header { snapshot, field, value } => put(file(snapshots, snapshot)?.get_mut(field.bytes())?, value),
        SnapshotDamage::Block { snapshot, block, field, value } => {
            let file = file(snapshots, snapshot)?;
            let at = block_at(file, block)?;
            put(file.get_mut(at)?.get_mut(field.bytes())?, value);
        }
        SnapshotDamage::Payload { snapshot, block, offset, byte } => {
            let file = file(snapshots, snapshot)?;
            let at = block_at(file, block)?;
            *file.get_mut(at)?.get_mut(BLOCK_HEADER_BYTES + usize::from(offset))? = byte;
        }
        SnapshotDamage::Footer { snapshot, field, value } => {
            let file = file(snapshots, snapshot)?;
            let at = layout(file).footer?;
            put(file.get_mut(at..)?.get_mut(field.bytes())?, value);
        }
        SnapshotDamage::Byte { snapshot, offset, byte } => *file(snapshots, snapshot)?.get_mut(usize::from(offset))? = byte,
        SnapshotDamage::Cut { snapshot, by } => {
            let file = file(snapshots, snapshot)?;
            file.truncate(file.len().saturating_sub(usize::from(by)));
        }
        SnapshotDamage::Append { snapshot, ref bytes } => file(snapshots, snapshot)?.extend_from_slice(bytes),
        SnapshotDamage::Repeat { snapshot, block } => {
            let file = file(snapshots, snapshot)?;
            let at = block_at(file, block)?;
            let (end, bytes) = (at.end, file.get(at)?.to_vec());
            file.splice(end..end, bytes);
        }
        SnapshotDamage::Drop { snapshot, block } => {
            let file = file(snapshots, snapshot)?;
            let at = block_at(file, block)?;
            file.drain(at);
        }
        SnapshotDamage::Remove { snapshot } => drop(snapshots.remove(&name(snapshots, snapshot)?)),
        SnapshotDamage::Copy { from, to } => *file(snapshots, to)? = file(snapshots, from)?.clone(),
        SnapshotDamage::Name { snapshot, begin, end } => {
            let old = name(snapshots, snapshot)?;
            let new = SnapshotName { begin: Lsn(begin.of(old.begin.0)), end: Lsn(end.of(old.end.0)) };
            let mut file = snapshots.remove(&old)?;
            if let Some(field) = file.get_mut(HeaderField::Begin.bytes()) {
                put(field, Value::This(new.begin.0));
            }
            if let Some(field) = layout(&file).footer.and_then(|at| file.get_mut(at..)?.get_mut(FooterField::End.bytes())) {
                put(field, Value::This(new.end.0));
            }
            snapshots.insert(new, file);
        }
        SnapshotDamage::Insert { begin, end, ref bytes } => {
            snapshots.insert(SnapshotName { begin: Lsn(begin.into()), end: Lsn(end.into()) }, bytes.clone());
        }
    }
    Some(())
}

fn name(snapshots: &Snapshots, at: u8) -> Option<SnapshotName> {
    let at = usize::from(at).checked_rem(snapshots.len())?;
    snapshots.keys().nth(at).copied()
}

fn file(snapshots: &mut Snapshots, at: u8) -> Option<&mut Vec<u8>> {
    let name = name(snapshots, at)?;
    snapshots.get_mut(&name)
}

fn block_at(file: &[u8], index: u8) -> Option<Range<usize>> {
    let blocks = layout(file).blocks;
    let at = usize::from(index).checked_rem(blocks.len())?;
    blocks.get(at).cloned()
}

/// What is made right again.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct SnapshotRepair {
    /// The header's checksum.
    pub(super) headers: bool,
    /// The checksums of blocks and footers.
    pub(super) blocks: bool,
    /// Each block's and the footer's reference to what is before.
    pub(super) chain: bool,
    /// How many blocks there are, in the footer.
    pub(super) counts: bool,
}

/// Makes checksums right for what they cover.
pub(super) fn repair_snapshots(snapshots: &mut Snapshots, repair: SnapshotRepair) {
    for file in snapshots.values_mut() {
        // What has no whole header, or no footer, has nothing there to repair.
        let _ = repair_snapshot(file, repair);
    }
}

fn repair_snapshot(file: &mut [u8], repair: SnapshotRepair) -> Option<()> {
    if repair.headers {
        let crc = crc32c(crc32c(0, file.get(..12)?), file.get(16..HEADER_BYTES)?);
        file.get_mut(12..16)?.copy_from_slice(&crc.to_le_bytes());
    }
    let salted = crc32c(0, file.get(HeaderField::Salt.bytes())?);
    let mut chain: [u8; 4] = *file.get(12..16)?.first_chunk()?;
    let Layout { blocks, footer } = layout(file);
    let count = u32::try_from(blocks.len()).ok()?;
    for at in blocks {
        let block = file.get_mut(at)?;
        if repair.chain {
            block.get_mut(BlockField::Previous.bytes())?.copy_from_slice(&chain);
        }
        if repair.blocks {
            let crc = crc32c(salted, block.get(BLOCK_HEADER_BYTES..)?);
            block.get_mut(16..20)?.copy_from_slice(&crc.to_le_bytes());
            let crc = crc32c(salted, block.get(..20)?);
            block.get_mut(20..24)?.copy_from_slice(&crc.to_le_bytes());
        }
        chain = *block.get(20..24)?.first_chunk()?;
    }
    let footer = file.get_mut(footer?..)?;
    if repair.chain {
        footer.get_mut(FooterField::Previous.bytes())?.copy_from_slice(&chain);
    }
    if repair.counts {
        footer.get_mut(FooterField::Blocks.bytes())?.copy_from_slice(&count.to_le_bytes());
    }
    if repair.blocks {
        let crc = crc32c(salted, footer.get(..44)?);
        footer.get_mut(44..48)?.copy_from_slice(&crc.to_le_bytes());
    }
    Some(())
}
