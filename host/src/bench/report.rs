//! The result of a run: as a table for people, as JSON for programs.

use std::fmt;
use std::iter;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::options::{Distribution, Load, Options};
use super::process::CpuTime;
use super::tally::Tally;

/// The result of a run. Times are in the units that the names end with; `_us` are microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of osprey-bench.
    pub version: &'static str,
    /// What was asked for.
    pub parameters: Options,
    /// HOST:PORT of the server.
    pub address: String,
    /// From the measurement's start to its last reply.
    pub elapsed_seconds: f64,
    /// Replies of the measurement; errors and misses are among them.
    pub requests: u64,
    /// `requests / elapsed_seconds`.
    pub requests_per_second: f64,
    /// Replies to gets.
    pub gets: u64,
    /// Replies to sets.
    pub sets: u64,
    /// Replies to increments.
    pub increments: u64,
    /// Keys that were not there.
    pub misses: u64,
    /// Replies that were errors, or not as they should be.
    pub errors: u64,
    /// Errors while warming up.
    pub warmup_errors: u64,
    /// The first errors.
    pub error_samples: Vec<String>,
    /// With a rate: requests due before the end that could not be sent by then. Their latency is in no figure, so with more
    /// than a few of them the latencies are too low.
    pub unsent: u64,
    /// Latency of all replies.
    pub latency_us: Latency,
    /// Of the gets of a mixed load.
    pub get_latency_us: Option<Latency>,
    /// Of the sets of a mixed load.
    pub set_latency_us: Option<Latency>,
    /// What the server process used, if its id was given.
    pub server: Option<ServerCost>,
    /// CPU time of the load generator itself, in cores: at 1 a thread, or near it, it may be what limits the figures.
    pub generator_cores: Option<f64>,
    /// Why the run ended before its time, if it did; the figures then say little.
    pub aborted: Option<String>,
}

/// Latency, in microseconds; to three digits.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p99_9: f64,
    /// Longest.
    pub max: f64,
}

/// What the server process used between the measurement's start and its end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerCost {
    /// CPU time per request, all threads, user and system.
    pub cpu_us_per_request: f64,
    /// The part outside of the kernel.
    pub user_us_per_request: f64,
    /// The kernel's part.
    pub system_us_per_request: f64,
    /// CPU time per elapsed time.
    pub cores: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: Option<u64>,
}

impl Report {
    pub(crate) fn new(options: &Options, mut tally: Tally, elapsed: Duration) -> Self {
        tally.samples.dedup();
        let requests = tally.replies();
        let elapsed_seconds = elapsed.as_secs_f64();
        let mixed = options.op == Load::Mixed;
        let mut all = tally.get_latency.clone();
        all.add(&tally.change_latency).expect("both have the same bounds");
        Self {
            version: env!("CARGO_PKG_VERSION"),
            parameters: options.clone(),
            address: options.address(),
            elapsed_seconds,
            requests,
            requests_per_second: if requests == 0 { 0.0 } else { count(requests) / elapsed_seconds },
            gets: tally.gets,
            sets: tally.sets,
            increments: tally.increments,
            misses: tally.misses,
            errors: tally.errors,
            warmup_errors: 0,
            unsent: tally.unsent,
            latency_us: Latency::of(&all),
            get_latency_us: mixed.then(|| Latency::of(&tally.get_latency)),
            set_latency_us: mixed.then(|| Latency::of(&tally.change_latency)),
            error_samples: tally.samples,
            server: None,
            generator_cores: None,
            aborted: None,
        }
    }

    /// Whether every reply was as it should be, and the run was whole.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.warmup_errors == 0 && self.aborted.is_none()
    }
}

impl Latency {
    fn of(nanos: &Histogram<u64>) -> Self {
        let quantile = |quantile| in_micros(count(nanos.value_at_quantile(quantile)));
        Self {
            mean: in_micros(nanos.mean()),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: in_micros(count(nanos.max())),
        }
    }
}

impl ServerCost {
    pub(crate) fn new(used: CpuTime, resident_bytes: Option<u64>, requests: u64, elapsed: Duration) -> Self {
        let per_request = |time: Duration| if requests == 0 { 0.0 } else { time.as_secs_f64() * 1e6 / count(requests) };
        Self {
            cpu_us_per_request: per_request(used.total()),
            user_us_per_request: per_request(used.user),
            system_us_per_request: per_request(used.system),
            cores: cores(used, elapsed),
            resident_bytes,
        }
    }
}

/// CPU time per elapsed time.
pub(crate) fn cores(used: CpuTime, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { used.total().as_secs_f64() / elapsed.as_secs_f64() }
}

fn in_micros(nanos: f64) -> f64 {
    nanos / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts to 2^53 are exact, and figures are rounded anyway")]
fn count(number: u64) -> f64 {
    number as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_parameters(f)?;
        writeln!(f)?;
        writeln!(f, "requests        {} in {:.2} s", self.requests, self.elapsed_seconds)?;
        writeln!(f, "throughput      {:.0} requests/s", self.requests_per_second)?;
        if self.parameters.op == Load::Mixed {
            writeln!(f, "of which        {} gets, {} sets", self.gets, self.sets)?;
        }
        if self.parameters.op != Load::Set {
            writeln!(f, "misses          {}", self.misses)?;
        }
        writeln!(f, "errors          {}", self.errors)?;
        if self.warmup_errors > 0 {
            writeln!(f, "  in the warm-up {}", self.warmup_errors)?;
        }
        for sample in &self.error_samples {
            writeln!(f, "  such as       {sample}")?;
        }
        if self.requests > 0 {
            writeln!(f, "latency, µs     {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "mean", "p50", "p90", "p99", "p99.9", "max")?;
            let of_kinds = [("  of the gets", self.get_latency_us), ("  of the sets", self.set_latency_us)];
            let of_kinds = of_kinds.into_iter().filter_map(|(name, latency)| Some((name, latency?)));
            for (name, Latency { mean, p50, p90, p99, p99_9, max }) in iter::once(("", self.latency_us)).chain(of_kinds) {
                writeln!(f, "{name:<16}{mean:>9.1} {p50:>9.1} {p90:>9.1} {p99:>9.1} {p99_9:>9.1} {max:>9.1}")?;
            }
        }
        if let Some(server) = &self.server {
            self.write_server(server, f)?;
        }
        if let Some(cores) = self.generator_cores {
            writeln!(f, "load generator  {cores:.2} cores busy")?;
        }
        self.write_warnings(f)
    }
}

impl Report {
    fn write_parameters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.parameters;
        write!(f, "{} at {}: {}", options.protocol, self.address, options.op)?;
        match options.readers {
            Some(readers) => write!(f, " ({readers} clients get, the others set)")?,
            None if options.op == Load::Mixed => write!(f, " ({} gets)", options.read_ratio)?,
            None => {}
        }
        write!(f, ", {} clients, pipeline {}, {} thread(s)", options.clients, options.pipeline, options.threads)?;
        match options.rate {
            Some(rate) => writeln!(f, ", {rate} requests/s asked for")?,
            None => writeln!(f, ", as fast as it answers")?,
        }
        write!(f, "{} keys of {} bytes, ", options.keyspace, options.key_size)?;
        match options.distribution {
            Distribution::Uniform => write!(f, "uniform")?,
            Distribution::Zipf => write!(f, "zipf {}", options.zipf_exponent)?,
        }
        write!(f, "; values of {} bytes", options.value_size)?;
        if let Some(ttl_ms) = options.ttl_ms {
            write!(f, ", which live {ttl_ms} ms")?;
        }
        writeln!(f, "; seed {}", options.seed)
    }

    fn write_server(&self, server: &ServerCost, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "server CPU      {:.3} µs a request (user {:.3}, system {:.3}), {:.2} cores busy",
            server.cpu_us_per_request, server.user_us_per_request, server.system_us_per_request, server.cores
        )?;
        match server.resident_bytes {
            Some(bytes) => writeln!(f, "server memory   {:.1} MiB resident", count(bytes) / f64::from(1 << 20)),
            None => Ok(()),
        }
    }

    fn write_warnings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unsent > 0 {
            writeln!(
                f,
                "warning: {} requests were due but not sent by the end: the rate was not kept, true latencies are longer",
                self.unsent
            )?;
        }
        let threads = f64::from(self.parameters.threads);
        if self.parameters.rate.is_none() && self.generator_cores.is_some_and(|cores| cores > 0.95 * threads) {
            writeln!(f, "warning: the load generator was busy all the time and may have been the limit: use more --threads")?;
        }
        match &self.aborted {
            Some(why) => writeln!(f, "ended early: {why}"),
            None => Ok(()),
        }
    }
}
