//! Osprey, Redis and memcached side by side, as a Markdown table and an SVG plot: `make bench`.
//!
//! - [`cases`]: what is asked, and of whom.
//! - [`server`]: a fresh server for one run, on a core of its own.
//! - [`load`]: one run of `osprey-bench` against it.
//! - [`figures`]: medians of runs, ratios of neighbouring ones.
//! - [`machine`]: where it was measured.
//! - [`table`], [`plot`]: what is written.
//!
//! Servers alternate, so that what else happens on the machine meets all of them; `docs/BENCHMARKING.md` says what figures can be compared.

mod cases;
mod figures;
mod load;
mod machine;
mod plot;
mod server;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use rustix::process::{Resource, getrlimit};

use self::cases::{CASES, Case, Product, SPARE_CLIENTS};
use self::figures::Outcome;
use self::load::Pace;
use self::server::{Programs, Running};

/// Osprey beside Redis and memcached: server CPU per request, throughput, p99
#[derive(Debug, Parser)]
struct Arguments {
    /// One run of 500 ms each: shows that everything works, and no figure worth quoting
    #[arg(long, conflicts_with_all = ["runs", "duration"])]
    quick: bool,
    /// Runs of each server, alternating
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// How long each run measures: 2s, 500ms
    #[arg(long, value_name = "TIME", default_value = "2s")]
    duration: String,
    /// Only these cases
    #[arg(long, value_name = "CASE", num_args = 1.., value_parser = PossibleValuesParser::new(CASES.map(|case| case.name)))]
    only: Vec<String>,
    /// Where the table and the plot go [default: docs/benchmarks; target/benchmarks with --quick or --only]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where servers have their data, in a directory that is emptied for each run: on a disk, not in memory [default: target]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the package has no workspace around it")?;
    let part = arguments.quick || !arguments.only.is_empty();
    let out = arguments.out.clone().unwrap_or_else(|| root.join(if part { "target/benchmarks" } else { "docs/benchmarks" }));
    let data = arguments.data.clone().unwrap_or_else(|| root.join("target"));
    let (pace, runs) = match arguments.quick {
        true => (Pace { warmup: "200ms".to_owned(), duration: "500ms".to_owned() }, 1),
        false => (Pace { warmup: "1s".to_owned(), duration: arguments.duration.clone() }, arguments.runs),
    };
    let programs = Programs::find()?;
    for missing in programs.missing() {
        eprintln!("bench: {} is not there and is left out: {}", missing.name(), missing.how_to_install());
    }
    let cases: Vec<&Case> =
        CASES.iter().filter(|case| arguments.only.is_empty() || arguments.only.iter().any(|only| only == case.name)).collect();
    let mut outcomes = Vec::new();
    for case in cases {
        if let Some((needed, allowed)) = too_few_descriptors(case) {
            eprintln!("bench: {} is left out: it needs {needed} file descriptors a process, {allowed} are allowed (ulimit -Hn)", case.name);
            continue;
        }
        outcomes.push(run_case(case, &programs, &pace, runs, &data)?);
    }
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let (table, plot) = (out.join("results.md"), out.join("cpu_per_request.svg"));
    let machine = machine::describe(&data, &programs);
    fs::write(&table, table::render(&outcomes, &machine, &pace, runs)).map_err(|error| format!("{}: {error}", table.display()))?;
    plot::draw(&plot, &outcomes, &machine.processor)?;
    println!("wrote {} and {}", table.display(), plot.display());
    Ok(())
}

/// How many a process needs for the case, and how many it may have, if that is less. Servers and load raise their limit themselves as far as they may.
fn too_few_descriptors(case: &Case) -> Option<(u64, u64)> {
    let needed = u64::from(case.many_clients()? + 2 * SPARE_CLIENTS);
    let allowed = getrlimit(Resource::Nofile).maximum?;
    (allowed < needed).then_some((needed, allowed))
}

/// All runs of a case: every server once, then every server once more in the opposite order, and so on.
fn run_case(case: &'static Case, programs: &Programs, pace: &Pace, runs: u32, data: &Path) -> Result<Outcome, String> {
    let mut outcome = Outcome::new(case);
    let there = |&entry: &usize| {
        case.entries[entry].server.product() == Product::Osprey || programs.path(case.entries[entry].server.product()).is_some()
    };
    let mut order: Vec<usize> = (0..case.entries.len()).filter(there).collect();
    for round in 1..=runs {
        for &at in &order {
            let entry = &case.entries[at];
            let running = Running::start(programs, &entry.server.command_line(case), entry.server.product(), data)?;
            let run = load::run(programs, case, entry, pace, &running)?;
            eprintln!(
                "{:<14} {round}/{runs}  {:<32} {:>6} connections  {:>9.3} µs of CPU  {:>9.0} requests/s",
                case.name,
                entry.server.label(),
                entry.clients,
                run.cpu_us,
                run.requests_per_second
            );
            outcome.runs[at].push(run);
        }
        order.reverse();
    }
    Ok(outcome)
}
