//! Osprey, the server.
