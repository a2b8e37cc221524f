//! Osprey as an embedded store beside redb and fjall, in one run: durable writes, reads, the time to open, bytes on disk, memory.
//!
//! Every store gets a process and a directory of its own, and the same keys and values in the same order. The rounds alternate between the stores; the table has the medians. What was read is
//! counted, so that nothing is skipped.
//!
//! ```sh
//! cargo run --release --manifest-path tests/embedded_bench/Cargo.toml -- --rounds 5
//! ```

mod stores;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use stores::{Failed, Fjall, Osprey, Redb, Store};

const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 100;
const NAMES: [&str; 3] = ["osprey", "redb", "fjall"];
const FIGURES: [&str; 8] = [
    "SET, each synced, /s",
    "SET, 100 to a sync, /s",
    "load, 1000 to a sync, /s",
    "GET, random, /s",
    "on disk, MB",
    "open, ms",
    "GET after that, /s",
    "resident then, MB",
];

#[derive(Parser)]
struct Args {
    /// How many keys are loaded.
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// How many writes are each synced.
    #[arg(long, default_value_t = 5_000)]
    synced: usize,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the directories are made: on the disk that matters.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Only this store, once, and in this process.
    #[arg(long)]
    store: Option<String>,
    /// Only the part behind opening what is there.
    #[arg(long)]
    opened: Option<PathBuf>,
}

fn main() -> Result<(), Failed> {
    let args = Args::parse();
    match args.store.as_deref() {
        Some("osprey") => one::<Osprey>(&args),
        Some("redb") => one::<Redb>(&args),
        Some("fjall") => one::<Fjall>(&args),
        Some(other) => Err(format!("no store {other}").into()),
        None => all(&args),
    }
}

/// Measures all of them in turn, and prints the medians.
fn all(args: &Args) -> Result<(), Failed> {
    let mut figures = vec![vec![Vec::new(); FIGURES.len()]; NAMES.len()];
    for round in 0..args.rounds {
        for (at, name) in NAMES.iter().enumerate() {
            let directory = tempfile::tempdir_in(&args.directory)?;
            for opened in [false, true] {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--store", name, "--keys", &args.keys.to_string(), "--synced", &args.synced.to_string()]);
                command.arg("--directory").arg(directory.path());
                if opened {
                    command.arg("--opened").arg(directory.path().join("data"));
                }
                let output = command.output()?;
                if !output.status.success() {
                    return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
                }
                for line in String::from_utf8(output.stdout)?.lines() {
                    let (figure, number) = line.split_once(' ').ok_or("no figure")?;
                    figures[at][figure.parse::<usize>()?].push(number.parse::<f64>()?);
                }
            }
            eprintln!("round {} of {}: {name}", round + 1, args.rounds);
        }
    }
    println!("| | {} |\n| --- | {} |", NAMES.join(" | "), ["---:"; NAMES.len()].join(" | "));
    for (figure, title) in FIGURES.iter().enumerate() {
        let cells: Vec<String> = figures.iter_mut().map(|store| rounded(median(&mut store[figure]))).collect();
        println!("| {title} | {} |", cells.join(" | "));
    }
    Ok(())
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Three digits that count.
fn rounded(number: f64) -> String {
    let unit = 10_f64.powf((number.log10().floor() - 2.0).max(-1.0));
    let number = (number / unit).round() * unit;
    if number < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

fn tell(figure: usize, number: f64) {
    println!("{figure} {number}");
}

fn per_second(number: usize, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64()
}

/// The keys, each of them once, in random order.
fn keys(number: usize, seed: u64) -> Vec<[u8; KEY_BYTES]> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut keys: Vec<[u8; KEY_BYTES]> = (0..number)
        .map(|at| {
            let mut key = [0; KEY_BYTES];
            // Scattered over their range, and without two that are the same.
            key.copy_from_slice(format!("{:016x}", (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).as_bytes());
            key
        })
        .collect();
    random.shuffle(&mut keys);
    keys
}

/// Random bytes, which nothing can be compressed from.
fn values() -> Vec<[u8; VALUE_BYTES]> {
    let mut random = fastrand::Rng::with_seed(2);
    (0..1 << 14)
        .map(|_| {
            let mut value = [0; VALUE_BYTES];
            random.fill(&mut value);
            value
        })
        .collect()
}

fn one<S: Store>(args: &Args) -> Result<(), Failed> {
    match &args.opened {
        None => written::<S>(args),
        Some(path) => opened::<S>(args, path),
    }
}

fn written<S: Store>(args: &Args) -> Result<(), Failed> {
    let values = values();
    let value = |at: usize| &values[at % values.len()][..];

    // A store of its own for what is synced each time.
    let mut store = S::open(&args.directory.join("synced"))?;
    let some = keys(args.synced, 3);
    store.set(b"first", b"")?;
    let begin = Instant::now();
    for (at, key) in some.iter().enumerate() {
        store.set(key, value(at))?;
    }
    tell(0, per_second(some.len(), begin.elapsed()));
    let begin = Instant::now();
    let many = keys(args.synced * 10, 4);
    for (at, hundred) in many.chunks(100).enumerate() {
        store.set_batch(hundred.iter().map(|key| (&key[..], value(at))))?;
    }
    tell(1, per_second(many.len(), begin.elapsed()));
    store.close()?;

    let path = args.directory.join("data");
    let mut store = S::open(&path)?;
    let all = keys(args.keys, 1);
    let begin = Instant::now();
    for (at, thousand) in all.chunks(1000).enumerate() {
        store.set_batch(thousand.iter().enumerate().map(|(key, bytes)| (&bytes[..], value(at * 1000 + key))))?;
    }
    tell(2, per_second(all.len(), begin.elapsed()));
    tell(3, read(&mut store, args.keys)?);
    store.close()?;
    tell(4, bytes_in(&path)? as f64 / 1e6);
    Ok(())
}

fn opened<S: Store>(args: &Args, path: &Path) -> Result<(), Failed> {
    let begin = Instant::now();
    let mut store = S::open(path)?;
    // One that answers.
    store.get_all(keys(1, 1).iter().map(|key| &key[..]))?;
    tell(5, begin.elapsed().as_secs_f64() * 1e3);
    tell(6, read(&mut store, args.keys)?);
    tell(7, resident_bytes()? as f64 / 1e6);
    store.close()
}

/// Reads every key once, in another order than that in which they were written.
fn read<S: Store>(store: &mut S, number: usize) -> Result<f64, Failed> {
    let asked = keys(number, 5);
    let begin = Instant::now();
    let bytes = store.get_all(asked.iter().map(|key| &key[..]))?;
    let took = begin.elapsed();
    if bytes != number * VALUE_BYTES {
        return Err(format!("{bytes} bytes of {number} values").into());
    }
    Ok(per_second(number, took))
}

/// What the files of a directory take, without what is reserved in them and not written.
fn bytes_in(path: &Path) -> Result<u64, Failed> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.blocks() * 512 };
    }
    Ok(bytes)
}

/// Without the test's own keys: they are the same for all.
fn resident_bytes() -> Result<u64, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
