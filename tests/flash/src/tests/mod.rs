//! The log on simulated flash whose power is cut.

mod by_hand;
mod conformance;
mod nor;
mod power_cuts;
mod starts;
mod wear;
