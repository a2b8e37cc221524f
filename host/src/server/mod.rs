//! The server: a data directory recovered, a port bound, and the loop that serves it.
//!
//! Everything runs on one thread: the data plane (`dataplane`) loops and waits, and gives smol's executor, which has signals, gauges and
//! metrics as its tasks, a turn when one of them was woken (`beside`). Four more threads wait for the disk (see [`crate::storage`]), and one of smol's for timers and
//! for the tasks' descriptors.

mod beside;
mod connection;
mod control;
mod dataplane;
mod metrics;
mod settings;
mod signals;
mod snapshots;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use crc32c::crc32c_append;
use osprey_core::clock::Clock as _;
use osprey_core::engine::{Engine, Limits, Options, SnapshotOptions};
use osprey_core::recovery::{Progress, RecoveryError, Report};
use osprey_core::wal::segment::HeaderError;
use osprey_core::wal::writer::{Poisoned, SyncPolicy};
use smol::{LocalExecutor, future};

use crate::clock::SystemClock;
use crate::descriptor_limit;
use crate::entropy::entropy;
use crate::readiness::Readiness;
use crate::storage::{FileStorage, OpenError, Reservation};
use beside::Beside;
use control::Control;
pub use dataplane::Timeouts;
use dataplane::{DataPlane, Failure};
use snapshots::Snapshots;

/// How the server is to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; the first address that can be bound is taken. Port 0: any free port.
    pub listen: Vec<SocketAddr>,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<Vec<SocketAddr>>,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// How many clients are served at once.
    pub clients_max: usize,
    /// What bounds a connection's life.
    pub timeouts: Timeouts,
    /// Bounds of what clients can make large.
    pub limits: Limits,
    /// What a reply promises.
    pub sync_policy: SyncPolicy,
    /// A log segment's size, bytes.
    pub segment_bytes: u64,
    /// How often expired keys are looked for.
    pub sweep_interval_ms: u64,
    /// How many deadlines a sweep looks at without a break.
    pub sweep_batch: usize,
    /// How snapshots are taken.
    pub snapshots: SnapshotOptions,
    /// The longest that a snapshot may hold up requests at a time.
    pub snapshot_pause_max_ms: u64,
    /// It is warned of when log and snapshots take more than this, bytes; 0: never.
    pub directory_bytes_warn: u64,
}

/// Why the server can't start, or has ended.
#[derive(Debug)]
pub enum ServerError {
    /// The data directory can't be used.
    DataDir(OpenError),
    /// The data can't be recovered.
    Recovery(PathBuf, RecoveryError),
    /// The addresses can't be listened on, which this option names.
    Listen(&'static str, Vec<SocketAddr>, io::Error),
    /// No random numbers.
    Entropy(getrandom::Error),
    /// The system refused something that the server can't do without.
    System(io::Error),
    /// Storage has failed while the server ran.
    Storage(PathBuf, Poisoned),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(f),
            Self::Recovery(path, error) => {
                write!(f, "cannot recover the data in {}: {error}", path.display())?;
                match error {
                    RecoveryError::Storage(..) | RecoveryError::OutOfMemory => f.write_str(". Nothing was changed"),
                    RecoveryError::Header(_, HeaderError::Format(_)) => write!(
                        f,
                        ". Nothing was changed. If another version of Osprey has written it, start that; whether it is damaged instead, `osprey check {}` says",
                        path.display()
                    ),
                    _ => write!(
                        f,
                        ". Nothing was changed. Restore a backup; or see with `osprey check {path}` what is damaged, and keep the rest with `osprey repair {path}`",
                        path = path.display()
                    ),
                }
            }
            Self::Listen(option, addresses, error) => {
                let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
                write!(f, "cannot listen on {}: {error}", addresses.join(", "))?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => write!(f, "; another program uses the port: stop it, or set another {option}"),
                    // EMFILE and ENFILE have no kind of their own.
                    _ if matches!(error.raw_os_error(), Some(23 | 24)) => f.write_str("; raise the limit (ulimit -n)"),
                    _ => write!(f, "; set another {option}"),
                }
            }
            Self::Entropy(error) => write!(f, "the system gives no random numbers: {error}"),
            Self::System(error) => write!(f, "the system refused what the server needs: {error}"),
            Self::Storage(path, poisoned) => write!(
                f,
                "{poisoned} in {}. Nothing that was not on disk has been acknowledged since; ending, since a failed write or sync must not be tried again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ServerError {}

/// A server that is ready to run.
#[derive(Debug)]
pub struct Server {
    plane: DataPlane,
    control: Arc<Control>,
    address: SocketAddr,
    metrics: Option<Async<TcpListener>>,
    settings: Settings,
    report: Report,
    recovery_took: Duration,
}

impl Server {
    /// Locks and recovers the data directory, then binds the port.
    ///
    /// # Errors
    /// See [`ServerError`]. Damaged data is refused, and left as it is.
    pub fn open(settings: Settings) -> Result<Self, ServerError> {
        let begin = Instant::now();
        raise_descriptor_limit(settings.clients_max);
        let readiness = Arc::new(Readiness::new().map_err(ServerError::System)?);
        let bell = Arc::clone(&readiness);
        let wake = move || bell.ring();
        let reservation = match settings.sync_policy {
            SyncPolicy::Os | SyncPolicy::Batch { .. } => Reservation::Allocated,
            SyncPolicy::Always => Reservation::Zeroed,
        };
        let mut storage = FileStorage::open(&settings.data_dir, reservation, wake).map_err(ServerError::DataDir)?;
        let options = Options {
            limits: settings.limits,
            sync_policy: settings.sync_policy,
            segment_bytes: settings.segment_bytes,
            sweep_interval_ms: settings.sweep_interval_ms,
            sweep_batch: settings.sweep_batch,
            snapshots: Some(settings.snapshots),
            checksum: crc32c_append,
            ..Options::new(entropy().map_err(ServerError::Entropy)?)
        };
        let now = SystemClock::default().now();
        let (engine, report) = Engine::recover_with(options, &mut storage, now, &mut Told::default().tell())
            .map_err(|error| ServerError::Recovery(settings.data_dir.clone(), error))?;
        warn_of(&engine, &report, now.0);
        let listener = bind(&settings.listen)?;
        let address = listener.local_addr().map_err(ServerError::System)?;
        let metrics = settings.metrics.as_deref().map(metrics::listen).transpose()?;
        let control = Arc::new(Control::new(Arc::clone(&readiness)));
        let mut plane = DataPlane::new(engine, storage, listener, readiness, Arc::clone(&control), settings.clients_max, settings.timeouts)
            .map_err(ServerError::System)?;
        plane.snapshots = Snapshots::new(settings.snapshot_pause_max_ms, settings.directory_bytes_warn);
        Ok(Self { plane, control, address, metrics, settings, report, recovery_took: begin.elapsed() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Something that stops the server from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.control))
    }

    /// Serves until a signal or a [`Stopper`] asks it to stop; then answers what was received and seals the log.
    ///
    /// # Errors
    /// Storage has failed, or epoll has.
    pub fn run(mut self) -> Result<(), ServerError> {
        let executor = Rc::new(LocalExecutor::new());
        let control = Arc::clone(&self.control);
        // Before anybody is told that the server is ready: whoever reads that may send a signal.
        if let Some(signals) = signals::register() {
            executor.spawn(signals::watch(signals, Arc::clone(&control))).detach();
        }
        executor.spawn(watch_memory(Arc::clone(&control))).detach();
        self.plane.warm_up().map_err(|failure| self.failed(failure))?;
        log::info!("{}", self.start_up_line());
        if let Some(listener) = self.metrics.take() {
            log::info!("metrics are at http://{}/metrics", listener.get_ref().local_addr().map_err(ServerError::System)?);
            executor.spawn(metrics::serve(listener, control, Rc::clone(&executor))).detach();
        }
        let tasks = executor.run(future::pending::<()>());
        let ended = self.plane.run(Beside::new(tasks, &self.control));
        ended.map_err(|failure| self.failed(failure))?;
        log::info!("stopped: everything is on disk");
        Ok(())
    }

    fn failed(&self, failure: Failure) -> ServerError {
        match failure {
            Failure::Io(error) => ServerError::System(error),
            Failure::Storage(poisoned) => ServerError::Storage(self.settings.data_dir.clone(), poisoned),
        }
    }

    fn start_up_line(&self) -> String {
        let policy = match self.settings.sync_policy {
            SyncPolicy::Os => "os (a power cut may lose what the system had not written back)".to_owned(),
            SyncPolicy::Batch { delay_ms, bytes } => format!("batch (synced every {delay_ms} ms or {bytes} bytes)"),
            SyncPolicy::Always => "always (on disk before a reply)".to_owned(),
        };
        format!(
            "Osprey {} is ready on {}: {} keys recovered from {} ({}{} records in {:.1} s), sync policy {policy}",
            env!("CARGO_PKG_VERSION"),
            self.address,
            self.plane.engine.store().len(),
            self.settings.data_dir.display(),
            self.report.snapshot.map_or_else(String::new, |(name, _)| format!("{name} and ")),
            self.report.records,
            self.recovery_took.as_secs_f64(),
        )
    }
}

/// Stops a [`Server`].
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Control>);

impl Stopper {
    /// Asks for an orderly end, as a first SIGTERM does.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// A long recovery says now and then how far it is.
#[derive(Default)]
struct Told(Option<(Instant, Instant)>);

impl Told {
    const EVERY: Duration = Duration::from_secs(2);

    fn tell(mut self) -> impl FnMut(Progress) {
        move |Progress { bytes, bytes_total, keys }| {
            let now = Instant::now();
            let (begin, next) = self.0.get_or_insert((now, now + Self::EVERY));
            if now < *next {
                return;
            }
            *next = now + Self::EVERY;
            let took = now.duration_since(*begin).as_secs_f64();
            let (done, all) = (bytes as f64, bytes_total.max(bytes) as f64);
            log::info!(
                "recovering: {keys} keys, {:.0} of {:.0} MB ({:.0} MB/s), {:.0} s left",
                done / 1e6,
                all / 1e6,
                done / 1e6 / took,
                (all - done) * took / done
            );
        }
    }
}

fn warn_of(engine: &Engine, report: &Report, now_ms: u64) {
    if let Some((name, error)) = report.unusable {
        let instead = report.snapshot.map_or_else(|| "the whole log".to_owned(), |(older, _)| format!("{older} and the log behind it"));
        log::error!("the snapshot {name} is of no use: {error}. Recovered from {instead} instead; the next snapshot will replace it");
    }
    if let Some(torn) = report.torn {
        log::warn!(
            "the last run ended in a crash: {} bytes behind byte {} of {} were cut, which were never promised to be on disk{}",
            torn.bytes,
            torn.offset,
            torn.segment,
            if torn.segments_removed > 0 { format!(", with {} segments after it", torn.segments_removed) } else { String::new() },
        );
    }
    let ahead_ms = engine.now().0.saturating_sub(now_ms);
    if ahead_ms > 0 {
        log::warn!(
            "the system's clock is {ahead_ms} ms behind the last run; until it has caught up time passes at half speed, and keys expire later"
        );
    }
}

/// So many connections may wait to be accepted, if the system allows it (`net.core.somaxconn`).
const ACCEPT_QUEUE: i32 = 4096;

fn bind(addresses: &[SocketAddr]) -> Result<TcpListener, ServerError> {
    let listener = TcpListener::bind(addresses).map_err(|error| ServerError::Listen("listen_addr", addresses.to_vec(), error))?;
    listener.set_nonblocking(true).map_err(ServerError::System)?;
    // Once more, with a longer queue than std's 128: who doesn't find room in it waits a second for his next try.
    rustix::net::listen(&listener, ACCEPT_QUEUE).map_err(|error| ServerError::System(error.into()))?;
    Ok(listener)
}

/// Every client needs a descriptor; the server some for its files.
fn raise_descriptor_limit(clients_max: usize) {
    const OWN: u64 = 64;
    let wanted = clients_max as u64 + OWN;
    if let Err(limit) = descriptor_limit::raise(wanted) {
        log::warn!("only {limit} file descriptors are allowed, max_clients ({clients_max}) needs {wanted}; raise the limit (ulimit -n)");
    }
}

/// Keeps the gauge of resident memory fresh; reading it costs more than a request.
async fn watch_memory(control: Arc<Control>) {
    loop {
        control.set_resident_bytes(resident_bytes().unwrap_or(0));
        Timer::after(Duration::from_secs(1)).await;
    }
}

/// Resident memory of this process, where `/proc` tells it.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_checksum_is_the_portable_one() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in (0..600).chain([4095, 4096, 8192, 20_000]) {
            let (bytes, _) = bytes.split_at(len);
            for split in [0, len / 3, len] {
                let (begin, end) = bytes.split_at(split);
                assert_eq!(
                    crc32c_append(crc32c_append(0, begin), end),
                    osprey_core::checksum::crc32c(0, bytes),
                    "{len} bytes, split at {split}"
                );
            }
        }
    }
}
