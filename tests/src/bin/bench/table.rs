//! The results as Markdown.

use std::fmt::Write as _;

use crate::figures::{Outcome, Spread};
use crate::load::{self, Pace};
use crate::machine::Machine;
use crate::server::{LOAD_CORE, SERVER_CORE};

/// From here on the load generator may be what limits the throughput, cores.
const GENERATOR_BUSY: f64 = 0.95;

const READING: &str = "\
CPU is the server's, user and system, all threads, per request. It is the figure to compare: it moves least with what else the machine does, and
tells what a core can do. Figures are medians; a ratio is the median of the ratios of neighbouring runs, with the smallest and the largest behind it.
Below 1 is better for CPU, above 1 for requests. Where the load was the limit (†: more than 0.95 of its core busy) the server could have done more, and
throughput compares less than it seems. Latency is that of a closed loop, so mostly queueing. Under `os` Osprey writes every SET to its log; Redis
without persistence and memcached write nothing. memcached answers each `get` of a pipeline with a system call of its own: there its clients ask for
many keys in one `get` instead. Osprey's snapshots are counted with its CPU; when Redis rewrites its log, a process of its own does it, which isn't.
";

pub(crate) fn render(outcomes: &[Outcome], machine: &Machine, pace: &Pace, runs: u32) -> String {
    let mut page = "# Osprey beside Redis and memcached\n\nWritten by `make bench`; nothing here is written by hand. [How to measure, and what to compare](../BENCHMARKING.md).\n\n".to_owned();
    page.push_str("| | |\n| --- | --- |\n");
    for (name, what) in &machine.rows {
        line(&mut page, &format!("| {name} | {what} |"));
    }
    let Pace { warmup, duration } = pace;
    line(
        &mut page,
        &format!(
            "| runs | {runs} of each server, alternating, of {duration} after {warmup}; each with a fresh server on an empty directory |"
        ),
    );
    line(&mut page, &format!("| cores | server on core {SERVER_CORE}, load on core {LOAD_CORE} |\n"));
    line(&mut page, "![Server CPU per request](cpu_per_request.svg)\n");
    page.push_str(READING);
    for outcome in outcomes {
        case(&mut page, outcome);
    }
    line(&mut page, "\n## The commands\n\nWith a free port as PORT, an empty directory as DIR, the server's process as PID.");
    for outcome in outcomes {
        commands(&mut page, outcome, pace);
    }
    page
}

fn case(page: &mut String, outcome: &Outcome) {
    let case = outcome.case;
    let connections = case.entries.iter().any(|entry| entry.clients != case.entries[0].clients);
    let throughput = if case.is_large() { "GB/s" } else { "requests/s" };
    line(page, &format!("\n## {}\n", case.title));
    line(page, &format!("| server | CPU, µs | {throughput} | p99, ms | server busy | CPU: {} | {throughput}: {0} |", case.ratio));
    line(page, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (at, entry) in case.entries.iter().enumerate() {
        let Some(cpu) = outcome.spread(at, |run| run.cpu_us) else { continue };
        let median = |figure| outcome.spread(at, figure).map_or(f64::NAN, |spread: Spread| spread.median);
        let name = if connections {
            format!("{}, {} connections", entry.server.label(), thousands(f64::from(entry.clients)))
        } else {
            entry.server.label().to_owned()
        };
        let limit = if median(|run| run.generator_cores) > GENERATOR_BUSY { " †" } else { "" };
        let requests = median(|run| run.requests_per_second);
        let throughput = if case.is_large() { format!("{:.2}", requests * f64::from(case.value_bytes) / 1e9) } else { thousands(requests) };
        let ratio = |figure| {
            outcome.ratio(at, figure).map_or_else(String::new, |Spread { min, median, max }| format!("{median:.2} ({min:.2} to {max:.2})"))
        };
        line(
            page,
            &format!(
                "| {name} | {} | {throughput}{limit} | {:.2} | {:.2} | {} | {} |",
                three_digits(cpu.median),
                median(|run| run.p99_us) / 1e3,
                median(|run| run.server_cores),
                ratio(|run| run.cpu_us),
                ratio(|run| run.requests_per_second)
            ),
        );
    }
}

fn commands(page: &mut String, outcome: &Outcome, pace: &Pace) {
    let case = outcome.case;
    line(page, &format!("\n{}:\n\n```sh", case.title));
    for (_, entry) in case.entries.iter().enumerate().filter(|(at, _)| !outcome.runs[*at].is_empty()) {
        line(page, &format!("taskset -c {SERVER_CORE} {}", entry.server.command_line(case)));
        line(page, &format!("taskset -c {LOAD_CORE} {}", load::command_line(case, entry, pace)));
    }
    line(page, "```");
}

fn line(page: &mut String, text: &str) {
    // A String takes everything.
    let _ = writeln!(page, "{text}");
}

/// With as many decimals as three digits leave.
pub(crate) fn three_digits(number: f64) -> String {
    match number {
        number if number < 9.995 => format!("{number:.2}"),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

/// To three digits or to one, with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0.654, 9.996, 12.34, 99.96, 312.4].map(three_digits), ["0.65", "10.0", "12.3", "100", "312"]);
        assert_eq!([7.0, 999.6, 10_000.0, 1_207_314.2].map(thousands), ["7", "1,000", "10,000", "1,207,314"]);
    }
}
