//! One run of the load generator, and what it says of the server.

use std::process::Stdio;

use serde_json::Value;

use crate::cases::{Case, Entry};
use crate::server::{LOAD_CORE, Programs, Running, pinned};

/// How long is measured, as osprey-bench takes it.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) warmup: String,
    pub(crate) duration: String,
}

/// What one run has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Server CPU a request, user and system, all threads.
    pub(crate) cpu_us: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p99_us: f64,
    /// CPU time per elapsed time.
    pub(crate) server_cores: f64,
    pub(crate) generator_cores: f64,
}

/// With `PORT` and `PID` to be put in.
pub(crate) fn command_line(case: &Case, entry: &Entry, pace: &Pace) -> String {
    let Case { op, pipeline, value_bytes, keys, .. } = case;
    let Pace { warmup, duration } = pace;
    format!(
        "osprey-bench --protocol {} --addr 127.0.0.1:PORT --op {op} --pipeline {pipeline} --clients {} --value-size {value_bytes} \
         --keyspace {keys} --prefill --warmup {warmup} --duration {duration} --server-pid PID --json --quiet",
        entry.server.product().protocol(),
        entry.clients
    )
}

pub(crate) fn run(programs: &Programs, case: &Case, entry: &Entry, pace: &Pace, server: &Running) -> Result<Run, String> {
    let command_line = command_line(case, entry, pace);
    let mut command = pinned(LOAD_CORE);
    command.arg(&programs.load);
    for word in command_line.split(' ').skip(1) {
        command.arg(match word {
            "PID" => server.pid().to_string(),
            word => word.replace("PORT", &server.address.port().to_string()),
        });
    }
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command_line}: {error}"))?;
    let report = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command_line}: {}\n{report}{told}\nthe server's log:\n{}", output.status, server.log()));
    }
    parse(&report).map_err(|why| format!("{command_line}: {why}\n{report}"))
}

fn parse(report: &str) -> Result<Run, String> {
    let report: Value = serde_json::from_str(report).map_err(|error| error.to_string())?;
    let figure = |place: &str| report.pointer(place).and_then(Value::as_f64).ok_or(format!("no figure at {place}"));
    let run = Run {
        cpu_us: figure("/server/cpu_us_per_request")?,
        requests_per_second: figure("/requests_per_second")?,
        p99_us: figure("/latency_us/p99")?,
        server_cores: figure("/server/cores")?,
        generator_cores: figure("/generator_cores")?,
    };
    if run.cpu_us > 0.0 && run.requests_per_second > 0.0 { Ok(run) } else { Err("too short to show the server's CPU time".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_and_a_report_without_them_is_refused() {
        let report = r#"{"requests_per_second": 9.5, "latency_us": {"p99": 3}, "generator_cores": 0.5,
            "server": {"cpu_us_per_request": 7.5, "cores": 1.0}}"#;
        let run = parse(report).unwrap();
        assert_eq!((run.cpu_us, run.requests_per_second, run.p99_us), (7.5, 9.5, 3.0));
        assert_eq!(parse(&report.replace("\"cores\"", "\"core\"")).unwrap_err(), "no figure at /server/cores");
        assert!(parse(&report.replace("7.5", "0.0")).is_err());
    }
}
