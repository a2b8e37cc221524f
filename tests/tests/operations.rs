//! The commands of `docs/OPERATIONS.md`, run as they stand there, from the top, in a place of their own: whoever types them in finds what is said.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::fs;
use std::path::Path;
use std::process::Command;

use osprey::client::blocking::Client;
use osprey_core::protocol::command::SetOptions;
use osprey_tests::program::program;
use osprey_tests::server_process::{ServerProcess, Setup};

/// The lines of all blocks of shell commands, without comments.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    let lines: Vec<String> = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect()
}

/// What an example stands for here.
fn here(command: &str, root: &Path, address: &str) -> String {
    let root = root.display();
    let now = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    let rdb = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/redis-7.0.rdb");
    let mut command = command.replace("2026-01-31T11:59:00Z", String::from_utf8(now.stdout).unwrap().trim());
    for (example, is) in [
        ("/var/lib/redis/dump.rdb", rdb.to_owned()),
        (" dump.rdb", format!(" {rdb}")),
        ("/var/lib/", format!("{root}/")),
        ("/backup/", format!("{root}/backup-")),
        ("osprey.jsonl", format!("{root}/osprey.jsonl")),
        ("localhost:7070", address.to_owned()),
        ("123456", "60".to_owned()),
    ] {
        command = command.replace(example, &is);
    }
    command
}

fn start(directory: &Path) -> ServerProcess {
    let server = Setup::new(directory).option("wal_keep_hours", "1").start();
    let mut client = Client::connect(&server.address.to_string()).unwrap();
    for key in 0..100 {
        client.set(format!("key:{key}"), "value", &SetOptions::default()).unwrap();
    }
    server
}

#[test]
fn every_command_does_what_it_says() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("osprey");
    let other = start(&scratch.path().join("other"));
    let address = other.address.to_string();
    let mut server = Some(start(&data));
    // A time that is in the log's.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut ran = 0;
    for example in commands() {
        let command = here(&example, scratch.path(), &address);
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["systemctl", "stop", "osprey"] => server.take().unwrap().stop(),
            ["systemctl", "start", "osprey"] => server = Some(start(&data)),
            ["kill", ..] => {
                let asked = Command::new("sh").args(["-c", &command]).status().unwrap();
                assert!(asked.success(), "{command}");
                server.as_ref().unwrap().wait_for_line("is taken and verified").unwrap();
            }
            ["osprey", "import-redis", _, ref target @ ..] => {
                if let [directory] = target {
                    // New, as the comment says.
                    let moved = scratch.path().join("moved");
                    if let Some(server) = server.take() {
                        server.stop();
                    }
                    fs::rename(directory, moved).unwrap();
                }
                let done = Command::new(program("osprey")).args(&words[1..]).output().unwrap();
                assert_eq!(
                    done.status.code(),
                    Some(1),
                    "what is no string is left out: {command}: {}",
                    String::from_utf8_lossy(&done.stderr)
                );
            }
            ["osprey", "dump", ..] => {
                server.take().unwrap().stop();
                assert!(Command::new(program("osprey")).args(&words[1..]).status().unwrap().success(), "{command}");
                server = Some(start(&data));
            }
            ["osprey", ..] => {
                let done = Command::new(program("osprey")).args(&words[1..]).output().unwrap();
                assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
            }
            ["redis-cli", ..] | [] => continue,
            _ => panic!("no test for `{example}`"),
        }
        ran += 1;
    }
    assert!(ran >= 12, "{ran} commands");
    let keys = Client::connect(&address).unwrap().stats().unwrap().into_iter().find(|(name, _)| name == "keys").unwrap().1;
    assert_eq!(keys, "109", "a hundred that were there and loaded once more, and nine strings of Redis");
}
