//! The numbers of `STATS` for Prometheus: `GET /metrics` over HTTP/1.1, in the text format 0.0.4.
//!
//! One ordinary task. It asks the data plane for the numbers when somebody wants them, so requests of clients pay nothing for it. A
//! connection serves one request and has a few seconds for it.

use std::fmt::Write as _;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use httparse::{EMPTY_HEADER, Request, Status};
use smol::LocalExecutor;
use smol::future::FutureExt as _;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::lock::Semaphore;

use super::ServerError;
use super::control::Control;

/// So many requests are served at once; more wait.
const CONNECTIONS_MAX: usize = 4;

/// A request, its headers included, is refused if it is longer, bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// A request has so many headers at most.
const HEADERS_MAX: usize = 64;

/// From the connection to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// After an error of accept, such as too many open files.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// How a number of `STATS` is shown.
struct Metric {
    stat: &'static str,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

const fn metric(stat: &'static str, name: &'static str, kind: &'static str, help: &'static str) -> Metric {
    Metric { stat, name, kind, help }
}

/// The prefix of the numbers that count commands: they are one metric with a label.
const COMMAND_PREFIX: &str = "cmd_";

const METRICS: &[Metric] = &[
    metric("uptime_ms", "uptime_seconds", "gauge", "Since the server has started."),
    metric("clients", "clients", "gauge", "Connections that are open."),
    metric("connections_total", "connections_total", "counter", "Connections that were accepted."),
    metric("connections_rejected", "connections_rejected_total", "counter", "Connections that were refused, there being too many."),
    metric("keys", "keys", "gauge", "Keys held, those included that have expired and were not swept yet."),
    metric("keys_with_expiry", "keys_with_expiry", "gauge", "Keys that have an expiry."),
    metric("expired_total", "expired_total", "counter", "Keys that were removed because their time had come."),
    metric("errors_total", "errors_total", "counter", "Requests that were answered with ERR."),
    metric("get_hits", "get_hits_total", "counter", "GETs that found their key."),
    metric("get_misses", "get_misses_total", "counter", "GETs that did not find their key."),
    metric("slow_requests", "slow_requests_total", "counter", "Calls that took longer than slowlog_threshold_ms."),
    metric("version_floor", "version_floor", "gauge", "The highest version that a removed key had."),
    metric("lsn_last", "lsn_last", "gauge", "The last record that was logged."),
    metric("lsn_durable", "lsn_durable", "gauge", "The last record that is on disk for certain."),
    metric("wal_bytes", "wal_bytes", "gauge", "Length of the log."),
    metric("wal_segments", "wal_segments", "gauge", "Files of the log."),
    metric(
        "wal_since_snapshot_bytes",
        "wal_since_snapshot_bytes",
        "gauge",
        "Log since the newest snapshot was begun, which a start would replay.",
    ),
    metric("wal_torn_bytes", "wal_torn_bytes", "gauge", "Log that was cut at the start, as a crash had torn it."),
    metric("wal_syncs", "wal_syncs_total", "counter", "Syncs of the log."),
    metric("sync_last_us", "wal_sync_last_seconds", "gauge", "How long the last sync of the log took."),
    metric("sync_max_us", "wal_sync_max_seconds", "gauge", "How long the longest sync of the log took."),
    metric("directory_bytes", "directory_bytes", "gauge", "What log and snapshots take."),
    metric("directory_over_limit", "directory_over_limit", "gauge", "1 while log and snapshots take more than data_dir_warn_bytes."),
    metric("read_only", "read_only", "gauge", "1 while there is no space for the log on the disk and writes are refused."),
    metric("snapshots_total", "snapshots_total", "counter", "Snapshots that were taken and verified."),
    metric("snapshot_failures", "snapshot_failures_total", "counter", "Snapshots that were given up."),
    metric("snapshot_running", "snapshot_running", "gauge", "1 while a snapshot is being taken."),
    metric(
        "last_snapshot_ms",
        "snapshot_last_timestamp_seconds",
        "gauge",
        "When the last snapshot of this run was verified, Unix time; 0: none was.",
    ),
    metric("snapshot_age_ms", "snapshot_age_seconds", "gauge", "Since the last snapshot of this run was verified; 0: none was."),
    metric("snapshot_took_ms", "snapshot_took_seconds", "gauge", "From the beginning of the last snapshot to its verification."),
    metric("snapshot_bytes", "snapshot_bytes", "gauge", "Size of the newest snapshot."),
    metric(
        "snapshot_last_lsn",
        "snapshot_last_lsn",
        "gauge",
        "The last record that the newest snapshot needs of the log; 0: there is none.",
    ),
    metric("snapshot_slice_max_us", "snapshot_slice_max_seconds", "gauge", "The longest that a snapshot has held up requests at a time."),
    metric("snapshots_kept", "snapshots_kept", "gauge", "Snapshots that are there."),
    metric("mem_data_bytes", "mem_data_bytes", "gauge", "Memory of keys, values and index."),
    metric("mem_free_bytes", "mem_free_bytes", "gauge", "Memory allocated for keys and values, and free at the moment."),
    metric("mem_connection_bytes", "mem_connection_bytes", "gauge", "Memory of the connections' buffers."),
    metric("mem_limit_bytes", "mem_limit_bytes", "gauge", "max_memory_bytes; 0: no limit."),
    metric("mem_rss_bytes", "resident_memory_bytes", "gauge", "Resident memory of the process."),
];

/// # Errors
/// None of the addresses can be listened on.
pub(super) fn listen(addresses: &[SocketAddr]) -> Result<Async<TcpListener>, ServerError> {
    TcpListener::bind(addresses).and_then(Async::new).map_err(|error| ServerError::Listen("metrics_addr", addresses.to_vec(), error))
}

/// Serves requests for ever.
pub(super) async fn serve(listener: Async<TcpListener>, control: Arc<Control>, executor: Rc<LocalExecutor<'static>>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = connections.acquire_arc().await;
        match listener.accept().await {
            Ok((socket, _)) => {
                let control = Arc::clone(&control);
                let answered = async move {
                    let late = async {
                        Timer::after(TIMEOUT).await;
                        Err(io::ErrorKind::TimedOut.into())
                    };
                    if let Err(error) = answer(socket, &control).or(late).await {
                        log::debug!("a request for metrics: {error}");
                    }
                    drop(slot);
                };
                executor.spawn(answered).detach();
            }
            Err(error) => {
                log::warn!("cannot accept a connection for metrics: {error}");
                Timer::after(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn answer(mut socket: Async<std::net::TcpStream>, control: &Control) -> io::Result<()> {
    let mut received = Vec::new();
    let asked = loop {
        let mut chunk = [0; 1024];
        let length = socket.read(&mut chunk).await?;
        received.extend_from_slice(chunk.get(..length).unwrap_or_default());
        match asked_for(&received) {
            Asked::Incomplete if length == 0 => return Ok(()),
            Asked::Incomplete if received.len() < REQUEST_BYTES_MAX => {}
            Asked::Incomplete => break Asked::Wrong("431 Request Header Fields Too Large"),
            asked => break asked,
        }
    };
    let (status, body, with_body) = match asked {
        Asked::Metrics { body } => ("200 OK", text(&control.stats().await), body),
        Asked::Wrong(status) => (status, format!("{status}; metrics are at GET /metrics\n"), true),
        Asked::Incomplete => return Ok(()),
    };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
        body.len(),
        if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" },
    );
    if with_body {
        response.push_str(&body);
    }
    socket.write_all(response.as_bytes()).await?;
    socket.get_ref().shutdown(Shutdown::Write)?;
    // What is closed with something unread is reset, and the answer may be lost with it.
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

enum Asked {
    Incomplete,
    Metrics {
        body: bool,
    },
    /// The status that says what is wrong.
    Wrong(&'static str),
}

fn asked_for(received: &[u8]) -> Asked {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(received) {
        Ok(Status::Partial) => Asked::Incomplete,
        Err(_) => Asked::Wrong("400 Bad Request"),
        Ok(Status::Complete(_)) => match (request.method, request.path.map(|path| path.split('?').next().unwrap_or(path))) {
            (Some("GET"), Some("/metrics")) => Asked::Metrics { body: true },
            (Some("HEAD"), Some("/metrics")) => Asked::Metrics { body: false },
            (_, Some("/metrics")) => Asked::Wrong("405 Method Not Allowed"),
            _ => Asked::Wrong("404 Not Found"),
        },
    }
}

/// The numbers in Prometheus' text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
fn text(stats: &[(&'static str, u64)]) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        // A String takes everything.
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("# HELP osprey_commands_total Commands that were executed.\n# TYPE osprey_commands_total counter"));
    for (stat, number) in stats {
        if let Some(command) = stat.strip_prefix(COMMAND_PREFIX) {
            line(format_args!("osprey_commands_total{{command=\"{command}\"}} {number}"));
        }
    }
    for Metric { stat, name, kind, help } in METRICS {
        let Some((_, number)) = stats.iter().find(|(known, _)| known == stat) else { continue };
        line(format_args!("# HELP osprey_{name} {help}\n# TYPE osprey_{name} {kind}"));
        // Prometheus counts in seconds.
        if stat.ends_with("_ms") {
            line(format_args!("osprey_{name} {}.{:03}", number / 1000, number % 1000));
        } else if stat.ends_with("_us") {
            line(format_args!("osprey_{name} {}.{:06}", number / 1_000_000, number % 1_000_000));
        } else {
            line(format_args!("osprey_{name} {number}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_their_units_and_kinds() {
        let text = text(&[("uptime_ms", 61_005), ("cmd_get", 3), ("keys", 2), ("evicted_total", 0), ("sync_last_us", 1_000_250)]);
        assert!(text.contains("# TYPE osprey_uptime_seconds gauge\nosprey_uptime_seconds 61.005\n"), "{text}");
        assert!(text.contains("osprey_commands_total{command=\"get\"} 3\n"), "{text}");
        assert!(text.contains("osprey_keys 2\n") && !text.contains("evicted"), "{text}");
        assert!(text.contains("osprey_wal_sync_last_seconds 1.000250\n"), "{text}");
    }

    /// Whatever is added to `STATS` is shown here, too, or left out on purpose.
    #[test]
    fn every_number_of_stats_is_shown() {
        let description = include_str!("../../../docs/PROTOCOL.md");
        let (_, table) = description.split_once("| `uptime_ms` |").unwrap();
        let table = format!("| `uptime_ms` |{}", table.split("\n\n").next().unwrap());
        let numbers = table.lines().filter(|row| !["| file name |", "| text |"].iter().any(|text| row.contains(text)));
        let names: Vec<&str> = numbers.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
        assert!(names.len() > 50, "{names:?}");
        for name in names {
            let shown = name.starts_with(COMMAND_PREFIX) || METRICS.iter().any(|metric| metric.stat == name);
            assert!(shown != (name == "evicted_total"), "{name}");
        }
    }

    #[test]
    fn only_one_thing_can_be_asked_for() {
        let status = |request: &str| match asked_for(request.as_bytes()) {
            Asked::Incomplete => "more",
            Asked::Metrics { body } => {
                if body {
                    "200"
                } else {
                    "200 without a body"
                }
            }
            Asked::Wrong(status) => status,
        };
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"), "200");
        assert_eq!(status("GET /metrics?a=b HTTP/1.0\r\n\r\n"), "200");
        assert_eq!(status("HEAD /metrics HTTP/1.1\r\n\r\n"), "200 without a body");
        assert_eq!(status("GET /metr"), "more");
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "404 Not Found");
        assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "405 Method Not Allowed");
        assert_eq!(status("SET k 5\r\nhello\r\n"), "400 Bad Request");
    }
}
