//! The hosts among the core's examples, as processes: they serve, they keep what they acknowledge, and their storage fulfils the contract.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

#[path = "../../core/examples/system/mod.rs"]
mod system;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use osprey_core::conformance::{Subject, check};
use osprey_tests::client::Client;
use osprey_tests::directory::wait_until;
use osprey_tests::program::example;
use rustix::process::{Pid, Signal, kill_process};
use system::Files;
use tempfile::TempDir;

/// A host at work; killed when dropped.
struct Host {
    address: SocketAddr,
    child: Child,
}

impl Host {
    fn start(name: &str, directory: &Path) -> Self {
        let mut command = Command::new(example(name));
        let mut child = command.arg(directory).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { address, child }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    /// Sends requests and expects exactly these replies.
    fn talk(client: &mut Client, requests: &str, replies: &str) {
        let (requests, replies) = (requests.replace('\n', "\r\n"), replies.replace('\n', "\r\n"));
        client.send(requests.as_bytes()).unwrap();
        let mut received = vec![0; replies.len()];
        let read = client.socket.read_exact(&mut received);
        assert_eq!((String::from_utf8_lossy(&received).as_ref(), read.is_ok()), (replies.as_str(), true));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serves_and_keeps(name: &str) {
    let directory = TempDir::new().unwrap();
    let host = Host::start(name, directory.path());
    let mut client = host.connect();
    Host::talk(
        &mut client,
        "PING\nSET greeting 5\nhello\nGET greeting\nINCR n 41\nINCR n\nDEL nobody\nMSET a 1 b 1\nxy\nSET later 1 EX 600000\nv\n",
        "PONG\nOK 1\nVALUE 5 1 -1\nhello\n41\n42\nDELETED 0\nOK 2\nOK 1\n",
    );
    // Byte by byte, and a deep pipeline that is sent before anything is read.
    for byte in b"SET slow 4\r\nslow\r\n" {
        client.socket.write_all(&[*byte]).unwrap();
    }
    Host::talk(
        &mut client,
        &"INCR deep\n".repeat(5000),
        &("OK 1\n".to_owned() + &(1..=5000).map(|n| format!("{n}\n")).collect::<String>()),
    );
    let large = "v".repeat(900_000);
    Host::talk(&mut client, &format!("SET large 900000\n{large}\nGET large\n"), &format!("OK 1\nVALUE 900000 1 -1\n{large}\n"));
    // Several connections, whose writes wait for the disk together; each ends with a half-close, behind which replies still come.
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let mut client = host.connect();
            thread::spawn(move || {
                for n in 0..25 {
                    client.set(format!("key {writer} {n}").replace(' ', ".").as_bytes(), format!("{n}").as_bytes()).unwrap();
                }
                client.send(b"INCR writers\r\nQUIT\r\n").unwrap();
                let mut rest = String::new();
                client.socket.read_to_string(&mut rest).unwrap();
                assert!(rest.ends_with("\r\nBYE\r\n"), "{rest:?}");
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    Host::talk(&mut client, "SNAPSHOT\nSET behind 1\nx\n", "OK\nOK 1\n");
    assert!(directory.path().read_dir().unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(".osnap")));
    host.kill();

    let host = Host::start(name, directory.path());
    let mut client = host.connect();
    Host::talk(
        &mut client,
        "GET greeting\nGET n\nGET writers\nMGET a b\nGET deep\nGET behind\nEXISTS later\nGET slow\n",
        "VALUE 5 1 -1\nhello\nVALUE 2 2 -1\n42\nVALUE 1 8 -1\n8\nVALUE a 1 1 -1\nx\nVALUE b 1 1 -1\ny\nVALUE 4 5000 -1\n5000\n\
         VALUE 1 1 -1\nx\nEXISTS 1\nVALUE 4 1 -1\nslow\n",
    );
    for writer in 0..8 {
        for n in 0..25 {
            let (value, _) = client.get(format!("key.{writer}.{n}").as_bytes()).unwrap().unwrap();
            assert_eq!(value, n.to_string().as_bytes());
        }
    }
    assert_eq!(client.get(b"large").unwrap().unwrap().0, large.as_bytes());
    host.kill();
}

/// Kills it again and again in the middle of counting.
fn is_killed_while_it_counts(name: &str) {
    let directory = TempDir::new().unwrap();
    let mut acknowledged = 0_u64;
    for kill in 0..5 {
        let host = Host::start(name, directory.path());
        let mut client = host.connect();
        if kill > 0 {
            let count: u64 = String::from_utf8(client.get(b"n").unwrap().unwrap().0).unwrap().parse().unwrap();
            // One more may have been logged than was answered, for each kill.
            assert!((acknowledged..=acknowledged + 1).contains(&count), "{count}, acknowledged were {acknowledged}");
            acknowledged = count;
        }
        for _ in 0..20 + kill {
            acknowledged += 1;
            Host::talk(&mut client, "INCR n\n", &format!("{acknowledged}\n"));
        }
        client.send(b"INCR n\r\n").unwrap();
        host.kill();
    }
}

#[test]
fn tokio_serves_and_keeps() {
    serves_and_keeps("tokio");
}

#[test]
fn threads_serve_and_keep() {
    serves_and_keeps("threads");
}

#[test]
fn tokio_is_killed() {
    is_killed_while_it_counts("tokio");
}

#[test]
fn threads_are_killed() {
    is_killed_while_it_counts("threads");
}

#[test]
fn tokio_ends_in_order() {
    let directory = TempDir::new().unwrap();
    let mut host = Host::start("tokio", directory.path());
    Host::talk(&mut host.connect(), "INCR n\n", "1\n");
    kill_process(Pid::from_child(&host.child), Signal::INT).unwrap();
    assert!(host.child.wait().unwrap().success());
    let mut files = Files::open(directory.path()).unwrap();
    let engine = system::recover(&mut files).unwrap();
    assert!(engine.stats().any(|stat| stat == ("keys", 1)), "{:?}", engine.stats().collect::<Vec<_>>());
}

struct OnDisk(TempDir);

impl Subject for OnDisk {
    type Storage = Files;

    fn create(&mut self) -> Files {
        self.0 = TempDir::new().unwrap();
        Files::open(self.0.path()).unwrap()
    }

    fn kill(&mut self, storage: Files) -> Files {
        drop(storage);
        // A process that another test is just starting has the lock's descriptor until it is another program.
        let mut opened = None;
        wait_until("the lock is free", || {
            opened = Files::open(self.0.path()).ok();
            opened.is_some()
        });
        opened.unwrap()
    }
}

#[test]
fn their_files_conform() {
    let checked = check(&mut OnDisk(TempDir::new().unwrap())).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.snapshots && checked.kills > 10, "{checked:?}");
}
