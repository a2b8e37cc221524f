//! Runs the simulator: `cargo run --release -p osprey-tests -- --seeds 1000`. `docs/SIMULATOR.md` says what it does.
//!
//! Release builds abort in a panic. There a panic is reported from where it happens, and shrunk by running tapes in processes of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use osprey_tests::simulator::coverage::{Coverage, MARKS, Mark};
use osprey_tests::simulator::events::Keep;
use osprey_tests::simulator::failure::{Check, Failure};
use osprey_tests::simulator::run::run;
use osprey_tests::simulator::shrink::shrink;
use osprey_tests::simulator::tape::{SEED_STEPS, Tape};

/// From so many seeds on everything that can happen must have happened.
const SEEDS_TO_COVER: u64 = 1000;

/// Runs the whole core in a simulated world, with faults, against a model.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Run for so many minutes instead, whatever --seeds says
    #[arg(long)]
    minutes: Option<u64>,
    /// The first seed; without it one by the clock, which is printed
    #[arg(long)]
    first: Option<u64>,
    /// Run this seed only, and print what happens
    #[arg(long, conflicts_with_all = ["first", "minutes"])]
    seed: Option<u64>,
    /// Steps of each seed
    #[arg(long, default_value_t = SEED_STEPS)]
    operations: usize,
    /// Run a saved tape, and print what happens
    #[arg(long, conflicts_with_all = ["seed", "first", "minutes"])]
    tape: Option<PathBuf>,
    /// Print only the outcome of --seed or --tape, not the events
    #[arg(long)]
    quiet: bool,
    /// Where the tapes of failing seeds are saved
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/simulator_tapes"))]
    save: PathBuf,
}

/// The seed that runs, its tape, and where to save a shrunk one: for a panic that can't be caught.
static RUNNING: Mutex<Option<(u64, Tape, PathBuf)>> = Mutex::new(None);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if cfg!(panic = "abort") {
        report_panics();
    }
    let passed = if let Some(path) = &arguments.tape {
        match fs::read(path) {
            Ok(bytes) => show(&Tape(bytes), arguments.quiet),
            Err(error) => {
                eprintln!("cannot read {}: {error}", path.display());
                false
            }
        }
    } else if let Some(seed) = arguments.seed {
        let tape = Tape::from_seed(seed, arguments.operations);
        running(seed, &tape, &arguments.save);
        let passed = show(&tape, arguments.quiet);
        if !passed {
            report_and_shrink(seed, &tape, &arguments.save);
        }
        passed
    } else {
        many(&arguments)
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a tape and prints what happens; whether nothing was found wrong.
fn show(tape: &Tape, quiet: bool) -> bool {
    let outcome = run(tape, if quiet { Keep::Nothing } else { Keep::Print });
    println!("event hash {:016x}", outcome.hash);
    if let Some(failure) = &outcome.failure {
        println!("FAILED {failure}");
    }
    outcome.failure.is_none()
}

fn many(arguments: &Arguments) -> bool {
    let by_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs() << 20);
    let first = arguments.first.unwrap_or_else(by_clock);
    println!("seeds from {first} on, {} steps each", arguments.operations);
    let begin = Instant::now();
    let end = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let mut sum = Coverage::default();
    let mut seeds = 0;
    while end.map_or(seeds < arguments.seeds, |end| begin.elapsed() < end) {
        let seed = first.wrapping_add(seeds);
        let tape = Tape::from_seed(seed, arguments.operations);
        if cfg!(panic = "abort") {
            running(seed, &tape, &arguments.save);
        }
        let outcome = run(&tape, Keep::Nothing);
        seeds += 1;
        sum += &outcome.coverage;
        if let Some(failure) = outcome.failure {
            println!("seed {seed} FAILED {failure}");
            report_and_shrink(seed, &tape, &arguments.save);
            return false;
        }
    }
    summary(seeds, begin.elapsed(), &sum);
    let missing: Vec<_> = sum.missing().collect();
    if seeds >= SEEDS_TO_COVER && !missing.is_empty() {
        println!("FAILED: in {seeds} seeds this never happened: {}", missing.join(";"));
        return false;
    }
    true
}

fn summary(seeds: u64, took: Duration, sum: &Coverage) {
    for (mark, text) in MARKS {
        println!("{:>12} {text}", sum.count(*mark));
    }
    let seconds = took.as_secs_f64().max(1e-9);
    let total = |marks: &[Mark]| marks.iter().map(|&mark| sum.count(mark)).sum::<u64>();
    let crashes = [Mark::Kill, Mark::PowerCutAll, Mark::PowerCutNone, Mark::PowerCutMixed, Mark::PowerCutTail, Mark::PowerCutHead];
    let refusals = [Mark::RefusedCorrupt, Mark::RefusedHeader, Mark::RefusedMissing, Mark::RefusedSnapshot];
    #[expect(clippy::cast_precision_loss, reason = "for reading")]
    let per_second = seeds as f64 / seconds;
    println!(
        "{seeds} seeds in {seconds:.1} s, {per_second:.0}/s: {} steps, {} replies, {} crashes, {} recoveries, {} refusals, nothing wrong",
        sum.count(Mark::Step),
        sum.count(Mark::Answered),
        total(&crashes),
        sum.count(Mark::Recovery),
        total(&refusals),
    );
}

fn running(seed: u64, tape: &Tape, save: &Path) {
    if let Ok(mut running) = RUNNING.lock() {
        *running = Some((seed, tape.clone(), save.to_owned()));
    }
}

fn report_and_shrink(seed: u64, tape: &Tape, directory: &Path) {
    println!("again: --seed {seed}");
    let Some(failure) = run(tape, Keep::Nothing).failure else { return };
    let (shrunk, failure) = shrink(tape, &failure, |tape| run(tape, Keep::Nothing).failure);
    println!("\nshrunk to {} bytes of tape:", shrunk.0.len());
    show(&shrunk, false);
    save(seed, &shrunk, &failure, directory);
}

fn save(seed: u64, tape: &Tape, failure: &Failure, directory: &Path) {
    let path = directory.join(format!("{seed}.tape"));
    match fs::create_dir_all(directory).and_then(|()| fs::write(&path, &tape.0)) {
        Ok(()) => println!("{failure}\nsaved; again: --tape {}", path.display()),
        Err(error) => println!("cannot save {}: {error}", path.display()),
    }
}

/// Reports a panic before the process ends.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let failure = Failure { check: Check::Panic(place), message: panic.payload_as_str().unwrap_or_default().to_owned() };
        let running = RUNNING.lock().ok().and_then(|mut running| running.take());
        match running {
            None => println!("FAILED {failure}"),
            Some((seed, tape, directory)) => {
                println!("seed {seed} FAILED {failure}\nagain: --seed {seed}");
                let (shrunk, failure) = shrink(&tape, &failure, |tape| in_another_process(tape, &failure));
                println!("\nshrunk to {} bytes of tape", shrunk.0.len());
                save(seed, &shrunk, &failure, &directory);
            }
        }
        std::process::exit(1);
    }));
}

/// Whether a tape fails like `failure` in a process of its own.
fn in_another_process(tape: &Tape, failure: &Failure) -> Option<Failure> {
    let file = tempfile::NamedTempFile::new().ok()?;
    fs::write(file.path(), &tape.0).ok()?;
    let program = std::env::current_exe().ok()?;
    let output = Command::new(program).arg("--quiet").arg("--tape").arg(file.path()).output().ok()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    told.contains(&format!("FAILED {:?}:", failure.check)).then(|| failure.clone())
}
