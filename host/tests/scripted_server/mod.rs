//! A server that follows a script: what a client must send, and what it gets for that.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Listens on a port of its own and plays its script to the first connection.
pub(crate) struct ScriptedServer {
    address: String,
    thread: JoinHandle<()>,
}

/// The client's end, as the script sees it.
pub(crate) struct Peer {
    stream: TcpStream,
}

impl ScriptedServer {
    pub(crate) fn start(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_nodelay(true).expect("an option");
            // Only a client that is wrong runs into this.
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            script(&mut Peer { stream });
        });
        Self { address, thread }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the script's end; fails as it failed.
    pub(crate) fn finish(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Peer {
    /// The client's next bytes must be these.
    pub(crate) fn expects(&mut self, request: &str) -> &mut Self {
        let mut received = vec![0; request.len()];
        let mut filled = 0;
        while filled < received.len() {
            match self.stream.read(&mut received[filled..]) {
                Ok(count) if count > 0 => filled += count,
                end => panic!("expected {request:?}, got {:?} and then {end:?}", String::from_utf8_lossy(&received[..filled])),
            }
        }
        assert_eq!(String::from_utf8_lossy(&received), request);
        self
    }

    pub(crate) fn sends(&mut self, reply: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(reply.as_ref()).expect("the client takes the reply");
        self
    }

    /// The client must close without another byte.
    pub(crate) fn expects_end(&mut self) {
        let mut rest = Vec::new();
        // A reset ends a connection too.
        let _ = self.stream.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}
