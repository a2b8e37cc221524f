//! The server's program.

use osprey::server::*;
use osprey_core::wal::writer::SyncPolicy;

fn main() {
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).init();
    let args: Vec<String> = std::env::args().collect();
    let policy = match args[3].as_str() {
        "os" => SyncPolicy::Os,
        "always" => SyncPolicy::Always,
        _ => SyncPolicy::Batch { delay_ms: 100, bytes: 1 << 20 },
    };
    let settings = Settings {
        listen: vec![args[1].parse().unwrap()],
        data_dir: args[2].clone().into(),
        clients_max: 10000,
        timeouts: Timeouts { idle_ms: 0, request_ms: 30000, write_ms: 60000, shutdown_ms: 2000, slow_ms: 50, busy_ms: 50 },
        limits: Default::default(),
        sync_policy: policy,
        segment_bytes: 64 << 20,
        sweep_interval_ms: 200,
        sweep_batch: 1000,
    };
    if let Err(e) = Server::open(settings).and_then(|s| s.run()) {
        eprintln!("{e}");
        std::process::exit(1);
    }
}
