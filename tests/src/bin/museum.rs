//! Plants one bug after the other and has the simulator find it: `make museum`, or with `ARGS=--fast` a few of them. `docs/SIMULATOR.md` says more.

use std::process::ExitCode;

#[cfg(museum)]
use clap::Parser;

/// Whether the simulator finds each planted bug within its budget of seeds, and nothing where none is planted.
#[cfg(museum)]
#[derive(Debug, Parser)]
struct Arguments {
    /// Only a few bugs, in less time
    #[arg(long)]
    fast: bool,
    /// Only these bugs, and no run without any
    #[arg(long, num_args = 1.., conflicts_with = "fast")]
    only: Vec<String>,
    /// Look further than the budgets say
    #[arg(long)]
    budget: Option<u64>,
}

#[cfg(not(museum))]
fn main() -> ExitCode {
    eprintln!("this build holds no bugs; run `make museum`");
    ExitCode::FAILURE
}

#[cfg(museum)]
fn main() -> ExitCode {
    use std::time::Instant;

    use osprey_tests::museum::catalogue::EXHIBITS;
    use osprey_tests::museum::search::search;

    let arguments = Arguments::parse();
    let asked = |name: &str, fast: bool| {
        if arguments.only.is_empty() { !arguments.fast || fast } else { arguments.only.iter().any(|only| only == name) }
    };
    let begin = Instant::now();
    let (mut shown, mut missed, mut seeds) = (0, 0, 0);
    println!("| bug | where | what goes wrong | seeds | caught |\n| --- | --- | --- | ---: | --- |");
    for exhibit in EXHIBITS.iter().filter(|exhibit| asked(exhibit.name, exhibit.fast)) {
        let budget = arguments.budget.unwrap_or(exhibit.budget);
        let by = |found: Option<_>| found.map(|(seed, failure): (u64, osprey_tests::simulator::failure::Failure)| (seed, failure.check));
        let caught = match exhibit.witness {
            None => by(search(&[exhibit.name], budget)).map(|(seed, check)| format!("at seed {seed} by `{check:?}`")),
            Some(witness) => {
                let whole = by(search(&[witness], budget));
                let broken = by(search(&[witness, exhibit.name], budget));
                match (whole, broken) {
                    (Some(_), None) => Some(format!("`{witness}` gets away")),
                    (Some((seed, check)), Some((later, other))) if check != other => {
                        Some(format!("`{witness}` is caught by `{other:?}` at seed {later}, not by `{check:?}` at {seed}"))
                    }
                    _ => None,
                }
            }
        };
        shown += 1;
        missed += usize::from(caught.is_none());
        seeds = seeds.max(budget);
        let caught = caught.unwrap_or_else(|| "**MISSED**".to_owned());
        println!("| `{}` | `{}` | {} | {budget} | {caught} |", exhibit.name, exhibit.place, exhibit.story);
    }
    let seeds = if arguments.only.is_empty() { seeds } else { 0 };
    let none = search(&[], seeds);
    if let Some((seed, failure)) = &none {
        println!("\nFAILED without any bug: seed {seed}: {failure}");
    }
    println!("\n{shown} bugs, {missed} missed; {seeds} seeds without a bug; {} s", begin.elapsed().as_secs());
    if shown > 0 && missed == 0 && none.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
