//! The program `test-client` must be able to fail. That it passes is seen against the real server.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

fn test_client(address: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_test-client")).args(["-addr", address]).output().expect("test-client runs")
}

fn refuse_every_line(stream: &TcpStream) {
    let mut writer = stream;
    for line in BufReader::new(stream).split(b'\n') {
        if line.and_then(|_| writer.write_all(b"ERR INTERNAL not today\r\n")).is_err() {
            return;
        }
    }
}

#[test]
fn a_server_that_refuses_everything_fails_the_checks() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || refuse_every_line(&stream));
        }
    });
    let output = test_client(&address);
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("FAIL  sent: PING  |  expected: PONG  |  got: ERR INTERNAL not today"), "{out}");
    assert!(!out.contains("  pass  "), "{out}");
}

#[test]
fn no_server_is_exit_code_3() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let output = test_client(&address);
    assert_eq!(output.status.code(), Some(3));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains(&format!("cannot connect to {address}")) && err.contains("start it with `osprey`"), "{err}");
}
