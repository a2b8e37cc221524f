//! New connections.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::DataPlane;
use crate::readiness::{Interest, Watched};
use crate::server::connection::Connection;

/// How many connections are accepted in one turn.
const ACCEPTS_PER_TURN: usize = 128;

/// Without file descriptors left, accepting is tried again after this time.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

impl DataPlane {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &mut self.listener else { return };
            match listener.accept() {
                Ok((socket, _)) => self.welcome(socket),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return,
                // The client has gone again.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    // No descriptors or memory: the connection stays in the kernel's queue, and would be reported for ever.
                    log::warn!("cannot accept a connection: {error}; trying again in {} ms", ACCEPT_RETRY.as_millis());
                    let _ = listener.watch(Interest::NONE);
                    self.accept_again_at = Some(Instant::now() + ACCEPT_RETRY);
                    return;
                }
            }
        }
    }

    pub(super) fn retry_accept(&mut self, now: Instant) {
        if self.accept_again_at.take_if(|at| *at <= now).is_some()
            && let Some(listener) = &mut self.listener
        {
            let _ = listener.watch(Interest::READ);
        }
    }

    fn welcome(&mut self, socket: TcpStream) {
        self.engine.gauges.connections_total += 1;
        if self.connections.len() >= self.clients_max {
            self.engine.gauges.connections_rejected += 1;
            let _ = socket.set_nonblocking(true);
            let text = format!("ERR BUSY too many clients, the limit is {}; try again later\r\n", self.clients_max);
            let _ = (&socket).write(text.as_bytes());
            let _ = socket.shutdown(Shutdown::Write);
            return;
        }
        let key = self.connections.vacant_key();
        let watched = socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_nodelay(true))
            .and_then(|()| Watched::new(&self.readiness, socket, key, Interest::CHANGES));
        match watched {
            Ok(socket) => {
                self.connections.insert(Connection::new(socket, self.now_ms));
                self.engine.gauges.clients = self.connections.len() as u64;
            }
            Err(error) => log::warn!("cannot serve a new connection: {error}"),
        }
    }
}
