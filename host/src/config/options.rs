//! Every option, once: its name, type, default and bounds. The `Config` struct, its defaults and the table that reads and
//! prints options are derived from this one list, so that they can't disagree.

use super::address::Address;
use super::given::Given;
use super::kinds::{self, Kind};
use log::LevelFilter;
use std::path::PathBuf;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const MONTH_MS: u64 = 30 * 24 * HOUR_MS;

/// What a reply to a write promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// `os`: the write is in the operating system's hands; it survives the process, not a power cut.
    Os,
    /// `batch`: as `os`, and synced to disk every `batch_fsync_ms` or `batch_fsync_bytes`.
    Batch,
    /// `always`: the write is on disk, and so is everything that the reply shows.
    Always,
}

/// One option, as the loader sees it.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Sets the option, or says what it could be instead.
    pub(super) set: fn(&mut Config, &Given<'_>) -> Result<(), String>,
    /// The option's value as TOML.
    pub(super) show: fn(&Config) -> String,
}

/// `/** doc */ name: type = default, kind;` for each option; see [`kinds`] for the kinds.
macro_rules! options {
    ($( $(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $kind:expr; )+) => {
        /// All options of the server, with values that are possible. Fields are named as the keys of the file, the unit last.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Config {
            $( $(#[doc = $doc])+ pub $name: $type, )+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $name: $default, )+ }
            }
        }

        /// In the order in which they are printed.
        pub(super) const KEYS: &[Key] = &[$(
            Key {
                name: stringify!($name),
                set: |config, given| {
                    let kind = $kind;
                    config.$name = kind.read(given).ok_or_else(|| kind.expected())?;
                    Ok(())
                },
                show: |config| $kind.show(&config.$name),
            },
        )+];
    };
}

options! {
    /// Where clients connect.
    listen_addr: Address = Address::loopback(7070), kinds::address();
    /// The most clients at a time; one more gets `ERR BUSY` and is closed.
    max_clients: usize = 10_000, kinds::whole(1..=1_000_000);
    /// How long a connection may be idle, ms; `None`: for ever.
    idle_timeout_ms: Option<u64> = None, kinds::whole_or_zero("never", 1..=MONTH_MS);
    /// How long a request may take from its first byte to its last, ms; `None`: for ever.
    request_timeout_ms: Option<u64> = Some(30_000), kinds::whole_or_zero("never", 1..=MONTH_MS);
    /// How long a client may leave its replies unread, ms; `None`: for ever.
    write_timeout_ms: Option<u64> = Some(60_000), kinds::whole_or_zero("never", 1..=MONTH_MS);
    /// How long a graceful stop waits for clients to take their replies, ms; 0: it doesn't.
    shutdown_timeout_ms: u64 = 2_000, kinds::whole(0..=HOUR_MS);

    /// The longest key, bytes.
    max_key_bytes: usize = 256, kinds::whole(1..=65_535);
    /// The longest value, bytes.
    max_value_bytes: usize = 16 << 20, kinds::whole(1..=GIB);
    /// The longest line of a request, bytes; payloads are not part of it.
    max_line_bytes: usize = 1 << 20, kinds::whole(KIB..=64 * MIB);
    /// The most words of one request.
    max_args: usize = 4_096, kinds::whole(16..=1_000_000);
    /// The most bytes buffered for one client's replies; an `MGET` whose reply would be larger is refused.
    max_output_bytes: usize = 64 << 20, kinds::whole(64 * KIB..=16 * GIB);
    /// The most memory of keys, index and connection buffers together, bytes; `None`: no limit.
    max_memory_bytes: Option<u64> = None, kinds::whole_or_zero("no limit", MIB..=1_024 * TIB);

    /// The directory of the log and the snapshots.
    data_dir: PathBuf = PathBuf::from("./data"), kinds::directory();
    /// How much log may come together before a snapshot is to be taken, bytes.
    wal_max_bytes: u64 = 256 * MIB, kinds::whole(1..=1_024 * TIB);
    /// The size of one segment of the log, bytes. It is reserved on disk ahead.
    wal_segment_bytes: u64 = 64 * MIB, kinds::whole(64 * KIB..=GIB);
    /// What a reply to a write promises.
    sync_policy: SyncPolicy = SyncPolicy::Batch, kinds::sync_policy();
    /// With [`SyncPolicy::Batch`]: the longest that a write stays unsynced, ms.
    batch_fsync_ms: u64 = 100, kinds::whole(1..=HOUR_MS);
    /// With [`SyncPolicy::Batch`]: a sync begins when this much is unsynced, bytes.
    batch_fsync_bytes: u64 = MIB, kinds::whole(1..=TIB);

    /// Whether snapshots are taken.
    enable_snapshot: bool = true, kinds::flag();
    /// The longest that a snapshot may hold up requests at a time, ms.
    snapshot_pause_max_ms: u64 = 1, kinds::whole(1..=MINUTE_MS);
    /// How fast a snapshot is written at most, bytes a second; `None`: as fast as it can be.
    snapshot_bandwidth_max: Option<u64> = None, kinds::whole_or_zero("no limit", 64 * KIB..=TIB);
    /// The log of so many hours is kept for restoring an earlier moment, with the snapshots that it needs; `None`: no more than a recovery needs.
    wal_keep_hours: Option<u64> = None, kinds::whole_or_zero("none", 1..=24 * 366);
    /// So much of the log is kept for restoring an earlier moment, bytes; `None`: no more than a recovery needs.
    wal_keep_bytes: Option<u64> = None, kinds::whole_or_zero("none", 1..=1_024 * TIB);
    /// It is warned of when log and snapshots take more than this, bytes; `None`: never.
    data_dir_warn_bytes: Option<u64> = None, kinds::whole_or_zero("never", MIB..=1_024 * TIB);

    /// How often expired keys are looked for, ms.
    sweep_interval_ms: u64 = 200, kinds::whole(1..=HOUR_MS);
    /// The most expiries that a sweep looks at without a break.
    sweep_batch: usize = 1_000, kinds::whole(1..=1_000_000_000);

    /// Whether metrics are served at `metrics_addr`.
    metrics_enable: bool = true, kinds::flag();
    /// Where metrics are served over HTTP; `None`: nowhere.
    metrics_addr: Option<Address> = None, kinds::optional_address();

    /// The least severe messages that are logged.
    log_level: LevelFilter = LevelFilter::Info, kinds::log_level();
    /// The file that the log of messages is appended to; `None`: standard error.
    log_file: Option<PathBuf> = None, kinds::optional_file();
    /// Requests that take this long are logged, ms; `None`: none are.
    slowlog_threshold_ms: Option<u64> = Some(50), kinds::whole_or_zero("never", 1..=HOUR_MS);
    /// When one turn of the server's loop, over all clients that were ready, takes this long, it is warned of, ms; `None`: never.
    busy_warn_ms: Option<u64> = Some(50), kinds::whole_or_zero("never", 1..=HOUR_MS);
}

/// The option with this name.
pub(super) fn find(name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.name == name)
}

/// The option whose name is nearest to `name`, unless all are far: more than a third of the letters would have to change.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace(['-', '.'], "_");
    let distance = |key: &Key| strsim::osa_distance(&name, key.name);
    let near = KEYS.iter().map(|key| (distance(key), key.name)).min()?;
    (near.0 <= near.1.len().min(name.len()) / 3).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_over_typing_errors_and_other_spellings() {
        assert_eq!(nearest("max_client"), Some("max_clients"));
        assert_eq!(nearest("MAX-CLIENTS"), Some("max_clients"));
        assert_eq!(nearest("lsiten_adr"), Some("listen_addr"));
        assert_eq!(nearest("max_value_size"), Some("max_value_bytes"));
        assert_eq!(nearest("fsync_bytes"), None);
        assert_eq!(nearest("port"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn every_default_is_a_value_that_the_option_accepts() {
        let defaults = Config::default();
        for key in KEYS {
            let shown = (key.show)(&defaults);
            let value = toml::de::DeValue::parse(&shown).unwrap();
            let mut config = Config::default();
            assert_eq!((key.set)(&mut config, &Given::Toml(value.get_ref())), Ok(()), "{} = {shown}", key.name);
            assert_eq!(config, defaults, "{} = {shown}", key.name);
        }
    }
}
