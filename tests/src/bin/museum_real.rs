//! Plants one bug of the real programs after the other and has the test find it that is named for it: `make museum-real`. `docs/SIMULATOR.md` says more.

use std::process::ExitCode;

#[cfg(not(museum))]
fn main() -> ExitCode {
    eprintln!("this build holds no bugs; run `make museum-real`");
    ExitCode::FAILURE
}

#[cfg(museum)]
fn main() -> ExitCode {
    tour::main()
}

#[cfg(museum)]
mod tour {
    use std::collections::BTreeSet;
    use std::process::{Command, ExitCode};
    use std::time::Instant;

    use clap::Parser;
    use osprey_tests::museum::real::{REAL_EXHIBITS, RealExhibit};

    /// Whether the tests of the real programs find each planted bug, and nothing where none is planted.
    #[derive(Debug, Parser)]
    struct Arguments {
        /// Only these bugs
        #[arg(long, num_args = 1..)]
        only: Vec<String>,
    }

    pub(super) fn main() -> ExitCode {
        let Arguments { only } = Arguments::parse();
        let asked = |exhibit: &&RealExhibit| only.is_empty() || only.iter().any(|only| only == exhibit.name);
        let exhibits: Vec<&RealExhibit> = REAL_EXHIBITS.iter().filter(asked).collect();
        let begin = Instant::now();
        // First without any: what fails then proves nothing, and everything is built.
        let tests: BTreeSet<_> = exhibits.iter().map(|exhibit| (exhibit.file, exhibit.test)).collect();
        let broken: Vec<_> = tests.into_iter().filter(|(file, test)| run(file, test, None).is_err()).collect();
        for (file, test) in &broken {
            println!("FAILED without any bug: {file}, {test}");
        }
        println!("| bug | where | what goes wrong | found by | how |\n| --- | --- | --- | --- | --- |");
        let mut missed = 0;
        for RealExhibit { name, place, story, file, test } in &exhibits {
            let how = run(file, test, Some(name)).err();
            missed += usize::from(how.is_none());
            println!(
                "| `{name}` | `{place}` | {story} | `{file}`: {} | {} |",
                test.replace('_', " "),
                how.as_deref().unwrap_or("**MISSED**")
            );
        }
        println!("\n{} bugs, {missed} missed; {} s", exhibits.len(), begin.elapsed().as_secs());
        if !exhibits.is_empty() && missed == 0 && broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Runs one test; how it fails.
    fn run(file: &str, test: &str, planted: Option<&str>) -> Result<(), String> {
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--quiet", "--profile", "museum", "--target-dir", "target/museum", "-p", "osprey-tests", "--test", file]);
        cargo.args(["--", "--exact", test]).env("RUST_BACKTRACE", "0");
        match planted {
            Some(name) => cargo.env("MUSEUM_PLANTED", name),
            None => cargo.env_remove("MUSEUM_PLANTED"),
        };
        let output = cargo.output().map_err(|error| format!("cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        // A test that is not run passes.
        match output.status.success() {
            true if said.contains("1 passed") => Ok(()),
            true => Err(format!("there is no such test: {said}")),
            // What doesn't compile finds nothing.
            false if !said.contains("1 failed") => panic!("{said}{}", String::from_utf8_lossy(&output.stderr)),
            false => Err(complaint(&said)),
        }
    }

    /// The line behind the one that says where it panicked.
    fn complaint(said: &str) -> String {
        let mut lines = said.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
        let line: String = lines.next().unwrap_or_default().chars().take(100).collect();
        format!("`{}`", line.replace(['|', '`'], "'").trim())
    }
}
