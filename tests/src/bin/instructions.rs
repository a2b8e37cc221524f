//! Counts the engine's instructions for a request under valgrind, and compares them with `tests/instructions.txt`: `make instructions`.
//!
//! Counts hardly move with the machine or its load, so a growth of a few percent is a change of the code (or of compiler or libc). Set-up
//! cancels out: what is counted is the difference between two runs with different numbers of requests.
#![expect(clippy::unwrap_used, reason = "without valgrind or the measured program there is nothing to do")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;

/// Instructions a request of the engine alone, beside the committed ones
#[derive(Debug, Parser)]
struct Arguments {
    /// Write what was counted to tests/instructions.txt
    #[arg(long)]
    renew: bool,
}

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// More growth than this is refused, percent.
const GROWTH_MAX_PERCENT: f64 = 5.0;

/// Operations with the requests of a batch.
const CASES: [(&str, u32); 6] = [("get", 1), ("get", 16), ("set", 1), ("set", 16), ("incr", 1), ("incr", 16)];

/// Requests of the two runs: multiples of the pipeline, and the shorter one long enough for buffers to have their size.
const REQUESTS: [u32; 2] = [4_000, 20_000];

fn main() -> ExitCode {
    let Arguments { renew } = Arguments::parse();
    let rustc = first_line("rustc", &["--version"]);
    let counted = CASES.map(|(op, pipeline)| per_request(op, pipeline));
    if renew {
        let mut table = format!("rustc: {rustc}\n");
        for ((op, pipeline), count) in CASES.into_iter().zip(counted) {
            writeln!(table, "{op} {pipeline}: {count:.0}").unwrap();
        }
        std::fs::write(BASELINE, table).unwrap();
        println!("wrote {BASELINE}");
        return ExitCode::SUCCESS;
    }
    let baseline = std::fs::read_to_string(BASELINE).expect("tests/instructions.txt; write it with --renew");
    let known =
        |name: &str| baseline.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name)).map(|(_, value)| value);
    let before = known("rustc").expect("a line of the compiler; renew with --renew");
    let compiler = if before == rustc { "the same compiler" } else { "ANOTHER COMPILER" };
    if before != rustc {
        println!("The committed counts are of {before}, and this is {rustc}: what moves may be the compiler's doing.\n");
    }
    println!("| request | pipeline | instructions | before | growth |\n| --- | ---: | ---: | ---: | ---: |");
    let mut refused = 0;
    for ((op, pipeline), count) in CASES.into_iter().zip(counted) {
        let before: f64 = known(&format!("{op} {pipeline}")).and_then(|count| count.parse().ok()).expect("a count; renew with --renew");
        let growth = (count / before - 1.0) * 100.0;
        let verdict = if growth > GROWTH_MAX_PERCENT { " **TOO MUCH**" } else { "" };
        refused += u32::from(growth > GROWTH_MAX_PERCENT);
        println!("| {op} | {pipeline} | {count:.0} | {before:.0} | {growth:+.1} %{verdict} |");
    }
    let counts = format!("{} counts, {refused} grown by more than {GROWTH_MAX_PERCENT} %, by {compiler}", CASES.len());
    if refused == 0 {
        println!("\n{counts}");
        return ExitCode::SUCCESS;
    }
    println!("\nREFUSED: {counts}. Find what costs it, or, where it is meant, say why in the commit and: make instructions ARGS=--renew");
    ExitCode::FAILURE
}

fn per_request(op: &str, pipeline: u32) -> f64 {
    let [few, many] = REQUESTS.map(|requests| instructions(op, pipeline, requests));
    (many - few) / f64::from(REQUESTS[1] - REQUESTS[0])
}

/// All instructions of one run.
fn instructions(op: &str, pipeline: u32, requests: u32) -> f64 {
    let program = std::env::current_exe().unwrap().with_file_name("examples").join("request_cost");
    assert!(Path::new(&program).exists(), "build it first, as `make instructions` does: {}", program.display());
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).arg(op);
    let run = valgrind.args([pipeline, requests, 1000].map(|number| number.to_string())).output().expect("apt-get install valgrind");
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{told}");
    let line = told.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind's count");
    line.1.trim().parse().unwrap()
}

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}
