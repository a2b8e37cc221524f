//! Shared parts of the tests: see the modules.
