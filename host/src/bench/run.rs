//! A run from its connections to its report: store the keys, warm up, measure.
//!
//! Between two phases every reply has come and nothing is under way, so the server's CPU time read there belongs to the
//! measured requests exactly.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::connection::Connection;
use super::options::Options;
use super::process::Process;
use super::progress::{Display, End, Progress};
use super::report::{Report, ServerCost, cores};
use super::request::Requests;
use super::schedule::Schedule;
use super::tally::{Live, Tally};
use super::wire::Unencodable;
use super::worker::{Abort, Goal, Outcome, Phase, Worker};
use crate::descriptor_limit;

/// Why there is no report.
#[derive(Debug)]
pub enum Failure {
    /// The options contradict each other, or the protocol cannot do what they ask for.
    Usage(String),
    /// No connection to the server.
    Connect {
        /// HOST:PORT.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// The keys could not be stored beforehand; the first reason.
    Prefill(String),
    /// This process could not do its part.
    Local(io::Error),
}

/// Does a whole run.
///
/// # Errors
/// [`Failure`], if the measurement could not begin. Once it has begun there is a report, which may say that it ended early.
pub fn run(options: &Options, display: Display) -> Result<Report, Failure> {
    let requests = Requests::new(options).map_err(|Unencodable(why)| Failure::Usage(why))?;
    if options.requests.is_none() && options.duration.is_zero() {
        return Err(Failure::Usage("--duration must be more than 0s".into()));
    }
    let server = options.server_pid.map(Process::with_id);
    if let Some(server) = &server {
        server.cpu_time().map_err(|error| Failure::Usage(format!("--server-pid: no CPU time of that process: {error}")))?;
    }
    let depth_of_prefill = depth_of_prefill(options, &requests);
    let mut crew = Crew { workers: connect(options, &requests)?, options, display };

    if options.prefills() {
        let stored = crew.work(PREFILL, Goal::Stored { keys: options.keyspace }, depth_of_prefill, None);
        if let Some(why) = stored.abort.or_else(|| stored.tally.samples.first().cloned()) {
            return Err(Failure::Prefill(why));
        }
    }
    let schedule = options.rate.map(|rate| Schedule { rate, batch: u64::from(options.pipeline), connections: u64::from(options.clients) });
    let mut before = Total { tally: Tally::new(), elapsed: Duration::ZERO, abort: None };
    if !options.warmup.is_zero() {
        before = crew.work(WARMUP, Goal::Passed(options.warmup), u64::from(options.pipeline), schedule);
        if before.abort.is_some() {
            let mut report = Report::new(options, Tally::new(), Duration::ZERO);
            (report.warmup_errors, report.error_samples) = (before.tally.errors, before.tally.samples);
            report.aborted = before.abort.map(|why| format!("in the warm-up, {why}"));
            return Ok(report);
        }
    }

    let goal = options.requests.map_or(Goal::Passed(options.duration), |requests| Goal::Sent { requests });
    let generator = Process::current();
    let cpu_before = (server.as_ref().and_then(|server| server.cpu_time().ok()), generator.cpu_time().ok());
    let measured = crew.work(MEASURE, goal, u64::from(options.pipeline), schedule);
    let cpu_after = (server.as_ref().and_then(|server| server.cpu_time().ok()), generator.cpu_time().ok());

    let mut report = Report::new(options, measured.tally, measured.elapsed);
    report.warmup_errors = before.tally.errors;
    if report.error_samples.is_empty() {
        report.error_samples = before.tally.samples;
    }
    report.aborted = measured.abort;
    report.server = server.zip(cpu_before.0.zip(cpu_after.0)).map(|(server, (earlier, later))| {
        ServerCost::new(later - earlier, server.resident_bytes().ok(), report.requests, measured.elapsed)
    });
    report.generator_cores = cpu_before.1.zip(cpu_after.1).map(|(earlier, later)| cores(later - earlier, measured.elapsed));
    Ok(report)
}

/// Batches that fill about a mebibyte, however the load itself is sent: storing the keys is not measured.
fn depth_of_prefill(options: &Options, requests: &Requests) -> u64 {
    const BATCH_BYTES: usize = 1 << 20;
    let fitting = (BATCH_BYTES / requests.bytes_max()).clamp(1, 128) as u64;
    fitting.min(options.keyspace.div_ceil(u64::from(options.clients)))
}

/// A phase's name, and its place among them.
type Stage = (&'static str, u64);
const PREFILL: Stage = ("prefill", 0);
const WARMUP: Stage = ("warm-up", 1);
const MEASURE: Stage = ("measure", 2);

/// All threads of a run.
struct Crew<'a> {
    workers: Vec<Worker>,
    options: &'a Options,
    display: Display,
}

/// What all threads together have done in a phase.
struct Total {
    tally: Tally,
    elapsed: Duration,
    abort: Option<String>,
}

impl Crew<'_> {
    fn work(&mut self, (name, stream): Stage, goal: Goal, depth: u64, schedule: Option<Schedule>) -> Total {
        let stop = AtomicBool::new(false);
        let lives: Vec<Live> = self.workers.iter().map(|_| Live::default()).collect();
        let start = Instant::now();
        let phase = Phase { goal, stream, depth, schedule, start, timeout: self.options.timeout };
        let end = match goal {
            Goal::Stored { keys } => End::Requests(keys),
            Goal::Sent { requests } => End::Requests(requests),
            Goal::Passed(time) => End::Time(time),
        };
        let mut progress = Progress::new(self.display, name, end, start);
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            let (running, finished) = channel::<()>();
            let threads: Vec<_> = self
                .workers
                .iter_mut()
                .zip(&lives)
                .map(|(worker, live)| {
                    let (running, stop, phase) = (running.clone(), &stop, &phase);
                    scope.spawn(move || {
                        // Dropped at the end, also by a panic: when all are, there is nothing to wait for.
                        let _running = running;
                        worker.run(phase, stop, live)
                    })
                })
                .collect();
            drop(running);
            while finished.recv_timeout(self.display.interval()) == Err(RecvTimeoutError::Timeout) {
                progress.show(lives.iter().map(Live::replies).sum(), lives.iter().map(Live::errors).sum());
            }
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        progress.finish();
        total(outcomes, start)
    }
}

fn total(outcomes: Vec<Outcome>, start: Instant) -> Total {
    let mut total = Total { tally: Tally::new(), elapsed: Duration::ZERO, abort: None };
    for outcome in outcomes {
        total.tally.add(outcome.tally);
        total.elapsed = total.elapsed.max(outcome.last.saturating_duration_since(start));
        match outcome.abort {
            Some(Abort::Stopped) | None => {}
            Some(why) => total.abort = total.abort.or_else(|| Some(why.to_string())),
        }
    }
    total
}

/// Opens the connections and deals them to the threads, the first thread's first.
fn connect(options: &Options, requests: &Requests) -> Result<Vec<Worker>, Failure> {
    let address = options.address();
    let failed = |error| Failure::Connect { address: address.clone(), error };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    // Where the limit cannot be raised, connecting says that it is too low.
    let _ = descriptor_limit::raise(u64::from(options.clients) + DESCRIPTORS_BESIDES);
    let (clients, threads) = (u64::from(options.clients), u64::from(options.threads.min(options.clients)));
    let mut seeds = Rng::with_seed(options.seed);
    let value_sizes = options.value_size;
    let mut first = 0;
    let mut workers = Vec::new();
    for thread in 0..threads {
        let count = clients / threads + u64::from(thread < clients % threads);
        let connections = (0..count)
            .map(|_| {
                let stream = open(&addresses, options.timeout)?;
                Ok(Connection::new(stream, options.protocol, value_sizes, seeds.u64(..)))
            })
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        workers.push(Worker::new(connections, requests.clone(), first, clients).map_err(Failure::Local)?);
        first += count;
    }
    Ok(workers)
}

/// More than the standard streams, the threads' epolls and the files of `/proc` take.
const DESCRIPTORS_BESIDES: u64 = 2048;

/// The first of the addresses that answers.
fn open(addresses: &[SocketAddr], timeout: Duration) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(refused) => error = refused,
        }
    }
    Err(error)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) => f.write_str(why),
            Self::Connect { address, error } => write!(f, "cannot connect to {address}: {error}"),
            Self::Prefill(why) => write!(f, "storing the keys failed: {why}"),
            Self::Local(error) => write!(f, "cannot watch the connections: {error}"),
        }
    }
}

impl std::error::Error for Failure {}
