//! Plants one bug after the other and has the simulator find it: `make museum`, or with `ARGS=--fast` a few of them. `docs/SIMULATOR.md` says more.

use std::process::ExitCode;

#[cfg(not(museum))]
fn main() -> ExitCode {
    eprintln!("this build holds no bugs; run `make museum`");
    ExitCode::FAILURE
}

#[cfg(museum)]
fn main() -> ExitCode {
    tour::main()
}

#[cfg(museum)]
mod tour {
    use std::process::ExitCode;
    use std::time::Instant;

    use clap::Parser;
    use osprey_tests::museum::catalogue::{EXHIBITS, Exhibit};
    use osprey_tests::museum::search::{enumerate, replay, search};

    /// Whether the simulator finds each planted bug within its budget of seeds, and nothing where none is planted.
    #[derive(Debug, Parser)]
    struct Arguments {
        /// Only a few bugs, in less time
        #[arg(long)]
        fast: bool,
        /// Only these bugs, and no run without any
        #[arg(long, num_args = 1.., conflicts_with = "fast")]
        only: Vec<String>,
    }

    pub(super) fn main() -> ExitCode {
        let Arguments { fast, only } = Arguments::parse();
        let asked = |exhibit: &&Exhibit| {
            if only.is_empty() { !fast || exhibit.fast } else { only.iter().any(|only| only == exhibit.name) }
        };
        let begin = Instant::now();
        let (mut shown, mut missed, mut seeds) = (0, 0, 0);
        println!("| bug | where | what goes wrong | seeds | caught |\n| --- | --- | --- | ---: | --- |");
        for exhibit in EXHIBITS.iter().filter(asked) {
            let Exhibit { name, place, story, budget, .. } = exhibit;
            let caught = caught(exhibit);
            shown += 1;
            missed += usize::from(caught.is_none());
            seeds = seeds.max(*budget);
            println!("| `{name}` | `{place}` | {story} | {budget} | {} |", caught.unwrap_or_else(|| "**MISSED**".to_owned()));
        }
        let seeds = if only.is_empty() { seeds } else { 0 };
        let none = search(&[], seeds);
        if let Some((seed, failure)) = &none {
            println!("\nFAILED without any bug: seed {seed}: {failure}");
        }
        println!("\n{shown} bugs, {missed} missed; {seeds} seeds without a bug; {} s", begin.elapsed().as_secs());
        if shown > 0 && missed == 0 && none.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// How a bug is caught; `None`: it isn't.
    fn caught(exhibit: &Exhibit) -> Option<String> {
        let Exhibit { name, budget, .. } = *exhibit;
        if let Some(tape) = exhibit.tape {
            return replay(name, tape).map(|failure| format!("by the tape `{tape}`, by `{:?}`", failure.check));
        }
        let enumerated = || enumerate(name).map(|failure| format!("by the crashes of snapshots, by `{:?}`", failure.check));
        if budget == 0 {
            return enumerated();
        }
        let Some(witness) = exhibit.witness else {
            let by_seed = search(&[name], budget).map(|(seed, failure)| format!("at seed {seed} by `{:?}`", failure.check))?;
            return if exhibit.enumerated { Some(format!("{by_seed}; {}", enumerated()?)) } else { Some(by_seed) };
        };
        let (seed, whole) = search(&[witness], budget)?;
        match search(&[witness, name], budget) {
            None => Some(format!("`{witness}` gets away")),
            Some((later, broken)) if broken.check != whole.check => {
                Some(format!("`{witness}` is found by `{:?}` at seed {later}, not by `{:?}` at {seed}", broken.check, whole.check))
            }
            Some(_) => None,
        }
    }
}
