//! The server's settings for a configuration.

use super::{Settings, Timeouts};
use crate::config::{self, Config};
use crate::museum::planted;
use osprey_core::engine::{Limits, Retention, SnapshotOptions};
use osprey_core::protocol::request;
use osprey_core::wal::writer::SyncPolicy;
use std::io;

impl Settings {
    /// What `config` asks for. Looks up the host's name, which may block.
    ///
    /// # Errors
    /// The name of `listen_addr` can't be looked up.
    pub fn from_config(config: Config) -> io::Result<Self> {
        // Below, 0 stands for no limit.
        Ok(Self {
            listen: config.listen_addr.resolve()?,
            metrics: match &config.metrics_addr {
                Some(address) if config.metrics_enable => Some(address.resolve()?),
                _ => None,
            },
            clients_max: config.max_clients,
            timeouts: Timeouts {
                idle_ms: config.idle_timeout_ms.unwrap_or(0),
                request_ms: config.request_timeout_ms.unwrap_or(0),
                write_ms: config.write_timeout_ms.unwrap_or(0),
                shutdown_ms: config.shutdown_timeout_ms,
                slow_ms: config.slowlog_threshold_ms.unwrap_or(0),
                busy_ms: config.busy_warn_ms.unwrap_or(0),
            },
            limits: Limits {
                request: request::Limits {
                    key_bytes_max: config.max_key_bytes,
                    value_bytes_max: config.max_value_bytes,
                    line_bytes_max: config.max_line_bytes,
                    words_max: config.max_args,
                },
                memory_bytes_max: config.max_memory_bytes.unwrap_or(0),
                reply_bytes_max: config.max_output_bytes,
                ..Limits::default()
            },
            sync_policy: match config.sync_policy {
                config::SyncPolicy::Os => SyncPolicy::Os,
                config::SyncPolicy::Batch => SyncPolicy::Batch { delay_ms: config.batch_fsync_ms, bytes: config.batch_fsync_bytes },
                config::SyncPolicy::Always => SyncPolicy::Always,
            },
            segment_bytes: config.wal_segment_bytes,
            sweep_interval_ms: config.sweep_interval_ms,
            sweep_batch: config.sweep_batch,
            snapshots: SnapshotOptions {
                automatic: config.enable_snapshot,
                log_bytes_max: config.wal_max_bytes,
                bandwidth_max: config.snapshot_bandwidth_max.unwrap_or(0),
                retention: Retention {
                    keep_ms: config.wal_keep_hours.unwrap_or(0) * if planted("hours_not_kept") { 0 } else { 3_600_000 },
                    keep_bytes: config.wal_keep_bytes.unwrap_or(0),
                },
                ..SnapshotOptions::default()
            },
            snapshot_pause_max_ms: config.snapshot_pause_max_ms,
            directory_bytes_warn: config.data_dir_warn_bytes.unwrap_or(0),
            data_dir: config.data_dir,
        })
    }
}
