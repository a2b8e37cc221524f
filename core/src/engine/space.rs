//! How much of the disk log and snapshots may take: when that asks for a snapshot, when the older generation makes room, and when a snapshot has to hurry.
//!
//! Two generations with their log take twice what a snapshot takes, and twice the log between two of them; while a third is written, three times. So that all of it stays below three times
//! the keys and values, a snapshot is taken when a quarter of the data has come as log, and the older generation goes before the next is begun, if the limit would be passed; see [`super::snapshots`].

use super::SnapshotOptions;

/// What is known about the space that is taken, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// What the data takes in memory, with its index.
    pub(super) data: u64,
    /// What a snapshot will take, about.
    pub(super) coming: u64,
    /// All of the log and the snapshots.
    pub(super) stored: u64,
    /// The newest snapshot.
    pub(super) newest: u64,
    /// The log behind its S0.
    pub(super) log: u64,
    /// What is set aside for the log, and not written to yet.
    pub(super) reserved: u64,
}

/// So much of the data's size may be set aside for the log beside the limit, percent: with what is written while a snapshot is taken, all of it stays below three times the data.
const RESERVED_PERCENT: u64 = 10;

impl Space {
    /// What is set aside for the log, as far as it counts against the limit.
    fn reserved(&self) -> u64 {
        self.reserved.saturating_sub((self.coming / 100).saturating_mul(RESERVED_PERCENT))
    }

    /// What log and snapshots should take at most; `None`: whatever they do.
    fn limit(&self, options: &SnapshotOptions) -> Option<u64> {
        let keeps_more = options.retention.keep_ms > 0 || options.retention.keep_bytes > 0;
        let bounded = options.stored_percent_max > 0 && !keeps_more;
        // Next to little data the log may be as long as was asked for, twice, and its segments as large: else one snapshot would follow the other.
        let least = options.log_bytes_max.saturating_mul(2).saturating_add(self.coming).saturating_add(self.reserved());
        bounded.then(|| (self.coming / 100).saturating_mul(options.stored_percent_max).max(least))
    }

    /// Whether there is so much log that a snapshot is due.
    pub(super) fn is_due(&self, options: &SnapshotOptions) -> bool {
        let quarter = self.coming / 4;
        // With both generations' logs at a quarter the limit is just kept.
        let needs = [self.newest, self.log, self.coming, quarter, self.reserved()].into_iter().fold(0, u64::saturating_add);
        let slow_start = self.log > options.log_bytes_max.max(self.data / 2);
        // Log that brought new keys isn't given back by a snapshot.
        let overwritten = self.log.saturating_sub(self.coming.saturating_sub(self.newest));
        slow_start || self.limit(options).is_some_and(|limit| needs > limit && overwritten > quarter)
    }

    /// Whether there would be too much if so many bytes came.
    pub(super) fn passes(&self, options: &SnapshotOptions, coming: u64) -> bool {
        self.limit(options).is_some_and(|limit| self.stored.saturating_add(self.reserved()).saturating_add(coming) > limit)
    }

    /// Whether a snapshot that has come to `position` of its walk, while `written` bytes of log were written, should hurry: else so much log will have come when it is there
    /// that all of it takes more than it should.
    pub(super) fn is_late(&self, options: &SnapshotOptions, position: u64, written: u64) -> bool {
        let allowed = (self.coming / 4).max(options.log_bytes_max / 4);
        // An eighth at the beginning, and half more until the end, behind which it is still verified.
        let reached = (allowed / 512).saturating_mul(position >> (u64::BITS - 8));
        self.limit(options).is_some() && written > allowed / 8 + reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn options() -> SnapshotOptions {
        SnapshotOptions { log_bytes_max: 256 * MIB, ..SnapshotOptions::default() }
    }

    /// A snapshot would take 920 MiB.
    fn space(stored: u64, newest: u64, log: u64) -> Space {
        Space { data: 1024 * MIB, coming: 920 * MIB, stored: stored * MIB, newest: newest * MIB, log: log * MIB, reserved: 0 }
    }

    #[test]
    fn one_is_due_when_a_quarter_was_overwritten() {
        let due = |newest, log| space(0, newest, log).is_due(&options());
        assert!(!due(920, 225) && due(920, 235));
        assert!(!due(620, 500) && due(620, 513), "new keys only make the next start slower");
        assert!(!due(0, 512) && due(0, 513), "as does a log without a snapshot");
        let unbounded = SnapshotOptions { stored_percent_max: 0, ..options() };
        assert!(!space(0, 920, 500).is_due(&unbounded) && space(0, 920, 513).is_due(&unbounded));
    }

    #[test]
    fn little_data_has_room_for_its_log() {
        let reserved = 128 * MIB;
        let space = |log| Space { data: 64 * MIB, coming: 64 * MIB, stored: 64 * MIB, newest: 64 * MIB, log: log * MIB, reserved };
        assert!(!space(256).is_due(&options()) && space(257).is_due(&options()));
        assert!(!space(0).passes(&options(), 512 * MIB) && space(0).passes(&options(), 513 * MIB));
    }

    #[test]
    fn a_third_snapshot_would_be_too_much() {
        assert!(space(2 * 920 + 230, 920, 230).passes(&options(), 920 * MIB));
        assert!(!space(920 + 230, 920, 230).passes(&options(), 920 * MIB));
        let reserved = |mib| Space { reserved: mib * MIB, ..space(2 * 920 + 400, 920, 230) }.passes(&options(), 0);
        assert!(!reserved(92) && !reserved(150) && reserved(155), "what is set aside for the log counts where it is much");
        let keeps = SnapshotOptions { retention: super::super::Retention { keep_ms: 1, keep_bytes: 0 }, ..options() };
        assert!(!space(9200, 920, 230).passes(&keeps, 920 * MIB), "what was asked for is kept");
    }

    #[test]
    fn a_snapshot_hurries_when_the_log_outruns_it() {
        let late = |position, written| space(0, 920, 0).is_late(&options(), position, written * MIB);
        assert!(!late(0, 28) && late(0, 29));
        assert!(!late(1 << 63, 85) && late(1 << 63, 87));
        assert!(!late(u64::MAX, 142) && late(u64::MAX, 144));
    }
}
