//! The command line of `osprey-bench`: what to send, to whom, and how to measure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Serialize, Serializer};

use super::wire::Protocol;

const EXPLANATION: &str = "\
Latency counts from when a request's batch was written or, with --rate, from when it was due; to when its reply was parsed.
Exit codes: 0 all replies were as they should be, 1 errors occurred or the run ended early, 2 wrong usage, 3 no connection.";

/// Puts load on an Osprey, Redis or memcached server and measures how it copes.
#[derive(Clone, Debug, clap::Parser, Serialize)]
#[command(name = "osprey-bench", version, after_help = EXPLANATION)]
pub struct Options {
    /// Language of the server
    #[arg(long, value_enum, default_value_t = Protocol::Osprey)]
    pub protocol: Protocol,
    /// Server's address, HOST:PORT [default: 127.0.0.1 and the port usual for the protocol]
    #[arg(long, value_name = "HOST:PORT")]
    pub addr: Option<String>,
    /// What to send; mixed is get and set
    #[arg(long, value_enum, default_value_t = Load::Set)]
    pub op: Load,
    /// Share of gets in --op mixed, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub read_ratio: f64,
    /// With --op mixed: so many of the connections only get, the others only set keys of their own; latency is given for each kind
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000), conflicts_with = "read_ratio")]
    pub readers: Option<u32>,
    /// Connections, spread evenly over the threads
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// Requests sent in one write on a connection, whose replies are awaited before its next
    #[arg(long, value_name = "DEPTH", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,
    /// Threads, each with an event loop of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// How long to measure: 10s, 500ms, 1m30s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    #[serde(rename = "duration_ms", serialize_with = "as_millis")]
    pub duration: Duration,
    /// Measure this many requests, however long they take
    #[arg(long, value_name = "COUNT", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub requests: Option<u64>,
    /// The same load beforehand, not measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    #[serde(rename = "warmup_ms", serialize_with = "as_millis")]
    pub warmup: Duration,
    /// Requests a second over all connections, due at fixed times whatever the server does [default: as fast as it answers]
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Bytes of a key
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub key_size: usize,
    /// Bytes of a value, or a range such as 16-1024 to draw from evenly
    #[arg(long, value_name = "BYTES[-BYTES]", default_value = "100")]
    pub value_size: SizeRange,
    /// How many different keys
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub keyspace: u64,
    /// How keys are drawn
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub distribution: Distribution,
    /// Skew of --distribution zipf: the k-th most wanted key is drawn in proportion to 1 / k^EXPONENT
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.99, value_parser = exponent)]
    pub zipf_exponent: f64,
    /// Sets give their keys this lifetime, in milliseconds (memcached: rounded up to seconds)
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub ttl_ms: Option<u64>,
    /// Store every key before the load; of itself with every --op but set
    #[arg(long)]
    pub prefill: bool,
    /// Don't store the keys beforehand, as they are there
    #[arg(long, conflicts_with = "prefill")]
    pub no_prefill: bool,
    /// Beginning of the random numbers: the same seed sends the same requests on each connection
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End the run if a batch is not answered within this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    #[serde(rename = "timeout_ms", serialize_with = "as_millis")]
    pub timeout: Duration,
    /// Process of the server, on this machine, whose CPU time and memory to report
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Print the result as JSON instead of a table
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
    /// Also write the result as JSON to a file
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub json_file: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    #[serde(skip)]
    pub quiet: bool,
    /// How often a line of progress is printed where there is no terminal
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    #[serde(skip)]
    pub report: Duration,
}

/// What the requests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// Reads.
    Get,
    /// Writes.
    Set,
    /// Reads and writes, in the proportion of `--read-ratio`.
    Mixed,
    /// Increments, of keys of their own.
    Incr,
}

/// How keys are drawn from the keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Every key as often as every other.
    Uniform,
    /// A few often, most seldom.
    Zipf,
}

/// Sizes from which to draw evenly, in bytes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SizeRange {
    /// Smallest, in bytes.
    pub min: usize,
    /// Largest, in bytes.
    pub max: usize,
}

impl SizeRange {
    /// Largest value that can be asked for: 512 MiB, the most that any of the servers takes.
    pub const LIMIT: usize = 512 << 20;
}

impl Options {
    /// The server's address as HOST:PORT.
    #[must_use]
    pub fn address(&self) -> String {
        self.addr.clone().unwrap_or_else(|| format!("127.0.0.1:{}", self.protocol.default_port()))
    }

    /// Whether every key is stored before the load.
    #[must_use]
    pub fn prefills(&self) -> bool {
        self.prefill || (!self.no_prefill && self.op != Load::Set)
    }
}

impl FromStr for SizeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        let bytes = |text: &str| text.parse::<usize>().map_err(|error| format!("{text:?}: {error}; write BYTES or BYTES-BYTES"));
        let (min, max) = (bytes(min)?, bytes(max)?);
        if min > max {
            return Err("the range's first size is larger than its second".into());
        }
        if max > Self::LIMIT {
            return Err(format!("at most {} bytes", Self::LIMIT));
        }
        Ok(Self { min, max })
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Mixed => "mixed",
            Self::Incr => "incr",
        })
    }
}

/// Longest time that an option can name: an hour is more than a measurement needs, a year is no overflow.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn time(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration = text.parse().map_err(|_| "write a time as 10s, 500ms or 1m30s".to_owned())?;
    let time = Duration::try_from(signed).map_err(|_| "a time cannot be negative".to_owned())?;
    if time <= TIME_MAX { Ok(time) } else { Err("at most a year".into()) }
}

fn share(text: &str) -> Result<f64, String> {
    number(text).filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "write a number from 0 to 1".into())
}

fn exponent(text: &str) -> Result<f64, String> {
    number(text).filter(|exponent| (0.0..=10.0).contains(exponent)).ok_or_else(|| "write a number from 0 to 10".into())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn as_millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(line: &str) -> Result<Options, String> {
        Options::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn without_options_it_sets_at_full_speed_for_ten_seconds() {
        let options = parse("osprey-bench").unwrap();
        assert_eq!((options.protocol, options.op, options.address().as_str()), (Protocol::Osprey, Load::Set, "127.0.0.1:7070"));
        assert_eq!((options.clients, options.pipeline, options.threads, options.rate), (50, 1, 1, None));
        assert_eq!((options.duration, options.warmup), (Duration::from_secs(10), Duration::from_secs(1)));
        assert_eq!((options.key_size, options.value_size, options.keyspace), (16, SizeRange { min: 100, max: 100 }, 10_000));
    }

    #[test]
    fn the_address_follows_the_protocol() {
        assert_eq!(parse("osprey-bench --protocol redis").unwrap().address(), "127.0.0.1:6379");
        assert_eq!(parse("osprey-bench --protocol memcached").unwrap().address(), "127.0.0.1:11211");
        assert_eq!(parse("osprey-bench --protocol redis --addr db:1").unwrap().address(), "db:1");
    }

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        let options = parse("osprey-bench --duration 1m30s --warmup 250ms --value-size 16-1024").unwrap();
        assert_eq!((options.duration, options.warmup), (Duration::from_secs(90), Duration::from_millis(250)));
        assert_eq!(options.value_size, SizeRange { min: 16, max: 1024 });
        for wrong in [
            "--duration -1s",
            "--duration 10",
            "--value-size 9-1",
            "--value-size x",
            "--value-size 1g",
            "--read-ratio 1.1",
            "--zipf-exponent NaN",
        ] {
            assert!(parse(&format!("osprey-bench {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_stored_first_where_the_load_needs_them() {
        for (line, expected) in
            [("--op set", false), ("--op set --prefill", true), ("--op get", true), ("--op incr", true), ("--op mixed --no-prefill", false)]
        {
            assert_eq!(parse(&format!("osprey-bench {line}")).unwrap().prefills(), expected, "{line}");
        }
    }
}
