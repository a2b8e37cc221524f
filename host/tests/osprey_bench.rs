//! `osprey-bench` as its users run it, against a server that is sound or goes wrong in one way.

mod faulty_server;

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use faulty_server::{Fault, FaultyServer};

/// Runs it with the options in `line`; its exit code and what it printed.
fn run(line: &str) -> (i32, Output) {
    let output = Command::new(env!("CARGO_BIN_EXE_osprey-bench")).args(line.split_whitespace()).output().expect("the program runs");
    (output.status.code().expect("an exit code"), output)
}

/// The exit code, and the report.
fn measure(server: &FaultyServer, line: &str) -> (i32, Value) {
    let (code, output) = run(&format!("--addr {} --quiet --json --warmup 0s {line}", server.address));
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("exit code {code}, no report: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (code, report)
}

fn aborted(report: &Value) -> &str {
    report["aborted"].as_str().expect("a reason")
}

#[test]
fn a_sound_server_gives_a_clean_report_of_just_what_it_served() {
    let server = FaultyServer::start(Fault::None);
    let (code, report) = measure(&server, "--op mixed --requests 1003 --clients 3 --pipeline 4 --threads 2 --keyspace 100");
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["requests"], 1003);
    assert_eq!((&report["errors"], &report["misses"], &report["aborted"]), (&0.into(), &0.into(), &Value::Null));
    let state = server.state();
    assert_eq!(report["gets"], state.gets);
    assert_eq!(report["sets"], state.sets - 100, "the keys were stored first");
    assert!(
        report["latency_us"]["p50"].as_f64() > Some(0.0) && report["latency_us"]["p50"].as_f64() <= report["latency_us"]["max"].as_f64()
    );
    assert!(report["requests_per_second"].as_f64() > Some(0.0));
}

#[test]
fn readers_and_writers_are_told_apart() {
    let server = FaultyServer::start(Fault::None);
    let (code, report) = measure(&server, "--op mixed --requests 1000 --clients 5 --readers 2 --keyspace 100");
    assert_eq!((code, &report["gets"], &report["sets"]), (0, &400.into(), &600.into()), "{report:#}");
    let max = |name: &str| report[name]["max"].as_f64().expect("a number");
    assert!(max("latency_us") >= max("get_latency_us").max(max("set_latency_us")), "{report:#}");
    let state = server.state();
    let written: Vec<_> = state.lines.iter().filter(|line| line.starts_with("SET set_")).collect();
    assert_eq!(written.len(), 600, "writers have keys of their own");
    assert_eq!(measure(&server, "--op get --requests 10 --no-prefill").1["get_latency_us"], Value::Null);
}

#[test]
fn every_key_is_stored_beforehand_once() {
    let server = FaultyServer::start(Fault::None);
    assert_eq!(measure(&server, "--op get --requests 1 --clients 7 --keyspace 1000 --value-size 0-9").0, 0);
    let mut keys: Vec<String> =
        server.state().lines.iter().filter_map(|line| line.strip_prefix("SET ")?.split(' ').next().map(str::to_owned)).collect();
    keys.sort();
    assert_eq!(keys, (0..1000).map(|key| format!("key_{key:012}")).collect::<Vec<_>>());
}

#[test]
fn counters_are_incremented() {
    let server = FaultyServer::start(Fault::None);
    let (code, report) = measure(&server, "--op incr --requests 500 --clients 5 --keyspace 10 --distribution zipf");
    assert_eq!((code, &report["increments"]), (0, &500.into()));
    assert_eq!(server.state().increments, 500);
}

#[test]
fn replies_may_come_a_byte_at_a_time() {
    let server = FaultyServer::start(Fault::Dribbles);
    let (code, report) = measure(&server, "--op mixed --requests 300 --clients 2 --pipeline 5 --keyspace 10");
    assert_eq!((code, &report["requests"]), (0, &300.into()), "{report:#}");
}

#[test]
fn batches_larger_than_the_sockets_buffers_get_through() {
    let server = FaultyServer::start(Fault::None);
    let (code, report) = measure(&server, "--op mixed --requests 64 --clients 2 --pipeline 8 --keyspace 4 --value-size 3000000");
    assert_eq!((code, &report["requests"]), (0, &64.into()), "{report:#}");
}

#[test]
fn misses_are_counted_and_are_no_errors() {
    let server = FaultyServer::start(Fault::None);
    let (code, report) = measure(&server, "--op get --no-prefill --requests 200 --pipeline 3");
    assert_eq!((code, &report["misses"], &report["errors"]), (0, &200.into(), &0.into()));
}

#[test]
fn errors_are_counted_and_shown() {
    let server = FaultyServer::start(Fault::RefusesThirds);
    let (code, report) = measure(&server, "--op set --requests 300 --clients 1 --pipeline 10");
    assert_eq!((code, &report["requests"], &report["errors"]), (1, &300.into(), &100.into()));
    assert_eq!(report["error_samples"][0], "ERR OOM full (to a set)");
}

#[test]
fn keys_that_cannot_be_stored_end_the_run() {
    let server = FaultyServer::start(Fault::RefusesThirds);
    let (code, output) = run(&format!("--addr {} --quiet --op get", server.address));
    assert_eq!(code, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("storing the keys failed: ERR OOM full"));
}

#[test]
fn a_value_of_the_wrong_size_is_an_error() {
    let server = FaultyServer::start(Fault::Lengthens);
    let (code, report) = measure(&server, "--op get --requests 50 --clients 2");
    assert_eq!((code, &report["errors"]), (1, &50.into()));
    assert_eq!(report["error_samples"][0], "a value of 101 bytes, expected 100");
}

#[test]
fn a_reply_to_another_question_ends_the_run() {
    let server = FaultyServer::start(Fault::MixesUp);
    let (code, report) = measure(&server, "--op get --requests 50 --clients 2");
    assert_eq!(code, 1);
    assert_eq!(aborted(&report), r"no reply of this protocol (to a get): OK 1\r\n");
}

#[test]
fn a_server_that_dies_ends_the_run() {
    let server = FaultyServer::start(Fault::ClosesAt(100));
    let (code, report) = measure(&server, "--op set --clients 2 --threads 2 --duration 1h");
    assert_eq!(code, 1);
    assert!(aborted(&report).contains("closed the connection") || aborted(&report).contains("reset"), "{report:#}");
    assert!(report["requests"].as_u64() > Some(0), "what came before counts");
}

#[test]
fn a_server_that_stops_answering_ends_the_run() {
    let server = FaultyServer::start(Fault::SilentFrom(100));
    let (code, report) = measure(&server, "--op set --clients 2 --duration 1h --timeout 200ms");
    assert_eq!((code, aborted(&report)), (1, "the server did not answer within 200ms"));
    assert_eq!(report["requests"], 99);
}

#[test]
fn with_a_rate_the_requests_that_a_stall_held_up_are_in_the_latencies() {
    let stall = Fault::StallsAt(50, Duration::from_millis(300));
    let p90_ms = |line: &str| {
        let (code, report) = measure(&FaultyServer::start(stall), line);
        assert_eq!((code, &report["requests"], &report["unsent"]), (0, &400.into(), &0.into()));
        report["latency_us"]["p90"].as_f64().expect("a number") / 1e3
    };
    // One at a time: the server stalls one request, and no other is sent meanwhile.
    let closed = p90_ms("--clients 1 --requests 400");
    // Due every millisecond: three hundred wait, the first for 300 ms, the last hardly; a tenth of all for more than 200 ms.
    let open = p90_ms("--clients 1 --requests 400 --rate 1000");
    assert!(closed < 100.0 && open > 200.0, "p90 was {closed} ms in the closed loop, {open} ms in the open one");
}

#[test]
fn a_rate_is_kept_and_one_that_cannot_be_is_said_so() {
    let (code, report) = measure(&FaultyServer::start(Fault::None), "--rate 2000 --duration 500ms --clients 10 --pipeline 5");
    assert_eq!((code, &report["requests"], &report["unsent"]), (0, &1000.into(), &0.into()));
    // A stall that lasts longer than the load.
    let stall = Fault::StallsAt(1, Duration::from_millis(500));
    let (code, report) = measure(&FaultyServer::start(stall), "--rate 1000 --duration 200ms --clients 1");
    assert_eq!((code, &report["requests"], &report["unsent"]), (0, &2.into(), &198.into()), "{report:#}");
}

#[test]
fn the_same_seed_measures_the_same_requests_whatever_the_warm_up_sent() {
    let sent = |options: &str| {
        let server = FaultyServer::start(Fault::None);
        let line = "--quiet --op mixed --clients 1 --requests 100 --value-size 1-50 --no-prefill";
        assert_eq!(run(&format!("--addr {} {line} {options}", server.address)).0, 0);
        let lines = server.state().lines;
        lines[lines.len() - 100..].to_vec()
    };
    let without = sent("--seed 7 --warmup 0s");
    assert_eq!(sent("--seed 7 --warmup 20ms"), without);
    assert_ne!(sent("--seed 8 --warmup 0s"), without);
}

#[test]
fn a_servers_cost_is_reported_of_its_process() {
    let server = FaultyServer::start(Fault::None);
    // The fake server lives in this very process.
    let (code, report) = measure(&server, &format!("--requests 20000 --pipeline 16 --server-pid {}", std::process::id()));
    assert_eq!(code, 0);
    let cost = &report["server"];
    let sum = cost["user_us_per_request"].as_f64().unwrap() + cost["system_us_per_request"].as_f64().unwrap();
    assert!((cost["cpu_us_per_request"].as_f64().unwrap() - sum).abs() < 1e-6);
    assert!(cost["cpu_us_per_request"].as_f64() > Some(0.0) && cost["resident_bytes"].as_u64() > Some(1 << 20), "{report:#}");
}

#[test]
fn the_table_is_for_people_and_a_file_for_programs() {
    let server = FaultyServer::start(Fault::None);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display();
    // As the original's users write options.
    let (code, output) = run(&format!("-addr {} -op=set -requests 10 -warmup 0s -quiet -json-file {path}", server.address));
    assert_eq!(code, 0);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("requests        10 in ") && table.contains("errors          0\n"), "{table}");
    assert!(output.stderr.is_empty());
    let report: Value = serde_json::from_slice(&std::fs::read(file.path()).expect("the file")).expect("JSON");
    assert_eq!((&report["requests"], &report["parameters"]["clients"]), (&10.into(), &50.into()));
}

#[test]
fn progress_is_lines_where_there_is_no_terminal() {
    let server = FaultyServer::start(Fault::None);
    let (code, output) = run(&format!("--addr {} --duration 300ms --warmup 0s --report 50ms", server.address));
    assert_eq!(code, 0);
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(lines.lines().count() >= 2 && lines.lines().all(|line| line.starts_with("measure ") && line.ends_with(" errors")), "{lines}");
}

#[test]
fn without_a_connection_the_exit_code_is_3() {
    // A port that was just free.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    let (code, output) = run(&format!("--addr {address} --quiet"));
    assert_eq!(code, 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("cannot connect to {address}")));
}

#[test]
fn wrong_usage_is_exit_code_2_before_anything_is_sent() {
    for line in ["--op fly", "--duration 0s", "--clients 0", "--key-size 2", "--requests 5 --duration 5s", "--server-pid 4294967295"] {
        let (code, output) = run(line);
        assert_eq!(code, 2, "{line}");
        assert!(!output.stderr.is_empty());
    }
}
